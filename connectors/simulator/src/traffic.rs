//! What nodes report, and when: a sequence of flushes in event time, a function of the seed alone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;

use catchment_core::EventTime;
use catchment_schemas::goldmane::Reporter;

use crate::dice::Dice;
use crate::ring::{EndLabels, KeySlot, Ring, Tally, bucket_of};
use crate::script::{Line, Script};
use crate::world::{Site, Version, World};

const SECOND: i64 = 1_000_000;
/// Nodes flush after 15 s plus up to a tenth, drawn anew each time.
const FLUSH: i64 = 15 * SECOND;
const JITTER: u64 = 1_500_000;
/// The longest time between the start of a report and its flush.
pub(crate) const LONGEST_FLUSH_SECS: i64 = 17;
/// Mean time between two flushes of a node, in seconds.
const MEAN_FLUSH_SECS: f64 = 15.75;
/// A late flush waits at least this long, and at most as long again three times.
const LATE: i64 = 60 * SECOND;
/// A reader that looks at a bucket this long after its end does not see late reports.
const SWEEP: i64 = 60 * SECOND;
/// What a node sends again when it connects anew.
pub(crate) const RESEND: i64 = 300 * SECOND;
/// Edges with fewer packets a second begin few connections, so that each has some packets.
const SELDOM: f64 = 20.0;
/// One flush in so many is followed by a new connection, if that is asked for.
const RECONNECT: u64 = 200;

/// What shapes the traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) nodes: u32,
    pub(crate) flows_per_second: u32,
    pub(crate) late_share: f64,
    pub(crate) resend: bool,
    /// When the collector restarts.
    pub(crate) restart: Option<EventTime>,
    pub(crate) habits: Habits,
}

/// Oddities of a cluster; those of nodes concern the last ones, if there are others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// The last node never reports.
    pub(crate) is_silent: bool,
    /// The last node but one is away now and then.
    pub(crate) restarts: bool,
    /// The clock of the last node but two is ahead.
    pub(crate) is_fast: bool,
    /// TCP flows name no service.
    pub(crate) hides_services: bool,
}

impl Habits {
    /// A node restarts once in this time.
    const RESTART_SECS: i64 = 1200;
    /// So long it is away.
    const AWAY_SECS: i64 = 180;
    /// So far a clock is ahead.
    const AHEAD_SECS: i64 = 9;

    /// Whether `node` of `nodes` never reports.
    pub(crate) const fn is_never_heard(self, node: usize, nodes: usize) -> bool {
        self.is_silent && node > 0 && node + 1 == nodes
    }

    /// Whether `node` of `nodes` says nothing at `secs`.
    const fn is_away(self, node: usize, nodes: usize, secs: i64) -> bool {
        let is_restarting = secs.rem_euclid(Self::RESTART_SECS) >= Self::RESTART_SECS - Self::AWAY_SECS;
        self.is_never_heard(node, nodes) || self.restarts && is_restarting && node > 0 && node + 2 == nodes
    }

    /// How far the clock of `node` of `nodes` is ahead.
    const fn ahead(self, node: usize, nodes: usize) -> i64 {
        if self.is_fast && node > 0 && node + 3 == nodes { Self::AHEAD_SECS } else { 0 }
    }
}

impl Shape {
    /// The cluster that the traffic is of.
    pub(crate) fn world(&self) -> World {
        let sites = (f64::from(self.flows_per_second) * MEAN_FLUSH_SECS).ceil() as usize;
        World::new(self.seed, self.nodes.max(1) as usize, sites, self.habits.hides_services)
    }
}

/// A flow of one node over one flush.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) slot: KeySlot,
    /// Seconds.
    pub(crate) start: i64,
    pub(crate) labels: EndLabels,
    pub(crate) tally: Tally,
}

/// One node's reports, made at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Flush {
    /// When the collector gets it, in microseconds.
    pub(crate) arrival: i64,
    /// Its reports; all have the same start.
    pub(crate) reports: Vec<Report>,
    /// What the node sends again after it, over a new connection, and the collector counts again.
    pub(crate) again: Vec<Report>,
}

