//! The order of a stream: watermarks, what closes when, and what each epoch holds.
//!
//! A [`Folder`] reads the log in order. It never looks at a clock: the same entries give the same
//! epochs, whatever the workers and whenever they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{
    Cursor, Encoding, Entry, Epoch, EpochId, EventTime, Floor, FlowsEntry, GapEntry, GapRow, LogId, LogPosition,
    Logged, PartitionId, Purpose, Span, StreamId,
};
use catchment_schemas::wire::FlowSlices;

use crate::conversation::{Conversations, closed_window};
use crate::enrich::{Enricher, Enrichment};
use crate::limits::KeyLimits;
use crate::merge::ShardWindow;
use crate::shard::{Closing, Job, Shard, ShardClose};

/// Who does the work per record. Jobs handed over before a close are done before it answers.
pub trait Workers {
    /// How many parts an entry is worth splitting into.
    fn count(&self) -> usize;
    /// Hands a job to worker `worker`, which is below [`Workers::count`].
    fn fold(&mut self, worker: usize, job: Job);
    /// Closes windows in every shard and gathers what they held.
    fn close(&mut self, closing: Closing) -> Vec<ShardClose>;
}

/// Shards that work in the caller's thread.
pub struct InlineWorkers(pub Vec<Shard>);

impl Workers for InlineWorkers {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn fold(&mut self, worker: usize, job: Job) {
        self.0[worker].fold(&job);
    }

    fn close(&mut self, closing: Closing) -> Vec<ShardClose> {
        self.0.iter_mut().map(|shard| shard.close(closing)).collect()
    }
}

/// What a stream is folded with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose flows they are.
    pub stream: StreamId,
    /// The log that is folded.
    pub log: LogId,
    /// Width of the tumbling windows in microseconds, whole seconds.
    pub window: i64,
    /// Partitions that must speak before time moves at all.
    pub partitions: Vec<PartitionId>,
    /// How many keys a window tells apart.
    pub limits: KeyLimits,
    /// What is known about the cluster; `None` leaves identities out.
    pub enrichment: Option<Enrichment>,
}

/// Where folding starts.
#[derive(Clone, Debug)]
pub struct Resume {
    /// First position to read.
    pub position: LogPosition,
    watermarks: Vec<(PartitionId, EventTime)>,
}

impl Resume {
    /// At the beginning of the log.
    pub const fn from_start(position: LogPosition) -> Self {
        Self { position, watermarks: Vec::new() }
    }

    /// At the floor of a cursor.
    pub fn from_cursor(cursor: &Cursor) -> Self {
        Self { position: cursor.floor.position, watermarks: cursor.floor.watermarks.clone() }
    }
}

/// Folds one stream.
pub struct Folder {
    settings: Settings,
    watermarks: BTreeMap<PartitionId, EventTime>,
    /// Watermarks as they stood before a position, oldest first; as far back as a floor may need.
    history: Vec<(LogPosition, Vec<(PartitionId, EventTime)>)>,
    conversations: Conversations,
    enricher: Option<Enricher>,
    /// First position of the window that closed last.
    last_closed: Option<LogPosition>,
    /// Gaps that reach into windows still open.
    open_gaps: Vec<(LogPosition, Span)>,
    gaps: Vec<GapRow>,
    /// Nothing of the log has been read yet.
    at_start: bool,
}

impl Folder {
    /// Starts where `resume` says.
    pub fn new(settings: Settings, resume: &Resume) -> Self {
        let mut watermarks: BTreeMap<_, _> = settings.partitions.iter().map(|p| (*p, EventTime::MIN)).collect();
        watermarks.extend(resume.watermarks.iter().copied());
        let enricher = settings.enrichment.as_ref().map(Enricher::new);
        let history = vec![(resume.position, watermarks.iter().map(|(p, t)| (*p, *t)).collect())];
        Self {
            settings,
            watermarks,
            history,
            conversations: Conversations::default(),
            enricher,
            last_closed: None,
            open_gaps: Vec::new(),
            gaps: Vec::new(),
            at_start: resume.watermarks.iter().all(|(_, time)| *time == EventTime::MIN),
        }
    }

    /// Event time before which everything has been read: the least of all partitions.
    pub fn watermark(&self) -> EventTime {
        self.watermarks.values().copied().min().unwrap_or(EventTime::MIN)
    }

    /// Takes the next entry; returns the epochs it closed, and what the shards counted for it.
    pub fn entry(&mut self, logged: Logged, workers: &mut impl Workers) -> Vec<Epoch> {
        let position = logged.position;
        match logged.entry {
            Entry::Flows(flows) => {
                // A correction says nothing about where reading began: its report was cut off.
                if flows.purpose == Purpose::Report {
                    self.begin(position, flows.span.start);
                }
                self.dispatch(position, &flows, workers);
                Vec::new()
            }
            Entry::Gap(gap) => {
                self.gap(position, gap);
                Vec::new()
            }
            Entry::Knowledge(_) => Vec::new(),
            Entry::Progress { partition, up_to } => {
                if partition != PartitionId::KNOWLEDGE {
                    self.begin(position, up_to);
                }
                self.progress(position, partition, up_to, workers)
            }
        }
    }

