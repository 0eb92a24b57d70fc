//! What the watch counts.

use std::sync::atomic::AtomicI64;

use catchment_core::knowledge::{Coverage, Kind};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Which kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
    group: &'static str,
}

/// Which kind, and what was done or found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKindAnd {
    kind: &'static str,
    group: &'static str,
    what: &'static str,
}

/// The metrics of all kinds; clones share their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<OfKindAnd, Counter>,
    changes: Family<OfKind, Counter>,
    unreadable: Family<OfKind, Counter>,
    objects: Family<OfKind, Gauge>,
    coverage: Family<OfKindAnd, Gauge<i64, AtomicI64>>,
}

/// The ways of asking.
const REQUESTS: [&str; 3] = ["list", "stream", "watch"];

/// The names of the states of coverage.
const STATES: [&str; 6] = ["pending", "synced", "partial", "stale", "denied", "absent"];

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // A counter that begins with what it counts hides that from every rate.
        for &kind in Kind::ALL {
            for what in REQUESTS {
                drop(metrics.requests.get_or_create(&of_and(kind, what)));
            }
            drop(metrics.changes.get_or_create(&of(kind)));
            drop(metrics.unreadable.get_or_create(&of(kind)));
            drop(metrics.objects.get_or_create(&of(kind)));
            metrics.coverage(kind, &Coverage::Pending);
        }
        let requests = "Requests sent to the API server: `list`, `stream` (a watch that begins with a list), `watch`";
        registry.register("kubernetes_requests", requests, metrics.requests.clone());
        registry.register("kubernetes_changes", "Changes of objects told", metrics.changes.clone());
        let unreadable = "Objects left out because a field has an unknown shape";
        registry.register("kubernetes_unreadable", unreadable, metrics.unreadable.clone());
        registry.register("kubernetes_objects", "Objects known", metrics.objects.clone());
        let coverage = "1 for the state that a kind is in: pending, synced, partial, stale, denied, absent";
        registry.register("kubernetes_coverage", coverage, metrics.coverage.clone());
        metrics
    }

    pub(crate) fn request(&self, kind: Kind, what: &'static str) {
        self.requests.get_or_create(&of_and(kind, what)).inc();
    }

    pub(crate) fn change(&self, kind: Kind, objects: usize) {
        self.changes.get_or_create(&of(kind)).inc();
        self.objects.get_or_create(&of(kind)).set(objects as i64);
    }

    pub(crate) fn unreadable(&self, kind: Kind) {
        self.unreadable.get_or_create(&of(kind)).inc();
    }

    pub(crate) fn coverage(&self, kind: Kind, coverage: &Coverage) {
        let state = match coverage {
            Coverage::Pending => 0,
            Coverage::Synced => 1,
            Coverage::Partial { .. } => 2,
            Coverage::Stale { .. } => 3,
            Coverage::Denied { .. } => 4,
            Coverage::Absent => 5,
        };
        for (number, what) in STATES.into_iter().enumerate() {
            self.coverage.get_or_create(&of_and(kind, what)).set(i64::from(number == state));
        }
    }
}

const fn of(kind: Kind) -> OfKind {
    OfKind { kind: kind.plural(), group: kind.group() }
}

const fn of_and(kind: Kind, what: &'static str) -> OfKindAnd {
    OfKindAnd { kind: kind.plural(), group: kind.group(), what }
}
