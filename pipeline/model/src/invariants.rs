//! What must hold: after every step, and once faults have stopped and everything has drained.

use std::collections::BTreeMap;

use crate::broker::Broker;
use crate::entry::{Answer, Cursor, Entry, Epoch, EpochId, Position, Row, Tick};
use crate::kafka::CHUNK;
use crate::log::Log;
use crate::reference::{Expected, Reference};
use crate::store::{Name, Store};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Published windows and side rows are what the log says; the log is what the collector gave, or
    /// says that something is missing.
    NothingLost,
    /// No row of a window is published twice.
    NothingTwice,
    /// Every window that is visible equals the fold of the whole log.
    WholeWindows,
    /// Side rows are published exactly once.
    SideRowsOnce,
    /// No cursor is ahead of the rows it speaks of.
    CursorBehindData,
    /// The log holds everything from every sink's floor on.
    LogKept,
    /// A replay decides as the first reading did.
    ReplayEqual,
    /// Both sinks hold the same.
    SinksEqual,
    /// Who was taken over from changes nothing any more.
    ZombieSilent,
    /// Without faults everything gets through.
    Drains,
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What should.
    pub invariant: Invariant,
    /// What was found.
    pub detail: String,
}

/// Watches from outside; knows more than any process does.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    /// The fold of everything that was ever durable.
    pub reference: Reference,
    /// The first thing that did not hold.
    pub violation: Option<Violation>,
    /// An invariant that is not judged, to see what else a flaw leads to.
    blind_to: Option<Invariant>,
    /// The last answer of the collector that a source has dealt with, by bucket.
    given: BTreeMap<Tick, Answer>,
    /// The same, once the append under way is durable.
    gives: Vec<(Tick, Answer)>,
    /// The log is lost for now: what is written to the one in its place never counts.
    pub log_is_lost: bool,
}

impl Judge {
    /// One that judges everything but `blind_to`.
    pub fn new(blind_to: Option<Invariant>) -> Self {
        Self { blind_to, ..Self::default() }
    }

    /// Notes what does not hold, unless something did not before.
    pub fn fail(&mut self, invariant: Invariant, detail: impl FnOnce() -> String) {
        if self.violation.is_none() && self.blind_to != Some(invariant) {
            self.violation = Some(Violation { invariant, detail: detail() });
        }
    }

    fn check(&mut self, holds: bool, invariant: Invariant, detail: impl FnOnce() -> String) {
        if !holds {
            self.fail(invariant, detail);
        }
    }

    // === what processes report ===

    /// A source has dealt with an answer.
    pub fn given(&mut self, bucket: Tick, answer: &Answer) {
        if !self.log_is_lost {
            self.given.insert(bucket, answer.clone());
        }
    }

    /// A source hands over an append; once durable it has dealt with these answers.
    pub fn gives(&mut self, answers: Vec<(Tick, Answer)>) {
        self.gives = answers;
    }

    /// An append became durable as a whole.
    pub fn appended(&mut self, log: &Log) {
        let gives = std::mem::take(&mut self.gives);
        if !self.log_is_lost {
            self.given.extend(gives);
            self.reference.read(log.history());
        }
    }

    /// An append did not become durable as a whole.
    pub fn not_appended(&mut self, log: &Log) {
        self.gives.clear();
        if !self.log_is_lost {
            self.reference.read(log.history());
        }
    }

    /// A line hands an epoch to its sink.
    pub fn publishes(&mut self, epoch: &Epoch) {
        let expected = self.reference.epoch(epoch.id);
        let equal = expected.is_some_and(|e| e.window == epoch.window && e.rows == epoch.rows);
        if !equal {
            let expected = expected.cloned();
            self.fail(Invariant::ReplayEqual, || format!("a line made {epoch:?}, the log says {expected:?}"));
        }
    }

    /// A sink holds a part of another epoch than the log produced next.
    pub fn holds_part_of_another(&mut self, held: EpochId, next: EpochId) {
        self.fail(Invariant::ReplayEqual, || format!("the sink holds a part of {held:?}, the fold made {next:?}"));
    }

    /// An object is there with other rows than a replay makes.
    pub fn object_differs(&mut self, name: Name) {
        self.fail(Invariant::ReplayEqual, || format!("object {name:?} is there with other rows"));
    }

    /// A line found that its next entry was dropped.
    pub fn dropped_under(&mut self, position: Position, first: Position) {
        self.fail(Invariant::LogKept, || format!("a line needs position {position}, the log begins at {first}"));
    }

    // === after every step ===

