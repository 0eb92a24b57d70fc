//! The work per record: slice, look up the key, add to the window.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{
    Counters, Encoding, EventTime, FlowRow, LateReason, LateRow, LogPosition, Purpose, RejectRow, Span,
};
use catchment_schemas::goldmane;
use catchment_schemas::wire::{FlowSlices, FlowView};
use prost::Message as _;

use crate::json_flow;
use crate::key_table::{Identity, KeyTable, RawHash};
use crate::limits::KeyLimits;
use crate::merge::ShardWindow;
use crate::normalize;
use crate::record::{Fault, Numbers, Reading};
use crate::window::OpenWindow;

/// Windows a key may be silent before its id is given back.
const KEEP_SILENT_WINDOWS: i64 = 10;

/// Bytes of one record. A flow with a hundred labels and a trace of fifty hits takes a tenth of it;
/// a key lives as long as its window, so what it may hold is bounded here.
const MAX_RECORD: usize = 128 << 10;

/// A part of a flows entry.
#[derive(Clone, Debug)]
pub struct Job {
    /// Position of the entry.
    pub position: LogPosition,
    /// Number of the part's first record within the entry.
    pub first_index: u32,
    /// Why the flows were read.
    pub purpose: Purpose,
    /// How `payload` is written.
    pub encoding: Encoding,
    /// Where the entry came from.
    pub origin: Arc<str>,
    /// Number of the entry's first record inside `origin`.
    pub first_record: u64,
    /// The start of the interval that the entry speaks of, if it speaks of one.
    pub since: Option<EventTime>,
    /// Whole records.
    pub payload: Bytes,
    /// The watermark at the entry: windows that end at or before it are closed.
    pub watermark: EventTime,
}

/// What closes: every window that ends at or before the watermark.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// The new watermark.
    pub watermark: EventTime,
}

/// What one shard hands over when windows close.
#[derive(Debug, Default)]
pub struct ShardClose {
    pub(crate) windows: Vec<ShardWindow>,
    /// Open windows: start and first position.
    pub(crate) open: Vec<(EventTime, LogPosition)>,
    pub(crate) late: Vec<LateRow>,
    pub(crate) rejects: Vec<RejectRow>,
    /// Records read since the last close, skipped ones included.
    pub records: u64,
    /// Rows of zeros for flows that have no closed bucket yet.
    pub still_open: u64,
    /// Distinct identities held.
    pub keys: usize,
}

/// One worker's share of a stream's state.
pub struct Shard {
    width: i64,
    table: KeyTable,
    windows: BTreeMap<EventTime, OpenWindow>,
    limits: KeyLimits,
    /// What was counted for open windows before the table was emptied for lack of room.
    settled: BTreeMap<EventTime, ShardWindow>,
    scratch: Vec<u8>,
    since_close: ShardClose,
}

impl Shard {
    /// For tumbling windows of `width` microseconds.
    pub fn new(width: i64, limits: KeyLimits) -> Self {
        Self::with_table(width, limits, KeyTable::default())
    }

    /// With hash seeds of the caller's, for tests that vary them.
    pub fn with_seeds(width: i64, limits: KeyLimits, seeds: [u64; 2]) -> Self {
        Self::with_table(width, limits, KeyTable::with_seeds(seeds))
    }

    fn with_table(width: i64, limits: KeyLimits, table: KeyTable) -> Self {
        Self {
            width,
            table,
            limits,
            windows: BTreeMap::new(),
            settled: BTreeMap::new(),
            scratch: Vec::new(),
            since_close: ShardClose::default(),
        }
    }

    /// Folds every record of the job.
    pub fn fold(&mut self, job: &Job) {
        match job.encoding {
            Encoding::GoldmaneList => self.fold_list(job),
            Encoding::JsonLines => self.fold_lines(job),
        }
    }

    fn fold_list(&mut self, job: &Job) {
        let mut flows = FlowSlices::new(&job.payload);
        for index in job.first_index.. {
            let start = flows.offset();
            let Some(flow) = flows.next() else { break };
            self.since_close.records += 1;
            let (bytes, outcome) = match flow {
                Ok(flow) => (flow, self.fold_flow(job, index, flow)),
                Err(e) => (&job.payload[start..], Err(lost_rest(e.offset - start))),
            };
            if let Err(fault) = outcome {
                self.reject(job, index, bytes, fault);
            }
        }
    }

    #[inline]
    fn fold_flow(&mut self, job: &Job, index: u32, flow: &[u8]) -> Result<(), Fault> {
        bounded(flow)?;
        let view = FlowView::parse(flow).map_err(|e| malformed(&e))?;
        let numbers = Numbers::of_view(&view);
        self.fold_view(job, index, flow, &view, numbers).map_err(|fault| fault.at(numbers.start))
    }

