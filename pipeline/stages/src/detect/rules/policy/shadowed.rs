//! `policy.shadowed`: a policy or a rule that is never reached, because what stands before it settles all that it selects.
//!
//! For every set of policies that select one endpoint the rules are gone through in their order. What no such walk reaches is
//! shadowed. A rule is said to be settled before only where that is certain: an earlier rule asks for nothing, or for the same
//! or less in every condition.

use std::collections::{BTreeMap, BTreeSet};

use catchment_core::knowledge::policy::Action;
use catchment_core::{FindingKind, Resolution, Subject};
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterState;
use crate::detect::known::{policies_named, policy_name};
use crate::detect::pace::Pace;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::view::View;
use crate::policy::{Compiled, Direction, HostStage, PolicyId};
use crate::selector::Selector;

const KIND: FindingKind = FindingKind::Shadowed;
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Shadowed {
    pace: Pace,
}

impl Rule for Shadowed {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        if !self.pace.is_due(view.window.end) && !view.judged_anew {
            return;
        }
        let Some(state) = view.selected() else { return out.not_evaluable(KIND) };
        let before = out.open(KIND);
        let found = shadowed(state);
        for (subject, by) in &found {
            out.holds(Case::new(KIND, subject.clone())).detail("by", by.as_str());
        }
        for subject in before.into_iter().filter(|subject| !found.contains_key(subject)) {
            let there = subject.get("policy").is_some_and(|name| policies_named(state, name).next().is_some());
            out.over(KIND, &subject, if there { Resolution::Fixed } else { Resolution::SubjectGone });
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let policy = told.member("policy");
        let what = told.subject.get("rule").map_or_else(|| policy.to_owned(), |rule| format!("{rule} of {policy}"));
        let by = told.details.get("by").and_then(serde_json::Value::as_str).unwrap_or_default();
        Story {
            title: format!("{what} is never reached"),
            explanation: format!(
                "For everything that {policy} selects, {by} settles what {what} is for before it is asked. It decides nothing, \
                 whatever it says: an allow in it is not needed, and a denial in it does not hold."
            ),
            remediation: format!(
                "If {what} is meant to decide, put it before {by}, by `order`, by its place or by its tier. If not, take it away: \
                 it tells readers what is not so."
            ),
            verify: format!("catchment findings list --kind {KIND}"),
            ..Story::default()
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(postcard::to_allocvec(self).expect("plain values serialize"))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        *self = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        Ok(())
    }
}

/// A rule by its policy, direction and number.
type RuleKey<'a> = (&'a PolicyId, Direction, usize);

/// What walks over the policies have reached, and what stood in the way of the rest.
#[derive(Default)]
struct Reached<'a> {
    policies: BTreeSet<&'a PolicyId>,
    rules: BTreeSet<RuleKey<'a>>,
    policies_behind: BTreeMap<&'a PolicyId, String>,
    rules_behind: BTreeMap<RuleKey<'a>, String>,
}

/// Subjects that are never reached, with what settles them.
fn shadowed(state: &ClusterState) -> BTreeMap<Subject, String> {
    let mut reached = Reached::default();
    for selecting in sets_of_policies(state) {
        for direction in DIRECTIONS {
            reached.walk(state, &selecting, direction);
        }
    }
    let policies = reached.policies_behind.iter().filter(|(id, _)| !reached.policies.contains(*id));
    let mut found: BTreeMap<_, _> = policies.map(|(id, by)| (subject(id, None), by.clone())).collect();
    found.extend(reached.shadowed_rules(state));
    found
}

fn subject(id: &PolicyId, rule: Option<&str>) -> Subject {
    let subject = Subject::default().with("policy", Some(&policy_name(id)));
    if rule.is_some() { subject.with("rule", rule) } else { subject }
}

/// The different sets of policies that select one endpoint, each in the order they are asked.
fn sets_of_policies(state: &ClusterState) -> Vec<Vec<&Compiled>> {
    let alike = state.matching(&Selector::all());
    let hosts: Vec<_> = state.policy().host_endpoints().collect();
    let endpoints = alike.iter().map(|alike| alike.endpoint).chain(&hosts);
    let mut sets: BTreeMap<Vec<&PolicyId>, Vec<&Compiled>> = BTreeMap::new();
    for endpoint in endpoints {
        let selecting = state.policy().policies().selecting(endpoint);
        sets.insert(selecting.iter().map(|policy| &policy.id).collect(), selecting);
    }
    sets.into_values().collect()
}

