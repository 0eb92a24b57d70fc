//! The second form of `policy.label-mismatch`: an edited policy should decide new connections, and another one does.
//!
//! What the policies of the cluster say of a key is worked out once, and only while a policy that selects its end was edited
//! within a day. A window counts where connections began in it, a full window lies between it and whatever changed around
//! the pair, and nobody claims the same packets by another trace. A policy is told with the second such window of a pair.
//!
//! Which end of a flow a network, a host or a network set is depends on addresses that flows do not show, so both ends have
//! to be pods, all of one name alike. Where the trace ends with the tier of the policy the policy may have had its part in
//! that: such a denial is told as `policy.implicit-deny`, with the rule that came nearest.

use std::collections::BTreeMap;

use catchment_core::{
    Endpoint, EventTime, FindingKind, FlowRow, KeyRecord, Labels, Period, Resolution, Subject, VerdictReason,
};
use catchment_schemas::goldmane::{EndpointType, Reporter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::{self, Bearers, ClusterState, Edit};
use crate::detect::facts::{Facts, Talk, has_packets};
use crate::detect::known::{chain, direction, policies_named, policy_id, policy_name};
use crate::detect::rule::{Case, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{decision, hit};
use crate::detect::view::View;
use crate::policy::{self, Chain, Decision, PolicyId, Verdict};

const KIND: FindingKind = FindingKind::LabelMismatch;
/// Windows in a row that have to show it of a pair.
const WINDOWS: u8 = 2;
/// Pairs that are remembered, and how long no window may show one.
const MOST: usize = 4096;
const REMEMBERED: Period = Period::secs(48 * 3600);
/// Labels that a story names.
const LABELS: usize = 5;

/// A pair as one reporter sees it, and the policy that should decide there.
type Place = (u128, i32, String);

/// How often a pair showed it without showing the contrary in between.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Shown {
    windows: u8,
    last: EventTime,
}

/// Pairs that edited policies do not decide although they should.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct PassedOver(BTreeMap<Place, Shown>);

/// What the policies of the cluster say of a row.
struct Judged {
    chain: Chain,
    /// The policy that should decide; `None` where no policy should.
    policy: Option<PolicyId>,
    /// Whether the trace says the same.
    agrees: bool,
}

impl PassedOver {
    pub(super) fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        if !talk.has_case(KIND) && !self.knows(talk.pair.name()) {
            return;
        }
        let Some(state) = talk.view.policed().filter(|_| talk.view.is_known()) else { return out.not_evaluable(KIND) };
        if !is_settled(state, talk) {
            return;
        }
        for reporter in [Reporter::Src, Reporter::Dst] {
            self.side(state, talk, reporter, out);
        }
    }

    fn side(&mut self, state: &ClusterState, talk: &Talk<'_>, reporter: Reporter, out: &mut Sightings) {
        let rows = || talk.flows.iter().filter(|row| row.key.key.reporter == reporter as i32);
        let began = |row: &&FlowRow| row.counters.started > 0 && has_packets(row);
        if rows().any(|row| row.trace_split) {
            return;
        }
        let judged: Option<Vec<_>> = rows().filter(began).map(|row| Some((row, judge(state, &row.key)?))).collect();
        let Some(judged) = judged.filter(|judged| !judged.is_empty()) else { return };
        let (pair, side) = (talk.pair.name(), reporter as i32);
        let missed = judged.iter().find(|(_, judged)| !judged.agrees);
        let agrees = judged.iter().any(|(_, judged)| judged.agrees);
        match missed {
            // Old and new connections of a window in which nodes take an edit in.
            Some(_) if agrees => {}
            Some((row, judged)) => {
                let still = judged.policy.as_ref().map(policy_name);
                self.refute(pair, side, still.as_deref(), out);
                if let Some(edit) = edited(state, judged) {
                    self.show(state, talk, (row, judged, edit), out);
                }
            }
            None => self.refute(pair, side, None, out),
        }
    }

    fn show(
        &mut self,
        state: &ClusterState,
        talk: &Talk<'_>,
        (row, judged, edit): (&FlowRow, &Judged, &Edit),
        out: &mut Sightings,
    ) {
        let Some(policy) = judged.policy.as_ref().map(policy_name) else { return };
        let place = (talk.pair.name(), row.key.key.reporter, policy.clone());
        if self.0.len() >= MOST && !self.0.contains_key(&place) {
            return;
        }
        let now = talk.view.window.end;
        let shown = self.0.entry(place).or_insert(Shown { windows: 0, last: EventTime::MIN });
        if shown.last < now {
            *shown = Shown { windows: shown.windows.saturating_add(1), last: now };
        }
        if shown.windows < WINDOWS {
            return;
        }
        let facts = Facts::new(row, talk.view);
        let labels = differing(state, row, &facts);
        let sighting = out.holds(Case::new(KIND, subject(&policy)).owner(facts.governed().who.owner.as_deref()));
        sighting.flow(row);
        sighting
            .detail("edit", edit.to_string())
            .detail("pair", talk.title())
            .detail("direction", facts.direction())
            .detail("workload", facts.governed().title())
            .detail("should_decide", decision(&judged.chain.decided_by))
            .detail("decides", row.key.key.trace.enforced.last().map(hit))
            .detail("decides_is_known", decides_is_known(state, &row.key))
            .detail("nodes", nodes(state, facts.governed().endpoint))
            .detail("labels", labels);
    }

    /// A pair shows that policies other than `still` need not decide it, or do.
    fn refute(&mut self, pair: u128, reporter: i32, still: Option<&str>, out: &mut Sightings) {
        let over: Vec<_> =
            self.of(pair).filter(|(_, side, policy)| *side == reporter && Some(&**policy) != still).cloned().collect();
        for place in over {
            let was_told = self.0.remove(&place).is_some_and(|shown| shown.windows >= WINDOWS);
            if was_told && !self.tells(&place.2) {
                out.over(KIND, &subject(&place.2), Resolution::Fixed);
            }
        }
    }

    /// Forgets what has not been shown for long, and policies that are gone.
    pub(super) fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let horizon = view.window.end.plus(-REMEMBERED.micros());
        self.0.retain(|_, shown| shown.last > horizon);
        let Some(state) = view.policed().filter(|_| view.judged_anew) else { return };
        self.0.retain(|(.., policy), _| {
            let is_there = policies_named(state, policy).next().is_some();
            if !is_there {
                out.over(KIND, &subject(policy), Resolution::SubjectGone);
            }
            is_there
        });
    }

    /// Whether a pair is told of the policy.
    pub(super) fn tells(&self, policy: &str) -> bool {
        self.0.iter().any(|((.., of), shown)| of == policy && shown.windows >= WINDOWS)
    }

    fn knows(&self, pair: u128) -> bool {
        self.of(pair).next().is_some()
    }

    fn of(&self, pair: u128) -> impl Iterator<Item = &Place> {
        self.0.range((pair, i32::MIN, String::new())..).map(|(place, _)| place).take_while(move |place| place.0 == pair)
    }
}

