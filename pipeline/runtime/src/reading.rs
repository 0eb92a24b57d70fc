//! The source of a stream: run, watched, and started again after faults.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use catchment_core::{Entry, Error, EventTime, LogPosition, LogWriter, Logged, Result, Retry, Source, StreamId};
use prometheus_client::metrics::counter::Counter;

use crate::readiness::{Part, STOPPED};
use crate::retry::{Backoff, pause};

/// Who wants to know how the source of a stream does.
pub(crate) struct Watch {
    pub(crate) id: StreamId,
    pub(crate) failures: Counter,
    pub(crate) part: Part,
}

impl Watch {
    /// A run of the source has ended with a fault.
    pub(crate) fn failed(&self) {
        self.failures.inc();
        self.part.fails("cannot read; trying again");
    }

    /// A fault that trying again cannot mend has ended the source.
    pub(crate) fn stopped(&self) {
        self.part.fails(STOPPED);
    }
}

/// The log as the source sees it: what the source does with it tells how it is.
pub(crate) struct WatchedLog<L> {
    log: L,
    part: Part,
    /// Something became durable since this was last asked.
    appended: AtomicBool,
}

impl<L> WatchedLog<L> {
    pub(crate) const fn new(log: L, part: Part) -> Self {
        Self { log, part, appended: AtomicBool::new(false) }
    }
}

#[async_trait]
impl<L: LogWriter> LogWriter for WatchedLog<L> {
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition> {
        let appended = self.log.append(entries).await;
        self.appended.fetch_or(appended.is_ok(), Ordering::Relaxed);
        appended
    }

    async fn read(&self, position: LogPosition) -> Result<Option<Entry>> {
        self.log.read(position).await
    }

    async fn replay(&self, since: EventTime, visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()> {
        self.log.replay(since, visit).await
    }

    fn reading(&self) {
        self.part.works();
    }
}

/// Runs a source whose log is kept, starting it again while that may help. Returns the fault that
/// it cannot mend; what has ended well leaves the lines to the log.
pub(crate) async fn keep_reading(mut source: Box<dyn Source>, watch: &Watch, log: impl LogWriter) -> Error {
    let log = WatchedLog::new(log, watch.part.clone());
    let mut backoff = Backoff::default();
    loop {
        let Err(e) = source.run(&log).await else { return std::future::pending().await };
        watch.failed();
        if e.retry == Retry::Never {
            return e;
        }
        if log.appended.swap(false, Ordering::Relaxed) {
            backoff.reset();
        }
        pause(&mut backoff, &watch.id.to_string(), "cannot read from the source", &e).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use catchment_core::PartitionId;
    use tokio::time::Instant;

    use super::*;
    use crate::direct::direct_log;
    use crate::readiness::Readiness;

    /// Fails on every run, on the eighth after an append; notes when it was run.
    struct Flaky(Arc<Mutex<Vec<Instant>>>);

    #[async_trait]
    impl Source for Flaky {
        async fn run(&mut self, log: &dyn LogWriter) -> Result<()> {
            self.0.lock().unwrap().push(Instant::now());
            let runs = self.0.lock().unwrap().len();
            if runs == 8 {
                log.append(vec![Entry::Progress { partition: PartitionId(0), up_to: EventTime::MIN }]).await?;
            }
            Err(if runs == 9 { Error::internal("broken") } else { Error::external("away") })
        }

        async fn check(&mut self) -> Result<String> {
            Ok(String::new())
        }
    }

    /// The clock stands still but for the pauses.
    #[tokio::test(start_paused = true)]
    async fn the_pause_is_short_again_after_something_was_read() {
        let (log, _entries) = direct_log();
        let part = Readiness::default().part("source".to_owned());
        let id = StreamId { cluster: "lab".to_owned(), source: "flaky".to_owned() };
        let watch = Watch { id, failures: Counter::default(), part };
        let runs = Arc::new(Mutex::new(Vec::new()));
        assert_eq!(keep_reading(Box::new(Flaky(runs.clone())), &watch, log).await.message, "broken");
        assert_eq!(watch.failures.get(), 9);
        let runs = runs.lock().unwrap();
        let pauses: Vec<_> = runs.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses[6] > Duration::from_secs(5), "{pauses:?}");
        assert!(pauses[7] < Duration::from_secs(1), "{pauses:?}");
    }
}
