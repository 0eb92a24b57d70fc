//! Findings: what closed windows show of trouble.
//!
//! A [`Detector`] sees the epochs of one stream in order and adds what has become of findings. It is a function of the
//! log: it looks at no clock, and what it remembers from window to window can be saved and taken back at any epoch
//! without a difference in what comes later.
//!
//! ```text
//! window ── rows of flows ───> cases, kept per key ─┐
//!        ── conversations ───> rules that wake up ──┼─> sightings, per subject ─> lifecycle ─> rows of findings
//!        ── end of window ───> rules that add up ───┘
//! ```
//!
//! A rule is one file in `rules/`, which says what it sees and how it is told. Nearly all rows of a window are ordinary
//! and were there the window before, so what a rule says of a key is kept with the key, and a conversation wakes only
//! rules that its signs concern.

mod bounded;
mod config;
pub mod coverage;
mod facts;
mod impact;
mod known;
mod late;
mod lifecycle;
mod memory;
#[cfg(test)]
mod objects;
mod pace;
mod pairs;
mod parts;
mod preview;
pub(crate) mod ranges;
mod related;
mod remedy;
mod rule;
mod rules;
mod seats;
mod sightings;
mod story;
#[cfg(test)]
mod testing;
mod view;

use std::sync::Arc;

use catchment_core::{ClosedWindow, Epoch, EventTime, FindingKind, FindingRow, Period, Span};
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterState;
use crate::enrich::Timeline;

pub use config::{
    Boundary, Environments, ExpectedAccounts, ForbiddenEdge, IsolatedNamespace, LabelRule, MuteRule, NamePattern,
    Runbooks, Settings, Thresholds,
};
use facts::{Facts, Signs, Talk, has_packets};
use lifecycle::Close;
pub use memory::MemoryError;
use pairs::{Pair, Peer, Table};
use remedy::Observed;
use rule::{HOURLY, Rule, Told};
use seats::Seats;
use sightings::Sightings;
pub use story::{bytes, count};
use view::View;

/// Windows between two looks for what can be forgotten.
const FORGET_EVERY: u64 = 10;

/// Which rule states which kind, and which rules a sign wakes.
struct Directory {
    /// By kind, the number of the rule.
    rule_of: [Option<u8>; FindingKind::ALL.len()],
    /// Kinds, as bits, whose rules want to refute what they stated.
    refuted: u64,
    /// By the lower and the upper half of the signs that show, the rules that they wake, as bits.
    woken: [[u64; 256]; 2],
    /// Rules that meet keys, and how often.
    meeting: Vec<(usize, Period)>,
}

impl Directory {
    fn of(rules: &[Box<dyn Rule>]) -> Self {
        let rule_of = [None; FindingKind::ALL.len()];
        let mut directory = Self { rule_of, refuted: 0, woken: [[0; 256]; 2], meeting: Vec::new() };
        for (number, rule) in rules.iter().enumerate() {
            directory.meeting.extend(rule.meets_every().map(|period| (number, period)));
            for kind in rule.kinds() {
                directory.rule_of[*kind as usize] = Some(number as u8);
                directory.refuted |= u64::from(rule.refutes()) << *kind as u8;
            }
            let wakes = rule.wakes().halves();
            for (half, wakes) in directory.woken.iter_mut().zip(wakes) {
                for (shown, woken) in (0u8..=255).zip(half) {
                    *woken |= u64::from(shown & wakes != 0) << number;
                }
            }
        }
        directory
    }

    /// Rules that these signs wake, as bits.
    fn woken(&self, signs: Signs) -> u64 {
        let [lower, upper] = signs.halves();
        self.woken[0][usize::from(lower)] | self.woken[1][usize::from(upper)]
    }

    /// The start of the newest period of any rule that meets keys.
    fn newest_period(&self, view: &View<'_>) -> EventTime {
        let starts = self.meeting.iter().map(|(_, period)| view.start_of(*period));
        starts.fold(view.start_of(HOURLY), EventTime::max)
    }

