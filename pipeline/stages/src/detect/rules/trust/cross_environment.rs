//! `trust.cross-environment`: one environment reaches another that it must not.
//!
//! The environment is what labels of the namespace or the pods say; where they are silent, what the name of the namespace
//! does. A denial keeps the edge closed, so only what got through counts.

use catchment_core::FindingKind;
use serde_json::json;

use super::crossing::{Verdict, forbidden, judge};
use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{chain, count};

pub(crate) struct CrossEnvironment;

impl Rule for CrossEnvironment {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::CrossEnvironment]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        forbidden(key.source, key.dest, key.view.settings).is_some()
    }

    fn wakes(&self) -> Signs {
        Signs::ALLOWED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::CrossEnvironment;
        judge(talk, kind, out, |key| match forbidden(talk.source(), talk.dest(), key.view.settings) {
            Some([from, to]) => {
                let case = Case::new(kind, talk.subject()).owner(key.dest.who.owner.as_deref());
                let told_by = |by_name| if by_name { "name of the namespace" } else { "label" };
                let details = vec![
                    ("from_environment", json!({"name": from.0, "told_by": told_by(from.1)})),
                    ("to_environment", json!({"name": to.0, "told_by": told_by(to.1)})),
                ];
                Verdict::Crossed(case, details)
            }
            None => Verdict::Kept,
        });
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let word = |member: &str, of: &str| told.details[member][of].as_str().unwrap_or_default().to_owned();
        let name = |member: &str| word(member, "name");
        let (from, to) = (name("from_environment"), name("to_environment"));
        let trace = told.tally.sample.first().map(|(key, _)| chain(&key.key.trace.enforced)).unwrap_or_default();
        Story {
            title: format!("{source} ({from}) reaches {dest} ({to}) on {port}"),
            explanation: format!(
                "{source} belongs to {from} (told by the {}) and reached {dest} in {to} (told by the {}) on {port}, \
                 which is an edge that must not be: {} began with {} in the window. What let it through: {trace}. The \
                 likely cause is an address of {to} in the configuration of {from}, or a policy that names no environment.",
                word("from_environment", "told_by"),
                word("to_environment", "told_by"),
                count(told.tally.started, "connection"),
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "Point {source} to its own environment, and deny ingress from {from} in the namespace of {dest}. If the \
                 edge is meant, take it out of `environments.forbidden`, or correct the label of the namespace."
            ),
            verify: told.why(),
            ..Story::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status, Who};

    use crate::detect::testing::{Flow, Scene, end_of_tier, flow, rule};

    fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
        told.into_iter().filter(|row| row.kind == FindingKind::CrossEnvironment).collect()
    }

    fn environment(name: &'static str) -> impl FnOnce(&mut Who) {
        move |who| who.environment = Some(name.into())
    }

    fn reach(source: &str, dest: &str) -> [Flow; 2] {
        let flow = flow(source, &format!("{dest}/db:5432"));
        [flow.clone(), flow.dst().trace([rule(&format!("{dest}/open"), "default", 0)])]
    }

    #[test]
    fn an_edge_by_labels_is_told_with_both_environments_whatever_word_they_use() {
        let mut scene = Scene::new();
        let labelled = |flow: Flow| flow.source_who(environment("stg")).dest_who(environment("PROD"));
        let told = of(scene.window(reach("shop-a/web", "shop-b").map(labelled)));
        assert_eq!((told.len(), told[0].severity, told[0].namespace.as_deref()), (1, Severity::High, Some("shop-b")));
        assert_eq!(told[0].title, "shop-a/web (staging) reaches shop-b/db (production) on 5432/tcp");
        assert!(told[0].explanation.contains("shop-b/open"), "{}", told[0].explanation);
        assert_eq!(told[0].verify, "catchment why 'shop-a/web' 'shop-b/db:5432/tcp'");
        assert!(told[0].evidence.contains("\"told_by\":\"label\""), "{}", told[0].evidence);
    }

    #[test]
    fn names_of_namespaces_tell_where_labels_do_not_and_labels_go_first() {
        let mut scene = Scene::new();
        assert_eq!(of(scene.window(reach("shop-dev/web", "shop-prod"))).len(), 1);
        let labelled = reach("test-a/web", "shop-prod").map(|flow| flow.source_who(environment("production")));
        assert_eq!(of(scene.window(labelled)), []);
    }

    #[test]
    fn the_other_way_round_and_an_unknown_environment_are_no_edge() {
        let mut scene = Scene::new();
        assert_eq!(of(scene.window(reach("shop-prod/web", "shop-dev"))), []);
        assert_eq!(of(scene.window(reach("shop/web", "shop-prod"))), []);
    }

    #[test]
    fn the_platform_crosses_by_design_both_ways() {
        let mut scene = Scene::new();
        let labelled = |flow: Flow| flow.source_who(environment("dev")).dest_who(environment("prod"));
        assert_eq!(of(scene.window(reach("monitoring/prometheus", "shop-prod").map(labelled))), []);
        assert_eq!(of(scene.window(reach("shop-dev/web", "kube-system").map(labelled))), []);
    }

    #[test]
    fn what_the_destination_denies_crosses_nothing_and_ends_what_was_told() {
        let mut scene = Scene::new();
        let denied = || {
            let [source, dest] = reach("shop-dev/web", "shop-prod");
            [source, dest.deny().trace([end_of_tier("default", "shop-prod/db")])]
        };
        assert_eq!(of(scene.window(denied())), []);
        assert_eq!(of(scene.window(reach("shop-dev/web", "shop-prod")))[0].status, Status::Opened);
        assert_eq!(of(scene.window(denied()))[0].status, Status::Resolved);
    }

    #[test]
    fn a_namespace_that_gets_another_label_ends_it() {
        let mut scene = Scene::new();
        scene.window(reach("shop-dev/web", "shop-prod"));
        let relabelled = reach("shop-dev/web", "shop-prod").map(|flow| flow.source_who(environment("production")));
        assert_eq!(of(scene.window(relabelled))[0].status, Status::Resolved);
    }
}
