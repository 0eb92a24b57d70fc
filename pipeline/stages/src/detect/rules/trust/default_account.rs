//! `trust.default-service-account`: a workload that runs as `default` reaches a critical backend or the Kubernetes API.
//!
//! Where several accounts stand behind one name, all of them must be `default`. No destination's node reports the
//! Kubernetes API, so there the source's report decides alone.

use catchment_core::{FindingKind, KeyRecord, Resolution};

use super::crossing::{Verdict, are_guarded, judge};
use crate::detect::facts::{End, Facts, Signs, Talk};
use crate::detect::ranges::{API_SERVER, is_labelled};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;

const KIND: FindingKind = FindingKind::DefaultServiceAccount;
const DEFAULT: &str = "default";

pub(crate) struct DefaultAccount;

impl Rule for DefaultAccount {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let of_platform = key.source.namespace().is_some_and(|name| key.view.settings.is_platform(name));
        let asks = key.source.is_workload() && !of_platform && key.is_egress() && key.is_allowed() && is_api(key);
        let case = || Case::new(KIND, key.pair()).owner(key.source.who.owner.as_deref());
        (asks && runs_as_default(key.source)?).then(case)
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        let may_be_default = || {
            let accounts = key.source.accounts();
            accounts.is_empty() || accounts.iter().any(|account| &**account == DEFAULT)
        };
        are_guarded(key.source, key.dest, key.view.settings) && may_be_default() && key.is_critical_dest()
    }

    fn wakes(&self) -> Signs {
        Signs::ALLOWED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        if !talk.dest().is_workload() {
            return left(talk, out);
        }
        judge(talk, KIND, out, |key| match runs_as_default(key.source) {
            Some(true) if key.is_critical_dest() => {
                let case = Case::new(KIND, talk.subject()).owner(key.source.who.owner.as_deref());
                Verdict::Crossed(case, vec![("source_accounts", key.source.full_accounts().into())])
            }
            Some(_) => Verdict::Kept,
            None => Verdict::Unknown,
        });
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, port) = (told.end("source"), told.port());
        let (namespace, workload) = (told.member("source_namespace"), told.member("source"));
        let is_api = told.tally.sample.first().is_some_and(|(key, _)| names_api(key))
            || told.member("dest_namespace").is_empty();
        let (dest, risk) = if is_api {
            ("the Kubernetes API".to_owned(), "whatever is granted to it is granted to every such pod")
        } else {
            (told.end("dest"), "no policy can tell it from other pods of its namespace by its account")
        };
        Story {
            title: format!("{source} reaches {dest} on {port} as the default service account"),
            explanation: format!(
                "Every pod that may stand behind {source} runs as the account {namespace}/{DEFAULT}, and it reached {dest} \
                 on {port}: {} began with {} in the window. Pods share that account unless they name another, so {risk}. \
                 The likely cause is a pod template without `serviceAccountName`.",
                count(told.tally.started, "connection"),
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "Make a service account for {workload}, name it in the pod template of {source}, and let policies and roles \
                 name it. A workload that does not use the API should set `automountServiceAccountToken: false`."
            ),
            verify: format!(
                "kubectl get pods -n {namespace} -o custom-columns=POD:.metadata.name,ACCOUNT:.spec.serviceAccountName"
            ),
            ..Story::default()
        }
    }
}

/// Whether all pods that may be meant run as `default`; `None` where no account is known.
fn runs_as_default(end: End<'_>) -> Option<bool> {
    let accounts = end.accounts();
    (!accounts.is_empty()).then(|| accounts.iter().all(|account| &**account == DEFAULT))
}

fn is_api(key: &Facts<'_>) -> bool {
    names_api(key.key) || key.dest.is_network_set() && is_labelled(key.dest_labels, API_SERVER)
}

fn names_api(key: &KeyRecord) -> bool {
    let service = &key.key.service;
    (service.namespace.as_deref(), service.name.as_deref()) == (Some("default"), Some("kubernetes"))
}

