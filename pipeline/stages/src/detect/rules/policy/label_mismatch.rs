//! `policy.label-mismatch`: a selector matches nothing, and something in its scope misses it by one label; or an edited
//! policy does not decide what it should, see [`passed_over`](super::passed_over).
//!
//! Selectors of policies and of the peers in their rules are matched with all pods, with the templates of pods to be made,
//! and with network sets. One that matched within a week is for pods that are away; one that never had anything near it is
//! for what is to come.

use std::collections::BTreeMap;

use catchment_core::{EventTime, FindingKind, Period, Resolution, Subject};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::passed_over::{self, PassedOver};
use crate::cluster::{ClusterState, NearMiss};
use crate::detect::facts::{Facts, Talk, workload_of};
use crate::detect::known::policy_name;
use crate::detect::pace::Pace;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::term;
use crate::detect::view::View;
use crate::policy::{Compiled, Direction, HostStage};
use crate::selector::Selector;

const KIND: FindingKind = FindingKind::LabelMismatch;
/// What matched within this time is for pods that come and go.
const MATCHED: Period = Period::secs(7 * 24 * 3600);
/// Selectors that are remembered.
const MOST: usize = 50_000;
/// Near misses that evidence lists.
const LISTED: usize = 10;

/// A selector of a policy: its own, or that of a peer in a rule.
struct Selecting<'a> {
    policy: String,
    /// The rule, for a peer.
    rule: Option<&'a str>,
    selector: &'a Selector,
    /// The only namespace in which it looks.
    namespace: Option<&'a str>,
}

/// How a selector fared.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Fared {
    /// Since when it matches nothing; `None` while it matches.
    empty_since: Option<EventTime>,
    /// When it last matched.
    matched: Option<EventTime>,
    seen: EventTime,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LabelMismatch {
    pace: Pace,
    /// By policy, rule and selector: an edit begins anew.
    selectors: BTreeMap<(String, String, String), Fared>,
    passed_over: PassedOver,
}