/// What keys of connections that an edited policy should decide, and does not, stand for.
pub(super) fn case(key: &Facts<'_>) -> Option<Case> {
    let state = key.view.policed().filter(|state| state.has_edits())?;
    // Most ends are selected by no policy that was edited, which is told without the whole chain.
    let governed = any_of_name(state, key.governed().endpoint)?;
    let selecting = state.policy().policies().selecting(&governed);
    let mut selecting = selecting.into_iter().filter(|policy| policy.governs(direction(key.key)));
    if !selecting.any(|policy| state.edit_of(policy).is_some()) {
        return None;
    }
    let judged = judge(state, key.key)?;
    edited(state, &judged).filter(|_| !judged.agrees)?;
    Some(Case::new(KIND, subject(&policy_name(&judged.policy?))).only_wakes())
}

fn subject(policy: &str) -> Subject {
    Subject::default().with("policy", Some(policy))
}

/// The edit of the policy that should decide, if it was edited within a day. Policies that are staged, untracked or before
/// DNAT never decide over workloads; those for what hosts forward too may be meant for hosts alone.
fn edited<'a>(state: &'a ClusterState, judged: &Judged) -> Option<&'a Edit> {
    let policy = state.policy().policies().policy(judged.policy.as_ref()?)?;
    state.edit_of(policy).filter(|_| !policy.apply_on_forward)
}

