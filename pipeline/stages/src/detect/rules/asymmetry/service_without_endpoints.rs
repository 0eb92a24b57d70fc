//! `asymmetry.service-without-endpoints`: a service that nobody answers for.
//!
//! Traffic shows it: it names a service and arrives at no pod, while no endpoint of the service is ready. So does the
//! cluster without traffic, once it has lasted: the service selects nothing, or nothing that is ready. One whose workloads
//! are scaled to zero is so on purpose.

use std::collections::BTreeMap;

use catchment_core::knowledge::workload::Service;
use catchment_core::knowledge::{Key, Kind, Text};
use catchment_core::{EventTime, FindingKind, Period, Resolution, Severity, Subject};

use crate::cluster::ClusterState;
use crate::detect::facts::Facts;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;
use crate::detect::view::View;

/// Windows between two looks at all services.
const EVERY: i64 = 3;
/// Pods may take so long to become ready before it is told of a service that nobody asks.
const SETTLED: Period = Period::secs(180);
/// Pods and near misses that are named.
const NAMED: usize = 5;

/// Services by namespace and name that had no ready endpoint at the last look, and since when.
#[derive(Default)]
pub(crate) struct ServiceWithoutEndpoints {
    empty: BTreeMap<(Text, Text), EventTime>,
}

