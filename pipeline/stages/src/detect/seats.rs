//! The rows of the newest window with what was worked out for each, so that the next window finds them again.
//!
//! Both windows are in canonical order and keys are shared, so most rows are met again next to their place in the window
//! before by the address of their key.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use catchment_core::{
    ClosedWindow, Conversation, Ends, EventTime, FindingKind, FlowRow, Identity, KeyRecord, Labels, Services, Subject,
};

use super::Directory;
use super::facts::{Facts, Signs, has_packets};
use super::pairs::{Pair, Peer, Table, names_of};
use super::remedy::Observed;
use super::rule::{Case, HOURLY, Rule};
use super::sightings::{CaseRef, Sightings};
use super::view::View;

/// A row of flows with the cases its key stands for.
#[derive(Debug)]
struct RowSeat {
    key: Arc<KeyRecord>,
    ends: [Arc<Identity>; 2],
    labels: [Arc<Labels>; 2],
    services: Option<Arc<Services>>,
    cases: Box<[CaseRef]>,
    /// It is of rows that do not tell who talked.
    gives_up_ends: bool,
    /// The start of the window in which rules last met the key.
    met: EventTime,
    /// What it adds to its conversation.
    adds: Added,
}

/// What rows add to their conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Added {
    /// Kinds that rows state where they count something, or that want to hear of them, as bits.
    pub(super) states: u64,
    /// Signs that rows show whatever they count.
    pub(super) signs: Signs,
}

impl Added {
    fn and(self, other: Self) -> Self {
        Self { states: self.states | other.states, signs: self.signs.and(other.signs) }
    }
}

/// A conversation with the rules that listen to it.
#[derive(Debug)]
struct TalkSeat {
    key: Arc<KeyRecord>,
    ends: [Arc<Identity>; 2],
    heard: Heard,
}

/// What was worked out for a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// The numbers of its pair and its peer, if they can be remembered.
    pub(super) numbers: Option<(u32, u32)>,
    /// It comes from a private network or a host.
    pub(super) from_hosts: bool,
    /// Rules that listen to it, as bits.
    pub(super) listeners: u64,
}

/// Where pairs and peers are remembered.
type Memory<'a> = (&'a mut Table<Pair>, &'a mut Table<Peer>);

/// What was worked out for a key of a window.
trait Seat {
    fn key(&self) -> &Arc<KeyRecord>;
}

impl Seat for RowSeat {
    fn key(&self) -> &Arc<KeyRecord> {
        &self.key
    }
}

impl Seat for TalkSeat {
    fn key(&self) -> &Arc<KeyRecord> {
        &self.key
    }
}

/// Seats of the window before, the first `left`, and behind them those of the newest one: each that is taken again goes
/// from the front to the back, so that a window needs no room of its own.
#[derive(Debug)]
struct Turn<S> {
    seats: VecDeque<S>,
    left: usize,
}

impl<S> Default for Turn<S> {
    fn default() -> Self {
        Self { seats: VecDeque::new(), left: 0 }
    }
}

impl<S: Seat> Turn<S> {
    /// The newest window becomes the one before.
    fn begin(&mut self) {
        self.seats.drain(..self.left);
        self.left = self.seats.len();
    }

    /// The seat that the window before had for the key; keys are asked for in canonical order.
    fn take(&mut self, key: &Arc<KeyRecord>) -> Option<S> {
        while self.left > 0 {
            let first = self.seats[0].key();
            let is_same = Arc::ptr_eq(first, key);
            if !is_same && first.canonical >= key.canonical {
                return None;
            }
            self.left -= 1;
            let seat = self.seats.pop_front();
            if is_same {
                return seat;
            }
        }
        None
    }

    fn put(&mut self, seat: S) {
        self.seats.push_back(seat);
    }

    /// The seat at a place of the newest window.
    fn newest(&self, place: usize) -> &S {
        &self.seats[self.left + place]
    }

    /// The seats of the newest window from a place on.
    fn newest_from(&self, place: usize) -> impl Iterator<Item = &S> {
        self.seats.range(self.left + place..)
    }
}

/// The seats of the newest window.
#[derive(Default)]
pub(super) struct Seats {
    rows: Turn<RowSeat>,
    talks: Turn<TalkSeat>,
}

impl Seats {
    /// Seats the rows of a window, counts those that stand for a case, and has rules meet keys.
    pub(super) fn take(
        &mut self,
        window: &ClosedWindow,
        view: &View<'_>,
        (rules, directory): (&mut [Box<dyn Rule>], &Directory),
        sightings: &mut Sightings,
        observed: &mut Observed,
    ) {
        let (now, newest) = (window.span.start, directory.newest_period(view));
        self.rows.begin();
        self.talks.begin();
        for row in &window.flows {
            let before = self.rows.take(&row.key).filter(|seat| seat.is_of(row));
            let mut seat = before.unwrap_or_else(|| seat(row, view, rules, sightings));
            if has_packets(row) {
                // Nodes report from their last flush on: with the rules of an edit that this window does not know yet.
                let shown = seat.cases.iter().filter(|case| !(row.trace_split && case.by_rules));
                shown.for_each(|case| sightings.row(*case, row));
                if seat.met < newest {
                    let facts = Facts::new(row, view);
                    directory.meet(rules, &facts, seat.met);
                    if seat.met < view.start_of(HOURLY) {
                        observed.meet(&facts, seat.adds.states, broad(&seat, sightings));
                    }
                    seat.met = now;
                }
            }
            self.rows.put(seat);
        }
    }

