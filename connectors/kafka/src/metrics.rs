//! What the sink counts.

use catchment_schemas::Dataset;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The dataset of a counter.
type DatasetLabel = [(&'static str, &'static str); 1];

/// Counters of committed work; nothing is counted for an aborted transaction but its error.
#[derive(Debug)]
pub(crate) struct Metrics {
    rows: Family<DatasetLabel, Counter>,
    bytes: Family<DatasetLabel, Counter>,
    transactions: Counter,
    seconds: Histogram,
    pub(crate) errors: Counter,
}

/// Rows and bytes of one dataset within a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Metrics {
    /// Registers all metrics, with zeros for the datasets that are published.
    pub(crate) fn register(registry: &mut Registry, datasets: impl IntoIterator<Item = Dataset>) -> Self {
        let metrics = Self {
            rows: Family::default(),
            bytes: Family::default(),
            transactions: Counter::default(),
            // From a broker beside us to one that is about to time out.
            seconds: Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            errors: Counter::default(),
        };
        for dataset in datasets {
            let label = [("dataset", dataset.name())];
            let _ = (metrics.rows.get_or_create_owned(&label), metrics.bytes.get_or_create_owned(&label));
        }
        registry.register("kafka_sink_rows", "Rows committed to Kafka", metrics.rows.clone());
        registry.register_with_unit(
            "kafka_sink_payload",
            "JSON committed to Kafka, before compression",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register("kafka_sink_transactions", "Transactions committed", metrics.transactions.clone());
        registry.register_with_unit(
            "kafka_sink_transaction",
            "Time from the first record of a transaction to its commit",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("kafka_sink_errors", "Failed calls that ended a session", metrics.errors.clone());
        metrics
    }

    /// A transaction stands.
    pub(crate) fn committed(&self, seconds: f64, tallies: impl Iterator<Item = (&'static str, Tally)>) {
        self.transactions.inc();
        self.seconds.observe(seconds);
        for (dataset, tally) in tallies {
            self.rows.get_or_create(&[("dataset", dataset)]).inc_by(tally.rows);
            self.bytes.get_or_create(&[("dataset", dataset)]).inc_by(tally.bytes);
        }
    }
}