    /// The log holds what a restart would read.
    pub fn check_log(&mut self, log: &Log, cursors: &[Option<Cursor>]) {
        let floor = cursors.iter().map(|cursor| cursor.map_or(0, |cursor| cursor.floor.position)).min();
        let (floor, first) = (floor.unwrap_or(0), log.first());
        self.check(first <= floor, Invariant::LogKept, || format!("floor {floor}, the log begins at {first}"));
    }

    /// The log holds what a source may still be told about, as far as it is large enough.
    pub fn check_look_back(&mut self, log: &Log, oldest: Tick) {
        let dropped = &log.history()[..log.first()];
        let recent = |entry: &Entry| matches!(entry, Entry::Flows { bucket, .. } if *bucket >= oldest);
        let found = if log.yielded { None } else { dropped.iter().find(|entry| recent(entry)).cloned() };
        if let Some(entry) = found {
            self.fail(Invariant::LogKept, || format!("{entry:?} was dropped and may be asked for again"));
        }
    }

    /// What readers of committed records see is what the cursor says.
    pub fn check_broker(&mut self, broker: &Broker) {
        if let Some((producer, taken_by)) = broker.last {
            self.check(producer.process == taken_by, Invariant::ZombieSilent, || {
                format!("process {} committed after {taken_by} had taken over", producer.process)
            });
        }
        let whole = self.reference.up_to(broker.cursor.cursor.map(|cursor| cursor.committed));
        let chunks = broker.cursor.partial.map_or(0, |(_, chunks)| chunks);
        let partial = self.reference.epochs.get(whole).into_iter().flat_map(|e| e.rows.iter().take(chunks * CHUNK));
        let rows = self.reference.epochs[..whole].iter().flat_map(|e| &e.rows).chain(partial);
        let difference = Difference::between(rows, broker.rows.iter().map(|(_, row)| row));
        self.blame(difference, &[], Invariant::CursorBehindData);
    }

    /// Objects hold what the cursor object says, and beyond it only whole groups to come.
    pub fn check_store(&mut self, store: &Store) {
        if let Some((name, term)) = store.replaced {
            let late = term < store.term();
            let invariant = if late { Invariant::ZombieSilent } else { Invariant::NothingTwice };
            self.fail(invariant, || format!("object {name:?} was put again by term {term}"));
        }
        if let Some(term) = store.taken_back {
            self.fail(Invariant::ZombieSilent, || format!("the cursor of term {term} replaced a later one"));
        }
        let cursor = store.cursor.and_then(|(state, _)| state.cursor);
        let whole = self.reference.up_to(cursor.map(|cursor| cursor.committed));
        let (stand, to_come) = self.reference.epochs.split_at(whole);
        let seen = store.objects.values().flatten().map(|(_, row)| row);
        let difference = Difference::between(stand.iter().flat_map(|e| &e.rows), seen);
        let to_come = to_come.to_vec();
        self.blame(difference, &to_come, Invariant::CursorBehindData);
    }

    /// Names what a difference means; rows of epochs to come may be there already.
    fn blame(&mut self, difference: Difference, to_come: &[Expected], missing: Invariant) {
        let Difference { missing: lacking, surplus } = difference;
        let coming: Vec<&Row> = to_come.iter().flat_map(|e| &e.rows).collect();
        let known: Vec<&Row> = self.reference.epochs.iter().flat_map(|e| &e.rows).collect();
        let twice = |row: &Row| surplus.iter().filter(|other| *other == row).count() > 1;
        let strange = surplus.iter().find(|row| twice(row) || !coming.contains(row));
        let invariant = strange.map(|row| match (row.is_side(), known.contains(&row)) {
            (true, _) => Invariant::SideRowsOnce,
            (false, true) => Invariant::NothingTwice,
            (false, false) => Invariant::WholeWindows,
        });
        if let (Some(invariant), Some(row)) = (invariant, strange) {
            let row = row.clone();
            self.fail(invariant, || format!("{row:?} should not be there"));
        }
        if let Some(row) = lacking.first() {
            let invariant =
                if row.is_side() && missing == Invariant::NothingLost { Invariant::SideRowsOnce } else { missing };
            let row = row.clone();
            self.fail(invariant, || format!("{row:?} is not there"));
        }
    }

    // === at the end ===

