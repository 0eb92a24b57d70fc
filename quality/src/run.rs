//! One simulated cluster from its first bucket to its last, with everything that a job does in between.

use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{
    Encoding, Entry, Error, EventTime, FindingRow, FlowsEntry, LogId, LogPosition, Logged, PartitionId, Purpose,
    Result, Span, StreamId,
};
use catchment_simulator::{BUCKET_SECS, Bucket, Offline, Options, Plant};
use catchment_stages::detect::{self, Detector};
use catchment_stages::enrich::{Enrichment, LabelKeys, Timeline};
use catchment_stages::{Folder, InlineWorkers, KeyLimits, Resume, Shard};

/// Windows are a minute wide, as they are unless configured otherwise.
pub(crate) const WINDOW_MICROS: i64 = 60_000_000;
/// The cluster's name in findings.
pub(crate) const CLUSTER: &str = "simulated";
const PARTITION: PartitionId = PartitionId(0);

/// A row of findings with the window that brought it.
#[derive(Clone, Debug)]
pub struct Told {
    /// When the window ends.
    pub at: EventTime,
    /// What has become of a finding.
    pub row: FindingRow,
}

/// What a cluster had and what was found in it.
pub struct Outcome {
    /// Everything that is wrong with it, planted or its own.
    pub truth: Vec<Plant>,
    /// Rows of findings in the order they were published.
    pub told: Vec<Told>,
    /// Reports of nodes that were folded.
    pub flows: u64,
    /// Windows that were looked at.
    pub windows: u64,
}

/// Lets a cluster run and looks for findings in it.
pub fn run(options: &Options) -> Result<Outcome> {
    let simulated = Offline::new(options)?;
    let truth = simulated.plants().to_vec();
    let timeline = Timeline::complete(simulated.changes()?);
    let settings = Arc::new(settings(simulated.findings_config())?);
    let mut detector = Detector::new(settings, CLUSTER, Some(timeline.clone()));
    let mut folder = Folder::new(fold_settings(timeline), &Resume::from_start(LogPosition(0)));
    let mut workers = InlineWorkers(vec![Shard::new(WINDOW_MICROS, KeyLimits::default())]);
    let mut outcome = Outcome { truth, told: Vec::new(), flows: 0, windows: 0 };
    for (position, entry) in (0..).map(LogPosition).zip(simulated.flat_map(entries)) {
        for mut epoch in folder.entry(Logged { position, entry }, &mut workers) {
            detector.observe(&mut epoch);
            let Some(window) = &epoch.window else { continue };
            outcome.windows += 1;
            outcome.flows += window.flows.iter().map(|row| u64::from(row.records)).sum::<u64>();
            outcome.told.extend(epoch.findings.into_iter().map(|row| Told { at: window.span.end, row }));
        }
    }
    Ok(outcome)
}

/// What a reader that looks at each bucket once writes to the log.
fn entries(bucket: Bucket) -> [Entry; 2] {
    let end = bucket.start.plus(BUCKET_SECS * 1_000_000);
    let flows = FlowsEntry {
        partition: PARTITION,
        encoding: Encoding::GoldmaneList,
        purpose: Purpose::Report,
        span: Span::new(bucket.start, end),
        origin: "simulator".to_owned(),
        first_record: 0,
        payload: Bytes::from(bucket.message),
    };
    [Entry::Flows(flows), Entry::Progress { partition: PARTITION, up_to: end }]
}

fn settings(declared: &str) -> Result<detect::Settings> {
    if declared.is_empty() {
        return Ok(detect::Settings::default());
    }
    serde_saphyr::from_str(declared)
        .map_err(|e| Error::internal("what a scenario declares to the detector").caused_by(e))
}

fn fold_settings(timeline: Timeline) -> catchment_stages::Settings {
    catchment_stages::Settings {
        stream: StreamId { cluster: CLUSTER.to_owned(), source: "goldmane".to_owned() },
        log: LogId(1),
        window: WINDOW_MICROS,
        partitions: vec![PARTITION],
        limits: KeyLimits::default(),
        enrichment: Some(Enrichment { timeline, marked: false, labels: LabelKeys::default() }),
    }
}
