//! `policy.no-policy`: traffic that no policy decided.
//!
//! The enforced trace ends with the profile of the namespace, and whatever came before it passed. Ingress is told per
//! workload, egress per namespace.

use catchment_core::{Confidence, FindingKind, Severity, Subject, VerdictReason};

use crate::detect::facts::Facts;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::story::count;

pub(crate) struct NoPolicy;

impl Rule for NoPolicy {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::NoPolicy]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let governed = key.governed();
        let namespace = governed.namespace().filter(|_| governed.is_workload() && key.is_allowed())?;
        let subject = Subject::default().with("namespace", Some(namespace));
        let subject = if key.is_egress() { subject } else { subject.with("workload", Some(governed.name())) };
        let case = Case::new(FindingKind::NoPolicy, subject.with("direction", Some(key.direction())))
            .owner(governed.who.owner.as_deref());
        match key.key.key.trace.verdict_reason()? {
            VerdictReason::Profile => Some(case.severity(severity(key)).confidence(Confidence::Certain)),
            // A policy decides for some of the egress of a namespace only: that says nothing of the rest.
            _ if key.is_egress() => None,
            _ => Some(case.refuted()),
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
    use catchment_core::{FindingKind, Severity, Status};

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
