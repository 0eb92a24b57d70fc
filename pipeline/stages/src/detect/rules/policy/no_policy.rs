//! `policy.no-policy`: traffic that no policy decided.
//!
//! The enforced trace ends with the profile of the namespace, and whatever came before it passed. Ingress is told per
//! workload, egress per namespace.

use catchment_core::knowledge::policy::Action;
use catchment_core::{Confidence, FindingKind, Period, Resolution, Severity, Subject, VerdictReason};

use crate::cluster::ClusterState;
use crate::detect::facts::Facts;
use crate::detect::known::{chain, endpoint};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;
use crate::detect::view::View;
use crate::policy::{Compiled, Decision, Direction, Endpoint, HostStage};
use crate::selector::Selector;

/// Between two looks at namespaces whose egress no policy decided.
const LOOKS: Period = Period::secs(600);

pub(crate) struct NoPolicy;

impl Rule for NoPolicy {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::NoPolicy]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let governed = key.governed();
        let namespace = governed.namespace().filter(|_| governed.is_workload())?;
        let subject = Subject::default().with("namespace", Some(namespace));
        let subject = if key.is_egress() { subject } else { subject.with("workload", Some(governed.name())) };
        let case = Case::new(FindingKind::NoPolicy, subject.with("direction", Some(key.direction())))
            .owner(governed.who.owner.as_deref());
        match key.key.key.trace.verdict_reason()? {
            VerdictReason::Profile if key.is_allowed() => {
                Some(case.severity(severity(key)).confidence(confidence(key)))
            }
            // A policy decides for some of the egress of a namespace only: that says nothing of the rest.
            _ if key.is_egress() => None,
            VerdictReason::EndOfTier if key.is_denied() => Some(case.refuted()),
            _ => Some(case.refuted()).filter(|_| key.is_allowed() && is_closed(key)),
        }
    }

    /// Egress is over when all pods of the namespace are governed: the egress of some says nothing of the rest.
    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let Some(state) = view.selected().filter(|_| view.judged_anew || view.ends(LOOKS)) else { return };
        let of_egress = |subject: &Subject| subject.get("direction") == Some("egress");
        for subject in out.open(FindingKind::NoPolicy).into_iter().filter(of_egress) {
            if subject.get("namespace").is_some_and(|namespace| is_all_closed(state, namespace)) {
                out.over(FindingKind::NoPolicy, &subject, Resolution::Fixed);
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (workload, direction) = (told.workload(), told.member("direction"));
        let passed = told.tally.sample.iter().any(|(key, _)| key.key.trace.enforced.len() > 1);
        let reason = if passed { "passed-through" } else { "unselected" };
        let why = if passed { "every policy that selects it passed" } else { "no policy selects it" };
        let mut story = Story {
            title: format!("No policy decides the {direction} of {workload}"),
            explanation: format!(
                "{} {workload} was allowed by the profile of its namespace, because {why}: whoever reaches it may \
                 talk to it. {} carried {} in the window.",
                if direction == "ingress" { "Traffic to" } else { "Outgoing traffic of" },
                count(told.tally.rows, "flow"),
                count(told.tally.started, "new connection"),
            ),
            remediation: format!(
                "Write a policy that selects it and allows the {direction} it needs; stage it first and look at what \
                 `policy.staged-would-deny` says."
            ),
            verify: verify(told),
            ..Story::default()
        };
        story.evidence.insert("reason".to_owned(), reason.into());
        story
    }
}

/// Policies that would have decided, as the cluster has them, contradict the wire: one of the two is behind.
fn confidence(key: &Facts<'_>) -> Confidence {
    let computed = key.view.policed().and_then(|state| chain(state, key.key));
    match computed.map(|chain| chain.decided_by) {
        Some(Decision::Rule(_) | Decision::EndOfTier { .. }) => Confidence::Derived,
        _ => Confidence::Certain,
    }
}

/// Whether nothing passes all policies to the profile, where the cluster is known: a policy that allows some may still pass
/// the rest on.
fn is_closed(key: &Facts<'_>) -> bool {
    let known = key.view.policed().and_then(|state| Some((state, endpoint(state, &key.key.key.dest)?)));
    known.is_none_or(|(state, dest)| closes(state, &dest, Direction::Ingress))
}

