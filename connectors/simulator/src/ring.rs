//! What the collector remembers: one hour of 15 s buckets, one window of counters per key and bucket.
//!
//! A plain struct that never reads a clock; time moves by [`Ring::advance_to`].

use std::collections::{HashMap, VecDeque};
use std::ops::AddAssign;
use std::sync::Arc;

use catchment_schemas::goldmane::{Flow, FlowKey};
use prost::Message;

use crate::labels::{LabelTable, LabelsId, intersection};

/// Width of a bucket in seconds.
pub const BUCKET_SECS: i64 = 15;
/// 240 buckets of history, the one that fills, and one ahead for nodes with a fast clock.
const BUCKETS: i64 = 242;
/// How long a pushed flow is remembered to recognise it when it comes again.
const DEDUP_SECS: i64 = 300;

/// The start of the bucket that holds `secs`.
pub const fn bucket_of(secs: i64) -> i64 {
    secs - secs.rem_euclid(BUCKET_SECS)
}

/// The seven counters of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named and defined by the wire")]
pub struct Tally {
    pub packets_in: i64,
    pub packets_out: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub num_connections_started: i64,
    pub num_connections_completed: i64,
    pub num_connections_live: i64,
}

impl Tally {
    /// The counters of a flow on the wire.
    pub const fn of(flow: &Flow) -> Self {
        Self {
            packets_in: flow.packets_in,
            packets_out: flow.packets_out,
            bytes_in: flow.bytes_in,
            bytes_out: flow.bytes_out,
            num_connections_started: flow.num_connections_started,
            num_connections_completed: flow.num_connections_completed,
            num_connections_live: flow.num_connections_live,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.num_connections_started += other.num_connections_started;
        self.num_connections_completed += other.num_connections_completed;
        self.num_connections_live += other.num_connections_live;
    }
}

/// The dense number of a key in a [`Ring`]; it stays the same for the ring's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySlot(pub(crate) u32);

/// The labels of both ends of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndLabels {
    /// Labels of the source.
    pub source: LabelsId,
    /// Labels of the destination.
    pub dest: LabelsId,
}

#[derive(Clone, Debug)]
struct Window {
    start: i64,
    labels: EndLabels,
    tally: Tally,
}

/// A key and its windows, oldest first.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) key: Arc<FlowKey>,
    /// The key as it is sent.
    pub(crate) encoded: Arc<[u8]>,
    /// Given anew when a key comes back after its last window was forgotten.
    pub(crate) id: i64,
    windows: VecDeque<Window>,
}

impl Held {
    /// What is known of the bucket that starts at `start`.
    pub(crate) fn at(&self, start: i64) -> Option<(EndLabels, Tally)> {
        let at = self.windows.partition_point(|w| w.start < start);
        self.windows.get(at).filter(|w| w.start == start).map(|w| (w.labels, w.tally))
    }

    /// Whether a window starts within `[start, end)`.
    pub(crate) fn starts_within(&self, start: i64, end: i64) -> bool {
        let first = self.windows.partition_point(|w| w.start < start);
        self.windows.get(first).is_some_and(|w| w.start < end)
    }
}

/// The collector's memory. Keys are never given back: the simulated cluster knows a finite number.
#[derive(Debug)]
pub struct Ring {
    /// Start of the newest bucket, the one in the future.
    head: i64,
    held: Vec<Held>,
    /// By encoded key: one encoding per key, and cheaper to compare than the message.
    slots: HashMap<Arc<[u8]>, KeySlot>,
    labels: LabelTable,
    last_id: i64,
    pushed: HashMap<(KeySlot, i64, i64, String), i64>,
}

impl Ring {
    /// An empty ring, as a server has after every start.
    pub fn new(now: i64) -> Self {
        Self {
            head: bucket_of(now) + BUCKET_SECS,
            held: Vec::new(),
            slots: HashMap::new(),
            labels: LabelTable::default(),
            last_id: 0,
            pushed: HashMap::new(),
        }
    }

    /// Forgets every flow, as a restart does. Slots stay: they are our names for keys, not its own.
    pub fn forget(&mut self) {
        self.held.iter_mut().for_each(|held| held.windows.clear());
        self.pushed.clear();
        self.last_id = 0;
    }

    /// Start of the oldest bucket.
    pub const fn beginning(&self) -> i64 {
        self.head - (BUCKETS - 1) * BUCKET_SECS
    }

    /// First second after the newest bucket.
    pub const fn end(&self) -> i64 {
        self.head + BUCKET_SECS
    }

    /// Keys with at least one window.
    pub fn keys(&self) -> usize {
        self.held.iter().filter(|h| !h.windows.is_empty()).count()
    }

