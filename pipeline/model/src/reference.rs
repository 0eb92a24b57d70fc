//! What the log says, told in the plainest way: from its beginning, without floors and restarts.

use std::collections::BTreeMap;

use crate::entry::{Entry, EpochId, Key, Position, Row, Tick, WINDOW, align};

/// An epoch as it has to be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its place in the order.
    pub id: EpochId,
    /// Start of the window that closed, if one did.
    pub window: Option<Tick>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// The fold of everything that was ever durable.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// In order.
    pub epochs: Vec<Expected>,
    read: Position,
    watermark: Tick,
    first_read: Option<Tick>,
    counts: BTreeMap<Tick, BTreeMap<Key, u32>>,
    unread: Vec<(Tick, Tick)>,
    late: Vec<Row>,
    gaps: Vec<Row>,
}

impl Reference {
    /// Reads on in the log.
    pub fn read(&mut self, log: &[Entry]) {
        for (position, entry) in log.iter().enumerate().skip(self.read) {
            self.entry(position, entry);
        }
        self.read = log.len();
    }

    /// The epoch of this number.
    pub fn epoch(&self, id: EpochId) -> Option<&Expected> {
        self.epochs.binary_search_by_key(&id, |epoch| epoch.id).ok().map(|at| &self.epochs[at])
    }

    /// How many epochs stand at or before this one.
    pub fn up_to(&self, committed: Option<EpochId>) -> usize {
        committed.map_or(0, |committed| self.epochs.partition_point(|epoch| epoch.id <= committed))
    }

    /// The next epoch, where the same mark closed it.
    pub fn part_after(&self, id: EpochId) -> Option<&Expected> {
        self.epoch(EpochId { part: id.part + 1, ..id })
    }

    /// The position up to which the log was read.
    pub const fn end(&self) -> Position {
        self.read
    }

    /// The watermark at the end.
    pub const fn watermark(&self) -> Tick {
        self.watermark
    }

    fn entry(&mut self, position: Position, entry: &Entry) {
        match entry {
            Entry::Flows { bucket, rows, .. } => {
                self.first_read.get_or_insert(*bucket);
                for (index, (key, count)) in rows.iter().enumerate() {
                    let window = align(*bucket, WINDOW);
                    if window + WINDOW <= self.watermark {
                        self.late.push(Row::Late { position, index, bucket: *bucket, key: *key, count: *count });
                    } else {
                        *self.counts.entry(window).or_default().entry(*key).or_default() += count;
                    }
                }
            }
            Entry::Gap { from, to, reason } => {
                self.unread.push((*from, *to));
                self.gaps.push(Row::Gap { position, from: *from, to: *to, reason: *reason });
            }
            Entry::Progress(up_to) => {
                self.first_read.get_or_insert(*up_to);
                self.progress(position, *up_to);
            }
        }
    }

    fn progress(&mut self, position: Position, up_to: Tick) {
        let before = self.watermark;
        self.watermark = before.max(up_to);
        let (from, to) = (align(before, WINDOW), align(self.watermark, WINDOW));
        if from == to {
            return;
        }
        // A window without rows closes too, but nothing is said about it.
        let windows: Vec<_> = self.counts.range(from..to).map(|(start, _)| *start).collect();
        let side: Vec<_> = self.late.drain(..).chain(self.gaps.drain(..)).collect();
        let parts = windows.iter().map(|start| (Some(*start), self.rows(*start)));
        let mut parts: Vec<_> = if windows.is_empty() { vec![(None, Vec::new())] } else { parts.collect() };
        parts[0].1.extend(side);
        let epochs = parts.into_iter().enumerate();
        let epoch = |(part, (window, rows))| Expected { id: EpochId { position, part }, window, rows };
        self.epochs.extend(epochs.map(epoch));
    }

    fn rows(&self, start: Tick) -> Vec<Row> {
        let before = start.checked_sub(WINDOW).and_then(|before| self.counts.get(&before));
        let untold = |bucket: Tick| {
            let in_gap = self.unread.iter().any(|(from, to)| (*from..*to).contains(&bucket));
            in_gap || self.first_read.is_some_and(|first| bucket < first)
        };
        let missing = (start..start + WINDOW).filter(|bucket| untold(*bucket)).count() as u32;
        let row = |(key, count): (&Key, &u32)| {
            let before = before.and_then(|counts| counts.get(key)).copied().unwrap_or(0);
            Row::Flow { window: start, missing, key: *key, count: *count, before }
        };
        self.counts[&start].iter().map(row).collect()
    }
}