    #[inline]
    fn fold_view(
        &mut self,
        job: &Job,
        index: u32,
        flow: &[u8],
        view: &FlowView<'_>,
        numbers: Numbers,
    ) -> Result<(), Fault> {
        let Reading::Counted(span, counters) = numbers.read()? else {
            self.since_close.still_open += 1;
            return Ok(());
        };
        let hash = match view.labels {
            Some(labels) => self.table.hash(view.key, labels),
            None => self.table.hash(flow_without_numbers(flow)?.as_slice(), b"scattered"),
        };
        let id = match self.table.find(hash) {
            Some(id) => id,
            None => self.insert_message(hash, flow)?,
        };
        self.add(job, index, id, span, counters)
    }

    #[cold]
    fn insert_message(&mut self, hash: RawHash, flow: &[u8]) -> Result<u32, Fault> {
        let flow = goldmane::Flow::decode(flow).map_err(|e| malformed(&e))?;
        // An absent key and an empty one are the same bytes to the table.
        let key = flow.key.filter(|key| *key != goldmane::FlowKey::default());
        let key = key.ok_or_else(|| Fault::new("no_flow_key", "the flow has no key, so nobody knows whose it is"))?;
        let interner = &mut self.table.interner;
        let identity = normalize::identity(interner, &key, flow.source_labels, flow.dest_labels, true);
        Ok(self.admit(hash, identity))
    }

    fn fold_lines(&mut self, job: &Job) {
        for (index, line) in (job.first_index..).zip(lines(&job.payload)) {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.since_close.records += 1;
            if let Err(fault) = self.fold_line(job, index, line) {
                self.reject(job, index, line, fault);
            }
        }
    }

    fn fold_line(&mut self, job: &Job, index: u32, line: &[u8]) -> Result<(), Fault> {
        bounded(line)?;
        let numbers = json_flow::scan(line, &mut self.scratch)?;
        self.fold_scanned(job, index, line, numbers).map_err(|fault| fault.at(numbers.start))
    }

    #[inline]
    fn fold_scanned(&mut self, job: &Job, index: u32, line: &[u8], numbers: Numbers) -> Result<(), Fault> {
        let Reading::Counted(span, counters) = numbers.read()? else {
            self.since_close.still_open += 1;
            return Ok(());
        };
        let hash = self.table.hash(&self.scratch, b"json");
        let id = match self.table.find(hash) {
            Some(id) => id,
            None => self.insert_line(hash, line)?,
        };
        self.add(job, index, id, span, counters)
    }

    #[cold]
    fn insert_line(&mut self, hash: RawHash, line: &[u8]) -> Result<u32, Fault> {
        let flow = json_flow::parse(line)?;
        let interner = &mut self.table.interner;
        let identity =
            normalize::identity(interner, &flow.key, flow.source_labels, flow.dest_labels, flow.has_connections);
        Ok(self.admit(hash, identity))
    }

    fn admit(&mut self, hash: RawHash, identity: Identity) -> u32 {
        if self.table.is_full(self.limits) {
            self.settle();
        }
        self.table.insert(hash, identity)
    }

    /// Makes room: what was counted so far becomes rows, cut to the limits, and every id is free.
    /// When this happens does not show, as cut and merged parts give what the whole gives.
    #[cold]
    fn settle(&mut self) {
        for (start, window) in std::mem::take(&mut self.windows) {
            let counted = self.close_window(&window);
            let whole = self.with_settled(start, counted).cut_to(self.limits);
            self.settled.insert(start, whole);
        }
        self.table.clear();
    }

    fn with_settled(&mut self, start: EventTime, counted: ShardWindow) -> ShardWindow {
        match self.settled.remove(&start) {
            Some(before) => ShardWindow::merge(vec![before, counted]),
            None => counted,
        }
    }

    #[inline]
    fn add(&mut self, job: &Job, index: u32, id: u32, record: Span, counters: Counters) -> Result<(), Fault> {
        let start = record.start.align(self.width);
        let window = Span::new(start, start.plus(self.width));
        if window.end == EventTime::MAX {
            return Err(beyond_time(record));
        }
        if record.end > window.end {
            return Err(spans_windows(record, window));
        }
        if window.end <= job.watermark {
            self.late(job, index, id, window, record, counters);
            return Ok(());
        }
        let ids = self.table.ids();
        let open = self.windows.entry(start).or_insert_with(|| OpenWindow::new(window, job.position));
        open.add(id, ids, record, counters);
        Ok(())
    }

    #[cold]
    fn late(&mut self, job: &Job, index: u32, id: u32, window: Span, bucket: Span, counters: Counters) {
        let identity = self.table.identity(id).clone();
        self.table.used_in(id, window.start);
        let reason = match job.purpose {
            Purpose::Report => LateReason::Late,
            Purpose::Correction => LateReason::Correction,
        };
        let flow = row(identity, counters, 1, 1);
        self.since_close.late.push(LateRow {
            position: job.position,
            index,
            reason,
            window,
            bucket,
            flow,
            identity: None,
        });
    }

