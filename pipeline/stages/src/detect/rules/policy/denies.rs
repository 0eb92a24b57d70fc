//! `policy.implicit-deny` and `policy.explicit-deny`: what a policy denied, by the end of its tier or by a rule.
//!
//! A row without packets is no evidence: some releases report a denial again and again long after its last packet. A
//! pair that the same reporter allowed within a day is a regression; a window in which a policy is edited reports both
//! traces with full counters and is left out of that.

use catchment_core::knowledge::policy;
use catchment_core::{FindingKind, Period, Resolution, Severity, Subject, VerdictReason};
use catchment_schemas::goldmane::{Action, Reporter, names};

use crate::detect::facts::{Facts, Signs, Talk, has_packets};
use crate::detect::known::chain as chain_of;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{chain, count, deciding_policy, missed};

/// A pair that was allowed within this time should be allowed now.
const RECENT: Period = Period::secs(24 * 3600);

pub(crate) struct Denies;

impl Rule for Denies {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::ImplicitDeny, FindingKind::ExplicitDeny]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        if !key.is_denied() {
            return None;
        }
        let kind = match key.key.key.trace.verdict_reason()? {
            VerdictReason::EndOfTier => FindingKind::ImplicitDeny,
            VerdictReason::Rule => FindingKind::ExplicitDeny,
            VerdictReason::Profile => return None,
        };
        let policy = deciding_policy(&key.key.key.trace);
        let case = Case::new(kind, subject(key.pair(), &policy, key.key.key.reporter));
        let case = case.owner(key.governed().who.owner.as_deref());
        Some(case.folds_into(Subject::default().with("policy", Some(&policy))))
    }

    fn listens(&self, _: &Facts<'_>) -> bool {
        true
    }

    fn wakes(&self) -> Signs {
        Signs::DENIED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        for reporter in [Reporter::Src, Reporter::Dst] {
            let denied = talk.rows(reporter, Action::Deny).any(has_packets);
            let allowed = talk.rows(reporter, Action::Allow).any(has_packets);
            match (denied, allowed) {
                (true, false) => regression(talk, reporter, out),
                (false, true) if was_denied(talk, reporter) => end(talk, reporter, out),
                _ => {}
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let policy = told.member("policy");
        if told.child_count > 0 {
            return folded(told, policy);
        }
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let by_rule = told.kind == FindingKind::ExplicitDeny;
        let how = if by_rule {
            format!("a rule of {policy} denied it")
        } else {
            format!("{policy} selects the endpoint and none of its rules matched, so the tier denied it")
        };
        let trace = told.tally.sample.first().map(|(key, _)| chain(&key.key.trace.enforced)).unwrap_or_default();
        let regressed = told.details.contains_key("allowed_until");
        let nearest = nearest(told);
        let mut story = Story {
            title: format!("{source} is denied {dest} on {port} by {policy}"),
            explanation: format!(
                "{source} tried {dest} on {port} and {how}, at the {}'s side{}. {}{}The trace: {trace}. {} in the window.",
                if told.member("reporter") == "Src" { "source" } else { "destination" },
                if regressed { "; the same pair was allowed within the last day" } else { "" },
                told.blamed_edit(),
                nearest.as_ref().map(|near| format!("The rule that came nearest: {near}. ")).unwrap_or_default(),
                count(told.tally.packets, "packet"),
            ),
            remediation: if let Some(near) = &nearest {
                format!("If it should be allowed, mend the rule of {policy} that came nearest, or the label: {near}.")
            } else if by_rule {
                format!("If it should be allowed, put an allow rule for {source} before the deny rule of {policy}.")
            } else {
                format!("If it should be allowed, add a rule for {source} on {port} to {policy}.")
            },
            verify: told.why_denied(),
            ..Story::default()
        };
        story.evidence.insert("regression".to_owned(), regressed.into());
        if let Some(near) = nearest {
            story.evidence.insert("nearest_rule".to_owned(), near.into());
        }
        story
    }
}

/// The rule that would have allowed it but for one condition, and that condition; for what no rule decided.
fn nearest(told: &Told<'_>) -> Option<String> {
    if told.kind != FindingKind::ImplicitDeny {
        return None;
    }
    let (key, _) = told.tally.sample.first()?;
    let chain = chain_of(told.view.policed()?, key)?;
    let asked = chain.tiers.iter().filter(|tier| tier.reached).flat_map(|tier| &tier.policies);
    let near = asked.filter(|policy| policy.staged.is_none()).flat_map(|policy| &policy.near);
    let mut allowing = near.filter(|near| near.rule.action == policy::Action::Allow);
    allowing.next().map(|near| format!("{}, {}", near.rule.policy, missed(near)))
}

fn folded(told: &Told<'_>, policy: &str) -> Story {
    Story {
        title: format!("{policy} denies {}", count(told.child_count, "pair")),
        explanation: format!(
            "More pairs than one would tell one by one were denied by {policy} within five minutes; the first of them \
             stand in the evidence. {}One cause is likely: an edit of the policy, of labels, or somebody who scans.",
            told.blamed_edit(),
        ),
        remediation: format!("Look at the last edit of {policy} and at what the denied pairs have in common."),
        verify: format!("catchment findings list --kind {} -o wide", told.kind),
        ..Story::default()
    }
}

fn subject(pair: Subject, policy: &str, reporter: i32) -> Subject {
    pair.with("policy", Some(policy)).with("reporter", names::reporter(reporter).as_deref())
}

/// What was allowed until now and is denied now is worse than what was never allowed.
fn regression(talk: &Talk<'_>, reporter: Reporter, out: &mut Sightings) {
    let allowed = talk.pair.allowed[usize::from(reporter == Reporter::Dst)];
    if allowed < talk.view.window.start.plus(-RECENT.micros()) {
        return;
    }
    for row in talk.rows(reporter, Action::Deny).filter(|row| has_packets(row)) {
        let facts = Facts::new(row, talk.view);
        if let Some(case) = Denies.case(&facts) {
            out.holds(case.severity(Severity::High)).detail("allowed_until", allowed.to_rfc3339());
        }
    }
}

/// Whether the last that the reporter said of the pair was a denial.
fn was_denied(talk: &Talk<'_>, reporter: Reporter) -> bool {
    let side = usize::from(reporter == Reporter::Dst);
    talk.pair.denied[side] >= talk.pair.allowed[side]
}

/// The reporter allows the pair now: whichever policy denied it does no more.
fn end(talk: &Talk<'_>, reporter: Reporter, out: &mut Sightings) {
    let denied = talk.subject().with("reporter", names::reporter(reporter as i32).as_deref());
    for kind in Denies.kinds() {
        out.over_all(*kind, &denied, Resolution::Fixed);
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::knowledge::Kind;
    use catchment_core::{FindingKind, Severity, Status};
    use serde_json::json;

    use crate::detect::Settings;
    use crate::detect::objects::{edited, pod, policy};
    use crate::detect::testing::{Scene, deny_rule, end_of_tier, flow, rule};

    fn denied() -> crate::detect::testing::Flow {
        flow("shop/web", "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]).packets(3, 0)
    }

    #[test]
    fn a_denial_names_the_policy_that_selected_or_whose_rule_matched() {
        let mut scene = Scene::new();
        let by_rule = flow("shop/job", "shop/db:5432").dst().deny().trace([deny_rule("shop/db", "default", 2)]);
        let told = scene.window([denied(), by_rule]);
        let told: Vec<_> = told.iter().map(|row| (row.kind, row.severity, row.subject.get("policy"))).collect();
        assert!(told.contains(&(FindingKind::ImplicitDeny, Severity::Info, Some("shop/db"))), "{told:?}");
        assert!(told.contains(&(FindingKind::ExplicitDeny, Severity::Info, Some("shop/db"))), "{told:?}");
    }

    #[test]
    fn what_verifies_it_asks_for_pods_by_their_names_on_the_wire_and_for_nothing_else() {
        let mut scene = Scene::new();
        let of = |source: &str| {
            flow(source, "shop/db-5f7d9c4b8-*:5432").dst().deny().trace([end_of_tier("default", "shop/db")])
        };
        let told = scene.window([of("shop/web-7d4b9c6f5-*"), of("pub")]);
        let mut told: Vec<_> = told.iter().map(|row| row.verify.as_str()).collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "catchment findings list --kind policy.implicit-deny --namespace shop",
                "catchment why 'shop/web-7d4b9c6f5-*' 'shop/db-5f7d9c4b8-*:5432/tcp' --fail-on deny",
            ]
        );
    }

    #[test]
    fn a_denial_without_packets_is_no_evidence() {
        let mut scene = Scene::new();
        assert_eq!(scene.window([denied().packets(0, 0)]), []);
    }

    #[test]
    fn what_was_allowed_before_is_a_regression_but_not_in_the_window_of_the_edit() {
        let allowed = || flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]);
        let mut scene = Scene::new();
        scene.window([allowed()]);
        let both = scene.window([allowed(), denied()]);
        assert_eq!((both[0].status, both[0].severity), (Status::Opened, Severity::Info));
        let worse = scene.window([denied()]);
        assert_eq!((worse[0].status, worse[0].severity), (Status::Ongoing, Severity::High));
        assert!(worse[0].evidence.contains("allowed_until"));
    }

    #[test]
    fn it_is_over_once_the_same_reporter_allows_the_pair() {
        let mut scene = Scene::new();
        scene.window([denied()]);
        assert_eq!(scene.window([flow("shop/web", "shop/db:5432").trace([rule("shop/out", "default", 0)])]), []);
        let over = scene.window([flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)])]);
        assert_eq!(over[0].status, Status::Resolved);
    }

    #[test]
    fn many_denials_of_one_policy_fold_into_one_finding() {
        let mut scene = Scene::new();
        let many = (0..20).map(|n| {
            flow(&format!("shop/job{n}"), "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")])
        });
        let told = scene.window(many);
        let (alone, folded): (Vec<_>, Vec<_>) = told.iter().partition(|row| row.subject.get("source").is_some());
        assert_eq!((alone.len(), folded.len()), (5, 1));
        assert!(folded[0].evidence.contains("\"child_count\":15"), "{}", folded[0].evidence);
        assert_eq!(folded[0].folded().len(), 15);
    }

    fn cluster() -> Vec<(i64, serde_json::Value)> {
        let allow = |app: &str| {
            json!({"selector": "app == 'db'", "types": ["Ingress"], "ingress": [{"action": "Allow", "protocol": "TCP",
                "source": {"selector": format!("app == '{app}'")}, "destination": {"ports": [5432]}}]})
        };
        vec![
            (-60, pod("shop/web", json!({"app": "web"}))),
            (-60, pod("shop/db", json!({"app": "db"}))),
            (-60, policy("shop/db", allow("web"))),
            (1, edited(policy("shop/db", allow("Web")), "kubectl-edit", "2026-01-01T00:01:00Z")),
        ]
    }

    #[test]
    fn the_nearest_rule_the_term_it_missed_and_the_edit_before_are_named() {
        let allowed = || flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]);
        let mut scene = Scene::with_cluster(Settings::default(), cluster());
        scene.window([allowed()]);
        scene.window([allowed(), denied()]);
        let worse = scene.window([denied()]);
        let row = worse.iter().find(|row| row.kind == FindingKind::ImplicitDeny).expect("told");
        assert_eq!(row.severity, Severity::High);
        let evidence: serde_json::Value = serde_json::from_str(&row.evidence).expect("evidence is JSON");
        let near = evidence["nearest_rule"].as_str().expect("a rule came near");
        assert!(near.contains("shop/db, ingress[0] misses by source.selector alone"), "{near}");
        assert!(near.contains("the label may be app=web") || near.contains("app=web"), "{near}");
        assert_eq!(evidence["changed_before"][0]["editor"], "kubectl-edit");
        assert!(row.explanation.contains("was changed at 2026-01-01T00:01:00"), "{}", row.explanation);
        assert_eq!(evidence["computed"]["verdict"], "deny");
        assert!(evidence["computed"]["steps"][0].as_str().expect("a step").contains("ingress[0]"));
    }

    #[test]
    fn policies_of_tiers_that_may_not_be_read_leave_no_computed_chain() {
        let mut scene = Scene::with_cluster(Settings::default(), cluster());
        scene.hides(Kind::GlobalNetworkPolicy);
        let told = scene.window([denied()]);
        assert!(!told[0].evidence.contains("computed") && !told[0].evidence.contains("nearest_rule"));
    }
}
