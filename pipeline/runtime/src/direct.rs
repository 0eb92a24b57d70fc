//! A log for inputs that are logs themselves: files are read again, not copied.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use catchment_core::{Entry, Error, EventTime, LogPosition, LogWriter, Logged, Result};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Entries between source and fold; each is about a mebibyte.
const QUEUED_ENTRIES: usize = 8;

/// The writing end. A full queue makes the source wait.
pub(crate) struct DirectLog {
    queue: Sender<Logged>,
    next: AtomicU64,
}

/// Both ends of a log that is not kept.
pub(crate) fn direct_log() -> (DirectLog, Receiver<Logged>) {
    let (queue, entries) = channel(QUEUED_ENTRIES);
    (DirectLog { queue, next: AtomicU64::new(0) }, entries)
}

#[async_trait]
impl LogWriter for DirectLog {
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition> {
        let first = LogPosition(self.next.fetch_add(entries.len() as u64, Ordering::Relaxed));
        for (i, entry) in (0..).zip(entries) {
            let logged = Logged { position: LogPosition(first.0 + i), entry };
            self.queue.send(logged).await.map_err(|_| Error::internal("the fold ended before its input"))?;
        }
        Ok(first)
    }

    async fn read(&self, _position: LogPosition) -> Result<Option<Entry>> {
        Ok(None)
    }

    async fn replay(&self, _since: EventTime, _visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()> {
        Ok(())
    }
}
