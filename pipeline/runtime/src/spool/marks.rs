//! The progress marks in a log: they tell time, to who looks back and to the next start.

use std::collections::BTreeMap;

use catchment_core::{Entry, EventTime, LogPosition, PartitionId};

/// A progress entry and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) position: LogPosition,
    partition: PartitionId,
    pub(super) up_to: EventTime,
}

impl Mark {
    /// Of an entry at `position`; `None` where it is no progress.
    pub(super) const fn of(entry: &Entry, position: LogPosition) -> Option<Self> {
        match *entry {
            Entry::Progress { partition, up_to } => Some(Self { position, partition, up_to }),
            Entry::Flows(_) | Entry::Gap(_) | Entry::Knowledge(_) => None,
        }
    }

    /// With its place after `first` instead of after 0.
    pub(super) const fn behind(self, first: LogPosition) -> Self {
        Self { position: LogPosition(first.0 + self.position.0), ..self }
    }
}

/// The first position that must stay so that the newest mark of every partition does.
pub(super) fn newest<'a>(marks: impl Iterator<Item = &'a Mark>) -> Option<LogPosition> {
    newest_by_partition(marks).values().map(|mark| mark.position).min()
}

/// The first position of what lies at most `look_back` microseconds behind the newest mark of its
/// partition: 0 where a partition reaches back less far, `None` without any mark.
pub(super) fn looked_back<'a>(marks: &(impl Iterator<Item = &'a Mark> + Clone), look_back: i64) -> Option<LogPosition> {
    let begins = |newest: &&Mark| {
        let horizon = newest.up_to.plus(-look_back);
        let passed = marks.clone().filter(|mark| mark.partition == newest.partition && mark.up_to <= horizon);
        passed.last().map_or(LogPosition(0), |mark| mark.position.next())
    };
    newest_by_partition(marks.clone()).values().map(begins).min()
}

/// The newest progress of one partition.
pub(super) fn progress_of<'a>(marks: impl Iterator<Item = &'a Mark>, partition: PartitionId) -> Option<EventTime> {
    marks.filter(|mark| mark.partition == partition).last().map(|mark| mark.up_to)
}

/// Without partitions that have come to the end of time: nothing follows on them.
fn newest_by_partition<'a>(marks: impl Iterator<Item = &'a Mark>) -> BTreeMap<PartitionId, &'a Mark> {
    let mut newest: BTreeMap<_, _> = marks.map(|mark| (mark.partition, mark)).collect();
    newest.retain(|_, mark| mark.up_to != EventTime::MAX);
    newest
}