/// Whoever reaches the API under another account now is told no more.
fn left(talk: &Talk<'_>, out: &mut Sightings) {
    let another = |row| runs_as_default(Facts::new(row, talk.view).source) == Some(false);
    let mut rows = talk.passed().peekable();
    if rows.peek().is_some() && rows.all(another) {
        out.over(KIND, &talk.subject(), Resolution::Fixed);
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status, Who};
    use serde_json::json;

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, Scene, end_of_tier, flow, rule};

    fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
        told.into_iter().filter(|row| row.kind == FindingKind::DefaultServiceAccount).collect()
    }

    fn accounts(names: &'static [&'static str]) -> impl FnOnce(&mut Who) {
        move |who| who.service_accounts = Some(names.iter().map(|&name| name.into()).collect())
    }

    fn reach(names: &'static [&'static str]) -> Flow {
        let flow = flow("shop/web-7d4b9c6f5-*", "pay/ledger:5432").dst().trace([rule("pay/open", "default", 0)]);
        flow.source_who(accounts(names)).labels(&["app=web"], &["catchment.dev/critical=true"])
    }

    fn api(names: &'static [&'static str]) -> Flow {
        flow("shop/web", "pvt:6443").service("default/kubernetes").source_who(accounts(names))
    }

    #[test]
    fn a_critical_backend_that_default_reaches_is_told_with_the_account() {
        let mut scene = Scene::new();
        let told = of(scene.window([reach(&["default"])]));
        assert_eq!((told.len(), told[0].severity), (1, Severity::Medium));
        assert_eq!(told[0].title, "shop/web reaches pay/ledger on 5432/tcp as the default service account");
        assert!(told[0].evidence.contains("\"source_accounts\":[\"shop/default\"]"), "{}", told[0].evidence);
    }

    #[test]
    fn a_namespace_may_be_critical_as_a_whole() {
        let mut scene = Scene::new();
        let by_namespace = reach(&["default"]).labels(&[], &[]).dest_who(|who| {
            who.namespace_labels = Some(vec!["catchment.dev/critical=true".into()]);
        });
        assert_eq!(of(scene.window([by_namespace])).len(), 1);
        assert_eq!(of(Scene::new().window([reach(&["default"]).labels(&[], &[])])), []);
    }

    #[test]
    fn a_service_in_front_may_be_critical() {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "pay", "name": "ledger", "labels": {"catchment.dev/critical": "true"}}});
        let mut scene = Scene::with_cluster(Settings::default(), [(0, service)]);
        assert_eq!(of(scene.window([reach(&["default"]).labels(&[], &[]).service("pay/ledger")])).len(), 1);
        assert_eq!(of(Scene::new().window([reach(&["default"]).labels(&[], &[]).service("pay/ledger")])), []);
    }

    #[test]
    fn one_account_among_several_behind_a_name_may_be_the_right_one() {
        let mut scene = Scene::new();
        assert_eq!(of(scene.window([reach(&["default", "web"])])), []);
        assert_eq!(of(scene.window([reach(&["web"])])), []);
    }

    #[test]
    fn without_an_account_it_cannot_be_told_and_is_counted() {
        let mut scene = Scene::new();
        let told = scene.window([reach(&[]).source_who(|who| who.service_accounts = None)]);
        assert_eq!(of(told), []);
        let mut unknown = scene.detector().not_evaluable();
        assert!(unknown.any(|(kind, count)| kind == FindingKind::DefaultServiceAccount && count == 1));
    }

    #[test]
    fn the_kubernetes_api_is_critical_without_any_label() {
        let mut scene = Scene::new();
        let told = of(scene.window([api(&["default"])]));
        assert_eq!(told[0].title, "shop/web reaches the Kubernetes API on 6443/tcp as the default service account");
        let ranged = flow("shop/job", "set:api-server:6443").source_who(accounts(&["default"]));
        let told = of(scene.window([ranged.labels(&[], &["catchment.dev/range=api-server"])]));
        assert!(told[0].title.contains("the Kubernetes API"), "{}", told[0].title);
    }

    #[test]
    fn an_account_of_its_own_ends_it_for_backend_and_api() {
        let mut scene = Scene::new();
        assert_eq!(of(scene.window([reach(&["default"]), api(&["default"])])).len(), 2);
        let over = of(scene.window([reach(&["web"]), api(&["web"])]));
        assert_eq!(over.iter().map(|row| row.status).collect::<Vec<_>>(), [Status::Resolved; 2]);
    }

    #[test]
    fn the_platform_and_what_was_denied_are_not_told() {
        let mut scene = Scene::new();
        let platform = flow("kube-system/coredns", "pvt:6443").service("default/kubernetes");
        let denied = reach(&["default"]).deny().trace([end_of_tier("default", "pay/ledger")]);
        assert_eq!(of(scene.window([platform.source_who(accounts(&["default"])), denied])), []);
    }
}