    #[cold]
    fn reject(&mut self, job: &Job, index: u32, original: &[u8], fault: Fault) {
        let kept = &original[..original.len().min(RejectRow::MAX_ORIGINAL)];
        self.since_close.rejects.push(RejectRow {
            position: job.position,
            index,
            reason: fault.reason,
            detail: fault.detail,
            origin: format!("{}:{}", job.origin, job.first_record + u64::from(index)),
            event_time: fault.time.or(job.since),
            original: Bytes::copy_from_slice(kept),
            original_len: original.len() as u64,
        });
    }

    /// Hands over every window that the watermark has passed, and the side rows since the last call.
    pub fn close(&mut self, closing: Closing) -> ShardClose {
        let first_open = self.first_open(closing.watermark);
        let still_open = self.windows.split_off(&first_open);
        let closed = std::mem::replace(&mut self.windows, still_open);
        let mut windows = Vec::with_capacity(closed.len());
        for (start, window) in closed {
            let counted = self.close_window(&window);
            windows.push(self.with_settled(start, counted));
        }
        let still_settled = self.settled.split_off(&first_open);
        windows.extend(std::mem::replace(&mut self.settled, still_settled).into_values());
        windows.sort_unstable_by_key(|window| window.span.start);
        if let Some(last) = windows.last() {
            let horizon = last.span.start.plus(-KEEP_SILENT_WINDOWS * self.width);
            let open: Vec<_> = self.windows.values().collect();
            self.table.evict_unused_since(horizon, |id| open.iter().any(|w| w.totals(id).is_some()));
        }
        let mut handed = std::mem::take(&mut self.since_close);
        handed.windows = windows;
        let counted = self.windows.iter().map(|(start, window)| (*start, window.first_position));
        let settled = self.settled.iter().map(|(start, window)| (*start, window.first_position));
        handed.open = counted.chain(settled).collect();
        handed.keys = self.table.len();
        handed
    }

    /// Start of the first window that stays open.
    fn first_open(&self, watermark: EventTime) -> EventTime {
        if watermark == EventTime::MAX { watermark } else { watermark.align(self.width) }
    }

    fn close_window(&mut self, window: &OpenWindow) -> ShardWindow {
        let ids: Vec<u32> = self.table.in_order().iter().copied().filter(|&id| window.totals(id).is_some()).collect();
        let mut closed = ShardWindow::new(window.span, window.first_position, window.live().granularity(), ids.len());
        for id in ids {
            self.table.used_in(id, window.span.start);
            let totals = window.totals(id).expect("filtered above");
            let row = row(self.table.identity(id).clone(), totals.counters, totals.records, 0);
            closed.push(row, window.live().of(id as usize));
        }
        closed
    }
}

/// The lines of a text; a last one without its end counts too.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest);
        let (line, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None if rest.is_empty() => return None,
            None => (rest, &[][..]),
        };
        rest = after;
        Some(line)
    })
}

fn row(identity: Identity, counters: Counters, records: u32, buckets: u16) -> FlowRow {
    let Identity { key, source_labels, dest_labels } = identity;
    FlowRow { records, buckets, ..FlowRow::new(key, source_labels, dest_labels, counters) }
}

fn bounded(record: &[u8]) -> Result<(), Fault> {
    if record.len() <= MAX_RECORD {
        return Ok(());
    }
    let detail = format!(
        "the record has {} bytes, more than the {MAX_RECORD} that names, labels and trace may take",
        record.len()
    );
    Err(Fault::new("record_too_large", detail))
}

fn malformed(error: &dyn std::error::Error) -> Fault {
    Fault::new("malformed_protobuf", format!("the record is no goldmane.Flow: {error}"))
}

/// The broken field and what stands behind it; the flows before it are not lost. Counted from the
/// last of them, so that it is the same for any part of the answer.
#[cold]
fn lost_rest(offset: usize) -> Fault {
    let detail = format!("malformed protobuf {offset} bytes behind the last flow; the rest of the answer is lost");
    Fault::new("malformed_protobuf", detail)
}

#[cold]
fn beyond_time(record: Span) -> Fault {
    let detail = format!("the record starts at second {}, where no window ends; check its unit", record.start.secs());
    Fault::new("bad_time", detail)
}

fn spans_windows(record: Span, window: Span) -> Fault {
    let detail = format!(
        "the record covers {} to {}, more than its window of {} s; read the collector bucket by bucket, or set a wider `window`",
        record.start,
        record.end,
        window.micros() / 1_000_000
    );
    Fault::new("spans_windows", detail)
}

/// The slow way for encoders that scatter the labels: the message encoded again without its numbers.
#[cold]
fn flow_without_numbers(flow: &[u8]) -> Result<Vec<u8>, Fault> {
    let flow = goldmane::Flow::decode(flow).map_err(|e| malformed(&e))?;
    let identity = goldmane::Flow {
        key: flow.key,
        source_labels: flow.source_labels,
        dest_labels: flow.dest_labels,
        ..goldmane::Flow::default()
    };
    Ok(identity.encode_to_vec())
}
