//! `trust.unintended-path`: a boundary was crossed because what decided at the destination names no peer.
//!
//! Only the destination's side is asked: what a source may send is open by design in most clusters.

use catchment_core::{FindingKind, FlowRow, Subject, VerdictReason};
use catchment_schemas::goldmane::{Action, Reporter};

use super::crossing::{are_guarded, crossed};
use crate::detect::facts::{Facts, Signs, Talk, has_packets};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{chain, count};

const KIND: FindingKind = FindingKind::UnintendedPath;

pub(crate) struct UnintendedPath;

impl Rule for UnintendedPath {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        are_guarded(key.source, key.dest, key.view.settings) && !crossed(key).is_empty()
    }

    fn wakes(&self) -> Signs {
        Signs::ALLOWED
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        for row in talk.rows(Reporter::Dst, Action::Allow).filter(|row| has_packets(row)) {
            let key = Facts::new(row, talk.view);
            let Some(subject) = without_peer(row) else { continue };
            let crossed = crossed(&key);
            if !crossed.is_empty() {
                let case = Case::new(KIND, subject).owner(key.dest.who.owner.as_deref());
                let sighting = out.holds(case).flow(row).detail("crossed", crossed);
                sighting.detail("pair", talk.subject().to_json());
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let policy = told.member("policy");
        let pair = |name: &str| told.details.get("pair").and_then(|pair| pair[name].as_str()).unwrap_or_default();
        let source = format!("{}/{}", pair("source_namespace"), pair("source"));
        let dest = format!("{}/{}", pair("dest_namespace"), pair("dest"));
        let crossed = told.details.get("crossed").and_then(|list| list.as_array()).into_iter().flatten();
        let crossed = crossed.filter_map(|word| word.as_str()).collect::<Vec<_>>().join(" and ");
        let trace = told.tally.sample.first().map(|(key, _)| chain(&key.key.trace.enforced)).unwrap_or_default();
        let (what, remediation) = match policy.strip_prefix("kns.") {
            Some(namespace) => (
                format!(
                    "no policy decides the ingress of {dest}, so the profile of the namespace {namespace} let it in"
                ),
                format!(
                    "Write an ingress policy for {dest} that names the accounts, namespaces or labels that may reach it."
                ),
            ),
            None => (
                format!(
                    "{} of {policy} allows whoever comes: it names no account, namespace or label",
                    told.member("rule")
                ),
                format!(
                    "Give {} of {policy} a source: the accounts, namespaces or labels that may reach {dest}.",
                    told.member("rule")
                ),
            ),
        };
        Story {
            title: format!("{policy} lets {source} cross {crossed}"),
            explanation: format!(
                "{source} reached {dest} across {crossed}, and nobody decided that it may: {what}. The trace at the \
                 destination: {trace}. {} of this kind in the window, {}.",
                count(told.tally.rows, "flow"),
                count(told.tally.packets, "packet"),
            ),
            remediation,
            verify: format!("catchment why {source} {dest}"),
            ..Story::default()
        }
    }
}

/// What let a row in without naming a peer.
fn without_peer(row: &FlowRow) -> Option<Subject> {
    let trace = &row.key.key.trace;
    let decided = trace.enforced.last()?;
    match trace.verdict_reason()? {
        VerdictReason::Profile => Some(Subject::default().with("policy", decided.policy.name.as_deref())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity};
    use serde_json::json;

    use crate::detect::testing::{Flow, Scene, flow, profile, rule};

    fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
        told.into_iter().filter(|row| row.kind == FindingKind::UnintendedPath).collect()
    }

    fn reach(source: &str) -> Flow {
        flow(source, "shop-prod/db:5432").dst().trace([profile("shop-prod")])
    }

    #[test]
    fn a_profile_that_lets_a_boundary_be_crossed_is_named_with_what_was_crossed() {
        let told = of(Scene::new().window([reach("shop-dev/web"), reach("shop-dev/job")]));
        assert_eq!((told.len(), told[0].severity), (1, Severity::Medium));
        assert_eq!(told[0].subject.to_json(), json!({"policy": "kns.shop-prod"}));
        assert!(told[0].title.ends_with("cross environment development to production"), "{}", told[0].title);
    }

    #[test]
    fn where_nothing_is_crossed_an_open_door_is_no_path() {
        assert_eq!(of(Scene::new().window([reach("shop-prod/web"), reach("monitoring/prometheus")])), []);
    }

    #[test]
    fn what_the_source_may_send_is_not_asked() {
        let sent = flow("shop-dev/web", "shop-prod/db:5432").trace([profile("shop-dev")]);
        assert_eq!(of(Scene::new().window([sent])), []);
    }

    #[test]
    fn a_rule_whose_peers_are_not_known_is_not_accused() {
        assert_eq!(of(Scene::new().window([reach("shop-dev/web").trace([rule("shop-prod/db", "default", 0)])])), []);
    }
}
