//! What the source counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of one source; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) list_requests: Counter,
    pub(crate) list_seconds: Histogram,
    pub(crate) rows: Counter,
    pub(crate) bytes: Counter,
    pub(crate) buckets_swept: Counter,
    pub(crate) reconcile_corrections: Counter,
    pub(crate) gaps: Counter,
    pub(crate) overdue_looks: Gauge,
    pub(crate) oldest_overdue_look: Gauge<f64, AtomicU64>,
    pub(crate) lapsed_looks: Counter,
    pub(crate) clock_skew: Gauge<f64, AtomicU64>,
    pub(crate) bucket_width: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // 1 ms to about 65 s: an idle collector answers in a few milliseconds, a full one in seconds.
        let list_seconds = Histogram::new(exponential_buckets(0.001, 4.0, 9));
        let metrics = Self {
            list_requests: Counter::default(),
            list_seconds,
            rows: Counter::default(),
            bytes: Counter::default(),
            buckets_swept: Counter::default(),
            reconcile_corrections: Counter::default(),
            gaps: Counter::default(),
            overdue_looks: Gauge::default(),
            oldest_overdue_look: Gauge::default(),
            lapsed_looks: Counter::default(),
            clock_skew: Gauge::default(),
            bucket_width: Gauge::default(),
        };
        metrics.add_to(registry.sub_registry_with_prefix("goldmane"));
        metrics
    }

    fn add_to(&self, registry: &mut Registry) {
        registry.register("list_requests", "List calls sent to the collector", self.list_requests.clone());
        registry.register_with_unit("list", "Time per List call", Unit::Seconds, self.list_seconds.clone());
        registry.register("flows", "Flows written to the log as first reports", self.rows.clone());
        registry.register_with_unit("read", "Bytes of List answers", Unit::Bytes, self.bytes.clone());
        registry.register("buckets_swept", "Buckets read for the first time", self.buckets_swept.clone());
        registry.register(
            "corrections",
            "Flows for which a later look showed more than the first report",
            self.reconcile_corrections.clone(),
        );
        registry.register("gaps", "Gaps written to the log", self.gaps.clone());
        self.add_looks_to(registry);
        registry.register_with_unit(
            "clock_skew",
            "Collector clock minus local clock, as far as it is known",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
        registry.register_with_unit(
            "bucket_width",
            "Width of the collector's buckets",
            Unit::Seconds,
            self.bucket_width.clone(),
        );
    }

    fn add_looks_to(&self, registry: &mut Registry) {
        registry.register("overdue_looks", "Later looks that are due and not yet made", self.overdue_looks.clone());
        registry.register_with_unit(
            "oldest_overdue_look",
            "For how long the first of the overdue looks has been due, in the collector's time",
            Unit::Seconds,
            self.oldest_overdue_look.clone(),
        );
        registry.register(
            "lapsed_looks",
            "Later looks never made, because the collector forgot the bucket before their turn",
            self.lapsed_looks.clone(),
        );
    }
}