    /// Has the rules meet a key in whose periods it was not met yet; it was last met in the window that starts at `before`.
    fn meet(&self, rules: &mut [Box<dyn Rule>], key: &Facts<'_>, before: EventTime) {
        for (rule, _) in self.meeting.iter().filter(|(_, period)| before < key.view.start_of(*period)) {
            rules[*rule].meet(key);
        }
    }

    /// Rules that want to refute what was stated of these kinds, as bits.
    fn refuting(&self, kinds: u64) -> u64 {
        bits(kinds & self.refuted).filter_map(|kind| self.rule_of[kind]).fold(0, |rules, rule| rules | 1 << rule)
    }
}

/// The places of the bits that are set, the lowest first.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = set.trailing_zeros();
        set &= set.checked_sub(1)?;
        Some(lowest as usize)
    })
}

/// How much a detector remembers, and what it could not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Findings that are open.
    pub open: usize,
    /// Subjects that are looked at.
    pub subjects: usize,
    /// Pairs that are remembered.
    pub pairs: usize,
    /// Findings that did not open because too many were.
    pub refused: u64,
    /// Conversations, each in each window, that were not looked at because too many pairs are remembered.
    pub unheard: u64,
}

/// Looks for trouble in the windows of one stream, in the order they close.
pub struct Detector {
    settings: Arc<Settings>,
    rules: Vec<Box<dyn Rule>>,
    directory: Directory,
    state: Option<ClusterState>,
    so_far: SoFar,
    seats: Seats,
    sightings: Sightings,
    observed: Observed,
    pairs: Table<Pair>,
    peers: Table<Peer>,
    open: usize,
}

/// How far a detector is, and what it could not do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SoFar {
    /// From the start of the first window to the end of the newest.
    seen: Option<Span>,
    windows: u64,
    /// What the seats were judged by.
    judged_by: EventTime,
    /// Findings that did not open because too many were.
    refused: u64,
    /// Conversations of pairs that could not be remembered.
    unheard: u64,
    /// The end of the newest whole window.
    watched: EventTime,
}

impl Default for SoFar {
    fn default() -> Self {
        let never = EventTime::MIN;
        Self { seen: None, windows: 0, judged_by: never, refused: 0, unheard: 0, watched: never }
    }
}

impl Detector {
    /// Remembers nothing yet. `timeline` is what rows are enriched with, if they are.
    pub fn new(settings: Arc<Settings>, cluster: &str, timeline: Option<Timeline>) -> Self {
        let rules = rules::all(&settings);
        Self {
            directory: Directory::of(&rules),
            state: timeline.map(ClusterState::new),
            settings,
            rules,
            so_far: SoFar::default(),
            seats: Seats::default(),
            sightings: Sightings::new(cluster.into()),
            observed: Observed::default(),
            pairs: Table::default(),
            peers: Table::default(),
            open: 0,
        }
    }

