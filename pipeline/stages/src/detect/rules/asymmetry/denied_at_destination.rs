//! `asymmetry.denied-at-destination`: the source's policies let the traffic out, the destination's turn it away.
//!
//! A pair that the destination both allows and denies in one window, as in that of an edit, shows neither.

use catchment_core::{FindingKind, Resolution};
use catchment_schemas::goldmane::{Action, Reporter};

use crate::detect::facts::{Facts, Signs, Talk, has_packets};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{chain, count, deciding_policy};

pub(crate) struct DeniedAtDestination;

impl Rule for DeniedAtDestination {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::DeniedAtDestination]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        key.source.is_workload() && key.dest.is_workload()
    }

    fn wakes(&self) -> Signs {
        Signs::DENIED_AT_DESTINATION
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::DeniedAtDestination;
        let [denied, allowed] =
            [Action::Deny, Action::Allow].map(|action| talk.rows(Reporter::Dst, action).find(|row| has_packets(row)));
        let denied_at_source = talk.rows(Reporter::Src, Action::Deny).any(has_packets);
        match (denied, allowed) {
            (Some(denied), None) if talk.signs.has(Signs::DENIED_AT_DESTINATION) => {
                let case = Case::new(kind, talk.subject()).owner(talk.dest().who.owner.as_deref());
                let trace = &denied.key.key.trace;
                let seen = out.holds(case).flows(talk.flows);
                seen.detail("policy", deciding_policy(trace)).detail("denied_by", chain(&trace.enforced));
                if let Some(allowing) = talk.rows(Reporter::Src, Action::Allow).next() {
                    seen.detail("allowed_by", chain(&allowing.key.key.trace.enforced));
                }
            }
            (None, Some(_)) => out.over(kind, &talk.subject(), Resolution::Fixed),
            (None, None) if denied_at_source => out.over(kind, &talk.subject(), Resolution::Fixed),
            _ => {}
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let detail = |name: &str| told.details.get(name).and_then(|value| value.as_str()).unwrap_or("no policy");
        let policy = detail("policy");
        Story {
            title: format!("{policy} denies {dest} on {port} to {source}, whose own policies allow it"),
            explanation: format!(
                "{source} may go to {dest} on {port} ({}), and there the ingress is denied ({}). The source sees \
                 connections that time out. {} in the window.",
                detail("allowed_by"),
                detail("denied_by"),
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "If {source} should reach {dest}, let it in with a rule of {policy} on {port}; if not, take it out of what \
                 the source's egress policy allows, so that it fails at once."
            ),
            verify: told.why_denied(),
            ..Story::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Status};

    use crate::detect::testing::{Flow, Scene, deny_rule, end_of_tier, flow, rule};

    fn leaves() -> Flow {
        flow("shop/web", "shop/db:5432").trace([rule("shop/out", "default", 0)]).packets(6, 0).connections(2, 0, 2)
    }

    fn denied() -> Flow {
        leaves().dst().deny().trace([end_of_tier("default", "shop/db")])
    }

    fn arrives() -> Flow {
        leaves().dst().trace([rule("shop/db", "default", 1)]).packets(6, 6)
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::DeniedAtDestination)
    }

    #[test]
    fn the_ingress_policy_is_named_and_an_allowance_ends_it() {
        let mut scene = Scene::new();
        let opened = told(scene.window([leaves(), denied()])).expect("told");
        assert!(opened.title.starts_with("shop/db denies shop/db on 5432/tcp to shop/web"), "{}", opened.title);
        assert!(opened.explanation.contains("shop/out"), "{}", opened.explanation);
        assert_eq!(told(scene.window([leaves(), arrives()])).expect("over").status, Status::Resolved);
    }

    #[test]
    fn it_is_over_once_the_source_denies_it_itself() {
        let mut scene = Scene::new();
        scene.window([leaves(), denied()]);
        let stopped = leaves().deny().trace([deny_rule("shop/out", "default", 0)]);
        assert_eq!(told(scene.window([stopped])).expect("over").status, Status::Resolved);
    }

    #[test]
    fn both_verdicts_at_the_destination_show_neither() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window([leaves(), denied(), arrives()])), None);
        scene.window([leaves(), denied()]);
        assert_eq!(told(scene.window([leaves(), denied(), arrives()])), None);
    }

    #[test]
    fn a_denial_without_packets_is_no_evidence() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window([leaves(), denied().packets(0, 0)])), None);
    }

    #[test]
    fn it_keeps_silence_from_being_told() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            let told = scene.window([leaves(), denied()]);
            assert!(told.iter().all(|row| row.kind != FindingKind::NoResponse));
        }
    }
}
