//! What the rows of one window showed of each subject, and where findings about it are kept.

use std::collections::HashMap;
use std::sync::Arc;

use catchment_core::{
    Confidence, Counters, EventTime, FindingId, FindingKind, FlowRow, KeyRecord, Resolution, Severity, Subject,
};
use serde_json::{Map, Value};

use super::facts::reports_dest;
use super::lifecycle::Finding;
use super::rule::Case;

/// Flows that are kept of a subject and a window, as evidence.
const SAMPLE: usize = 8;

/// Bytes and connections that began, as the nodes of sources counted them and as those of destinations did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides(pub(super) [[u64; 2]; 2]);

impl Sides {
    pub(super) fn add(&mut self, row: &FlowRow) {
        let [bytes, started] = &mut self.0[usize::from(reports_dest(row))];
        *bytes = bytes.saturating_add(row.counters.bytes());
        *started = started.saturating_add(row.counters.started);
    }

    fn add_all(&mut self, other: Self) {
        for (sum, number) in self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened()) {
            *sum = sum.saturating_add(*number);
        }
    }
}

/// What the rows of a window that hold for a subject counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Rows of flows.
    pub(crate) rows: u64,
    /// Connections that began.
    pub(crate) started: u64,
    /// Connections that live.
    pub(crate) live: u64,
    /// Packets in both directions.
    pub(crate) packets: u64,
    /// Bytes in both directions.
    pub(crate) bytes: u64,
    /// What each side counted of that.
    pub(super) sides: Sides,
    /// The first of those rows, in canonical order.
    pub(crate) sample: Vec<(Arc<KeyRecord>, Counters)>,
}

impl Tally {
    pub(crate) fn add(&mut self, row: &FlowRow) {
        let counters = &row.counters;
        self.rows += 1;
        self.started = self.started.saturating_add(counters.started);
        self.live = self.live.saturating_add(counters.live);
        self.packets = self.packets.saturating_add(counters.packets());
        self.bytes = self.bytes.saturating_add(counters.bytes());
        self.sides.add(row);
        if self.sample.len() < SAMPLE {
            self.sample.push((row.key.clone(), *counters));
        }
    }

    /// Adds what another counted, its sides and its sample left out.
    pub(super) fn add_counts(&mut self, other: &Self) {
        self.rows += other.rows;
        self.started = self.started.saturating_add(other.started);
        self.live = self.live.saturating_add(other.live);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Adds the larger numbers of two reporters of one thing, and what both showed.
    fn add_larger(&mut self, one: Self, other: Self) {
        self.add_counts(&Self {
            rows: one.rows + other.rows,
            started: one.started.max(other.started),
            live: one.live.max(other.live),
            packets: one.packets.max(other.packets),
            bytes: one.bytes.max(other.bytes),
            ..Self::default()
        });
        self.sides.add_all(one.sides);
        self.sides.add_all(other.sides);
        let room = SAMPLE.saturating_sub(self.sample.len());
        self.sample.extend(one.sample.into_iter().chain(other.sample).take(room));
    }
}

/// What a window showed of a subject.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(super) holds: bool,
    pub(super) over: Option<Resolution>,
    pub(super) severity: Severity,
    pub(super) confidence: Confidence,
    pub(super) tally: Tally,
    pub(super) details: Map<String, Value>,
}

impl Sighting {
    fn nothing() -> Self {
        Self {
            holds: false,
            over: None,
            severity: Severity::Info,
            confidence: Confidence::Suspected,
            tally: Tally::default(),
            details: Map::new(),
        }
    }

    fn hold(&mut self, severity: Severity, confidence: Confidence) {
        self.holds = true;
        self.severity = self.severity.max(severity);
        self.confidence = self.confidence.max(confidence);
    }

    /// Counts a row.
    pub(crate) fn flow(&mut self, row: &FlowRow) -> &mut Self {
        self.tally.add(row);
        self
    }

    /// Counts the rows of a conversation. Both nodes may report it: what one of them counted at most is counted once.
    pub(crate) fn flows<'a>(&mut self, rows: impl IntoIterator<Item = &'a FlowRow>) -> &mut Self {
        let mut sides = [Tally::default(), Tally::default()];
        for row in rows {
            sides[usize::from(reports_dest(row))].add(row);
        }
        let [source, dest] = sides;
        self.tally.add_larger(source, dest);
        self
    }

    /// Takes what was counted already.
    pub(crate) fn tally(&mut self, tally: Tally) -> &mut Self {
        self.tally = tally;
        self
    }

    /// Adds a member to the evidence.
    pub(crate) fn detail(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// A subject with what the window shows of it and the finding about it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: FindingId,
    pub(super) kind: FindingKind,
    pub(super) subject: Subject,
    pub(super) owner: Option<String>,
    pub(super) parent: Option<u32>,
    pub(super) now: Sighting,
    touched: bool,
    /// The last window that touched it.
    used: EventTime,
    pub(super) finding: Option<Box<Finding>>,
}

