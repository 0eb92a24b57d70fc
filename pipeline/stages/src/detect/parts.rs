//! What findings about many pairs consist of: each is there because of some pairs, and is over with the last of them.

use std::collections::BTreeMap;

use catchment_core::{Counters, EventTime, FindingKind, Period, Subject};
use catchment_schemas::goldmane::Reporter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::facts::{Talk, has_packets};

/// Findings that are kept, and parts of each; what comes beyond is counted in its finding all the same.
const MOST: usize = 4096;
const MOST_PARTS: usize = 1000;
/// Parts that a story names.
const NAMED: usize = 20;
/// How long a part is remembered that no window shows.
const REMEMBERED: Period = Period::secs(24 * 3600);

/// A pair as one reporter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PartKey {
    pair: u128,
    reporter: i32,
}

impl PartKey {
    pub(crate) const fn of(talk: &Talk<'_>, reporter: Reporter) -> Self {
        Self { pair: talk.pair.name(), reporter: reporter as i32 }
    }
}

/// What one pair adds to a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The pair for people.
    pub(crate) title: String,
    /// Why it is a part: the step of a trace, as a rule.
    pub(crate) why: String,
    connections: u64,
    packets: u64,
    bytes: u64,
    last_seen: EventTime,
}

impl Part {
    fn count(&mut self, counters: &Counters) {
        self.connections = self.connections.saturating_add(counters.started);
        self.packets = self.packets.saturating_add(counters.packets());
        self.bytes = self.bytes.saturating_add(counters.bytes());
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({"pair": self.title, "by": self.why, "connections": self.connections, "packets": self.packets,
            "bytes": self.bytes, "last_seen": self.last_seen.to_rfc3339()})
    }
}

/// Parts by the findings they belong to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Parts(BTreeMap<(FindingKind, Subject), BTreeMap<PartKey, Part>>);

impl Parts {
    /// A window shows a part. `title` and `why` are asked when it is new.
    pub(crate) fn show(
        &mut self,
        of: (FindingKind, &Subject),
        key: PartKey,
        counters: &Counters,
        now: EventTime,
        tell: impl FnOnce() -> (String, String),
    ) {
        let whole = (of.0, of.1.clone());
        if self.0.len() >= MOST && !self.0.contains_key(&whole) {
            return;
        }
        let parts = self.0.entry(whole).or_default();
        if parts.len() >= MOST_PARTS && !parts.contains_key(&key) {
            return;
        }
        let part = parts.entry(key).or_insert_with(|| {
            let (title, why) = tell();
            Part { title, why, connections: 0, packets: 0, bytes: 0, last_seen: now }
        });
        part.count(counters);
        part.last_seen = now;
    }

    /// A window shows that a part is none any more, but of `still`; returns what has lost its last part by that.
    pub(crate) fn refute(&mut self, key: PartKey, still: &[(FindingKind, Subject)]) -> Vec<(FindingKind, Subject)> {
        let mut over = Vec::new();
        self.0.retain(|whole, parts| {
            let is_last = !still.contains(whole) && parts.remove(&key).is_some() && parts.is_empty();
            if is_last {
                over.push(whole.clone());
            }
            !is_last
        });
        over
    }

    /// Forgets what no window has shown for a day.
    pub(crate) fn age(&mut self, now: EventTime) {
        let horizon = now.plus(-REMEMBERED.micros());
        self.0.retain(|_, parts| {
            parts.retain(|_, part| part.last_seen >= horizon);
            !parts.is_empty()
        });
    }

    /// The parts of a finding, those that carried most first.
    pub(crate) fn of(&self, kind: FindingKind, subject: &Subject) -> Vec<&Part> {
        let parts = self.0.get(&(kind, subject.clone()));
        let mut parts: Vec<_> = parts.into_iter().flat_map(BTreeMap::values).collect();
        parts.sort_by_key(|part| std::cmp::Reverse((part.connections, part.packets)));
        parts
    }

    pub(crate) fn save(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain values serialize")
    }

    pub(crate) fn restored(saved: &[u8]) -> Result<Self, String> {
        postcard::from_bytes(saved).map_err(|e| e.to_string())
    }
}

/// The first of the parts as evidence.
pub(crate) fn listed(parts: &[&Part]) -> Value {
    parts.iter().take(NAMED).map(|part| part.to_json()).collect()
}

/// The first of the parts in a line.
pub(crate) fn named(parts: &[&Part]) -> String {
    const IN_A_LINE: usize = 3;
    let first: Vec<_> = parts.iter().take(IN_A_LINE).map(|part| part.title.as_str()).collect();
    let rest = parts.len().saturating_sub(IN_A_LINE);
    let and = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{and}", first.join(", "))
}

/// Whether a row shows what is so now: something moved, and no other trace claims the same packets.
pub(crate) fn is_plain(row: &catchment_core::FlowRow) -> bool {
    has_packets(row) && !row.trace_split
}
