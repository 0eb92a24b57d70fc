//! Payloads through the fold: what goes in comes out, whatever the workers.

use bytes::Bytes;
use catchment_core::{
    ClosedWindow, Encoding, Entry, Epoch, EventTime, FlowsEntry, LogId, LogPosition, Logged, PartitionId, Purpose,
    Span, StreamId, json,
};
use catchment_stages::{Closing, Folder, InlineWorkers, Job, KeyLimits, Resume, Settings, Shard, ShardClose, Workers};

/// 2026-01-01T00:00:00Z, the start of a window: what the seeds are about.
pub(crate) const START: i64 = 1_767_225_600;

const WINDOW: i64 = 60_000_000;

const PARTITION: PartitionId = PartitionId(0);

/// What the byte in front of a payload chooses.
pub(crate) struct Plan {
    workers: u64,
    limits: KeyLimits,
    again: Purpose,
    /// Progress between the two readings.
    up_to: EventTime,
}

impl Plan {
    /// Takes the plan off the front of the fuzzer's bytes.
    pub(crate) fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&choice, payload) = data.split_first()?;
        let workers = 2 + u64::from(choice & 3);
        // Few keys: windows overflow, and when a shard makes room must not show.
        let limits =
            if workers == 2 { KeyLimits { max_keys: 2, ..KeyLimits::default() } } else { KeyLimits::default() };
        let again = if choice & 4 == 0 { Purpose::Report } else { Purpose::Correction };
        let up_to = EventTime::from_secs(START + i64::from(choice >> 3) * 15);
        Some((Self { workers, limits, again, up_to }, payload))
    }
}

/// Reads the payload twice, with progress in between, by one worker and by many.
pub(crate) fn check(plan: &Plan, encoding: Encoding, payload: &[u8]) {
    let payload = Bytes::copy_from_slice(payload);
    let entries = [
        flows(encoding, Purpose::Report, payload.clone()),
        Entry::Progress { partition: PARTITION, up_to: plan.up_to },
        flows(encoding, plan.again, payload),
        Entry::Progress { partition: PARTITION, up_to: EventTime::MAX },
    ];
    let one = Folded::of(&entries, 1, plan.limits);
    let many = Folded::of(&entries, plan.workers, plan.limits);
    one.check_balance();
    many.check_balance();
    assert_eq!(one.text(), many.text(), "{} workers show", plan.workers);
}

/// The payload read once.
pub(crate) fn once(encoding: Encoding, payload: &[u8]) -> Folded {
    let payload = Bytes::copy_from_slice(payload);
    let end = Entry::Progress { partition: PARTITION, up_to: EventTime::MAX };
    let folded = Folded::of(&[flows(encoding, Purpose::Report, payload), end], 1, KeyLimits::default());
    folded.check_balance();
    folded
}

fn flows(encoding: Encoding, purpose: Purpose, payload: Bytes) -> Entry {
    Entry::Flows(FlowsEntry {
        partition: PARTITION,
        encoding,
        purpose,
        span: Span::new(EventTime::MIN, EventTime::MAX),
        origin: "fuzz".into(),
        first_record: 1,
        payload,
    })
}

/// What came out of a log.
pub(crate) struct Folded {
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) records: u64,
    pub(crate) still_open: u64,
}

impl Folded {
    fn of(entries: &[Entry], workers: u64, limits: KeyLimits) -> Self {
        let stream = StreamId { cluster: "fuzz".into(), source: "fuzz".into() };
        let settings =
            Settings { stream, log: LogId(1), window: WINDOW, partitions: vec![PARTITION], limits, enrichment: None };
        let mut folder = Folder::new(settings, &Resume::from_start(LogPosition(0)));
        let shards = (0..workers).map(|n| Shard::with_seeds(WINDOW, limits, [n * 7 + workers, n + 1])).collect();
        let mut workers = Counted { workers: InlineWorkers(shards), records: 0, still_open: 0 };
        let mut epochs = Vec::new();
        for (at, entry) in (0..).zip(entries) {
            epochs.extend(folder.entry(Logged { position: LogPosition(at), entry: entry.clone() }, &mut workers));
        }
        Self { epochs, records: workers.records, still_open: workers.still_open }
    }

    pub(crate) fn windows(&self) -> impl Iterator<Item = &ClosedWindow> {
        self.epochs.iter().filter_map(|epoch| epoch.window.as_ref())
    }

    /// Records in the rows of the windows.
    pub(crate) fn counted(&self) -> u64 {
        self.windows().flat_map(|window| &window.flows).map(|row| u64::from(row.records)).sum()
    }

    /// Reason and detail of every reject.
    pub(crate) fn rejects(&self) -> Vec<(&'static str, &str)> {
        self.epochs.iter().flat_map(|epoch| &epoch.rejects).map(|row| (row.reason, row.detail.as_str())).collect()
    }

    /// The rows of all windows and conversations, as they are published.
    pub(crate) fn window_text(&self) -> Vec<String> {
        let mut rows = self.text();
        rows.retain(|row| row.starts_with("flows ") || row.starts_with("conversations "));
        rows
    }

    fn text(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for epoch in &self.epochs {
            json::for_each_row(epoch, |dataset, row| {
                rows.push(format!("{} {}", dataset.name(), std::str::from_utf8(row).expect("rows are UTF-8")));
            });
        }
        rows
    }

    /// Every record went one way, and every row can be read by others.
    fn check_balance(&self) {
        let late: usize = self.epochs.iter().map(|epoch| epoch.late.len()).sum();
        let out = self.counted() + late as u64 + self.rejects().len() as u64 + self.still_open;
        assert_eq!(self.records, out, "records in and out");
        for row in self.text() {
            let (_, json) = row.split_once(' ').expect("a name and a row");
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "no JSON: {json}");
        }
    }
}

/// Workers that say what the shards have counted.
struct Counted {
    workers: InlineWorkers,
    records: u64,
    still_open: u64,
}

impl Workers for Counted {
    fn count(&self) -> usize {
        self.workers.count()
    }

    fn fold(&mut self, worker: usize, job: Job) {
        self.workers.fold(worker, job);
    }

    fn close(&mut self, closing: Closing) -> Vec<ShardClose> {
        let closed = self.workers.close(closing);
        self.records += closed.iter().map(|shard| shard.records).sum::<u64>();
        self.still_open += closed.iter().map(|shard| shard.still_open).sum::<u64>();
        closed
    }
}
