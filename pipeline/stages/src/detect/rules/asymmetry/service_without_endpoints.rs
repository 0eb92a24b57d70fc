//! `asymmetry.service-without-endpoints`: a service is asked and nobody answers for it.
//!
//! Traffic that names a service and arrives at no pod was led nowhere; where no endpoint of the service is ready, this is
//! why.

use catchment_core::{FindingKind, Subject};

use crate::detect::facts::Facts;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::story::count;

pub(crate) struct ServiceWithoutEndpoints;

impl Rule for ServiceWithoutEndpoints {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::ServiceWithoutEndpoints]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let service = &key.key.key.service;
        let (namespace, name) = (service.namespace.as_deref()?, service.name.as_deref()?);
        let subject = Subject::default().with("namespace", Some(namespace)).with("service", Some(name));
        let case = Case::new(FindingKind::ServiceWithoutEndpoints, subject);
        match (key.services.served.ready_endpoints?, key.dest.is_workload()) {
            (0, false) => Some(case),
            // The last pod may have gone since.
            (0, true) => None,
            _ => Some(case.refuted()),
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (namespace, service) = (told.member("namespace"), told.member("service"));
        Story {
            title: format!("Service {namespace}/{service} is asked and has no ready endpoint"),
            explanation: format!(
                "Traffic to the service {namespace}/{service} arrives at no pod, and none of its endpoints is ready: {} \
                 with {} in the window went nowhere.",
                count(told.tally.started, "connection"),
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "Compare the selector of the service with the labels of the pods that should answer, and see why those \
                 are not ready: kubectl describe service -n {namespace} {service}."
            ),
            verify: format!("kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={service}"),
            ..Story::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Status};

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
}
