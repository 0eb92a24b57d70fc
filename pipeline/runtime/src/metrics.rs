//! What the runtime counts.

use std::sync::atomic::AtomicU64;

use catchment_core::Epoch;
use catchment_schemas::Dataset;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The dataset of a counter.
type DatasetLabel = [(&'static str, &'static str); 1];

/// What one line counts.
#[derive(Clone, Default)]
pub struct LineMetrics {
    epochs: Counter,
    rows: Family<DatasetLabel, Counter>,
    overflow: Counter,
    pub(crate) failures: Counter,
    pub(crate) watermark: Gauge,
    pub(crate) durable: Gauge,
    pub(crate) blocked: Counter<f64, AtomicU64>,
}

impl LineMetrics {
    /// Registers everything under the line's labels.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        // A counter that begins with its first row hides that row from every rate.
        for dataset in Dataset::ALL {
            m.rows_of(dataset);
        }
        registry.register("epochs", "Epochs handed to the sink", m.epochs.clone());
        registry.register("sink_rows", "Rows handed to the sink, of datasets it does not publish too", m.rows.clone());
        registry.register(
            "overflow_records",
            "Records that gave up their identity because a window held more keys than the limits allow",
            m.overflow.clone(),
        );
        registry.register("sink_failures", "Failed attempts to open the sink or to publish to it", m.failures.clone());
        registry.register_with_unit(
            "watermark",
            "Event time before which everything has been read",
            Unit::Seconds,
            m.watermark.clone(),
        );
        registry.register(
            "durable_position",
            "Log position up to which the sink's rows are durable",
            m.durable.clone(),
        );
        registry.register_with_unit("blocked", "Time the fold waited for the sink", Unit::Seconds, m.blocked.clone());
        m
    }

    fn rows_of(&self, dataset: Dataset) -> Counter {
        self.rows.get_or_create_owned(&[("dataset", dataset.name())])
    }

    pub(crate) fn published(&self, epoch: &Epoch) {
        self.epochs.inc();
        for dataset in Dataset::ALL {
            self.rows_of(dataset).inc_by(epoch.rows_of(dataset) as u64);
        }
        self.overflow.inc_by(overflow(epoch));
    }
}

/// Records of the window that gave up their identity because it held too many keys.
fn overflow(epoch: &Epoch) -> u64 {
    let flows = epoch.window.iter().flat_map(|window| &window.flows);
    flows.filter(|row| row.key.is_overflow()).map(|row| u64::from(row.records)).sum()
}

/// Registers what counts the faults of a source under the stream's labels.
pub(crate) fn source_failures(registry: &mut Registry) -> Counter {
    let failures = Counter::default();
    registry.register("source_failures", "Faults that ended a run of the source", failures.clone());
    failures
}

/// What the log of a stream counts.
#[derive(Clone, Debug, Default)]
pub struct LogMetrics {
    pub(crate) bytes: Gauge,
    pub(crate) full: Counter<f64, AtomicU64>,
    pub(crate) look_back_dropped: Counter,
    pub(crate) cut: Counter,
    pub(crate) refused: Counter,
    pub(crate) write_failures: Counter,
}

impl LogMetrics {
    /// Registers everything under the stream's labels.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register_with_unit("log", "Size of the stream's log", Unit::Bytes, m.bytes.clone());
        registry.register_with_unit(
            "log_full",
            "Time the source waited because the log was full",
            Unit::Seconds,
            m.full.clone(),
        );
        registry.register_with_unit(
            "log_look_back_dropped",
            "Dropped from a full log although the source may look back on it",
            Unit::Bytes,
            m.look_back_dropped.clone(),
        );
        registry.register_with_unit(
            "log_cut",
            "Cut off at the start: appends that a crash left unfinished",
            Unit::Bytes,
            m.cut.clone(),
        );
        registry.register_with_unit(
            "log_refused",
            "Flows that found no room in the log and became gaps",
            Unit::Bytes,
            m.refused.clone(),
        );
        registry.register(
            "log_write_failures",
            "Appends that the disk of the log refused; each is tried again",
            m.write_failures.clone(),
        );
        m
    }
}
