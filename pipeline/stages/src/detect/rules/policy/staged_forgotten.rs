//! `policy.staged-forgotten`: a policy was staged long ago and neither committed nor taken back.
//!
//! What a staged policy waits for tells what to do with it: it is ready (it saw traffic for a day and would change nothing),
//! it would change nothing of what it saw so far, it would still change traffic, or it never met any. A staged deletion never
//! shows in a trace and is left out.

use std::collections::BTreeMap;

use catchment_core::knowledge::policy::StagedAction;
use catchment_core::{EventTime, FindingKind, Period, Resolution, Subject};
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterState;
use crate::detect::facts::Facts;
use crate::detect::known::{Named, named, policies_named, policy_id, policy_name};
use crate::detect::pace::{Pace, Watch};
use crate::detect::rule::{Case, HOURLY, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::view::View;
use crate::policy::Compiled;

const KIND: FindingKind = FindingKind::StagedForgotten;
/// It must have met traffic for so long before it is called ready, and must have been watched for so long before it is
/// said to have met none.
const DAY: Period = Period::secs(24 * 3600);
/// Staged policies that are remembered.
const MOST: usize = 4096;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct StagedForgotten {
    pace: Pace,
    watch: Watch,
    /// When a staged policy first had a part in a trace.
    met: BTreeMap<Named, EventTime>,
}

impl Rule for StagedForgotten {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn meets_every(&self) -> Option<Period> {
        Some(HOURLY)
    }

    fn meet(&mut self, key: &Facts<'_>) {
        let now = key.view.window.end;
        for hit in &key.key.key.trace.pending {
            let policies = [Some(&hit.policy), hit.trigger.as_ref()].into_iter().flatten();
            for policy in policies.filter(|policy| policy.is_staged()) {
                let Some(policy) = policy_id(policy) else { continue };
                if self.met.len() < MOST {
                    self.met.entry(named(&policy)).or_insert(now);
                }
            }
        }
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        self.watch.take(view);
        let now = view.window.end;
        if !self.pace.is_due(now) {
            return;
        }
        let Some(state) = view.policed() else { return out.not_evaluable(KIND) };
        for subject in out.open(KIND) {
            if let Some(why) = ended(state, &subject, view) {
                out.over(KIND, &subject, why);
            }
        }
        self.met.retain(|(kind, name), _| policies_named(state, name).any(|policy| policy.id.kind == *kind));
        let forgotten = state.policy().policies().policies().filter(|policy| is_forgotten(state, policy, view));
        let mut by_name: BTreeMap<_, &Compiled> = BTreeMap::new();
        for policy in forgotten {
            let told = by_name.entry(policy_name(&policy.id)).or_insert(policy);
            // Of several with a name the one that met no traffic, or met it first, is told.
            if self.first_met(policy) < self.first_met(told) {
                *told = policy;
            }
        }
        for (name, policy) in by_name {
            self.judge(state, (&name, policy), view, out);
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let policy = told.member("policy");
        let detail = |name| told.details.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (why, remediation) = match detail("reason") {
            "ready" => (
                "It has met traffic for a day and more and would change nothing".to_owned(),
                format!("Commit {policy}: the traffic that was seen goes on under it. Or take it back."),
            ),
            "changes-nothing-so-far" => (
                "It has been watched for less than a day, met traffic in that time and would change none of it"
                    .to_owned(),
                format!("Watch {policy} for a day. If it still changes nothing then, commit it, or take it back."),
            ),
            "still-changing-traffic" => (
                "Traffic goes on whose verdict it would change, as another finding about it tells".to_owned(),
                format!(
                    "Decide about the pairs in `policy.staged-would-deny` or `policy.staged-would-allow` of {policy}, then commit it or take it back."
                ),
            ),
            _ => (
                "No traffic ever met it: what it selects is not there, or sends and receives nothing".to_owned(),
                format!("Look at the selector of {policy}; if what it is for is gone, take it back."),
            ),
        };
        Story {
            title: format!("Staged policy {policy} was left behind"),
            explanation: format!(
                "{policy} is staged as it is since {}{} and was neither committed nor taken back: it decides nothing. {why}.",
                detail("staged_since"),
                if detail("editor").is_empty() {
                    String::new()
                } else {
                    format!(", last edited by {}", detail("editor"))
                },
            ),
            remediation,
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

impl StagedForgotten {
    fn first_met(&self, policy: &Compiled) -> Option<EventTime> {
        self.met.get(&named(&policy.id)).copied()
    }

    fn judge(&self, state: &ClusterState, (name, policy): (&str, &Compiled), view: &View<'_>, out: &mut Sightings) {
        let subject = Subject::default().with("policy", Some(name));
        let Some(reason) = self.reason(policy, &subject, view, out) else { return out.not_evaluable(KIND) };
        let facts = state.policy_facts(&policy.id);
        let sighting = out.holds(Case::new(KIND, subject)).detail("reason", reason);
        if let Some(facts) = facts {
            sighting.detail("staged_since", facts.spec_since.to_rfc3339());
            sighting.detail("editor", facts.editor.as_ref().map(ToString::to_string).unwrap_or_default());
        }
    }

    /// What it waits for; `None` where that is not known yet.
    fn reason(&self, policy: &Compiled, subject: &Subject, view: &View<'_>, out: &Sightings) -> Option<&'static str> {
        let changes = [FindingKind::StagedWouldDeny, FindingKind::StagedWouldAllow];
        if changes.iter().any(|kind| out.is_shown(*kind, subject)) {
            return Some("still-changing-traffic");
        }
        let now = view.window.end;
        let told = changes.iter().all(|kind| view.settings.looks_for(*kind));
        match self.first_met(policy) {
            Some(first) if told && first.plus(DAY.micros()) <= now => Some("ready"),
            Some(_) if told => Some("changes-nothing-so-far"),
            None if view.is_whole() && self.watch.since(DAY).is_some() => Some("never-met"),
            _ => None,
        }
    }
}

/// Whether a policy is staged, as it is for long, and shows in traces.
fn is_forgotten(state: &ClusterState, policy: &Compiled, view: &View<'_>) -> bool {
    let shows = policy.staged.is_some_and(|action| action != StagedAction::Delete);
    let age = view.settings.thresholds.staged_forgotten_after.micros();
    shows && state.policy_facts(&policy.id).is_some_and(|facts| facts.spec_since.plus(age) <= view.window.end)
}

fn ended(state: &ClusterState, subject: &Subject, view: &View<'_>) -> Option<Resolution> {
    let mut staged = policies_named(state, subject.get("policy")?).filter(|policy| policy.staged.is_some()).peekable();
    if staged.peek().is_none() {
        return Some(Resolution::SubjectGone);
    }
    (!staged.any(|policy| is_forgotten(state, policy, view))).then_some(Resolution::Fixed)
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::objects::{edited, staged_policy};
    use crate::detect::testing::{Flow, HitExt, Scene, end_of_tier, flow, profile, rule, staged};

    const DAY: usize = 24 * 60;

    fn told(rows: &[FindingRow]) -> Vec<(Status, String)> {
        let forgotten = rows.iter().filter(|row| row.kind == FindingKind::StagedForgotten);
        let reason = |row: &FindingRow| {
            let evidence: Value = serde_json::from_str(&row.evidence).expect("evidence is JSON");
            evidence["reason"].as_str().unwrap_or_default().to_owned()
        };
        forgotten.map(|row| (row.status, reason(row))).collect()
    }

    fn left_behind() -> Value {
        staged_policy("shop/db", json!({"selector": "app == 'db'", "ingress": [{"action": "Allow"}]}))
    }

    /// It becomes old enough a day behind the first window.
    fn lately() -> Value {
        edited(left_behind(), "kubectl-edit", "2025-12-26T00:15:00Z")
    }

    fn scene(changes: impl IntoIterator<Item = (i64, Value)>) -> Scene {
        Scene::with_cluster(Settings::default(), changes)
    }

    fn met() -> Flow {
        flow("shop/web", "shop/db:5432")
            .dst()
            .trace([rule("shop/in", "default", 0)])
            .pending([staged("shop/db", "default", 0)])
    }

    /// A day and half an hour with a flow now and then.
    fn a_day(scene: &mut Scene, flow: &Flow) -> Vec<(Status, String)> {
        let mut minute = |n| told(&scene.window((n % 10 == 9).then(|| flow.clone())));
        (0..DAY + 30).flat_map(&mut minute).collect()
    }

    #[test]
    fn a_policy_that_met_traffic_for_a_day_and_changes_nothing_is_ready() {
        let mut scene = scene([(0, lately())]);
        assert_eq!(a_day(&mut scene, &met()), [(Status::Opened, "ready".to_owned())]);
    }

    #[test]
    fn a_policy_that_was_watched_for_less_than_a_day_is_not_called_ready() {
        let mut scene = scene([(-60, left_behind())]);
        assert_eq!(told(&scene.window([met()])), [(Status::Opened, "changes-nothing-so-far".to_owned())]);
    }

    #[test]
    fn a_policy_that_still_changes_traffic_says_so() {
        let changing = flow("shop/web", "shop/db:5432").dst().trace([profile("shop")]);
        let changing = changing.pending([end_of_tier("default", "shop/db").after_staged()]);
        let mut scene = scene([(-60, left_behind())]);
        assert_eq!(told(&scene.window([changing])), [(Status::Opened, "still-changing-traffic".to_owned())]);
    }

    #[test]
    fn a_policy_that_no_traffic_met_in_a_day_is_told_after_that_day_and_after_a_restart_too() {
        let other = flow("shop/web", "shop/api:80").dst().trace([rule("shop/in", "default", 0)]);
        let mut scene = scene([(-60, left_behind())]);
        assert_eq!(told(&scene.window([other.clone()])), []);
        scene.restart();
        assert_eq!(a_day(&mut scene, &other), [(Status::Opened, "never-met".to_owned())]);
    }

    #[test]
    fn traffic_of_one_policy_does_not_hide_that_another_of_its_name_met_none() {
        let kubernetes = json!({"apiVersion": "projectcalico.org/v3", "kind": "StagedKubernetesNetworkPolicy",
            "metadata": {"namespace": "shop", "name": "db", "creationTimestamp": "2025-12-01T00:00:00Z"},
            "spec": {"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Ingress"], "ingress": [{}]}});
        let young = edited(left_behind(), "kubectl-edit", "2025-12-31T00:00:00Z");
        let mut scene = scene([(-60, young), (-60, kubernetes)]);
        assert_eq!(a_day(&mut scene, &met()), [(Status::Opened, "never-met".to_owned())]);
    }

    #[test]
    fn a_window_with_a_hole_does_not_show_that_it_met_nothing() {
        let other = flow("shop/web", "shop/api:80").dst().trace([rule("shop/in", "default", 0)]);
        let mut scene = scene([(-60, left_behind())]);
        scene.coverage = 0.5;
        assert_eq!(a_day(&mut scene, &other), []);
    }

    #[test]
    fn a_staged_deletion_and_a_policy_edited_lately_are_left_out() {
        let mut deletion = left_behind();
        deletion["spec"]["stagedAction"] = "Delete".into();
        assert_eq!(a_day(&mut scene([(-60, deletion)]), &met()), []);
        let yesterday = edited(left_behind(), "kubectl-edit", "2025-12-30T00:00:00Z");
        assert_eq!(a_day(&mut scene([(-60, yesterday)]), &met()), []);
    }

    #[test]
    fn it_is_over_when_the_policy_is_committed_or_taken_back() {
        let mut scene = scene([(-60, left_behind())]);
        scene.gone([(3 * DAY as i64, left_behind())]);
        assert_eq!(a_day(&mut scene, &met()).len(), 1);
        scene.skip_minutes(2 * DAY as i64);
        let over: Vec<_> = told(&scene.window([met()])).into_iter().map(|(status, _)| status).collect();
        assert_eq!(over, [Status::Resolved]);
    }
}