impl Flush {
    /// Whether it comes after a reader looked at `bucket`, 60 s after its end.
    pub(crate) fn is_late_for(&self, bucket: i64) -> bool {
        self.arrival > (bucket + crate::ring::BUCKET_SECS) * SECOND + SWEEP
    }
}

#[derive(Debug)]
struct Node {
    flushed: i64,
    next: i64,
    count: u64,
    /// What arrived when in the last five minutes; kept only where nodes send again.
    sent: VecDeque<(i64, Vec<Report>)>,
}

impl Node {
    /// What a new connection sends again at `at`.
    fn sent_by(&self, at: i64) -> Vec<Report> {
        let recent = self.sent.iter().filter(|(arrival, _)| (at - RESEND..=at).contains(arrival));
        recent.flat_map(|(_, reports)| reports.iter().copied()).collect()
    }
}

/// A line of a script, with its place in the collector once that is known.
#[derive(Debug)]
struct Planted {
    line: Line,
    place: Option<(KeySlot, EndLabels)>,
}

/// Makes flushes in the order of event time.
#[derive(Debug)]
pub(crate) struct Traffic {
    shape: Shape,
    world: World,
    nodes: Vec<Node>,
    /// What scenarios let each node report.
    lines: Vec<Vec<Planted>>,
    known: HashMap<(u32, Reporter, Version, usize), (KeySlot, EndLabels)>,
    /// On their way, by arrival.
    delayed: BTreeMap<i64, Vec<Vec<Report>>>,
}

impl Traffic {
    /// A cluster whose nodes begin to count at `start`, in microseconds.
    pub(crate) fn new(shape: Shape, script: Script, start: i64) -> Self {
        let nodes = shape.nodes.max(1) as usize;
        let world = shape.world();
        let nodes = (0..nodes)
            .map(|n| {
                // Nodes did not all start at once: the first flush comes somewhere in the first period.
                let phase = Dice::of(&[shape.seed, 3, n as u64]).below(FLUSH as u64) as i64;
                Node { flushed: start, next: start + SECOND + phase, count: 0, sent: VecDeque::new() }
            })
            .collect();
        let planted = |line| Planted { line, place: None };
        let lines = script.lines.into_iter().map(|lines| lines.into_iter().map(planted).collect()).collect();
        Self { shape, world, nodes, lines, known: HashMap::new(), delayed: BTreeMap::new() }
    }

    /// When a node flushes next.
    pub(crate) fn next_flush(&self) -> i64 {
        self.nodes.iter().map(|n| n.next).min().unwrap_or(i64::MAX)
    }

    /// When something that is on its way arrives next.
    pub(crate) fn next_arrival(&self) -> i64 {
        self.delayed.keys().next().copied().unwrap_or(i64::MAX)
    }

    /// Takes what arrives at [`Traffic::next_arrival`].
    pub(crate) fn arrive(&mut self) -> Vec<Report> {
        self.delayed.pop_first().map_or_else(Vec::new, |(_, reports)| reports.concat())
    }

    /// Makes the flush that is due at [`Traffic::next_flush`]. What arrives later is kept here.
    pub(crate) fn flush(&mut self, ring: &mut Ring) -> Flush {
        let due = self.nodes.iter().enumerate().min_by_key(|(n, node)| (node.next, *n));
        let number = due.map(|(n, _)| n).expect("a cluster has a node");
        let node = &mut self.nodes[number];
        let mut dice = Dice::of(&[self.shape.seed, 4, number as u64, node.count]);
        let (from, at) = (node.flushed, node.next);
        node.count += 1;
        node.flushed = at;
        node.next = at + FLUSH + dice.below(JITTER) as i64;
        let delay = if dice.unit() < self.shape.late_share { LATE + dice.below(3 * LATE as u64) as i64 } else { 0 };
        let (arrival, reports) = (at + delay, self.reports(ring, number, from, at));
        if delay > 0 {
            self.delay(arrival, reports.clone());
        }
        if self.shape.resend || self.shape.restart.is_some() {
            self.remember(number, at, (arrival, reports.clone()));
        }
        let mut again = Vec::new();
        if self.shape.resend && dice.below(RECONNECT) == 0 {
            again = self.nodes[number].sent_by(at);
            self.delay(at + SECOND, again.clone());
        }
        Flush { arrival, reports, again }
    }