/// All subjects that are looked at, by dense numbers.
pub(crate) struct Sightings {
    cluster: Arc<str>,
    window_end: EventTime,
    index: HashMap<FindingId, u32>,
    pub(super) slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots that this window touched, in the order of its rows.
    pub(super) touched: Vec<u32>,
    /// Kinds stated since this was last asked, as bits.
    stated: u64,
    /// By kind, how often it could not be said whether it holds.
    pub(super) not_evaluable: [u64; FindingKind::ALL.len()],
}

impl Sightings {
    pub(super) fn new(cluster: Arc<str>) -> Self {
        Self {
            cluster,
            window_end: EventTime::MIN,
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            touched: Vec::new(),
            stated: 0,
            not_evaluable: [0; FindingKind::ALL.len()],
        }
    }

    pub(super) const fn begin(&mut self, window_end: EventTime) {
        self.window_end = window_end;
    }

    /// The problem is there; what is returned takes the evidence.
    pub(crate) fn holds(&mut self, case: Case) -> &mut Sighting {
        let (severity, confidence, kind) = (case.severity, case.confidence, case.kind);
        let number = self.number(case);
        self.stated |= 1 << kind as u8;
        let slot = self.touch(number);
        slot.now.hold(severity, confidence);
        &mut slot.now
    }

    /// Something may be stated about the pair that is heard when the window ends, so that it can be refuted later.
    pub(crate) const fn may_state(&mut self, kind: FindingKind) {
        self.stated |= 1 << kind as u8;
    }

    /// What is open about this subject, if anything, is over.
    pub(crate) fn over(&mut self, kind: FindingKind, subject: &Subject, why: Resolution) {
        let id = FindingId::of(kind, &self.cluster, subject);
        if let Some(&number) = self.index.get(&id)
            && self.slot(number).finding.is_some()
        {
            self.touch(number).now.over = Some(why);
        }
    }

    /// What is open about subjects with all these members is over.
    pub(crate) fn over_all(&mut self, kind: FindingKind, members: &Subject, why: Resolution) {
        let is_meant = |slot: &Slot| slot.kind == kind && slot.finding.is_some() && slot.subject.contains(members);
        let slots = self.slots.iter().enumerate();
        let mut meant: Vec<_> =
            slots.filter(|(_, slot)| slot.as_ref().is_some_and(is_meant)).map(|(n, _)| n as u32).collect();
        // Numbers are others after a restart, and which is touched first may decide what opens.
        meant.sort_unstable_by_key(|&number| self.slot(number).id);
        for number in meant {
            self.touch(number).now.over = Some(why);
        }
    }

    /// Whether a finding of this kind is open about the subject.
    pub(crate) fn is_open(&self, kind: FindingKind, subject: &Subject) -> bool {
        let id = FindingId::of(kind, &self.cluster, subject);
        self.index.get(&id).is_some_and(|&number| self.slot(number).finding.as_ref().is_some_and(|f| f.is_open()))
    }

    /// Whether a finding of this kind is open about the subject, or opens in this window as far as rules have said by now.
    pub(crate) fn is_shown(&self, kind: FindingKind, subject: &Subject) -> bool {
        let id = FindingId::of(kind, &self.cluster, subject);
        let opens = self.index.get(&id).is_some_and(|&number| self.slot(number).now.holds);
        opens || self.is_open(kind, subject)
    }

    /// Subjects about which a finding of this kind is open, in the order of their ids.
    pub(crate) fn open(&self, kind: FindingKind) -> Vec<Subject> {
        let of_kind = self.slots.iter().flatten().filter(|slot| slot.kind == kind);
        let mut open: Vec<_> = of_kind.filter(|slot| slot.finding.as_ref().is_some_and(|f| f.is_open())).collect();
        open.sort_unstable_by_key(|slot| slot.id);
        open.into_iter().map(|slot| slot.subject.clone()).collect()
    }

    /// A window could not show whether the kind holds.
    pub(crate) const fn not_evaluable(&mut self, kind: FindingKind) {
        self.not_evaluable[kind as usize] += 1;
    }

    /// Kinds stated since the last call, as bits.
    pub(super) const fn take_stated(&mut self) -> u64 {
        std::mem::replace(&mut self.stated, 0)
    }