/// What the policies of the cluster say of a key; `None` where they cannot tell, or where the trace may mean either.
fn judge(state: &ClusterState, key: &KeyRecord) -> Option<Judged> {
    let ends = [&key.key.source, &key.key.dest];
    if !ends.iter().all(|end| are_alike(state, end)) {
        return None;
    }
    let chain = chain(state, key)?;
    let reached = chain.tiers.iter().filter(|tier| tier.reached).flat_map(|tier| &tier.policies);
    let mut reached = reached.filter(|step| step.reached && step.staged.is_none());
    if chain.verdict == Verdict::Unknown || reached.clone().any(|step| !step.unknown.is_empty()) {
        return None;
    }
    let policy = match &chain.decided_by {
        Decision::Rule(rule) => Some(rule.policy.clone()),
        Decision::EndOfTier { trigger, .. } => Some(trigger.clone()),
        Decision::Profile { .. } => None,
        Decision::NoProfile | Decision::UnknownProfile | Decision::NotGoverned => return None,
    };
    let decides = deciding(key)?;
    let agrees = policy == decides || same_end(&chain, key);
    let was_asked = reached.any(|step| Some(&step.policy) == decides.as_ref());
    let may_be_either = was_asked || ends_in_tier_of(state, policy.as_ref(), key);
    (agrees || !may_be_either).then_some(Judged { chain, policy, agrees })
}

/// The policy that the trace names as deciding, `None` within for a profile.
#[allow(clippy::option_option, reason = "that a profile decides is known, that a trace says nothing is not")]
fn deciding(key: &KeyRecord) -> Option<Option<PolicyId>> {
    let trace = &key.key.trace;
    let last = trace.enforced.last()?;
    match trace.verdict_reason()? {
        VerdictReason::Profile => Some(None),
        VerdictReason::EndOfTier => policy_id(last.trigger.as_ref()?).map(Some),
        VerdictReason::Rule => policy_id(&last.policy).map(Some),
    }
}

/// Whether both the chain and the trace come to the end of one tier: whichever policy stands for that.
fn same_end(chain: &Chain, key: &KeyRecord) -> bool {
    matches!(&chain.decided_by, Decision::EndOfTier { tier, .. } if ended_tier(key) == Some(tier))
}

fn ends_in_tier_of(state: &ClusterState, policy: Option<&PolicyId>, key: &KeyRecord) -> bool {
    let policy = policy.and_then(|id| state.policy().policies().policy(id));
    policy.is_some_and(|policy| ended_tier(key) == Some(&policy.tier))
}

/// The tier whose end decided.
fn ended_tier(key: &KeyRecord) -> Option<&str> {
    let trace = &key.key.trace;
    let ended = trace.verdict_reason() == Some(VerdictReason::EndOfTier);
    trace.enforced_tier().filter(|_| ended).map(|tier| &**tier)
}

/// Whether nothing changed around the pair since one full window before this one: policies and tiers, its namespaces, its
/// pods.
fn is_settled(state: &ClusterState, talk: &Talk<'_>) -> bool {
    let window = talk.view.window;
    let since = window.start.plus(window.start.0 - window.end.0);
    let ends = [&talk.row.key.key.source, &talk.row.key.key.dest];
    let namespaces = ends.iter().filter_map(|end| end.namespace.as_deref());
    let about = namespaces.fold(cluster::Subject::default(), cluster::Subject::namespace);
    let left = |end: &Endpoint| {
        let bearers = end.namespace.as_deref().and_then(|namespace| state.bearers(namespace, &end.raw_name));
        bearers.is_some_and(|bearers| bearers.gone().iter().any(|pod| pod.deleted >= since))
    };
    state.changes_before(window.end, window.end.0 - since.0, &about).is_empty() && !ends.into_iter().any(left)
}

/// The pods of a name, as policies see them.
fn pods<'a>(state: &'a ClusterState, end: &'a Endpoint) -> impl Iterator<Item = policy::Endpoint> + 'a {
    let is_pod = end.kind == EndpointType::WorkloadEndpoint as i32;
    let namespace = end.namespace.as_deref().filter(|_| is_pod);
    let bearers = namespace.and_then(|namespace| Some((namespace, state.bearers(namespace, &end.raw_name)?)));
    bearers.into_iter().flat_map(move |(namespace, bearers)| {
        bearers.present().iter().filter_map(move |pod| state.policy().pod(namespace, pod))
    })
}

fn any_of_name(state: &ClusterState, end: &Endpoint) -> Option<policy::Endpoint> {
    pods(state, end).next()
}

/// Whether an end is pods that policies cannot tell from each other.
fn are_alike(state: &ClusterState, end: &Endpoint) -> bool {
    let mut pods = pods(state, end);
    let Some(first) = pods.next() else { return false };
    pods.all(|pod| pod.labels == first.labels && pod.ports == first.ports)
}