/// Whether policies decide all that the pods of a namespace send.
fn is_all_closed(state: &ClusterState, namespace: &str) -> bool {
    let endpoints = state.matching(&Selector::all()).into_iter().map(|alike| alike.endpoint);
    let mut of_namespace = endpoints.filter(|end| end.namespace == namespace).peekable();
    of_namespace.peek().is_some() && of_namespace.all(|end| closes(state, end, Direction::Egress))
}

/// Whether policies decide all of a direction at an endpoint: one governs it whose tier lets nothing on.
fn closes(state: &ClusterState, end: &Endpoint, direction: Direction) -> bool {
    let policies = state.policy().policies();
    let selecting = policies.selecting(end);
    let governing: Vec<_> = selecting
        .into_iter()
        .filter(|policy| policy.staged.is_none() && policy.stage == HostStage::Normal && policy.governs(direction))
        .collect();
    let passes = |policy: &&Compiled| policy.actions(direction).any(|action| action == Action::Pass);
    let ends = |tier: &str| policies.tier(tier).is_some_and(|tier| tier.default_action == Action::Deny);
    governing.iter().any(|policy| {
        let of_tier = || governing.iter().filter(|other| other.tier == policy.tier);
        ends(&policy.tier) && !of_tier().any(passes)
    })
}

/// What anybody may reach is worse where it is worth guarding or where everybody can come from.
fn severity(key: &Facts<'_>) -> Severity {
    let is_exposed = !key.is_egress() && key.source.is_public_network();
    if is_exposed || !key.is_egress() && key.is_critical_dest() { Severity::Medium } else { Severity::Info }
}

fn verify(told: &Told<'_>) -> String {
    format!("catchment findings list --kind policy.no-policy --namespace {}", told.member("namespace"))
}

#[cfg(test)]
mod tests {
    use catchment_core::{Confidence, FindingKind, FindingRow, Severity, Status};
    use serde_json::json;

    use crate::detect::Settings;
    use crate::detect::objects::{pod, policy, surroundings};
    use crate::detect::testing::{HitExt, Scene, end_of_tier, flow, profile, rule};

