//! `private.scan`: a workload tries many destinations, and most refuse or stay silent.
//!
//! Only conversations that failed wake the rule. Of a source with a fair number of failures it also collects, at the end of
//! a window, what answered: a source with many more destinations that answer does not scan. Who talks to whom is remembered
//! for a while, because failures at ephemeral ports of somebody who has talked to it are late replies.

use std::collections::BTreeMap;

use catchment_core::{Conversation, EventTime, FindingKind, FlowRow, Period, Subject};
use catchment_schemas::goldmane::Action;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::detect::bounded::put;
use crate::detect::facts::{self, End, Facts, Signs, Talk, has_packets, selectable};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;
use crate::detect::view::View;

const KIND: FindingKind = FindingKind::Scan;
/// How long a try counts, and a conversation that explains what looks like one.
const RECENT: Period = Period::secs(600);
/// Sources that are watched at most.
const SOURCES: usize = 4096;
/// Destinations of each sort that are remembered of a source at least; twice the threshold where that is more.
const DESTINATIONS: usize = 256;
/// Workloads with one of their callers that are remembered at most; beyond that, late replies may pass for tries.
const CALLERS: usize = 50_000;
/// Ports from here on are given to clients.
const EPHEMERAL: i64 = 32_768;
/// Destinations that are named in the evidence.
const EXAMPLES: usize = 20;

/// A destination that refused or stayed silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failure {
    at: EventTime,
    /// The workload or set, whatever the port.
    peer: u64,
    ephemeral: bool,
    denied: bool,
}

/// What is remembered of a source, by hashes of destinations with their ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tries {
    namespace: String,
    workload: String,
    owner: Option<String>,
    failed: BTreeMap<u64, Failure>,
    answered: BTreeMap<u64, EventTime>,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Scan {
    sources: BTreeMap<u64, Tries>,
    /// By hashes of a workload and who talks to it at a port of a server, when that was met last.
    callers: BTreeMap<(u64, u64), EventTime>,
    /// Sources that failed in this window.
    #[serde(skip)]
    woken: Vec<u64>,
}