    /// The log is what the collector gave, or says what is missing.
    pub fn judge_log(&mut self, log: &Log) {
        let (mut sums, mut gaps) = (BTreeMap::<Tick, Answer>::new(), Vec::new());
        let mut first = None;
        for entry in log.history() {
            match entry {
                Entry::Flows { bucket, rows, .. } => {
                    first.get_or_insert(*bucket);
                    let sum = sums.entry(*bucket).or_default();
                    for (key, count) in rows {
                        *sum.entry(*key).or_default() += count;
                    }
                }
                Entry::Gap { from, to, .. } => gaps.push(*from..*to),
                Entry::Progress(up_to) => drop(first.get_or_insert(up_to - 1)),
            }
        }
        for bucket in first.unwrap_or(0)..self.reference.watermark() {
            let (sum, given) = (sums.remove(&bucket).unwrap_or_default(), self.given.get(&bucket).cloned());
            let is_told = gaps.iter().any(|gap| gap.contains(&bucket));
            self.check(is_told || given.as_ref() == Some(&sum), Invariant::NothingLost, || {
                format!("bucket {bucket}: the collector gave {given:?}, the log has {sum:?} and no gap")
            });
        }
    }

    /// Everything has come out at both ends.
    pub fn judge_broker(&mut self, broker: &Broker) {
        let all = self.reference.epochs.iter().flat_map(|e| &e.rows);
        let difference = Difference::between(all, broker.rows.iter().map(|(_, row)| row));
        self.blame(difference, &[], Invariant::NothingLost);
    }

    /// Everything but the slot still open has become objects.
    pub fn judge_store(&mut self, store: &Store) {
        let cursor = store.cursor.and_then(|(state, _)| state.cursor);
        let whole = self.reference.up_to(cursor.map(|cursor| cursor.committed));
        let seen = store.objects.values().flatten().map(|(_, row)| row);
        let difference = Difference::between(self.reference.epochs[..whole].iter().flat_map(|e| &e.rows), seen);
        self.blame(difference, &[], Invariant::NothingLost);
    }

    /// Both sinks hold the same, as far as both have come.
    pub fn judge_both(&mut self, broker: &Broker, store: &Store) {
        let cursor = store.cursor.and_then(|(state, _)| state.cursor).map(|cursor| cursor.committed);
        let in_both = broker.rows.iter().filter(|(id, _)| Some(*id) <= cursor).map(|(_, row)| row);
        let objects = store.objects.values().flatten().map(|(_, row)| row);
        let difference = Difference::between(in_both, objects);
        self.check(difference.missing.is_empty() && difference.surplus.is_empty(), Invariant::SinksEqual, || {
            format!("only in Kafka: {:?}; only in objects: {:?}", difference.missing, difference.surplus)
        });
    }
}

/// What one side has and the other has not, as often as it is there.
struct Difference {
    missing: Vec<Row>,
    surplus: Vec<Row>,
}

impl Difference {
    fn between<'a>(expected: impl Iterator<Item = &'a Row>, seen: impl Iterator<Item = &'a Row>) -> Self {
        let (mut expected, mut seen): (Vec<_>, Vec<_>) = (expected.collect(), seen.collect());
        if expected == seen {
            return Self { missing: Vec::new(), surplus: Vec::new() };
        }
        expected.sort_unstable();
        seen.sort_unstable();
        Self { missing: only_in(&expected, &seen), surplus: only_in(&seen, &expected) }
    }
}

/// Both are sorted.
fn only_in(mine: &[&Row], other: &[&Row]) -> Vec<Row> {
    let mut other = other.iter().peekable();
    let mut only = Vec::new();
    for row in mine {
        while other.next_if(|o| *o < row).is_some() {}
        if other.next_if(|o| *o == row).is_none() {
            only.push((*row).clone());
        }
    }
    only
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Floor;
    use crate::store::{Begins, Dataset, State};

    fn row(key: u8) -> (EpochId, Row) {
        (EpochId { position: 1, part: 0 }, Row::Flow { window: 2, missing: 0, key, count: 1, before: 0 })
    }

    #[test]
    fn sinks_that_differ_are_noticed() {
        let floor = Floor { position: 0, watermark: 0 };
        let cursor = Some(Cursor { log: 0, committed: row(0).0, floor });
        let (mut broker, mut store) = (Broker::default(), Store::default());
        broker.rows = vec![row(0), row(1)];
        store.cursor = Some((State { owner: 1, term: 1, cursor }, 1));
        store.objects.insert((Dataset::Flows, Begins::Window(2), 0), vec![row(0), row(1)]);
        let mut judge = Judge::default();
        judge.judge_both(&broker, &store);
        assert_eq!(judge.violation, None);

        store.objects.insert((Dataset::Flows, Begins::Window(2), 0), vec![row(0)]);
        judge.judge_both(&broker, &store);
        assert_eq!(judge.violation.map(|v| v.invariant), Some(Invariant::SinksEqual));
    }
}