    /// The places of the rows of a conversation, whose first has its key and is not before `from`, and what they add to it:
    /// up to the `next` one's, without rows that give up who talked, which belong to none.
    pub(super) fn rows_of(
        &self,
        from: usize,
        key: &Arc<KeyRecord>,
        next: Option<&Arc<KeyRecord>>,
    ) -> (Range<usize>, Added) {
        let mut seats = self.rows.newest_from(from);
        let before = seats.by_ref().take_while(|seat| !Arc::ptr_eq(&seat.key, key)).count();
        let first = from + before;
        let is_next = |seat: &RowSeat| next.is_some_and(|next| Arc::ptr_eq(&seat.key, next));
        let others = seats.take_while(|seat| !is_next(seat) && !seat.gives_up_ends);
        others.fold((first..first + 1, self.rows.newest(first).adds), |(rows, added), seat| {
            (rows.start..rows.end + 1, added.and(seat.adds))
        })
    }

    /// What was worked out for the next conversation of the window.
    pub(super) fn talk(
        &mut self,
        row: &Conversation,
        first: &FlowRow,
        view: &View<'_>,
        rules: &[Box<dyn Rule>],
        memory: Memory<'_>,
    ) -> Heard {
        // Where there was no room to remember a pair, there may be some by now.
        let may_stay = |seat: &TalkSeat| seat.heard.numbers.is_some() && same_ends(&seat.ends, row.ends());
        let before = self.talks.take(&row.key).filter(may_stay);
        let seat = before.unwrap_or_else(|| listen(row, first, view, rules, memory));
        let heard = seat.heard;
        self.talks.put(seat);
        heard
    }

    /// Numbers of subjects that seats hold.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.rows.newest_from(0).flat_map(|seat| seat.cases.iter().map(|case| case.slot))
    }
}

impl RowSeat {
    /// Whether all is as it was that cases were worked out of.
    fn is_of(&self, row: &FlowRow) -> bool {
        let [source, dest] = &self.labels;
        let same_labels = Arc::ptr_eq(source, &row.source_labels) && Arc::ptr_eq(dest, &row.dest_labels);
        let same_services = self.services.as_ref().map(Arc::as_ptr) == row.services.as_ref().map(Arc::as_ptr);
        same_labels && same_services && same_ends(&self.ends, row.ends())
    }
}

/// The rule that is too wide, if the rows of a seat show one.
fn broad<'a>(seat: &RowSeat, sightings: &'a Sightings) -> Option<&'a Subject> {
    let mut slots = seat.cases.iter().map(|case| sightings.slot(case.slot));
    slots.find(|slot| slot.kind == FindingKind::BroadAllow).map(|slot| &slot.subject)
}

fn same_ends([source, dest]: &[Arc<Identity>; 2], ends: &Ends) -> bool {
    Arc::ptr_eq(source, &ends.source) && Arc::ptr_eq(dest, &ends.dest)
}

fn ends(ends: &Ends) -> [Arc<Identity>; 2] {
    [ends.source.clone(), ends.dest.clone()]
}

fn seat(row: &FlowRow, view: &View<'_>, rules: &[Box<dyn Rule>], sightings: &mut Sightings) -> RowSeat {
    let facts = Facts::new(row, view);
    let mut states = 0;
    let cases = rules.iter().filter_map(|rule| rule.case(&facts)).filter_map(|case| {
        let Case { kind, holds, by_rules, severity, confidence, only_wakes, .. } = case;
        states |= u64::from(holds) << kind as u8;
        (!only_wakes).then(|| CaseRef { slot: sightings.number(case), holds, by_rules, severity, confidence })
    });
    let cases = cases.collect();
    let labels = [row.source_labels.clone(), row.dest_labels.clone()];
    let services = row.services.clone();
    let adds = Added { states, signs: Signs::of_row(row) };
    let (gives_up_ends, met) = (row.key.is_overflow(), EventTime::MIN);
    RowSeat { key: row.key.clone(), ends: ends(row.ends()), labels, services, cases, gives_up_ends, met, adds }
}

fn listen(
    row: &Conversation,
    first: &FlowRow,
    view: &View<'_>,
    rules: &[Box<dyn Rule>],
    (pairs, peers): Memory<'_>,
) -> TalkSeat {
    let facts = Facts::of_talk(row, first, view);
    let listeners =
        rules.iter().enumerate().fold(0, |set, (number, rule)| set | u64::from(rule.listens(&facts)) << number);
    let [pair, peer] = names_of(facts.source, facts.dest, &row.key);
    let (now, most) = (view.window.start, view.settings.max_pairs);
    let numbers = pairs.number(pair, now, most).and_then(|pair| Some((pair, peers.number(peer, now, most)?)));
    // Neither reports itself.
    let from_hosts = facts.source.is_private_network() || facts.source.is_host();
    TalkSeat { key: row.key.clone(), ends: ends(row.ends()), heard: Heard { numbers, from_hosts, listeners } }
}