    /// The collector restarted: every node connects anew and sends five minutes of flows again.
    pub(crate) fn reconnect(&mut self, at: i64) {
        let again = self.nodes.iter().flat_map(|node| node.sent_by(at)).collect();
        self.delay(at + SECOND, again);
    }

    fn delay(&mut self, arrival: i64, reports: Vec<Report>) {
        self.delayed.entry(arrival).or_default().push(reports);
    }

    fn remember(&mut self, node: usize, at: i64, sent: (i64, Vec<Report>)) {
        let kept = &mut self.nodes[node].sent;
        kept.retain(|(arrival, _)| arrival + RESEND >= at);
        kept.push_back(sent);
    }

    fn reports(&mut self, ring: &mut Ring, node: usize, from: i64, at: i64) -> Vec<Report> {
        let (habits, nodes) = (self.shape.habits, self.nodes.len());
        if habits.is_away(node, nodes, at.div_euclid(SECOND)) {
            return Vec::new();
        }
        let sites = mem::take(&mut self.world.sites[node]);
        let mut reports = Vec::with_capacity(sites.len());
        for &site in &sites {
            self.report(ring, node, site, (from, at), &mut reports);
        }
        self.world.sites[node] = sites;
        if let Some(lines) = self.lines.get_mut(node) {
            report_lines(lines, ring, (from, at), &mut reports);
        }
        for report in &mut reports {
            report.start += habits.ahead(node, nodes);
        }
        reports
    }

    /// One report of a site; two, with full counters each, where its policy was edited meanwhile.
    fn report(&mut self, ring: &mut Ring, node: usize, site: Site, (from, at): (i64, i64), out: &mut Vec<Report>) {
        let start = from.div_euclid(SECOND);
        let tally = self.tally(site, start, (at - from) as f64 / SECOND as f64);
        let version = self.world.version(site, at.div_euclid(SECOND));
        let before = Version { policy: self.world.version(site, start).policy, ..version };
        let (slot, labels) = self.lookup(ring, node, site, version);
        out.push(Report { slot, start, labels, tally });
        if before.policy != version.policy {
            let (old, labels) = self.lookup(ring, node, site, before);
            // Where no rule decides, an edit leaves the trace, and so the key, as it was.
            if old != slot {
                out.push(Report { slot: old, start, labels, tally });
            }
        }
    }

    fn lookup(&mut self, ring: &mut Ring, node: usize, site: Site, version: Version) -> (KeySlot, EndLabels) {
        let world = &self.world;
        *self.known.entry((site.edge, site.reporter, version, node)).or_insert_with(|| {
            let (source, dest) = world.labels(site, version, node);
            let labels = EndLabels { source: ring.intern_labels(source), dest: ring.intern_labels(dest) };
            (ring.intern(world.key(site, version)), labels)
        })
    }

    /// What a site counted in `secs` seconds. Both ends of an edge draw the same numbers within a
    /// bucket, so that what they say differs by their flush times only.
    fn tally(&self, site: Site, start: i64, secs: f64) -> Tally {
        let edge = &self.world.edges[site.edge as usize];
        let mut dice = Dice::of(&[self.shape.seed, 5, u64::from(site.edge), bucket_of(start) as u64]);
        // An open connection without traffic is reported too, with zeros.
        let idle = dice.below(10) == 0;
        let rate = if idle { 0.0 } else { edge.rate * site.share * (0.5 + dice.unit()) };
        let request = (rate * secs).round();
        let reply = if edge.denied.is_some() { 0.0 } else { (request * edge.replies).round() };
        let (packets_in, packets_out) =
            if site.reporter == Reporter::Dst { (request, reply) } else { (reply, request) };
        let turned_away = edge.denied == Some(site.reporter);
        // A share of six is whole at one, two or three nodes, so that both ends come to the same sum.
        let most = if edge.rate < SELDOM { 2 } else { 4 };
        let started = if idle { 0 } else { (6.0 * dice.below(most) as f64 * site.share).round() as i64 };
        Tally {
            packets_in: packets_in as i64,
            packets_out: packets_out as i64,
            bytes_in: (packets_in * edge.packet_bytes) as i64,
            bytes_out: (packets_out * edge.packet_bytes) as i64,
            num_connections_started: started,
            num_connections_completed: if turned_away { 0 } else { dice.below(1 + started as u64) as i64 },
            num_connections_live: started + 1 + dice.below(3) as i64,
        }
    }
}