    /// Moves the head to the bucket after the one that holds `now`, and forgets what falls out.
    pub fn advance_to(&mut self, now: i64) {
        let head = bucket_of(now) + BUCKET_SECS;
        if head <= self.head {
            return;
        }
        self.head = head;
        let beginning = self.beginning();
        for held in &mut self.held {
            while held.windows.front().is_some_and(|w| w.start < beginning) {
                held.windows.pop_front();
            }
        }
        self.pushed.retain(|_, at| *at + DEDUP_SECS > now);
    }

    /// The slot of a key, a new one if it was never seen.
    pub fn intern(&mut self, key: FlowKey) -> KeySlot {
        let (held, encoded): (_, Arc<[u8]>) = (&mut self.held, key.encode_to_vec().into());
        *self.slots.entry(Arc::clone(&encoded)).or_insert_with(|| {
            held.push(Held { key: Arc::new(key), encoded, id: 0, windows: VecDeque::new() });
            KeySlot(held.len() as u32 - 1)
        })
    }

    /// The key of a slot.
    pub fn key(&self, slot: KeySlot) -> &Arc<FlowKey> {
        &self.held[slot.0 as usize].key
    }

    /// How many slots were given.
    pub(crate) fn slots(&self) -> u32 {
        self.held.len() as u32
    }

    pub(crate) fn of(&self, slot: KeySlot) -> &Held {
        &self.held[slot.0 as usize]
    }

    pub(crate) fn labels_of(&self, id: LabelsId) -> &[String] {
        self.labels.get(id)
    }

    /// The number of a label list.
    pub fn intern_labels(&mut self, labels: Vec<String>) -> LabelsId {
        self.labels.intern(labels)
    }

    /// Adds counters to the bucket that holds `start`; `false` if the ring has no such bucket.
    pub fn add(&mut self, slot: KeySlot, start: i64, labels: EndLabels, tally: Tally) -> bool {
        if start < self.beginning() || start >= self.end() {
            return false;
        }
        let start = bucket_of(start);
        let held = &mut self.held[slot.0 as usize];
        if held.windows.is_empty() {
            self.last_id += 1;
            held.id = self.last_id;
        }
        let at = held.windows.partition_point(|w| w.start < start);
        match held.windows.get_mut(at).filter(|w| w.start == start) {
            Some(window) => {
                window.tally += tally;
                window.labels.source = self.labels.merge(window.labels.source, labels.source);
                window.labels.dest = self.labels.merge(window.labels.dest, labels.dest);
            }
            None => held.windows.insert(at, Window { start, labels, tally }),
        }
        true
    }

    /// Takes a flow that was pushed over a connection from `peer`; `false` if it was dropped.
    ///
    /// The same key, start and end from the same peer is a repetition, whatever its counters say. A
    /// new connection has a new peer, so what is sent again over it counts twice.
    pub fn receive(&mut self, flow: Flow, peer: &str, now: i64) -> bool {
        let tally = Tally::of(&flow);
        let slot = self.intern(flow.key.unwrap_or_default());
        let identity = (slot, flow.start_time, flow.end_time, peer.to_owned());
        if self.pushed.insert(identity, now).is_some() {
            return false;
        }
        let labels =
            EndLabels { source: self.labels.intern(flow.source_labels), dest: self.labels.intern(flow.dest_labels) };
        self.add(slot, flow.start_time, labels, tally)
    }

    /// Everything held, in slot order.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    /// One flow over all windows that lie within `[start, end)` as a whole.
    ///
    /// Without any such window the row has neither times nor counters: the collector answers that
    /// way for keys whose only data is in the bucket that `end` cuts.
    pub(crate) fn aggregate(&self, held: &Held, start: i64, end: i64) -> Flow {
        let whole = held.windows.iter().filter(|w| w.start >= start && w.start + BUCKET_SECS <= end);
        let mut flow = Flow { key: Some((*held.key).clone()), ..Flow::default() };
        let mut tally = Tally::default();
        for window in whole {
            tally += window.tally;
            merge_or_replace(&mut flow.source_labels, self.labels.get(window.labels.source));
            merge_or_replace(&mut flow.dest_labels, self.labels.get(window.labels.dest));
            if flow.start_time == 0 {
                flow.start_time = window.start;
            }
            flow.end_time = window.start + BUCKET_SECS;
        }
        with_tally(flow, tally)
    }
}

/// The collector takes an empty running list for "nothing yet", so what shares nothing starts over.
fn merge_or_replace(running: &mut Vec<String>, next: &[String]) {
    if running.is_empty() {
        *running = next.to_vec();
    } else if running != next {
        *running = intersection(running, next);
    }
}

fn with_tally(flow: Flow, tally: Tally) -> Flow {
    Flow {
        packets_in: tally.packets_in,
        packets_out: tally.packets_out,
        bytes_in: tally.bytes_in,
        bytes_out: tally.bytes_out,
        num_connections_started: tally.num_connections_started,
        num_connections_completed: tally.num_connections_completed,
        num_connections_live: tally.num_connections_live,
        ..flow
    }
}