impl Rule for LabelMismatch {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        passed_over::case(key)
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        self.passed_over.talk(talk, out);
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        self.passed_over.close(view, out);
        if !self.pace.is_due(view.window.end) && !view.judged_anew {
            return;
        }
        let Some(state) = view.selected() else { return out.not_evaluable(KIND) };
        let before = out.open(KIND);
        let mut wrong = Vec::new();
        let mut policies: Vec<_> = state.policy().policies().policies().collect();
        policies.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        for policy in policies.into_iter().filter(|policy| policy.stage == HostStage::Normal) {
            for selecting in selectors(policy) {
                wrong.extend(self.judge(state, &selecting, view, out));
            }
        }
        let is_kept = |subject: &Subject| wrong.contains(subject) || self.is_passed_over(subject);
        for subject in before.into_iter().filter(|subject| !is_kept(subject)) {
            out.over(KIND, &subject, Resolution::Fixed);
        }
        self.selectors.retain(|_, fared| fared.seen == view.window.end);
    }

    fn story(&self, told: &Told<'_>) -> Story {
        if passed_over::is_told(told) {
            return passed_over::story(told);
        }
        let detail = |name: &str| told.details.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (policy, selector) = (told.member("policy"), detail("selector"));
        let (what, effect) = match told.subject.get("rule") {
            Some(rule) => (
                format!("The peer of {rule} of {policy}"),
                "the rule never matches, and what it is for is not let through",
            ),
            None => (
                format!("The selector of {policy}"),
                "the policy governs nothing, and what it is for is as open as without it",
            ),
        };
        Story {
            title: format!("{what} matches nothing, and {} misses it by one label", detail("nearest")),
            explanation: format!(
                "{what} is {selector}. No pod and no template of pods matches it since {}, so {effect}. {} misses it by one term: \
                 {}. A label or the selector is likely misspelt, or was renamed on one side only.",
                detail("empty_since"),
                detail("nearest"),
                detail("term"),
            ),
            remediation: format!(
                "Give {} the label that the selector asks for, in the template of its pods, or mend the selector in {policy}.",
                detail("nearest"),
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

impl LabelMismatch {
    fn is_passed_over(&self, subject: &Subject) -> bool {
        subject.get("rule").is_none() && subject.get("policy").is_some_and(|policy| self.passed_over.tells(policy))
    }

    /// The subject, if the selector is wrong.
    fn judge(
        &mut self,
        state: &ClusterState,
        selecting: &Selecting<'_>,
        view: &View<'_>,
        out: &mut Sightings,
    ) -> Option<Subject> {
        let now = view.window.end;
        let since = self.empty_since(state, selecting, now)?;
        if since.plus(view.settings.thresholds.mismatch_after.micros()) > now {
            return None;
        }
        let near = near(state, selecting);
        let nearest = near.first()?;
        let subject = selecting.subject();
        let listed = near.iter().take(LISTED).map(|miss| json!({"workload": title(miss), "term": term(&miss.term)}));
        out.holds(Case::new(KIND, subject.clone()))
            .detail("selector", selecting.selector.to_string())
            .detail("empty_since", since.to_rfc3339())
            .detail("nearest", title(nearest))
            .detail("term", term(&nearest.term))
            .detail("near", listed.collect::<Vec<_>>());
        Some(subject)
    }

    /// Since when a selector matches nothing, unless it matched not long ago.
    fn empty_since(&mut self, state: &ClusterState, selecting: &Selecting<'_>, now: EventTime) -> Option<EventTime> {
        let key =
            (selecting.policy.clone(), selecting.rule.unwrap_or_default().to_owned(), selecting.selector.to_string());
        if self.selectors.len() >= MOST && !self.selectors.contains_key(&key) {
            return None;
        }
        let fared = self.selectors.entry(key).or_insert(Fared { empty_since: None, matched: None, seen: now });
        fared.seen = now;
        if matches_any(state, selecting.selector) {
            (fared.matched, fared.empty_since) = (Some(now), None);
            return None;
        }
        let since = *fared.empty_since.get_or_insert(now);
        let lately = fared.matched.is_some_and(|matched| matched.plus(MATCHED.micros()) > now);
        (!lately).then_some(since)
    }
}

impl Selecting<'_> {
    fn subject(&self) -> Subject {
        let subject = Subject::default().with("policy", Some(&self.policy));
        match self.rule {
            Some(rule) => subject.with("rule", Some(rule)),
            None => subject,
        }
    }
}

/// The selectors of a policy: its own, and those of the peers in its rules.
fn selectors(policy: &Compiled) -> Vec<Selecting<'_>> {
    let name = policy_name(&policy.id);
    let own = (!policy.id.namespace.is_empty()).then_some(policy.id.namespace.as_str());
    let itself = Selecting { policy: name.clone(), rule: None, selector: &policy.selector, namespace: own };
    let peers = [Direction::Ingress, Direction::Egress].into_iter().flat_map(|direction| policy.peers(direction));
    let peers = peers.map(|peer| Selecting {
        policy: name.clone(),
        rule: Some(peer.origin),
        selector: peer.selector,
        namespace: own.filter(|_| peer.own_namespace),
    });
    std::iter::once(itself).chain(peers).collect()
}

fn matches_any(state: &ClusterState, selector: &Selector) -> bool {
    let sets = || state.surroundings().sets.iter().any(|set| selector.matches(&set.labels));
    let hosts = || state.policy().host_endpoints().any(|host| selector.matches(&host.labels));
    !state.matching(selector).is_empty() || sets() || hosts()
}

/// What misses a selector by one label; that something lives in another namespace is no slip.
fn near<'a>(state: &'a ClusterState, selecting: &Selecting<'_>) -> Vec<NearMiss<'a>> {
    let mut near = state.near(selecting.selector, selecting.namespace);
    near.retain(|miss| !miss.term.key.starts_with("projectcalico.org/"));
    near
}

fn title(miss: &NearMiss<'_>) -> String {
    match miss.template_of {
        Some(key) => format!("{}/{}", key.namespace, key.name),
        None => format!("{}/{}", miss.endpoint.namespace, workload_of(&miss.endpoint.name)),
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::knowledge::Kind;
    use catchment_core::{FindingKind, FindingRow, Severity, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::objects::{deployment, namespace, pod, policy, surroundings};
    use crate::detect::testing::Scene;

    fn told(rows: &[FindingRow]) -> Vec<(Status, String)> {
        let wrong = rows.iter().filter(|row| row.kind == FindingKind::LabelMismatch);
        wrong.map(|row| (row.status, row.subject.to_json().to_string())).collect()
    }

    fn scene(changes: impl IntoIterator<Item = (i64, Value)>) -> Scene {
        let known = surroundings().into_iter().map(|object| (-600, object));
        Scene::with_cluster(Settings::default(), known.chain(changes))
    }

    fn minutes(scene: &mut Scene, minutes: i64) -> Vec<FindingRow> {
        (0..minutes / 10)
            .flat_map(|_| {
                scene.skip_minutes(9);
                scene.window([])
            })
            .collect()
    }

    fn selecting(selector: &str) -> (i64, Value) {
        (-60, policy("shop/db", json!({"selector": selector, "ingress": [{"action": "Allow"}]})))
    }

    fn db() -> (i64, Value) {
        (-60, pod("shop/db-0", json!({"app": "database", "tier": "data"})))
    }

    const OF_POLICY: &str = r#"{"policy":"shop/db"}"#;

    #[test]
    fn a_selector_that_misses_a_pod_by_the_case_of_a_value_is_told_after_an_hour() {
        let mut scene = scene([db(), selecting("app == 'Database'")]);
        assert_eq!(told(&minutes(&mut scene, 60)), []);
        scene.restart();
        let rows = minutes(&mut scene, 20);
        assert_eq!(told(&rows), [(Status::Opened, OF_POLICY.to_owned())]);
        let row = &rows[0];
        assert_eq!(row.severity, Severity::Low);
        assert!(
            row.explanation.contains("app == \"Database\"") && row.explanation.contains("shop/db-0"),
            "{}",
            row.explanation
        );
        assert!(row.explanation.contains("app=database"), "{}", row.explanation);
    }

    #[test]
    fn a_value_that_stands_under_another_key_is_told_too() {
        let mut scene = scene([db(), selecting("name == 'database'")]);
        assert_eq!(told(&minutes(&mut scene, 90)).len(), 1);
    }

    #[test]
    fn a_peer_of_a_rule_is_told_with_the_rule() {
        let rules = json!([{"action": "Allow", "source": {"selector": "tier == 'data'"}}, {"action": "Allow", "source": {"selector": "app == 'databse'"}}]);
        let peers = policy("shop/db", json!({"selector": "app == 'database'", "ingress": rules}));
        let mut scene = scene([db(), (-60, peers)]);
        let wrong = r#"{"policy":"shop/db","rule":"ingress[1]"}"#.to_owned();
        assert_eq!(told(&minutes(&mut scene, 90)), [(Status::Opened, wrong)]);
    }

    #[test]
    fn what_matches_a_pod_or_a_template_or_has_nothing_near_is_none() {
        let template = (-60, deployment("shop/cache", json!({"app": "cache"})));
        let near = (-60, pod("shop/cache-0", json!({"app": "cach"})));
        let mut scene = scene([
            db(),
            template,
            near,
            selecting("app == 'cache'"),
            (-60, policy("shop/x", json!({"selector": "app == 'nowhere'"}))),
        ]);
        assert_eq!(told(&minutes(&mut scene, 120)), []);
    }

    #[test]
    fn pods_of_another_namespace_are_no_slip() {
        let elsewhere = (-60, pod("ops/db-0", json!({"app": "Database"})));
        let mut scene = scene([elsewhere, (-60, namespace("ops", json!({}))), selecting("app == 'database'")]);
        assert_eq!(told(&minutes(&mut scene, 120)), []);
    }

    #[test]
    fn what_matched_within_a_week_is_for_pods_that_are_away() {
        let matched = (-60, pod("shop/db-1", json!({"app": "Database"})));
        let mut scene = scene([db(), matched.clone(), selecting("app == 'Database'")]);
        scene.gone([(30, matched.1)]);
        assert_eq!(told(&minutes(&mut scene, 180)), []);
    }

    #[test]
    fn it_is_over_when_the_label_is_mended() {
        let mended = (120, pod("shop/db-0", json!({"app": "Database", "tier": "data"})));
        let mut scene = scene([db(), mended, selecting("app == 'Database'")]);
        let over: Vec<_> = told(&minutes(&mut scene, 180)).into_iter().map(|(status, _)| status).collect();
        assert_eq!(over, [Status::Opened, Status::Resolved]);
    }

    #[test]
    fn what_may_not_be_seen_may_match() {
        let mut scene = scene([db(), selecting("app == 'Database'")]);
        scene.hides(Kind::Pod);
        assert_eq!(told(&minutes(&mut scene, 120)), []);
        assert!(scene.detector().not_evaluable().any(|(kind, count)| kind == FindingKind::LabelMismatch && count > 0));
    }
}
