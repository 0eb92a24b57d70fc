//! `policy.unused`: a policy decided nothing for a week, while what it selects had traffic in a direction that it governs.
//!
//! A policy shows in a trace when one of its rules decides or passes, or when its tier ends with it. One without a rule that
//! allows or passes shows only when it drops, which may be never: it is left out. So are policies that only host endpoints
//! meet, and those that operators own.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use catchment_core::{EventTime, FindingKind, Period, Resolution, Subject};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::cluster::ClusterState;
use crate::detect::bounded::put;
use crate::detect::facts::Facts;
use crate::detect::known::{Named, named, policies_named, policy_id, policy_name};
use crate::detect::pace::{Pace, Watch};
use crate::detect::rule::{Case, HOURLY, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::view::View;
use crate::policy::{Compiled, Direction, HostStage};

const KIND: FindingKind = FindingKind::Unused;
/// Policies and names that are remembered; of what comes beyond nothing is told.
const MOST: usize = 50_000;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Unused {
    pace: Pace,
    watch: Watch,
    /// When a policy last had a part in a trace.
    hits: BTreeMap<Named, EventTime>,
    /// When a name last had traffic in a direction, by a hash of both.
    active: BTreeMap<u128, EventTime>,
    /// Traces of this window that were gone through, by their addresses: many keys share one.
    #[serde(skip)]
    gone_through: HashSet<usize>,
}

impl Rule for Unused {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn meets_every(&self) -> Option<Period> {
        Some(HOURLY)
    }

    fn meet(&mut self, key: &Facts<'_>) {
        let now = key.view.end_of(HOURLY);
        let trace = &key.key.key.trace;
        if self.gone_through.insert(Arc::as_ptr(trace) as usize) {
            let policies = trace.enforced.iter().flat_map(|hit| [Some(&hit.policy), hit.trigger.as_ref()]).flatten();
            for policy in policies.filter_map(policy_id) {
                put(&mut self.hits, named(&policy), now, MOST);
            }
        }
        let governed = key.governed();
        if let Some(namespace) = governed.namespace().filter(|_| governed.is_workload()) {
            put(&mut self.active, active(namespace, &governed.endpoint.raw_name, key.is_egress()), now, MOST);
        }
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        self.gone_through.clear();
        self.watch.take(view);
        if !self.pace.is_due(view.window.end) {
            return;
        }
        let horizon = self.watch.since(view.settings.thresholds.unused_after);
        if let Some(horizon) = horizon {
            self.hits.retain(|_, last| *last >= horizon);
            self.active.retain(|_, last| *last >= horizon);
        }
        let state = view.selected();
        let (Some(state), true) = (state, view.is_whole()) else { return out.not_evaluable(KIND) };
        for subject in out.open(KIND) {
            if let Some(why) = self.ended(state, &subject) {
                out.over(KIND, &subject, why);
            }
        }
        let is_full = self.hits.len() >= MOST || self.active.len() >= MOST;
        let Some(horizon) = horizon.filter(|_| !is_full) else { return out.not_evaluable(KIND) };
        let unused = state.policy().policies().policies().filter(|policy| self.is_unused(state, policy, horizon));
        let mut names: Vec<_> = unused.map(|policy| policy_name(&policy.id)).collect();
        names.sort_unstable();
        // Policies of several kinds may bear one name.
        names.dedup();
        for name in names {
            out.holds(Case::new(KIND, Subject::default().with("policy", Some(&name))));
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let policy = told.member("policy");
        let days = told.view.settings.thresholds.unused_after.micros() / (24 * 3_600_000_000);
        Story {
            title: format!("Policy {policy} decided nothing for {days} days"),
            explanation: format!(
                "{policy} selects workloads that had traffic in a direction it governs, and in {days} days none of its rules \
                 decided or passed anything, nor did its tier end with it. Likely causes: an earlier policy decides all that \
                 it is for, or the peers and ports that it names are not in use any more."
            ),
            remediation: format!(
                "Look at `policy.shadowed` for {policy}. If what it allows is not needed any more, take it away: an allow \
                 rule that nobody uses is an open door."
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

impl Unused {
    fn is_unused(&self, state: &ClusterState, policy: &Compiled, horizon: EventTime) -> bool {
        let facts = state.policy_facts(&policy.id);
        let settled = facts.is_some_and(|facts| facts.operator.is_none() && facts.spec_since <= horizon);
        settled && shows_when_used(policy) && !self.is_hit(policy) && self.had_traffic(state, policy)
    }

    /// Whether anything that a policy selects had traffic in a direction in which it lets something through.
    fn had_traffic(&self, state: &ClusterState, policy: &Compiled) -> bool {
        let alike = state.matching(&policy.selector);
        let directions = [Direction::Ingress, Direction::Egress];
        let letting = directions.into_iter().filter(|d| policy.governs(*d) && policy.lets_through(*d));
        letting.into_iter().any(|direction| {
            let sends = direction == Direction::Egress;
            let mut ends = alike.iter().map(|alike| alike.endpoint);
            ends.any(|end| self.active.contains_key(&active(&end.namespace, &end.name, sends)))
        })
    }

    fn ended(&self, state: &ClusterState, subject: &Subject) -> Option<Resolution> {
        let name = subject.get("policy")?;
        if policies_named(state, name).all(|policy| policy.staged.is_some()) {
            return Some(Resolution::SubjectGone);
        }
        let mut showing = policies_named(state, name).filter(|policy| shows_when_used(policy)).peekable();
        (showing.peek().is_some() && showing.all(|policy| self.is_hit(policy))).then_some(Resolution::Fixed)
    }

    fn is_hit(&self, policy: &Compiled) -> bool {
        self.hits.contains_key(&named(&policy.id))
    }
}

/// Whether a policy is enforced on workloads and shows in traces when it is of use.
fn shows_when_used(policy: &Compiled) -> bool {
    let on_workloads = policy.stage == HostStage::Normal && !policy.apply_on_forward;
    let lets = [Direction::Ingress, Direction::Egress].into_iter().any(|d| policy.governs(d) && policy.lets_through(d));
    policy.staged.is_none() && on_workloads && lets
}

/// A name as collectors give it, and whether it sends.
fn active(namespace: &str, name: &str, sends: bool) -> u128 {
    xxh3_128(format!("{namespace}/{name}/{sends}").as_bytes())
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Period, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::objects::{edited, pod, policy, surroundings};
    use crate::detect::testing::{Flow, Scene, deny_rule, end_of_tier, flow, rule};

    const HOUR: i64 = 60;

    fn told(rows: &[FindingRow]) -> Vec<(Status, String)> {
        let unused = rows.iter().filter(|row| row.kind == FindingKind::Unused);
        unused.map(|row| (row.status, row.subject.to_json().to_string())).collect()
    }

    fn spec(action: &str) -> Value {
        json!({"selector": "app == 'db'", "types": ["Ingress"],
            "ingress": [{"action": action, "source": {"selector": "app == 'web'"}}]})
    }

    /// A cluster with a policy, watched for three hours where two make a policy unused.
    fn watched(policy: Value, flow: Flow) -> Vec<(Status, String)> {
        scene(policy).1(flow)
    }

    fn scene(policy: Value) -> (Settings, impl FnOnce(Flow) -> Vec<(Status, String)>) {
        let mut settings = Settings::default();
        settings.thresholds.unused_after = Period::secs(2 * 3600);
        let watch = settings.clone();
        (settings, move |flow: Flow| {
            let mut scene = Scene::with_cluster(watch, cluster(policy));
            hours(&mut scene, &flow, 3)
        })
    }

    fn cluster(policy: Value) -> Vec<(i64, Value)> {
        let known = surroundings().into_iter().chain([pod("shop/db", json!({"app": "db"}))]);
        known.map(|object| (-600, object)).chain([(-600, policy)]).collect()
    }

    fn hours(scene: &mut Scene, flow: &Flow, hours: i64) -> Vec<(Status, String)> {
        let mut minute = |n| told(&scene.window((n % 10 == 9).then(|| flow.clone())));
        (0..hours * HOUR).flat_map(&mut minute).collect()
    }

    fn opened() -> Vec<(Status, String)> {
        vec![(Status::Opened, r#"{"policy":"shop/db"}"#.to_owned())]
    }

    fn by_another() -> Flow {
        flow("shop/web", "shop/db:5432").dst().trace([rule("shop/other", "default", 0)])
    }

    #[test]
    fn a_policy_without_a_hit_whose_endpoints_had_traffic_is_told_once() {
        assert_eq!(watched(policy("shop/db", spec("Allow")), by_another()), opened());
    }

    #[test]
    fn a_hit_of_a_rule_or_of_the_end_of_the_tier_is_use() {
        let by_rule = flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]);
        let by_tier = flow("shop/web", "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]);
        for used in [by_rule, by_tier] {
            assert_eq!(watched(policy("shop/db", spec("Allow")), used), []);
        }
    }

    #[test]
    fn traffic_in_the_other_direction_or_of_others_does_not_show_that_it_is_unused() {
        let sent = flow("shop/db", "shop/web:80").trace([rule("shop/other", "default", 0)]);
        let others = flow("shop/web", "shop/api:80").dst().trace([rule("shop/other", "default", 0)]);
        for elsewhere in [sent, others] {
            assert_eq!(watched(policy("shop/db", spec("Allow")), elsewhere), []);
        }
    }

    #[test]
    fn a_default_deny_shows_only_when_it_drops() {
        assert_eq!(watched(policy("shop/db", spec("Deny")), by_another()), []);
        let nothing = json!({"selector": "app == 'db'", "types": ["Ingress"]});
        assert_eq!(watched(policy("shop/db", nothing), by_another()), []);
    }

    #[test]
    fn policies_of_host_endpoints_and_of_operators_are_left_out() {
        for (field, value) in [
            ("applyOnForward", json!(true)),
            ("doNotTrack", json!(true)),
            ("preDNAT", json!(true)),
            ("tier", json!("calico-system")),
        ] {
            let mut spec = spec("Allow");
            spec[field] = value;
            assert_eq!(watched(policy("shop-db", spec), by_another()), [], "{field}");
        }
    }

    #[test]
    fn a_policy_that_was_edited_within_the_time_is_judged_later() {
        let young = edited(policy("shop/db", spec("Allow")), "kubectl-edit", "2026-01-01T01:30:00Z");
        let mut settings = Settings::default();
        settings.thresholds.unused_after = Period::secs(2 * 3600);
        let mut scene =
            Scene::with_cluster(settings, cluster(policy("shop/db", spec("Deny"))).into_iter().chain([(90, young)]));
        assert_eq!(hours(&mut scene, &by_another(), 3), []);
        assert_eq!(hours(&mut scene, &by_another(), 1), opened());
    }

    #[test]
    fn a_time_in_which_nobody_watched_is_no_part_of_it() {
        let (settings, _) = scene(policy("shop/db", spec("Allow")));
        let mut scene = Scene::with_cluster(settings, cluster(policy("shop/db", spec("Allow"))));
        assert_eq!(hours(&mut scene, &by_another(), 1), []);
        scene.skip_minutes(5 * HOUR);
        scene.coverage = 0.75;
        assert_eq!(hours(&mut scene, &by_another(), 5), []);
        scene.coverage = 1.0;
        scene.restart();
        let first = told(&scene.window([by_another()]));
        assert_eq!(first, []);
        assert_eq!(hours(&mut scene, &by_another(), 2), opened());
    }

    #[test]
    fn what_was_seen_outlives_a_restart_and_a_hit_ends_it() {
        let (settings, _) = scene(policy("shop/db", spec("Allow")));
        let mut scene = Scene::with_cluster(settings, cluster(policy("shop/db", spec("Allow"))));
        assert_eq!(hours(&mut scene, &by_another(), 2), []);
        scene.restart();
        assert_eq!(hours(&mut scene, &by_another(), 1), opened());
        let used = flow("shop/job", "shop/db:5432").dst().deny().trace([deny_rule("shop/db", "default", 0)]);
        assert_eq!(hours(&mut scene, &used, 1)[0].0, Status::Resolved);
    }

    #[test]
    fn a_hit_that_comes_late_is_use() {
        let (settings, _) = scene(policy("shop/db", spec("Allow")));
        let mut scene = Scene::with_cluster(settings, cluster(policy("shop/db", spec("Allow"))));
        let by_rule = || flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]);
        for _ in 0..3 {
            scene.late(by_rule(), 1);
            assert_eq!(hours(&mut scene, &by_another(), 1), []);
        }
    }

    #[test]
    fn a_hit_of_one_policy_is_no_use_of_another_kind_with_its_name() {
        let kubernetes = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": "shop", "name": "db", "creationTimestamp": "2025-12-01T00:00:00Z"},
            "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "old"}}}]}]}});
        let by_calico = flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]);
        let (settings, _) = scene(policy("shop/db", spec("Allow")));
        let changes = cluster(policy("shop/db", spec("Allow"))).into_iter().chain([(-600, kubernetes)]);
        let mut scene = Scene::with_cluster(settings, changes);
        assert_eq!(hours(&mut scene, &by_calico, 4), opened());
    }

    #[test]
    fn a_window_with_a_hole_shows_nothing() {
        let (settings, _) = scene(policy("shop/db", spec("Allow")));
        let mut scene = Scene::with_cluster(settings, cluster(policy("shop/db", spec("Allow"))));
        scene.coverage = 0.5;
        assert_eq!(hours(&mut scene, &by_another(), 3), []);
    }
}