    /// The number of the subject of a case; it is kept while a finding or the newest window speaks of it.
    pub(super) fn number(&mut self, case: Case) -> u32 {
        let id = FindingId::of(case.kind, &self.cluster, &case.subject);
        if let Some(&number) = self.index.get(&id) {
            let slot = self.slots[number as usize].as_mut().expect("the index names slots that are there");
            slot.owner = case.owner.or(slot.owner.take());
            return number;
        }
        let parent = case.parent.map(|subject| self.number(Case::new(case.kind, subject).owner(case.owner.as_deref())));
        let (kind, subject, owner) = (case.kind, case.subject, case.owner);
        self.insert(Slot {
            id,
            kind,
            subject,
            owner,
            parent,
            now: Sighting::nothing(),
            touched: false,
            used: self.window_end,
            finding: None,
        })
    }

    fn insert(&mut self, slot: Slot) -> u32 {
        let id = slot.id;
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[number as usize] = Some(slot);
        self.index.insert(id, number);
        number
    }

    /// A row shows that a case holds, or the contrary.
    pub(super) fn row(&mut self, case: CaseRef, row: &FlowRow) {
        let slot = self.touch(case.slot);
        if case.holds {
            slot.now.hold(case.severity, case.confidence);
            slot.now.tally.add(row);
        } else {
            slot.now.over = Some(Resolution::Fixed);
        }
    }

    pub(super) fn touch(&mut self, number: u32) -> &mut Slot {
        let slot = self.slots[number as usize].as_mut().expect("numbers are of slots that are there");
        if !slot.touched {
            slot.touched = true;
            slot.used = self.window_end;
            self.touched.push(number);
        }
        slot
    }

    pub(super) fn slot(&self, number: u32) -> &Slot {
        self.slots[number as usize].as_ref().expect("numbers are of slots that are there")
    }

    pub(super) fn slot_mut(&mut self, number: u32) -> &mut Slot {
        self.slots[number as usize].as_mut().expect("numbers are of slots that are there")
    }

    /// What the window showed of a subject; nothing is left of it.
    pub(super) fn take(&mut self, number: u32) -> Sighting {
        let slot = self.slot_mut(number);
        slot.touched = false;
        std::mem::replace(&mut slot.now, Sighting::nothing())
    }

    /// Gives up subjects without a finding that neither `kept` (numbers that somebody holds) nor a child names.
    pub(super) fn forget_unused(&mut self, kept: impl Iterator<Item = u32>) {
        let mut needed = vec![false; self.slots.len()];
        for number in kept {
            needed[number as usize] = true;
        }
        for (number, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            needed[number] |= slot.finding.is_some();
            if let Some(parent) = slot.parent {
                needed[parent as usize] = true;
            }
        }
        for (number, needed) in needed.into_iter().enumerate() {
            if !needed && let Some(slot) = self.slots[number].take() {
                self.index.remove(&slot.id);
                self.free.push(number as u32);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Puts back a finding that was saved.
    pub(super) fn restore(&mut self, finding: Finding) {
        let (kind, subject, owner) = (finding.row.kind, finding.row.subject.clone(), finding.row.owner.clone());
        let parent = finding.parent.clone();
        let mut case = Case::new(kind, subject).owner(owner.as_deref());
        case.parent = parent;
        let number = self.number(case);
        self.slot_mut(number).finding = Some(Box::new(finding));
    }
}

/// Where the rows of a key are counted, and what they show there.
#[derive(Clone, Copy, Debug)]
pub(super) struct CaseRef {
    pub(super) slot: u32,
    pub(super) holds: bool,
    pub(super) by_rules: bool,
    pub(super) severity: Severity,
    pub(super) confidence: Confidence,
}

#[cfg(test)]
mod tests {
    use crate::detect::testing::{Flow, Scene, end_of_tier, flow, profile};

    /// Flows of many sorts with the largest numbers that can be counted.
    fn endless() -> Vec<Flow> {
        let most = |flow: Flow| flow.packets(u64::MAX, u64::MAX).bytes(1, 1).connections(u64::MAX, u64::MAX, u64::MAX);
        let silent =
            flow("shop/web", "shop/mail:25").packets(u64::MAX, 0).connections(u64::MAX, 0, u64::MAX).bytes(1, 1);
        let denied = flow("shop/web", "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]);
        let unpoliced = flow("shop/web", "shop/db:5432").dst().trace([profile("shop")]);
        let datagrams = flow("shop/web", "ops/server:53").udp();
        let ordinary = flow("shop/old", "shop/db:5432").both();
        let others = [denied, unpoliced, datagrams, flow("shop/web", "pub:443")];
        silent.both().into_iter().chain(others.into_iter().chain(ordinary).map(most)).collect()
    }

    #[test]
    fn counters_at_their_largest_stay_there() {
        let mut scene = Scene::new();
        for _ in 0..4 {
            scene.late(endless().remove(0), 1);
            scene.window(endless());
        }
        let told = scene.detector().findings();
        let largest = format!(r#""packets":{}"#, u64::MAX);
        assert!(told.iter().any(|row| row.evidence.contains(&largest)), "{told:#?}");
    }
}
