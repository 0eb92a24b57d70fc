//! `trust.unintended-path`: a boundary was crossed because what decided at the destination names no peer.
//!
//! Only the destination's side is asked: what a source may send is open by design in most clusters. A rule that gives
//! addresses and nothing else names no peer: whoever gets such an address may come.

use catchment_core::{FindingKind, FlowRow, Resolution, Subject, VerdictReason};
use catchment_schemas::goldmane::{Action, Reporter};

use super::crossing::{are_guarded, crossed};
use crate::cluster::ClusterState;
use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::known::{policies_named, policy, policy_name};
use crate::detect::parts::is_plain;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{chain, count};
use crate::detect::view::View;
use crate::policy::{Compiled, Direction};

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
        for row in talk.rows(Reporter::Dst, Action::Allow).filter(|row| is_plain(row)) {
            let key = Facts::new(row, talk.view);
            let Some(subject) = without_peer(row, talk.view, out) else { continue };
            let crossed = crossed(&key);
            if !crossed.is_empty() {
                let case = Case::new(KIND, subject).owner(key.dest.who.owner.as_deref());
                let sighting = out.holds(case).flow(row).detail("crossed", crossed);
                sighting.detail("pair", talk.subject().to_json());
            }
        }
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let Some(state) = view.policed().filter(|_| view.judged_anew) else { return };
        for subject in out.open(KIND) {
            if let Some(why) = ended(state, &subject) {
                out.over(KIND, &subject, why);
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
            verify: told.why(),
            ..Story::default()
        }
    }
}

/// What let a row in without naming a peer: the profile of the namespace, or a rule.
fn without_peer(row: &FlowRow, view: &View<'_>, out: &mut Sightings) -> Option<Subject> {
    let trace = &row.key.key.trace;
    let decided = trace.enforced.last()?;
    match trace.verdict_reason()? {
        VerdictReason::Profile => Some(Subject::default().with("policy", decided.policy.name.as_deref())),
        VerdictReason::Rule => {
            let Some(policy) = view.policed().and_then(|state| policy(state, &decided.policy)) else {
                out.not_evaluable(KIND);
                return None;
            };
            let place = nameless(policy, usize::try_from(decided.rule_index).ok()?)?;
            Some(Subject::default().with("policy", Some(&policy_name(&policy.id))).with("rule", Some(&place)))
        }
        VerdictReason::EndOfTier => None,
    }
}

/// The place of an ingress rule that names nobody by what they are.
fn nameless(policy: &Compiled, index: usize) -> Option<String> {
    let breadth = policy.breadth(Direction::Ingress, index)?;
    (!breadth.by_identity).then_some(breadth.origin)
}

/// Why a finding is over, if its rule is gone or names somebody now.
fn ended(state: &ClusterState, subject: &Subject) -> Option<Resolution> {
    let (name, rule) = (subject.get("policy")?, subject.get("rule")?);
    let mut policies = policies_named(state, name).filter(|policy| policy.staged.is_none()).peekable();
    if policies.peek().is_none() {
        return Some(Resolution::SubjectGone);
    }
    let stays = policies.any(|policy| {
        let mut rules = policy.actions(Direction::Ingress).enumerate();
        rules.any(|(index, _)| nameless(policy, index).as_deref() == Some(rule))
    });
    (!stays).then_some(Resolution::Fixed)
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};
    use serde_json::json;

    use crate::detect::Settings;
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

    fn policy(minute: i64, source: &serde_json::Value) -> (i64, serde_json::Value) {
        let policy = json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
            "metadata": {"namespace": "shop-prod", "name": "db"},
            "spec": {"types": ["Ingress"], "selector": "all()", "ingress": [{"action": "Allow", "source": source}]}});
        (minute, policy)
    }

    fn by_rule() -> Flow {
        reach("shop-dev/web").trace([rule("shop-prod/db", "default", 0)])
    }

    #[test]
    fn a_rule_that_names_nobody_is_named_with_its_place() {
        for source in [json!({}), json!({"nets": ["10.0.0.0/8"]})] {
            let mut scene = Scene::with_cluster(Settings::default(), [policy(0, &source)]);
            let told = of(scene.window([by_rule()]));
            assert_eq!(told[0].subject.to_json(), json!({"policy": "shop-prod/db", "rule": "ingress[0]"}));
            assert!(told[0].explanation.contains("shop-dev/web reached shop-prod/db"), "{}", told[0].explanation);
        }
    }

    #[test]
    fn a_rule_that_names_accounts_namespaces_or_labels_decided_on_purpose() {
        for source in [
            json!({"selector": "app == 'web'"}),
            json!({"namespaceSelector": "has(team)"}),
            json!({"serviceAccounts": {"names": ["web"]}}),
        ] {
            let mut scene = Scene::with_cluster(Settings::default(), [policy(0, &source)]);
            assert_eq!(of(scene.window([by_rule()])), [], "{source}");
        }
    }

    #[test]
    fn an_edit_that_names_a_peer_ends_it() {
        let edits = [policy(0, &json!({})), policy(1, &json!({"selector": "app == 'web'"}))];
        let mut scene = Scene::with_cluster(Settings::default(), edits);
        assert_eq!(of(scene.window([by_rule()])).len(), 1);
        assert_eq!(of(scene.window([]))[0].status, Status::Resolved);
    }

    #[test]
    fn a_rule_whose_peers_are_not_known_is_not_accused() {
        assert_eq!(of(Scene::new().window([reach("shop-dev/web").trace([rule("shop-prod/db", "default", 0)])])), []);
    }
}
