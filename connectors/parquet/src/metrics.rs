//! What the sink counts.

use std::time::Duration;

use catchment_schemas::Dataset;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The dataset of a counter.
type DatasetLabel = [(&'static str, &'static str); 1];

/// Counters of one sink.
pub(crate) struct Metrics {
    rows: Family<DatasetLabel, Counter>,
    bytes: Family<DatasetLabel, Counter>,
    objects: Family<DatasetLabel, Counter>,
    put_seconds: Histogram,
}

impl Metrics {
    /// Registers everything, with zeros for the datasets that are written.
    pub(crate) fn register(registry: &mut Registry, datasets: &[Dataset]) -> Self {
        let metrics = Self {
            rows: Family::default(),
            bytes: Family::default(),
            objects: Family::default(),
            put_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 12)),
        };
        for dataset in datasets {
            let label = [("dataset", dataset.name())];
            let _ = (metrics.rows.get_or_create_owned(&label), metrics.bytes.get_or_create_owned(&label));
            let _ = metrics.objects.get_or_create_owned(&label);
        }
        registry.register("parquet_rows", "Rows made durable in the object store", metrics.rows.clone());
        let bytes = metrics.bytes.clone();
        registry.register_with_unit("parquet_objects", "Bytes made durable in the object store", Unit::Bytes, bytes);
        registry.register("parquet_objects", "Objects made durable in the object store", metrics.objects.clone());
        let seconds = metrics.put_seconds.clone();
        registry.register_with_unit("parquet_put", "Time until an object was durable", Unit::Seconds, seconds);
        metrics
    }

    /// Counts an object that is durable now.
    pub(crate) fn durable(&self, dataset: Dataset, rows: usize, bytes: usize, took: Duration) {
        let label = [("dataset", dataset.name())];
        self.rows.get_or_create(&label).inc_by(rows as u64);
        self.bytes.get_or_create(&label).inc_by(bytes as u64);
        self.objects.get_or_create(&label).inc();
        self.put_seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_durable_is_told_by_dataset() {
        let mut registry = Registry::default();
        Metrics::register(&mut registry, &[]).durable(Dataset::Gaps, 3, 900, Duration::from_millis(20));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"parquet_rows_total{dataset="gaps"} 3"#), "{text}");
        assert!(text.contains(r#"parquet_objects_bytes_total{dataset="gaps"} 900"#), "{text}");
        assert!(text.contains(r#"parquet_objects_total{dataset="gaps"} 1"#), "{text}");
        assert!(text.contains("parquet_put_seconds_count 1"), "{text}");
    }
}
