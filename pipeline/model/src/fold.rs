//! The fold of one line: watermark, windows, lateness, epochs and floors.
//!
//! Step by step what `Folder` and its shards do, over windows of two buckets.

use std::collections::{BTreeMap, VecDeque};

use crate::entry::{Cursor, Entry, Epoch, EpochId, Floor, Key, LogId, Position, Purpose, Row, Tick, WINDOW, align};
use crate::flaws::{Flaw, Flaws};
use crate::log::Log;
use crate::rng::Rng;

/// Rows of an entry for one worker.
#[derive(Clone, Debug)]
struct Job {
    position: Position,
    first_index: usize,
    bucket: Tick,
    rows: Vec<(Key, u32)>,
    watermark: Tick,
}

#[derive(Clone, Debug)]
struct Open {
    first: Position,
    counts: BTreeMap<Key, u32>,
}

/// One worker: its queue, and what it has counted.
#[derive(Clone, Debug, Default)]
struct Shard {
    queue: VecDeque<Job>,
    windows: BTreeMap<Tick, Open>,
    late: Vec<Row>,
}

impl Shard {
    fn work(&mut self, watermark_now: Option<Tick>) {
        let Some(job) = self.queue.pop_front() else { return };
        let watermark = watermark_now.unwrap_or(job.watermark);
        let window = align(job.bucket, WINDOW);
        for (at, (key, count)) in job.rows.into_iter().enumerate() {
            let index = job.first_index + at;
            if window + WINDOW <= watermark {
                self.late.push(Row::Late { position: job.position, index, bucket: job.bucket, key, count });
            } else {
                let open = || Open { first: job.position, counts: BTreeMap::new() };
                *self.windows.entry(window).or_insert_with(open).counts.entry(key).or_default() += count;
            }
        }
    }
}

/// Folds one stream.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The next position to read.
    pub next: Position,
    log: LogId,
    flaws: Flaws,
    watermark: Tick,
    /// The watermark as it stood before a position, oldest first.
    history: Vec<(Position, Tick)>,
    shards: Vec<Shard>,
    previous: (Tick, BTreeMap<Key, u32>),
    last_closed: Option<Position>,
    open_gaps: Vec<(Position, Tick, Tick)>,
    gaps: Vec<Row>,
    at_start: bool,
    /// Epochs at or before it are not published; only a flaw looks at it here.
    committed: Option<EpochId>,
    carried: Vec<Row>,
}

impl Folder {
    /// Starts at the floor of `cursor`, or at the beginning of the log.
    pub fn new(cursor: Option<&Cursor>, log: &Log, workers: usize, flaws: Flaws) -> Self {
        let start = Floor { position: log.first(), watermark: 0 };
        let mut floor = cursor.map_or(start, |cursor| cursor.floor);
        if flaws.has(Flaw::WatermarkNotRestored) {
            floor.watermark = 0;
        }
        Self {
            next: floor.position,
            log: log.id,
            flaws,
            watermark: floor.watermark,
            history: vec![(floor.position, floor.watermark)],
            shards: vec![Shard::default(); workers],
            previous: (0, BTreeMap::new()),
            last_closed: None,
            open_gaps: Vec::new(),
            gaps: Vec::new(),
            at_start: floor.watermark == 0,
            committed: cursor.map(|cursor| cursor.committed),
            carried: Vec::new(),
        }
    }

    /// Takes the next entry; returns the epochs it closed.
    pub fn entry(&mut self, entry: &Entry, rng: &mut Rng) -> Vec<Epoch> {
        let position = self.next;
        self.next += 1;
        match entry {
            Entry::Flows { bucket, rows, purpose } => {
                if *purpose == Purpose::Report {
                    self.begin(position, *bucket);
                }
                self.dispatch(position, *bucket, self.lateness(*purpose), rows);
                self.let_some_work(rng);
                Vec::new()
            }
            Entry::Gap { from, to, reason } => {
                self.open_gaps.push((position, *from, *to));
                self.gaps.push(Row::Gap { position, from: *from, to: *to, reason: *reason });
                Vec::new()
            }
            Entry::Progress(up_to) => {
                self.begin(position, *up_to);
                self.progress(position, *up_to, rng)
            }
        }
    }

    /// What lies before the first interval ever read is unread.
    fn begin(&mut self, position: Position, first_read: Tick) {
        if std::mem::replace(&mut self.at_start, false) {
            self.open_gaps.push((position, 0, first_read));
        }
    }

    /// Neighbours stay together.
    fn dispatch(&mut self, position: Position, bucket: Tick, watermark: Tick, rows: &[(Key, u32)]) {
        let run = rows.len().div_ceil(self.shards.len()).max(1);
        for (worker, part) in rows.chunks(run).enumerate() {
            let first_index = worker * run;
            let job = Job { position, first_index, bucket, rows: part.to_vec(), watermark };
            self.shards[worker].queue.push_back(job);
        }
    }

    /// The watermark that decides what is late. A correction before any mark belongs to a report that
    /// was cut off the log.
    const fn lateness(&self, purpose: Purpose) -> Tick {
        match (purpose, self.watermark) {
            (Purpose::Correction, 0) => Tick::MAX,
            (_, watermark) => watermark,
        }
    }

    fn let_some_work(&mut self, rng: &mut Rng) {
        for shard in &mut self.shards {
            if rng.one_in(2) {
                shard.work(None);
            }
        }
    }

    /// Jobs handed over before a close are done before it answers, whoever is first.
    fn finish_jobs(&mut self, rng: &mut Rng) {
        let workers = self.shards.len();
        let now = self.flaws.has(Flaw::LatenessByWorkersTime).then_some(self.watermark);
        for worker in (0..workers).cycle().skip(rng.below(workers)).take(workers) {
            while !self.shards[worker].queue.is_empty() {
                self.shards[worker].work(now);
            }
        }
    }

