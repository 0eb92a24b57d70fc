//! What a cluster tells while it is watched: written down before anybody joins by it, and told to every stream as time.
//!
//! ```text
//! news -> Recorder -> log of the knowledge -> Timeline
//!                  -> sealed up to a time  -> a mark in the log of every stream
//! ```
//!
//! A mark says that nothing before it is added to the timeline any more, so a window that closed behind it is joined the
//! same way whenever its log is read again. While the cluster cannot be watched, windows wait for a while; then the time is
//! sealed all the same, and remembered as one in which changes may have been missed.

mod book;
mod marks;
mod recorder;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use catchment_core::{EventTime, Period, Result};
use catchment_stages::enrich::Timeline;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::spool::Limits;
use book::Book;
pub(crate) use marks::{Marker, Noted, leave};
pub use recorder::Recorder;

/// What streams share about the cluster; cloning shares it.
#[derive(Clone)]
pub struct Watched {
    /// What the cluster told.
    pub timeline: Timeline,
    /// How far the timeline is settled.
    sealed: watch::Receiver<EventTime>,
    /// How far the flows of any stream have come.
    reached: Arc<AtomicI64>,
    wait: Period,
}

impl Watched {
    /// Opens the log of the knowledge in `dir`, or begins it. Streams wait for news up to `wait`.
    pub async fn open(dir: &Path, limits: Limits, wait: Period, registry: &mut Registry) -> Result<(Self, Recorder)> {
        let (book, timeline) = Book::open(dir, limits).await?;
        let (seal, sealed) = watch::channel(timeline.sealed());
        let watched = Self { timeline, sealed, reached: Arc::new(AtomicI64::new(i64::MIN)), wait };
        let metrics = Metrics::register(registry);
        Ok((watched.clone(), Recorder::new(watched, book, seal, metrics)))
    }

    /// The flows of a stream are complete up to `time`.
    fn reach(&self, time: EventTime) {
        self.reached.fetch_max(time.0, Ordering::Relaxed);
    }

    fn reached(&self) -> EventTime {
        EventTime(self.reached.load(Ordering::Relaxed))
    }

    /// Resolves when something is known, or after the longest wait.
    pub(crate) async fn first_news(&self) {
        let known = async {
            let _ = self.sealed.clone().wait_for(|sealed| *sealed > EventTime::MIN).await;
        };
        let _ = tokio::time::timeout(self.wait.0, known).await;
    }
}

/// What is counted about the knowledge.
#[derive(Clone, Default)]
struct Metrics {
    sealed: Gauge,
    changes: Gauge,
    blind: Gauge,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("knowledge_sealed_seconds", "Event time up to which the cluster is known", m.sealed.clone());
        registry.register("knowledge_changes", "Changes of the cluster's objects that are kept", m.changes.clone());
        registry.register("knowledge_blind", "1 while changes of the cluster may be missed", m.blind.clone());
        m
    }
}