    #[test]
    fn what_only_the_profile_allowed_is_told_once_per_workload() {
        let mut scene = Scene::new();
        let told = scene.window([
            flow("shop/api-5f7d9c4b8-*", "shop/web-7d4b9c6f5-*:8080").dst().trace([profile("shop")]),
            flow("shop/job-abc", "shop/web-7d4b9c6f5-*:8080").dst().trace([profile("shop")]),
        ]);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].kind, told[0].severity), (FindingKind::NoPolicy, Severity::Info));
        let subject = told[0].subject.to_json();
        assert_eq!(subject, serde_json::json!({"namespace": "shop", "workload": "web", "direction": "ingress"}));
        assert_eq!(scene.window([flow("shop/api", "shop/web-6c8b7d5f9-*:8080").dst().trace([profile("shop")])]), []);
    }

    #[test]
    fn what_all_policies_passed_to_the_profile_is_told_with_that_reason() {
        let mut scene = Scene::new();
        let passed = [rule("shop/pass", "default", 0).pass(), profile("shop")];
        let told = scene.window([flow("shop/api", "shop/web:80").dst().trace(passed)]);
        assert!(told[0].evidence.contains("passed-through"), "{}", told[0].evidence);
    }

    #[test]
    fn a_policy_that_decides_ends_it_for_ingress() {
        let mut scene = Scene::new();
        let unpoliced = flow("shop/api", "shop/web:80").dst().trace([profile("shop")]);
        assert_eq!(scene.window([unpoliced.clone()])[0].status, Status::Opened);
        let policed = flow("shop/api", "shop/web:80").dst().trace([rule("shop/web", "default", 0)]);
        assert_eq!(scene.window([policed])[0].status, Status::Resolved);
        let back = scene.window([unpoliced]);
        assert_eq!((back[0].status, back[0].reopen_count), (Status::Opened, 1));
    }

    #[test]
    fn a_tier_that_denies_the_rest_ends_it_for_ingress() {
        let mut scene = Scene::new();
        scene.window([flow("shop/api", "shop/web:80").dst().trace([profile("shop")])]);
        let told =
            scene.window([flow("shop/api", "shop/web:80").dst().deny().trace([end_of_tier("default", "shop/web")])]);
        let over = told.iter().find(|row| row.kind == FindingKind::NoPolicy).expect("it is over");
        assert_eq!(over.status, Status::Resolved);
    }

    /// What the only policy of `shop/web` lets in, and what it does with the rest.
    fn cluster(rest: &serde_json::Value) -> Vec<(i64, serde_json::Value)> {
        let ingress = json!([{"action": "Allow", "source": {"selector": "app == 'probe'"}}, rest]);
        let spec = json!({"selector": "app == 'web'", "types": ["Ingress"], "ingress": ingress});
        let pods = ["web", "api", "probe"].map(|app| (-60, pod(&format!("shop/{app}"), json!({"app": app}))));
        pods.into_iter().chain([(-60, policy("shop/web", spec))]).collect()
    }

    #[test]
    fn a_policy_that_passes_the_rest_on_does_not_end_it_by_what_it_allows() {
        let mut scene = Scene::with_cluster(Settings::default(), cluster(&json!({"action": "Pass"})));
        let passed = [rule("shop/web", "default", 1).pass(), profile("shop")];
        assert_eq!(scene.window([flow("shop/api", "shop/web:80").dst().trace(passed)])[0].status, Status::Opened);
        let probed = || flow("shop/probe", "shop/web:80").dst().trace([rule("shop/web", "default", 0)]);
        assert_eq!(scene.window([probed()]), []);

        let mut scene = Scene::with_cluster(Settings::default(), cluster(&json!({"action": "Deny"})));
        scene.window([flow("shop/api", "shop/web:80").dst().trace([profile("shop")])]);
        assert_eq!(scene.window([probed()])[0].status, Status::Resolved);
    }

    #[test]
    fn egress_is_over_when_policies_govern_all_pods_of_the_namespace() {
        let denied = |name: &str, selector: &str| {
            policy(&format!("shop/{name}"), json!({"selector": selector, "types": ["Egress"], "egress": []}))
        };
        let pods = ["web", "job"].map(|app| (-60, pod(&format!("shop/{app}"), json!({"app": app}))));
        let policies = [(2, denied("web", "app == 'web'")), (4, denied("rest", "all()"))];
        let known = surroundings().into_iter().map(|object| (-60, object)).chain(pods).chain(policies);
        let mut scene = Scene::with_cluster(Settings::default(), known);
        let sent = || flow("shop/web", "pub:443").trace([profile("shop")]);
        let told = |rows: Vec<FindingRow>| {
            let of_kind = rows.into_iter().filter(|row| row.kind == FindingKind::NoPolicy);
            of_kind.map(|row| row.status).collect::<Vec<_>>()
        };
        assert_eq!(told(scene.window([sent()])), [Status::Opened]);
        // Of the pods some are governed, then all; a connection that outlives the edit goes on for a while.
        let later: Vec<_> = (0..6).flat_map(|_| told(scene.window([sent()]))).collect();
        assert_eq!(later, []);
        let quiet: Vec<_> = (0..10).flat_map(|_| told(scene.window([]))).collect();
        assert_eq!(quiet, [Status::Resolved]);
    }

    #[test]
    fn policies_that_contradict_the_wire_make_it_less_sure() {
        let unpoliced = || flow("shop/probe", "shop/web:80").dst().trace([profile("shop")]);
        let mut scene = Scene::with_cluster(Settings::default(), cluster(&json!({"action": "Deny"})));
        assert_eq!(scene.window([unpoliced()])[0].confidence, Confidence::Derived);
        assert_eq!(Scene::new().window([unpoliced()])[0].confidence, Confidence::Certain);
    }

    #[test]
    fn a_denial_or_a_source_outside_policies_is_none() {
        let mut scene = Scene::new();
        let told = scene.window([
            flow("shop/api", "shop/web:80").dst().deny().trace([end_of_tier("default", "shop/web")]),
            flow("shop/api", "pvt:443").trace([rule("shop/out", "default", 0)]),
        ]);
        assert!(told.iter().all(|row| row.kind != FindingKind::NoPolicy));
    }

    #[test]
    fn public_sources_make_it_worse() {
        let mut scene = Scene::new();
        let told = scene.window([flow("pub", "shop/web:80").dst().trace([profile("shop")])]);
        let told = told.iter().find(|row| row.kind == FindingKind::NoPolicy).expect("told");
        assert_eq!(told.severity, Severity::Medium);
    }
}