    fn progress(&mut self, position: Position, up_to: Tick, rng: &mut Rng) -> Vec<Epoch> {
        let before = self.watermark;
        self.watermark = before.max(up_to);
        let crossed = align(self.watermark, WINDOW) > align(before, WINDOW);
        // Known before the close: a floor may lie right behind this mark.
        let knows_early = !self.flaws.has(Flaw::WatermarkBehindFloor);
        self.remember_watermark(position, before, knows_early);
        let epochs = if crossed { self.close(position, rng) } else { Vec::new() };
        self.remember_watermark(position, before, !knows_early);
        epochs
    }

    fn remember_watermark(&mut self, position: Position, before: Tick, now: bool) {
        if now && self.watermark > before {
            self.history.push((position + 1, self.watermark));
        }
    }

    fn close(&mut self, position: Position, rng: &mut Rng) -> Vec<Epoch> {
        self.finish_jobs(rng);
        let first_open = align(self.watermark, WINDOW);
        let windows = self.take_closed(first_open);
        let open_floor = self.shards.iter().flat_map(|s| s.windows.values()).map(|open| open.first).min();
        let mut epochs = self.epochs(position, windows, open_floor, first_open);
        let mut side = self.take_side_rows();
        if self.flaws.has(Flaw::SideRowsCarriedOver) && self.committed.is_some_and(|c| epochs[0].id <= c) {
            self.carried.append(&mut side);
        } else {
            side.append(&mut self.carried);
        }
        epochs[0].rows.append(&mut side);
        epochs
    }

    fn take_closed(&mut self, first_open: Tick) -> BTreeMap<Tick, Open> {
        let mut merged: BTreeMap<Tick, Open> = BTreeMap::new();
        for shard in &mut self.shards {
            let open = shard.windows.split_off(&first_open);
            for (start, window) in std::mem::replace(&mut shard.windows, open) {
                let into = merged.entry(start).or_insert_with(|| Open { first: window.first, counts: BTreeMap::new() });
                into.first = into.first.min(window.first);
                for (key, count) in window.counts {
                    *into.counts.entry(key).or_default() += count;
                }
            }
        }
        merged
    }

    /// One epoch a window, or one without a window, so that cursors move while a cluster is idle.
    fn epochs(
        &mut self,
        position: Position,
        windows: BTreeMap<Tick, Open>,
        open_floor: Option<Position>,
        first_open: Tick,
    ) -> Vec<Epoch> {
        let firsts: Vec<_> = windows.values().map(|window| window.first).collect();
        let gap_floor = |gaps: &[(Position, Tick, Tick)]| gaps.iter().map(|gap| gap.0).min();
        let before = self.last_closed.into_iter().chain(firsts.iter().copied()).chain(gap_floor(&self.open_gaps));
        let shared_floor = before.chain(open_floor).min().unwrap_or(position + 1);
        let mut parts: Vec<_> = windows.into_iter().map(|(start, open)| self.closed(start, open)).collect();
        if parts.is_empty() {
            parts.push((None, Vec::new()));
        }
        self.last_closed = firsts.last().copied().filter(|_| !self.flaws.has(Flaw::WindowBeforeNotKept));
        self.open_gaps.retain(|gap| gap.2 > first_open);
        let final_floor = self.last_closed.into_iter().chain(open_floor).chain(gap_floor(&self.open_gaps));
        let final_floor = final_floor.min().unwrap_or(position + 1);
        let count = parts.len();
        let epochs = parts.into_iter().enumerate().map(|(part, (window, rows))| {
            let is_last = part + 1 == count || self.flaws.has(Flaw::LastFloorForEveryPart);
            let floor = self.floor(position, if is_last { final_floor } else { shared_floor });
            Epoch { log: self.log, id: EpochId { position, part }, floor, window, rows }
        });
        let epochs = epochs.collect();
        let needed = self.history.iter().rposition(|(from, _)| *from <= final_floor).unwrap_or(0);
        self.history.drain(..needed);
        epochs
    }

    fn closed(&mut self, start: Tick, window: Open) -> (Option<Tick>, Vec<Row>) {
        let (before_start, before) = std::mem::replace(&mut self.previous, (start, window.counts));
        let adjacent = before_start + WINDOW == start;
        let missing = self.missing(start);
        let rows = self.previous.1.iter().map(|(&key, &count)| {
            let before = before.get(&key).copied().filter(|_| adjacent).unwrap_or(0);
            Row::Flow { window: start, missing, key, count, before }
        });
        (Some(start), rows.collect())
    }

    fn missing(&self, start: Tick) -> u32 {
        let untold = |bucket: &Tick| self.open_gaps.iter().any(|gap| gap.1 <= *bucket && *bucket < gap.2);
        (start..start + WINDOW).filter(untold).count() as u32
    }

    fn floor(&self, closed_at: Position, position: Position) -> Floor {
        if self.flaws.has(Flaw::FloorIsCommitted) {
            return Floor { position: closed_at + 1, watermark: self.watermark };
        }
        let known = self.history.iter().rev().find(|(from, _)| *from <= position);
        let watermark = known.or(self.history.first()).map_or(0, |(_, watermark)| *watermark);
        Floor { position, watermark }
    }

    fn take_side_rows(&mut self) -> Vec<Row> {
        let mut side: Vec<_> = self.shards.iter_mut().flat_map(|shard| std::mem::take(&mut shard.late)).collect();
        // Late rows order by their place in the log first.
        side.sort_unstable();
        side.append(&mut self.gaps);
        side
    }
}