/// Nodes that the pods of a name run on.
fn nodes(state: &ClusterState, end: &Endpoint) -> Vec<String> {
    let namespace = end.namespace.as_deref().unwrap_or_default();
    let names = state.bearers(namespace, &end.raw_name).into_iter().flat_map(Bearers::present);
    let mut nodes: Vec<_> =
        names.filter_map(|pod| state.pod(namespace, pod)).map(|pod| pod.spec.node_name.to_string()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Labels that pods have in the cluster and that the flow tells otherwise, or not at all.
fn differing(state: &ClusterState, row: &FlowRow, facts: &Facts<'_>) -> Vec<String> {
    let ends = [(facts.source, &row.source_labels), (facts.dest, &row.dest_labels)];
    let differing = ends.into_iter().filter(|(_, told)| !told.items.is_empty()).flat_map(|(end, told)| {
        let known = any_of_name(state, end.endpoint).map(|pod| pod.labels).unwrap_or_default();
        let own = known.into_iter().filter(|(key, _)| !is_inherited(key));
        own.filter_map(|(key, value)| difference(&key, &value, told, row.labels_varied))
            .map(|words| format!("{} {words}", end.title()))
            .collect::<Vec<_>>()
    });
    differing.take(LABELS).collect()
}

/// What policies see of a pod beyond its own labels.
fn is_inherited(key: &str) -> bool {
    ["projectcalico.org/", "pcns.", "pcsa."].iter().any(|prefix| key.starts_with(prefix))
}

/// Labels that varied within a window are those that all records had: one that is missing says nothing.
fn difference(key: &str, value: &str, told: &Labels, varied: bool) -> Option<String> {
    let found = told.items.iter().filter_map(|label| label.split_once('=')).find(|(told, _)| *told == key);
    match found {
        Some((_, found)) if found == value => None,
        Some((_, found)) => Some(format!("has {key}={value} in the cluster and {key}={found} in the flow")),
        None => (!varied).then(|| format!("has {key}={value} in the cluster and no such label in the flow")),
    }
}

/// Whether the policy that decides is there: what knows one that is not is behind.
fn decides_is_known(state: &ClusterState, key: &KeyRecord) -> bool {
    let policy = deciding(key).flatten();
    policy.is_none_or(|policy| state.policy().policies().policy(&policy).is_some())
}

/// Whether what is told is the second form of the kind.
pub(super) fn is_told(told: &Told<'_>) -> bool {
    told.details.contains_key("should_decide")
}

pub(super) fn story(told: &Told<'_>) -> Story {
    let detail = |name: &str| told.details.get(name).and_then(Value::as_str).unwrap_or_default();
    let list = |name: &str| {
        let words = told.details.get(name).and_then(Value::as_array).into_iter().flatten();
        words.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let (policy, pair, workload, direction) =
        (told.member("policy"), detail("pair"), detail("workload"), detail("direction"));
    let (labels, nodes) = (list("labels"), list("nodes").join(", "));
    let is_known = told.details.get("decides_is_known") == Some(&Value::Bool(true));
    let of_labels = if labels.is_empty() {
        "The flow tells no label otherwise than the cluster does. ".to_owned()
    } else {
        format!("{}. ", labels.join("; "))
    };
    Story {
        title: format!("{policy} was edited and should decide new connections {pair}, and another does"),
        explanation: format!(
            "{}. By the policies of the cluster {} since then decides {direction} of {workload} for {pair}. Connections that \
                 began more than a window later are decided by: {}. {of_labels}Likely causes, the likeliest first: {}.",
            detail("edit"),
            detail("should_decide"),
            detail("decides"),
            causes(&labels, is_known, &nodes),
        ),
        remediation: format!(
            "Look whether calico-node on {nodes} is ready and what it logs (`kubectl get pods -A -o wide -l \
                 k8s-app=calico-node`), and compare the labels of {workload} with the selectors of {policy}. Until the edit takes \
                 effect, do not count on it. `{}` shows what the policies of the cluster say.",
            told.why(),
        ),
        verify: format!("catchment findings list --kind {KIND}"),
        ..Story::default()
    }
}

/// Guesses: flows do not show why.
fn causes(labels: &[&str], decider_is_known: bool, nodes: &str) -> String {
    let behind = format!("calico-node on {nodes} is behind the API server or could not program the edit");
    let relabelled =
        "the data plane knows a pod by other labels than the API server, so that a selector misses it there";
    let resolved = "a term of the policy stands for something else there, such as a named port or a service account";
    let ranked = match (labels.is_empty(), decider_is_known) {
        (false, _) => [relabelled, &behind, resolved],
        (true, false) => [&behind, relabelled, resolved],
        (true, true) => [&behind, resolved, relabelled],
    };
    let numbered = (1..).zip(ranked).map(|(rank, cause)| format!("({rank}) {cause}"));
    numbered.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "passed_over_tests.rs"]
mod tests;