    /// What lies before the first interval that was ever read is unread, so the window it falls into
    /// is not fully covered. Inputs without intervals begin wherever they begin.
    fn begin(&mut self, position: LogPosition, first_read: EventTime) {
        let bounded = first_read != EventTime::MIN && first_read != EventTime::MAX;
        if std::mem::replace(&mut self.at_start, false) && bounded {
            self.open_gaps.push((position, Span::new(EventTime::MIN, first_read)));
        }
    }

    fn dispatch(&self, position: LogPosition, flows: &FlowsEntry, workers: &mut impl Workers) {
        let origin: Arc<str> = flows.origin.as_str().into();
        for (worker, part) in split(flows, workers.count()).into_iter().enumerate() {
            let job = Job {
                position,
                first_index: part.first_index,
                purpose: flows.purpose,
                encoding: flows.encoding,
                origin: origin.clone(),
                first_record: flows.first_record,
                since: Some(flows.span.start).filter(|start| *start > EventTime::MIN),
                payload: part.payload,
                watermark: self.lateness(flows.purpose),
            };
            workers.fold(worker, job);
        }
    }

    /// The watermark that decides what is late. A correction before any progress belongs to a report
    /// that was cut off the log: alone it would make a window that holds nothing else.
    fn lateness(&self, purpose: Purpose) -> EventTime {
        match (purpose, self.watermark()) {
            (Purpose::Correction, EventTime::MIN) => EventTime::MAX,
            (_, watermark) => watermark,
        }
    }

    fn gap(&mut self, position: LogPosition, gap: GapEntry) {
        // Flows are counted although nobody knows whose they are.
        if gap.partition != PartitionId::KNOWLEDGE {
            self.open_gaps.push((position, gap.span));
        }
        let GapEntry { partition, span, reason, detail } = gap;
        self.gaps.push(GapRow { position, partition, span, reason, detail });
    }

    fn progress(
        &mut self,
        position: LogPosition,
        partition: PartitionId,
        up_to: EventTime,
        workers: &mut impl Workers,
    ) -> Vec<Epoch> {
        let before = self.watermark();
        self.mark(partition, up_to);
        // Before the close: where nothing stays open, the floor lies right behind this mark. Also where time does not
        // move: the next mark of another partition may move it.
        let now = self.watermarks.iter().map(|(p, t)| (*p, *t)).collect();
        self.history.push((position.next(), now));
        let watermark = self.watermark();
        let crossed = watermark.align(self.settings.window) > before.align(self.settings.window);
        if crossed { self.close(position, watermark, workers) } else { Vec::new() }
    }

    /// Time never goes back, so who joins late has come as far as the others.
    fn mark(&mut self, partition: PartitionId, up_to: EventTime) {
        if partition == PartitionId::KNOWLEDGE && up_to == EventTime::MAX {
            self.watermarks.remove(&partition);
            return;
        }
        let joined = self.watermark();
        let mark = self.watermarks.entry(partition).or_insert(joined);
        *mark = up_to.max(*mark);
    }

    fn close(&mut self, position: LogPosition, watermark: EventTime, workers: &mut impl Workers) -> Vec<Epoch> {
        let mut shards = workers.close(Closing { watermark });
        let open_floor = shards.iter().flat_map(|s| &s.open).map(|(_, first)| *first).min();
        let windows = merge_windows(&mut shards, self.settings.limits);
        let mut epochs = self.epochs(position, windows, open_floor, watermark);
        self.add_side_rows(&mut epochs[0], shards);
        self.enrich(&mut epochs, watermark);
        epochs
    }

    /// One epoch a window, or one without a window, so that cursors move while a cluster is idle.
    fn epochs(
        &mut self,
        position: LogPosition,
        windows: Vec<ShardWindow>,
        open_floor: Option<LogPosition>,
        watermark: EventTime,
    ) -> Vec<Epoch> {
        // Until the last window of this position is durable, a restart must close them all again,
        // under the same numbers.
        let firsts = windows.iter().map(|w| w.first_position);
        let before = self.last_closed.into_iter().chain(firsts).chain(self.open_gaps.iter().map(|gap| gap.0));
        let shared_floor = before.chain(open_floor).min().unwrap_or(position.next());
        let last_closed = windows.last().map(|w| w.first_position);
        let mut parts: Vec<_> = windows.into_iter().map(|window| Some(self.closed(window))).collect();
        if parts.is_empty() {
            parts.push(None);
        }
        self.last_closed = last_closed;
        let first_open = watermark.align(self.settings.window);
        self.open_gaps.retain(|(_, span)| span.end > first_open);
        let open_gap = self.open_gaps.iter().map(|gap| gap.0).min();
        let final_floor = last_closed.into_iter().chain(open_floor).chain(open_gap).min().unwrap_or(position.next());
        let count = parts.len();
        let epochs = parts.into_iter().enumerate().map(|(part, window)| {
            let floor = if part + 1 == count { final_floor } else { shared_floor };
            Epoch {
                stream: self.settings.stream.clone(),
                log: self.settings.log,
                id: EpochId { position, part: part as u32 },
                floor: self.floor(floor),
                window,
                late: Vec::new(),
                rejects: Vec::new(),
                gaps: Vec::new(),
                findings: Vec::new(),
                forgotten: Vec::new(),
            }
        });
        let epochs = epochs.collect();
        self.forget_history(final_floor);
        epochs
    }