impl Rule for ServiceWithoutEndpoints {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::ServiceWithoutEndpoints]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let service = &key.key.key.service;
        let subject = subject(service.namespace.as_deref()?, service.name.as_deref()?);
        let case = Case::new(FindingKind::ServiceWithoutEndpoints, subject);
        match (key.services.served.ready_endpoints?, key.dest.is_workload()) {
            (0, false) => Some(case),
            // The last pod may have gone since.
            (0, true) => None,
            _ => Some(case.refuted()),
        }
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let kind = FindingKind::ServiceWithoutEndpoints;
        if view.window.start.0 / view.window.micros().max(1) % EVERY != 0 {
            return;
        }
        let needed = [Kind::Service, Kind::EndpointSlice, Kind::Pod];
        let state = view.state.filter(|state| view.is_known() && state.unseen(&needed).is_empty());
        let Some(state) = state else { return out.not_evaluable(kind) };
        Self::end(state, out);
        let now = view.window.end;
        let empty = state.services_by_labels().into_iter().filter(|service| is_empty(service, state));
        let before = std::mem::take(&mut self.empty);
        for service in empty {
            let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
            let place = (namespace.clone(), name.clone());
            let since = before.get(&place).copied().unwrap_or(now);
            self.empty.insert(place, since);
            if since.plus(SETTLED.micros()) <= now {
                let case = Case::new(kind, subject(namespace, name)).severity(severity(service, state));
                out.holds(case).detail("since", since.to_rfc3339());
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (namespace, service) = (told.member("namespace"), told.member("service"));
        let state = told.view.state;
        let known = state.and_then(|state| Some((state, state.service(namespace, service)?)));
        let traffic = match told.tally.rows {
            0 => String::new(),
            _ => format!(
                " Traffic to it arrives at no pod: {} with {} in the window went nowhere.",
                count(told.tally.started, "connection"),
                count(told.tally.packets, "packet"),
            ),
        };
        Story {
            title: format!("No pod answers for the service {namespace}/{service}"),
            explanation: format!(
                "None of the endpoints of {namespace}/{service} is ready, so that connections to it fail.{traffic}{}",
                known.map(|(state, service)| why(service, state)).unwrap_or_default(),
            ),
            remediation: format!(
                "Make the selector of the service match the labels of the pods that should answer, or mend what keeps \
                 those from being ready: kubectl describe service -n {namespace} {service}."
            ),
            verify: format!("kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={service}"),
            ..Story::default()
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        let empty: Vec<_> = self.empty.iter().map(|((a, b), since)| (a.as_str(), b.as_str(), since)).collect();
        Some(postcard::to_allocvec(&empty).expect("plain values serialize"))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let empty: Vec<(&str, &str, EventTime)> = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        self.empty = empty.into_iter().map(|(a, b, since)| ((Text::new(a), Text::new(b)), since)).collect();
        Ok(())
    }
}

impl ServiceWithoutEndpoints {
    /// What is open about services that are gone or are answered for is over.
    fn end(state: &ClusterState, out: &mut Sightings) {
        let kind = FindingKind::ServiceWithoutEndpoints;
        for subject in out.open(kind) {
            let [namespace, name] = ["namespace", "service"].map(|member| subject.get(member).unwrap_or_default());
            if state.service(namespace, name).is_none() {
                out.over(kind, &subject, Resolution::SubjectGone);
            } else if state.answering(namespace, name).ready > 0 {
                out.over(kind, &subject, Resolution::Fixed);
            }
        }
    }
}

fn subject(namespace: &str, service: &str) -> Subject {
    Subject::default().with("namespace", Some(namespace)).with("service", Some(service))
}

/// Whether nobody answers for the service, and not on purpose.
fn is_empty(service: &Service, state: &ClusterState) -> bool {
    let answering = state.answering(&service.metadata.namespace, &service.metadata.name);
    let is_led_elsewhere = service.spec.service_type == "ExternalName";
    answering.known && answering.ready == 0 && !is_led_elsewhere && !is_at_zero(service, state)
}

/// Whether it selects no pods because none of its workloads wants any.
fn is_at_zero(service: &Service, state: &ClusterState) -> bool {
    let selected = state.selected_by(service);
    let stopped = |key: &Key| {
        let workload = state.workload(key.kind.name(), &key.namespace, &key.name);
        workload.is_some_and(|workload| !workload.runs())
    };
    let asleep = selected.iter().all(|alike| alike.pods.is_empty() && alike.template_of.is_some_and(stopped));
    !selected.is_empty() && asleep
}

/// A service that selects nothing and misses nothing was probably left behind.
fn severity(service: &Service, state: &ClusterState) -> Severity {
    let is_left = state.selected_by(service).is_empty() && state.near_of_service(service).is_empty();
    if is_left { Severity::Low } else { FindingKind::ServiceWithoutEndpoints.severity() }
}

/// What the cluster says of the reason.
fn why(service: &Service, state: &ClusterState) -> String {
    let selected = state.selected_by(service);
    let pods: Vec<_> = selected.iter().flat_map(|alike| alike.pods).map(Text::as_str).take(NAMED).collect();
    let selector: Vec<_> = service.spec.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let selector = selector.join(",");
    if !pods.is_empty() {
        return format!(" It selects {selector}, and the pods it finds are not ready: {}.", pods.join(", "));
    }
    if !selected.is_empty() {
        return format!(" It selects {selector}, and the workload that would make such pods has none.");
    }
    let near = state.near_of_service(service);
    let near = near.iter().take(NAMED).map(|miss| {
        let meant = miss.term.resembles.as_deref().unwrap_or("another label");
        format!("{} has {meant} where {} is asked for", miss.endpoint.name, miss.term.term)
    });
    match near.collect::<Vec<_>>().as_slice() {
        [] => format!(" It selects {selector}, which no pod and no workload has."),
        near => format!(" It selects {selector}, which nothing has; {}.", near.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, Scene, flow};

    fn asked(dest: &str, ready: u64) -> Flow {
        flow("shop/web", dest).service("shop/db").ready_endpoints(ready).packets(6, 0)
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::ServiceWithoutEndpoints)
    }

    #[test]
    fn traffic_that_a_service_without_endpoints_leads_nowhere_is_told() {
        let mut scene = Scene::new();
        let opened = told(scene.window([asked("pvt:5432", 0)])).expect("told");
        assert_eq!(opened.subject.to_json(), serde_json::json!({"namespace": "shop", "service": "db"}));
        let over = told(scene.window([asked("shop/db:5432", 1).packets(6, 6)])).expect("over");
        assert_eq!(over.status, Status::Resolved);
    }

    #[test]
    fn endpoints_that_become_ready_are_noticed_on_the_same_flow() {
        let mut scene = Scene::new();
        scene.window([asked("pvt:5432", 0)]);
        assert_eq!(told(scene.window([asked("pvt:5432", 2)])).expect("over").status, Status::Resolved);
    }

    #[test]
    fn traffic_that_arrived_at_a_pod_was_led_somewhere() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window([asked("shop/db:5432", 0)])), None);
    }

    #[test]
    fn what_is_not_known_of_a_service_says_nothing() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window([flow("shop/web", "pvt:5432").service("shop/db").packets(6, 0)])), None);
        assert_eq!(told(scene.window([flow("shop/web", "pvt:5432").ready_endpoints(0).packets(6, 0)])), None);
    }

    #[test]
    fn rows_that_gave_up_their_identity_name_no_service() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window([asked("pvt:5432", 0).overflow()])), None);
    }

    fn service(app: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "db"},
            "spec": {"selector": {"app": app}}})
    }

    fn slice(ready: Option<bool>) -> Value {
        let endpoint = |ready: bool| {
            json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready},
            "targetRef": {"kind": "Pod", "name": "db-0"}})
        };
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
            "endpoints": ready.map(endpoint).into_iter().collect::<Vec<_>>()})
    }

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "db-0", "labels": {"app": "orders"}},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIP": "10.0.0.1"}})
    }

    fn deployment(replicas: u32) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "shop", "name": "db"},
            "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "orders"}}}}})
    }

    fn quiet(scene: &mut Scene, windows: usize) -> Option<FindingRow> {
        (0..windows).find_map(|_| told(scene.window([])))
    }

    fn cluster(changes: impl IntoIterator<Item = (i64, Value)>) -> Scene {
        Scene::with_cluster(Settings::default(), changes)
    }

    #[test]
    fn a_service_whose_selector_slipped_is_told_without_traffic_and_names_the_label() {
        let mut scene = cluster([
            (0, service("order")),
            (0, slice(None)),
            (0, pod()),
            (9, service("orders")),
            (9, slice(Some(true))),
        ]);
        assert_eq!(quiet(&mut scene, 3), None);
        scene.restart();
        let opened = quiet(&mut scene, 4).expect("told");
        assert_eq!(opened.severity, Severity::Medium);
        assert!(opened.explanation.contains("app=order, which nothing has"), "{}", opened.explanation);
        assert!(opened.explanation.contains("has app=orders"), "{}", opened.explanation);
        assert_eq!(quiet(&mut scene, 9).expect("over").status, Status::Resolved);
    }

    #[test]
    fn pods_that_are_not_ready_are_named_but_not_in_a_moment_of_unreadiness() {
        let mut scene = cluster([(0, service("orders")), (0, slice(Some(false))), (0, pod())]);
        let opened = quiet(&mut scene, 9).expect("told");
        assert!(opened.explanation.contains("are not ready: db-0"), "{}", opened.explanation);
        let mut scene = cluster([(0, service("orders")), (0, slice(Some(false))), (0, pod()), (2, slice(Some(true)))]);
        assert_eq!(quiet(&mut scene, 9), None);
    }

    #[test]
    fn a_service_of_a_workload_at_zero_is_empty_on_purpose() {
        let mut scene = cluster([
            (0, service("orders")),
            (0, slice(None)),
            (0, deployment(1)),
            (0, deployment(0)),
            (0, other_pod()),
        ]);
        assert_eq!(quiet(&mut scene, 9), None);
        let mut scene = cluster([(0, service("orders")), (0, slice(None)), (0, deployment(1)), (0, other_pod())]);
        assert!(quiet(&mut scene, 9).is_some());
    }

    fn other_pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ops", "name": "x"}})
    }

    #[test]
    fn a_service_that_nothing_resembles_was_left_behind() {
        let mut scene = cluster([(0, service("warehouse")), (0, slice(None)), (0, other_pod())]);
        assert_eq!(quiet(&mut scene, 9).expect("told").severity, Severity::Low);
    }

    #[test]
    fn without_a_look_at_slices_and_pods_it_cannot_be_told() {
        let mut scene = cluster([(0, service("order")), (0, slice(None))]);
        assert_eq!(quiet(&mut scene, 9), None);
        let kind = FindingKind::ServiceWithoutEndpoints;
        assert_eq!(scene.detector().not_evaluable().find(|(of, _)| *of == kind).expect("counted").1, 3);
    }
}