impl<'a> Reached<'a> {
    fn walk(&mut self, state: &ClusterState, selecting: &[&'a Compiled], direction: Direction) {
        let enforced = selecting.iter().filter(|policy| policy.staged.is_none() && policy.governs(direction));
        let normal: Vec<_> = enforced.filter(|policy| policy.stage == HostStage::Normal).copied().collect();
        let mut settled = None;
        for tier in normal.chunk_by(|a, b| a.tier == b.tier) {
            settled = self.tier(state, tier, direction, settled);
        }
    }

    /// Goes through one tier; returns what leaves nothing to the tiers behind it.
    fn tier(
        &mut self,
        state: &ClusterState,
        tier: &[&'a Compiled],
        direction: Direction,
        settled: Option<String>,
    ) -> Option<String> {
        let default = tier.first().and_then(|policy| state.policy().policies().tier(&policy.tier));
        let mut passes = default.is_none_or(|tier| tier.default_action == Action::Pass);
        let mut in_tier = settled.clone();
        let mut before: Vec<(&Compiled, usize)> = Vec::new();
        for policy in tier {
            self.policy(policy, direction, in_tier.as_deref(), &mut before);
            let all = policy.settles_all(direction);
            let open = in_tier.is_none();
            let asked = policy.actions(direction).take(all.map_or(usize::MAX, |all| all + 1));
            let passing = asked.filter(|_| open).any(|action| action == Action::Pass);
            if let (true, Some(index)) = (open, all) {
                in_tier = Some(named(policy, direction, index));
                // The end of the tier is not reached any more.
                passes = passes && default.is_some_and(|tier| tier.default_action == Action::Pass) && passing;
            }
            passes |= passing;
        }
        let end =
            || tier.last().map(|policy| format!("the end of tier {} after {}", policy.tier, policy_name(&policy.id)));
        settled.or_else(|| if passes { None } else { in_tier.or_else(end) })
    }

    fn policy(
        &mut self,
        policy: &'a Compiled,
        direction: Direction,
        settled: Option<&str>,
        before: &mut Vec<(&'a Compiled, usize)>,
    ) {
        match settled {
            None => drop(self.policies.insert(&policy.id)),
            Some(by) => drop(self.policies_behind.entry(&policy.id).or_insert_with(|| by.to_owned())),
        }
        for (index, action) in policy.actions(direction).enumerate() {
            let key = (&policy.id, direction, index);
            let earlier = before.iter().find(|(other, place)| policy.is_covered(direction, index, other, *place));
            let by =
                settled.map(str::to_owned).or_else(|| earlier.map(|(other, place)| named(other, direction, *place)));
            match by {
                None => drop(self.rules.insert(key)),
                Some(by) => drop(self.rules_behind.entry(key).or_insert(by)),
            }
            if action != Action::Log {
                before.push((policy, index));
            }
        }
    }

    /// Rules that are never reached, of policies that are. A rule that was converted to several is shadowed if all are.
    fn shadowed_rules(&self, state: &ClusterState) -> BTreeMap<Subject, String> {
        let mut found = BTreeMap::new();
        let mut reached = BTreeSet::new();
        let place = |(id, direction, index): RuleKey<'_>| {
            state.policy().policies().policy(id).and_then(|policy| policy.place(direction, index))
        };
        reached.extend(self.rules.iter().filter_map(|key| Some(subject(key.0, Some(place(*key)?)))));
        for (key, by) in self.rules_behind.iter().filter(|(key, _)| self.policies.contains(key.0)) {
            if let Some(place) = place(*key) {
                found.entry(subject(key.0, Some(place))).or_insert_with(|| by.clone());
            }
        }
        found.retain(|subject, _| !reached.contains(subject));
        found
    }
}

fn named(policy: &Compiled, direction: Direction, index: usize) -> String {
    format!("{} of {}", policy.place(direction, index).unwrap_or("a rule"), policy_name(&policy.id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "values are written where they are used")]

    use catchment_core::{FindingKind, FindingRow, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::objects::{pod, policy, staged_policy, surroundings};
    use crate::detect::testing::Scene;

    fn told(rows: &[FindingRow]) -> Vec<(Status, String)> {
        let shadowed = rows.iter().filter(|row| row.kind == FindingKind::Shadowed);
        shadowed.map(|row| (row.status, row.subject.to_json().to_string())).collect()
    }

    fn scene(changes: impl IntoIterator<Item = (i64, Value)>) -> Scene {
        let pods = [pod("shop/db", json!({"app": "db"})), pod("shop/web", json!({"app": "web"}))];
        let known = surroundings().into_iter().chain(pods).map(|object| (-600, object));
        Scene::with_cluster(Settings::default(), known.chain(changes))
    }

    fn spec(order: u32, selector: &str, rules: Value) -> Value {
        json!({"order": order, "selector": selector, "types": ["Ingress"], "ingress": rules})
    }

    fn found(policies: impl IntoIterator<Item = Value>) -> Vec<String> {
        let mut scene = scene(policies.into_iter().map(|policy| (-60, policy)));
        let mut found: Vec<_> = told(&scene.window([])).into_iter().map(|(_, subject)| subject).collect();
        found.sort_unstable();
        found
    }

    fn web() -> Value {
        json!([{"action": "Allow", "source": {"selector": "app == 'web'"}}])
    }

    #[test]
    fn a_policy_behind_a_rule_that_settles_everything_is_told() {
        let open = policy("shop/open", spec(1, "app == 'db'", json!([{"action": "Allow"}])));
        let behind = policy("shop/behind", spec(2, "app == 'db'", web()));
        assert_eq!(found([open, behind]), [r#"{"policy":"shop/behind"}"#]);
    }

    #[test]
    fn a_policy_that_also_selects_what_the_earlier_one_does_not_is_reached() {
        let open = policy("shop/open", spec(1, "app == 'db'", json!([{"action": "Allow"}])));
        let wider = policy("shop/wider", spec(2, "all()", web()));
        assert!(found([open, wider]).is_empty());
    }

    #[test]
    fn a_rule_behind_one_that_asks_for_the_same_or_less_is_told() {
        let ports = |ports: Value| json!({"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'web'"}, "destination": {"ports": ports}});
        let rules = json!([ports(json!(["5000:6000"])), ports(json!([5432])), ports(json!([80]))]);
        assert_eq!(
            found([policy("shop/db", spec(1, "app == 'db'", rules))]),
            [r#"{"policy":"shop/db","rule":"ingress[1]"}"#]
        );
    }

    #[test]
    fn rules_that_only_log_and_rules_of_other_peers_settle_nothing() {
        let rules =
            json!([{"action": "Log"}, {"action": "Allow", "source": {"selector": "app == 'api'"}}, {"action": "Deny"}]);
        assert!(found([policy("shop/db", spec(1, "app == 'db'", rules))]).is_empty());
    }

    #[test]
    fn the_end_of_an_earlier_tier_that_denies_leaves_nothing_to_later_ones_unless_a_rule_passes() {
        let tier = json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "first"}, "spec": {"order": 1}});
        let first = |rules: Value| {
            let mut spec = spec(1, "app == 'db'", rules);
            spec["tier"] = "first".into();
            policy("shop/first", spec)
        };
        let later = || policy("shop/later", spec(1, "app == 'db'", web()));
        assert_eq!(found([tier.clone(), first(web()), later()]), [r#"{"policy":"shop/later"}"#]);
        let passing = json!([{"action": "Pass", "source": {"selector": "app == 'web'"}}]);
        assert!(found([tier, first(passing), later()]).is_empty());
    }

    #[test]
    fn a_tier_that_passes_everything_leaves_the_rest_of_itself_unreached_and_the_next_tier_reached() {
        let tier = json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "first"}, "spec": {"order": 1}});
        let in_first = |name: &str, order: u32, rules: Value| {
            let mut spec = spec(order, "app == 'db'", rules);
            spec["tier"] = "first".into();
            policy(name, spec)
        };
        let pass = in_first("shop/pass", 1, json!([{"action": "Pass"}]));
        let unreached = in_first("shop/unreached", 2, web());
        let later = policy("shop/later", spec(1, "app == 'db'", web()));
        assert_eq!(found([tier, pass, unreached, later]), [r#"{"policy":"shop/unreached"}"#]);
    }

    #[test]
    fn a_staged_policy_settles_nothing_and_a_default_deny_last_is_reached() {
        let staged = staged_policy("shop/open", spec(1, "app == 'db'", json!([{"action": "Allow"}])));
        let allow = policy("shop/allow", spec(2, "app == 'db'", web()));
        let deny = policy("shop/deny", spec(3, "all()", json!([])));
        assert!(found([staged, allow, deny]).is_empty());
    }

    #[test]
    fn it_is_over_when_the_earlier_rule_becomes_narrower() {
        let open = |rules: Value| policy("shop/open", spec(1, "app == 'db'", rules));
        let behind = policy("shop/behind", spec(2, "app == 'db'", json!([{"action": "Deny"}])));
        let mut scene = scene([(-60, open(json!([{"action": "Allow"}]))), (-60, behind), (1, open(web()))]);
        let subject = r#"{"policy":"shop/behind"}"#.to_owned();
        assert_eq!(told(&scene.window([])), [(Status::Opened, subject.clone())]);
        scene.restart();
        assert_eq!(told(&scene.window([])), [(Status::Resolved, subject)]);
    }
}
