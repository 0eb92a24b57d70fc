//! The rows of the newest window with what was worked out for each, so that the next window finds them again.
//!
//! Both windows are in canonical order and keys are shared, so most rows are met again next to their place in the window
//! before by the address of their key.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use catchment_core::{
    ClosedWindow, Conversation, Ends, FindingKind, FlowRow, Identity, KeyRecord, Labels, Services, Subject,
};

use super::facts::{Facts, has_packets};
use super::pairs::{Pair, Peer, Table, names_of};
use super::remedy::Observed;
use super::rule::{Case, Rule};
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
    /// Whether rules have met the key.
    met: bool,
    /// Kinds that its rows state where they count something, or that want to hear of them, as bits.
    states: u64,
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

/// The seats of the newest window.
#[derive(Default)]
pub(super) struct Seats {
    rows: Vec<RowSeat>,
    talks: Vec<TalkSeat>,
    before: Option<Peekable<IntoIter<TalkSeat>>>,
}

impl Seats {
    /// Seats the rows of a window, and counts those that stand for a case. In a `survey` rules meet every key.
    pub(super) fn take(
        &mut self,
        window: &ClosedWindow,
        view: &View<'_>,
        rules: &mut [Box<dyn Rule>],
        sightings: &mut Sightings,
        observed: &mut Observed,
        survey: bool,
    ) {
        let before = std::mem::take(&mut self.rows);
        let mut before = before.into_iter().peekable();
        self.rows.reserve(window.flows.len());
        for row in &window.flows {
            let mut seat = met_again(&mut before, row).unwrap_or_else(|| seat(row, view, rules, sightings));
            if has_packets(row) {
                // Nodes report from their last flush on: with the rules of an edit that this window does not know yet.
                let shown = seat.cases.iter().filter(|case| !(row.trace_split && case.by_rules));
                shown.for_each(|case| sightings.row(*case, row));
                if survey || !seat.met {
                    let facts = Facts::new(row, view);
                    for rule in rules.iter_mut() {
                        rule.meet(&facts);
                    }
                    observed.meet(&facts, seat.states, broad(&seat, sightings));
                    seat.met = true;
                }
            }
            self.rows.push(seat);
        }
        self.before = Some(std::mem::take(&mut self.talks).into_iter().peekable());
    }

    /// Kinds that some of these rows state.
    pub(super) fn stated(&self, rows: Range<usize>) -> u64 {
        self.rows[rows].iter().fold(0, |stated, seat| stated | seat.states)
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
        let before = self.before.as_mut().expect("rows are seated before conversations");
        let seat = heard_again(before, row).unwrap_or_else(|| listen(row, first, view, rules, memory));
        let heard = seat.heard;
        self.talks.push(seat);
        heard
    }

    /// Numbers of subjects that seats hold.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().flat_map(|seat| seat.cases.iter().map(|case| case.slot))
    }
}

/// The rule that is too wide, if the rows of a seat show one.
fn broad<'a>(seat: &RowSeat, sightings: &'a Sightings) -> Option<&'a Subject> {
    let mut slots = seat.cases.iter().map(|case| sightings.slot(case.slot));
    slots.find(|slot| slot.kind == FindingKind::BroadAllow).map(|slot| &slot.subject)
}

fn met_again(before: &mut Peekable<IntoIter<RowSeat>>, row: &FlowRow) -> Option<RowSeat> {
    let is_same = |seat: &RowSeat| Arc::ptr_eq(&seat.key, &row.key);
    while before.peek().is_some_and(|seat| !is_same(seat) && seat.key.canonical < row.key.canonical) {
        before.next();
    }
    let seat = before.next_if(is_same)?;
    let same_labels =
        Arc::ptr_eq(&seat.labels[0], &row.source_labels) && Arc::ptr_eq(&seat.labels[1], &row.dest_labels);
    let same_services = seat.services.as_ref().map(Arc::as_ptr) == row.services.as_ref().map(Arc::as_ptr);
    (same_labels && same_services && same_ends(&seat.ends, row.ends())).then_some(seat)
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
    RowSeat { key: row.key.clone(), ends: ends(row.ends()), labels, services, cases, met: false, states }
}

fn heard_again(before: &mut Peekable<IntoIter<TalkSeat>>, row: &Conversation) -> Option<TalkSeat> {
    let is_same = |seat: &TalkSeat| Arc::ptr_eq(&seat.key, &row.key);
    while before.peek().is_some_and(|seat| !is_same(seat) && seat.key.canonical < row.key.canonical) {
        before.next();
    }
    before.next_if(is_same).filter(|seat| same_ends(&seat.ends, row.ends()))
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