    /// Says who talked, where knowledge takes part: what is known at this position is what was known at the first reading.
    fn enrich(&mut self, epochs: &mut [Epoch], watermark: EventTime) {
        let waits = self.settings.enrichment.as_ref().is_some_and(|enrichment| enrichment.marked);
        let takes_part = !waits || self.watermarks.contains_key(&PartitionId::KNOWLEDGE);
        let Some(enricher) = self.enricher.as_mut().filter(|_| takes_part) else { return };
        let windows = epochs.iter_mut().filter_map(|epoch| epoch.window.as_mut());
        let mut reached = EventTime::MIN;
        for window in windows {
            enricher.enrich(window);
            reached = window.span.end;
        }
        // At the end of a bounded input time has no end; its last window does.
        let moment = if watermark == EventTime::MAX { reached } else { watermark };
        enricher.enrich_late(&mut epochs[0].late, moment);
    }

    fn closed(&mut self, window: ShardWindow) -> catchment_core::ClosedWindow {
        let span = window.span;
        let coverage = self.coverage(span);
        closed_window(&mut self.conversations, span, coverage, window.into_rows())
    }

    /// Share of the window that no gap touches. Gaps of one partition count as gaps of the stream:
    /// what is missing there may be anything.
    fn coverage(&self, window: Span) -> f64 {
        let mut gaps: Vec<_> = self.open_gaps.iter().map(|(_, gap)| *gap).collect();
        gaps.sort_unstable();
        let mut missing = 0;
        let mut from = window.start;
        for gap in gaps {
            let rest = Span::new(from, window.end);
            missing += rest.overlap(gap);
            from = from.max(gap.end.min(window.end));
        }
        1.0 - missing as f64 / window.micros() as f64
    }

    fn floor(&self, position: LogPosition) -> Floor {
        let known = self.history.iter().rev().find(|(from, _)| *from <= position);
        let watermarks = known.or(self.history.first()).map(|(_, marks)| marks.clone()).unwrap_or_default();
        Floor { position, watermarks }
    }

    fn forget_history(&mut self, floor: LogPosition) {
        let needed = self.history.iter().rposition(|(from, _)| *from <= floor).unwrap_or(0);
        self.history.drain(..needed);
    }

    fn add_side_rows(&mut self, epoch: &mut Epoch, shards: Vec<ShardClose>) {
        for shard in shards {
            epoch.late.extend(shard.late);
            epoch.rejects.extend(shard.rejects);
        }
        epoch.late.sort_unstable_by_key(|row| (row.position, row.index));
        epoch.rejects.sort_unstable_by_key(|row| (row.position, row.index));
        epoch.gaps = std::mem::take(&mut self.gaps);
    }
}

fn merge_windows(shards: &mut [ShardClose], limits: KeyLimits) -> Vec<ShardWindow> {
    let mut by_start: BTreeMap<EventTime, Vec<ShardWindow>> = BTreeMap::new();
    for window in shards.iter_mut().flat_map(|shard| shard.windows.drain(..)) {
        by_start.entry(window.span.start).or_default().push(window);
    }
    by_start.into_values().map(|parts| ShardWindow::merge(parts).cut_to(limits)).collect()
}

struct Part {
    first_index: u32,
    payload: Bytes,
}

/// Cuts a payload between records into at most `parts` runs. Neighbours stay together: a sorted
/// answer then keeps each key at one worker.
fn split(flows: &FlowsEntry, parts: usize) -> Vec<Part> {
    if parts == 1 {
        return vec![Part { first_index: 0, payload: flows.payload.clone() }];
    }
    let ends = record_ends(flows);
    let step = ends.len().div_ceil(parts).max(1);
    let mut start = 0;
    let mut runs = Vec::with_capacity(parts);
    for (run, chunk) in ends.chunks(step).enumerate() {
        let is_last = (run + 1) * step >= ends.len();
        let end = if is_last { flows.payload.len() } else { *chunk.last().expect("chunks are not empty") };
        runs.push(Part { first_index: (run * step) as u32, payload: flows.payload.slice(start..end) });
        start = end;
    }
    if runs.is_empty() {
        runs.push(Part { first_index: 0, payload: flows.payload.clone() });
    }
    runs
}

/// Offsets just behind each record, as far as the payload is well formed.
fn record_ends(flows: &FlowsEntry) -> Vec<usize> {
    let payload = &flows.payload;
    match flows.encoding {
        Encoding::GoldmaneList => FlowSlices::new(payload).ends().collect(),
        Encoding::JsonLines => memchr::memchr_iter(b'\n', payload).map(|at| at + 1).collect(),
    }
}