impl Rule for Scan {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        let is_place = key.dest.is_workload() || key.dest.is_network_set() || key.dest.is_host();
        key.source.is_workload() && is_place && !is_scanner(key)
    }

    fn meets_every(&self) -> Option<Period> {
        Some(RECENT)
    }

    /// Who is answered is answered in later windows too, when nobody may talk to the workload any more.
    fn meet(&mut self, key: &Facts<'_>) {
        if key.dest.is_workload() && key.key.key.dest_port < EPHEMERAL {
            put(&mut self.callers, (hash(key.dest), hash(key.source)), key.view.end_of(RECENT), CALLERS);
        }
    }

    fn wakes(&self) -> Signs {
        Signs::DENIED.and(Signs::UNANSWERED)
    }

    fn talk(&mut self, talk: &Talk<'_>, _: &mut Sightings) {
        let denied = talk.signs.has(Signs::DENIED);
        // Silence is no failure where protocols are silent by design, nor where reports are missing.
        let silent = talk.signs.has(Signs::UNANSWERED) && talk.is_whole() && talk.protocol() != "udp";
        if talk.signs.has(Signs::REPLIED) || !(denied || silent) {
            return;
        }
        let (source, peer) = (hash(talk.source()), hash(talk.dest()));
        let most = most(talk.view);
        let Some(tries) = self.tries(source, talk.source()) else { return };
        let failure = Failure { at: talk.view.window.end, peer, ephemeral: talk.port() >= EPHEMERAL, denied };
        put(&mut tries.failed, target(peer, talk.row), failure, most);
        self.woken.push(source);
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let mut woken = std::mem::take(&mut self.woken);
        woken.sort_unstable();
        woken.dedup();
        let horizon = view.window.end.plus(-RECENT.micros());
        let watched = view.settings.thresholds.scan_destinations as usize / 4;
        woken.retain(|source| {
            let tries = self.sources.get_mut(source).expect("who failed is remembered");
            tries.forget_before(horizon);
            tries.failed.len() >= watched
        });
        if !woken.is_empty() {
            self.collect(view, &woken);
        }
        for source in woken {
            self.judge(source, view, out);
        }
        if view.ends(RECENT) {
            self.callers.retain(|_, met| *met > horizon);
            self.sources.retain(|_, tries| tries.failed.values().any(|failure| failure.at > horizon));
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (workload, namespace) = (told.workload(), told.member("namespace"));
        let number = |name: &str| told.details.get(name).and_then(Value::as_u64).unwrap_or_default();
        let examples = told.details.get("examples").and_then(Value::as_array).into_iter().flatten();
        let examples = examples.filter_map(Value::as_str).take(5).collect::<Vec<_>>().join(", ");
        let (denied, silent) = (number("denied"), number("unanswered"));
        Story {
            title: format!("{workload} tries {}, and most refuse", count(number("tried"), "destination")),
            explanation: format!(
                "Within ten minutes {workload} tried {} (workload or network set, and port): {denied} were denied by \
                 policies, {silent} stayed silent, {} answered. Among those that failed: {examples}. It looks like somebody \
                 who searches for open ports; a client whose list of servers is out of date looks the same.",
                count(number("tried"), "distinct destination"),
                number("answered"),
            ),
            remediation: format!(
                "Find out which process of {workload} does it before anything is changed. If it is a scanner that is meant \
                 to be, select it in `scanners`; else isolate its pods by a policy that denies their egress, and keep one \
                 for the investigation."
            ),
            verify: format!("catchment findings list --kind {KIND} --namespace {namespace}"),
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

impl Scan {
    /// What is remembered of a source; `None` where no more can be.
    fn tries(&mut self, source: u64, end: End<'_>) -> Option<&mut Tries> {
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES {
            return None;
        }
        let new = || Tries {
            namespace: end.namespace().unwrap_or_default().to_owned(),
            workload: end.name().to_owned(),
            owner: end.who.owner.as_deref().map(str::to_owned),
            ..Tries::default()
        };
        Some(self.sources.entry(source).or_insert_with(new))
    }

    /// What answered the watched sources in this window.
    fn collect(&mut self, view: &View<'_>, watched: &[u64]) {
        let (now, most) = (view.window.end, most(view));
        for talk in view.talks {
            let [source, dest] = ends(talk);
            let source = hash(source);
            if watched.binary_search(&source).is_ok() && has_reply(talk) {
                let tries = self.sources.get_mut(&source).expect("who is watched is remembered");
                let target = target(hash(dest), talk);
                tries.failed.remove(&target);
                put(&mut tries.answered, target, now, most);
            }
        }
    }

    fn judge(&self, source: u64, view: &View<'_>, out: &mut Sightings) {
        let thresholds = &view.settings.thresholds;
        let (of_source, since) = (&self.sources[&source], view.window.end.plus(-RECENT.micros()));
        let has_called = |peer: u64| self.callers.get(&(source, peer)).is_some_and(|met| *met > since);
        let is_reply = |failure: &Failure| failure.ephemeral && has_called(failure.peer);
        let failed: Vec<_> = of_source.failed.values().filter(|failure| !is_reply(failure)).collect();
        let tried = failed.len() + of_source.answered.len();
        let enough = tried >= thresholds.scan_destinations as usize;
        if !enough || failed.len() * 100 < tried * thresholds.scan_failed_percent as usize {
            return;
        }
        let denied = failed.iter().filter(|failure| failure.denied).count();
        let subject = Subject::default()
            .with("namespace", Some(&of_source.namespace))
            .with("workload", Some(&of_source.workload));
        let sighting = out.holds(Case::new(KIND, subject).owner(of_source.owner.as_deref()));
        let failures = view.flows.iter().filter(|row| is_failure(row) && hash(End::both(row)[0]) == source);
        let failures: Vec<_> = failures.collect();
        for talk in failures.chunk_by(|a, b| a.key.same_conversation(&b.key)) {
            sighting.flows(talk.iter().copied());
        }
        let counted = [("tried", tried), ("denied", denied), ("unanswered", failed.len() - denied)];
        for (name, number) in counted.into_iter().chain([("answered", of_source.answered.len())]) {
            sighting.detail(name, number as u64);
        }
        sighting.detail("examples", examples(source, view));
    }
}

impl Tries {
    fn forget_before(&mut self, horizon: EventTime) {
        self.failed.retain(|_, failure| failure.at > horizon);
        self.answered.retain(|_, at| *at > horizon);
    }
}

fn is_scanner(key: &Facts<'_>) -> bool {
    let scanners = &key.view.settings.scanners;
    !scanners.is_empty() && {
        let labels = selectable(key.source, key.source_labels);
        scanners.iter().any(|scanner| scanner.selector.matches(&labels))
    }
}

/// Destinations that failed in this window.
fn examples(source: u64, view: &View<'_>) -> Value {
    let of_source = view.talks.iter().filter(|talk| hash(ends(talk)[0]) == source);
    let failed = of_source.filter(|talk| !has_reply(talk));
    let named = failed.map(|talk| json!(format!("{}:{}", ends(talk)[1].title(), talk.key.key.dest_port)));
    named.take(EXAMPLES).collect()
}

/// Whether the row was denied or shows no reply.
fn is_failure(row: &FlowRow) -> bool {
    has_packets(row) && (row.key.key.action == Action::Deny as i32 || !facts::has_reply(row))
}

fn ends(talk: &Conversation) -> [End<'_>; 2] {
    let (key, who) = (&talk.key.key, talk.ends());
    [End::new(&key.source, &who.source), End::new(&key.dest, &who.dest)]
}

fn hash(end: End<'_>) -> u64 {
    let namespace = xxh3_64_with_seed(end.namespace().unwrap_or_default().as_bytes(), 0);
    xxh3_64_with_seed(end.name().as_bytes(), namespace)
}

fn target(peer: u64, talk: &Conversation) -> u64 {
    xxh3_64_with_seed(&talk.key.key.dest_port.to_le_bytes(), peer)
}

fn most(view: &View<'_>) -> usize {
    DESTINATIONS.max(2 * view.settings.thresholds.scan_destinations as usize)
}

/// Whether some reporter saw a reply.
fn has_reply(talk: &Conversation) -> bool {
    talk.halves.iter().any(|half| half.exchange().reply_packets > 0)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