/// Reports of planted lines; lines of one key that follow each other within a flush are one report.
fn report_lines(lines: &mut [Planted], ring: &mut Ring, (from, at): (i64, i64), out: &mut Vec<Report>) {
    let mut placed: HashMap<KeySlot, usize> = HashMap::new();
    for Planted { line, place } in lines {
        let Some(tally) = line.tally(from, at) else { continue };
        let (slot, labels) = *place.get_or_insert_with(|| {
            let source = ring.intern_labels(mem::take(&mut line.source_labels));
            let dest = ring.intern_labels(mem::take(&mut line.dest_labels));
            (ring.intern(line.key.clone()), EndLabels { source, dest })
        });
        if let Some(&report) = placed.get(&slot) {
            out[report].tally += tally;
        } else {
            placed.insert(slot, out.len());
            out.push(Report { slot, start: from.div_euclid(SECOND), labels, tally });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const START: i64 = 1_767_225_600 * SECOND;
    const HABITS: Habits = Habits { is_silent: false, restarts: false, is_fast: false, hides_services: false };
    const SHAPE: Shape = Shape {
        seed: 3,
        nodes: 2,
        flows_per_second: 40,
        late_share: 0.0,
        resend: false,
        restart: None,
        habits: HABITS,
    };

    fn hour() -> (Ring, Vec<Flush>) {
        let (mut ring, mut traffic) = (Ring::new(START / SECOND), Traffic::new(SHAPE, Script::default(), START));
        let mut flushes = Vec::new();
        while traffic.next_flush() < START + 3600 * SECOND {
            flushes.push(traffic.flush(&mut ring));
        }
        (ring, flushes)
    }

    #[test]
    fn a_report_starts_where_the_nodes_last_one_ended_and_is_sent_in_time() {
        let (_, flushes) = hour();
        assert!(flushes.is_sorted_by_key(|f| f.arrival));
        for flush in flushes {
            let start = flush.reports[0].start;
            let waited = flush.arrival / SECOND - start;
            assert!(flush.reports.iter().all(|r| r.start == start));
            assert!((1..=LONGEST_FLUSH_SECS).contains(&waited), "{waited}");
        }
    }

    #[test]
    fn no_flush_holds_a_key_twice() {
        let (_, flushes) = hour();
        for flush in flushes {
            let mut seen = std::collections::HashSet::new();
            assert!(flush.reports.iter().all(|r| seen.insert(r.slot)));
        }
    }

    #[test]
    fn an_edit_of_a_policy_splits_a_report_into_two_with_full_counters() {
        let (ring, flushes) = hour();
        let mut splits = 0;
        for flush in &flushes {
            let mut without_trace: HashMap<Vec<u8>, Report> = HashMap::new();
            for report in &flush.reports {
                let mut key = (**ring.key(report.slot)).clone();
                key.policies = None;
                if let Some(other) = without_trace.insert(prost::Message::encode_to_vec(&key), *report) {
                    assert_eq!((other.tally, other.labels), (report.tally, report.labels));
                    splits += 1;
                }
            }
        }
        assert!(splits > 0);
    }

    #[test]
    fn both_ends_of_a_conversation_count_alike() {
        let traffic = Traffic::new(SHAPE, Script::default(), START);
        let pods = |s: &&Site| s.reporter == Reporter::Dst && traffic.world.edges[s.edge as usize].denied.is_none();
        let dest = *traffic.world.sites.iter().flatten().find(pods).expect("some site takes requests in");
        let source = Site { reporter: Reporter::Src, ..dest };
        let tallies = (0..20).map(|n| START / SECOND + 15 * n).map(|at| {
            let (sent, taken) = (traffic.tally(source, at, 15.0), traffic.tally(dest, at, 15.0));
            assert_eq!((sent.packets_out, sent.bytes_out), (taken.packets_in, taken.bytes_in));
            sent.packets_out
        });
        assert!(tallies.sum::<i64>() > 0);
    }
}