    /// Looks at the window of an epoch, if it has one, and adds what has become of findings.
    pub fn observe(&mut self, epoch: &mut Epoch) {
        let Some(window) = &epoch.window else {
            let now = self.so_far.seen.map_or(EventTime::MIN, |seen| seen.end);
            return self.amend(&epoch.late, now);
        };
        self.amend(&epoch.late, window.span.start);
        let settings = self.settings.clone();
        let since = self.so_far.seen.map_or(window.span.start, |seen| seen.start);
        self.so_far.seen = Some(Span::new(since, window.span.end));
        // Who stands nowhere was not looked up, and so the cluster is not known for this window either.
        let mut state = self.state.take_if(|_| window.identity.is_some());
        if let Some(state) = &mut state {
            state.advance(window.span.end);
        }
        let mut view = View::new(window, &settings, state.as_ref());
        self.judge_anew(&mut view);
        self.sightings.begin(window.span.end);
        let (rules, directory) = (&mut self.rules, &self.directory);
        self.seats.take(window, &view, (rules, directory), &mut self.sightings, &mut self.observed);
        for late in epoch.late.iter().filter(|late| has_packets(&late.flow)) {
            directory.meet(rules, &Facts::new(&late.flow, &view), EventTime::MIN);
        }
        self.hear(window, &view);
        for rule in &mut self.rules {
            rule.close(&view, &mut self.sightings);
        }
        // What is stated here is stated of no pair.
        self.sightings.take_stated();
        let rules = (&self.rules, &self.directory);
        let tell = |told: &Told<'_>| {
            let rule = rules.1.rule_of[told.kind as usize].expect("only kinds of rules are stated");
            rules.0[usize::from(rule)].story(told)
        };
        let mut close = Close::new(&view, &tell, &self.observed, (self.open, self.so_far.watched));
        close.run(&mut self.sightings);
        let (open, changes) = (close.open, close.out);
        self.open = open;
        self.so_far.refused += changes.refused;
        if view.is_whole() {
            self.so_far.watched = view.window.end;
        }
        (epoch.findings, epoch.forgotten) = (changes.rows, changes.forgotten);
        self.forget(view.window.end);
        self.state = state.or(self.state.take());
    }

    /// What was worked out for keys and conversations holds as long as the policies and services of the cluster do.
    fn judge_anew(&mut self, view: &mut View<'_>) {
        let ruled = view.state.map_or(EventTime::MIN, ClusterState::ruled);
        if ruled != self.so_far.judged_by {
            self.so_far.judged_by = ruled;
            self.seats = Seats::default();
            view.judged_anew = true;
        }
    }

    /// Goes through the conversations of a window.
    fn hear(&mut self, window: &ClosedWindow, view: &View<'_>) {
        let mut at = 0;
        let talks = &window.conversations;
        for (place, row) in talks.iter().enumerate() {
            let (rows, added) = self.seats.rows_of(at, &row.key, talks.get(place + 1).map(|next| &next.key));
            at = rows.end;
            let flows = &window.flows[rows];
            let seat = self.seats.talk(row, &flows[0], view, &self.rules, (&mut self.pairs, &mut self.peers));
            let Some((number, peer)) = seat.numbers else {
                self.so_far.unheard += 1;
                continue;
            };
            let signs = Signs::of(row, added.signs);
            let pair = self.pairs.get(number);
            let due =
                seat.listeners & self.directory.woken(signs) | self.directory.refuting(pair.stated() | added.states);
            for rule in bits(due) {
                let talk = Talk { view, row, flows, signs, cases: added.states, pair, peer: self.peers.get(peer) };
                self.rules[rule].talk(&talk, &mut self.sightings);
            }
            let stated = added.states | self.sightings.take_stated();
            let pair = self.pairs.get_mut(number);
            pair.state(stated);
            pair.learn(row, signs, view);
            self.peers.get_mut(peer).learn(signs, window.span.end, seat.from_hosts);
        }
    }

    fn forget(&mut self, now: EventTime) {
        self.so_far.windows += 1;
        if self.so_far.windows.is_multiple_of(FORGET_EVERY) {
            self.pairs.age(now);
            self.peers.age(now);
            if self.observed.age(now, &self.sightings.open(FindingKind::Scan)) {
                self.seats = Seats::default();
            }
            self.sightings.forget_unused(self.seats.slots());
        }
    }

    /// The newest rows of the findings that are not forgotten, in the order of their ids.
    pub fn findings(&self) -> Vec<&FindingRow> {
        let findings = self.sightings.slots.iter().flatten().filter_map(|slot| slot.finding.as_ref());
        let mut rows: Vec<_> = findings.filter(|finding| finding.is_published()).map(|finding| &finding.row).collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows
    }

    /// What its memory reaches over: from the start of the first window it looked at to the end of the newest.
    pub const fn seen(&self) -> Option<Span> {
        self.so_far.seen
    }

    /// How much it remembers.
    pub fn effort(&self) -> Effort {
        Effort {
            open: self.open,
            subjects: self.sightings.len(),
            pairs: self.pairs.len(),
            refused: self.so_far.refused,
            unheard: self.so_far.unheard,
        }
    }

    /// By kind, in how many cases windows could not show whether it holds.
    pub fn not_evaluable(&self) -> impl Iterator<Item = (FindingKind, u64)> {
        FindingKind::ALL.iter().copied().zip(self.sightings.not_evaluable)
    }
}
