//! The log of one stream on the local disk: segments of checksummed entries, synced in groups.
//!
//! An append returns when its entries are durable. Nothing that is durable is ever changed, and
//! only whole segments are dropped, oldest first, once nobody needs them. The log is bounded: a
//! full one gives up what only a source looks back on, and then makes appends wait until
//! [`Spool::truncate_before`] frees a segment. Where nothing can ever free one, it writes gaps in
//! place of flows, so that time goes on. An append is written whole or not at all, whether its
//! future is dropped, the disk is full or the process dies.

#[cfg(test)]
mod damage;
mod format;
#[cfg(test)]
mod full_disk;
mod marks;
mod reader;
mod segment;
mod state;
mod tail;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use catchment_core::{
    Entry, Error, EventTime, FlowsEntry, GapEntry, LogId, LogPosition, LogWriter, Logged, PartitionId, Result,
};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::LogMetrics;
use format::PREAMBLE;
use marks::Mark;
pub use reader::Reader;
use state::Shared;
pub use view::{View, view};
use writer::{Append, Writer};

/// How large a log may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment is closed before it would grow beyond this; one append is never split.
    pub segment_bytes: u64,
    /// Appends wait before the log would grow beyond this. Must hold the open windows and two segments.
    pub max_bytes: u64,
    /// Microseconds of event time that are kept although no sink needs them, while there is room: how
    /// far back the source may look.
    pub look_back: i64,
}

/// A handle to the log of one stream; clones share it. The last one to go ends the writer.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    /// Present until the drop.
    queue: Option<mpsc::Sender<Append>>,
    writer: Option<JoinHandle<()>>,
    /// Held while the log is open: two writers would overwrite each other.
    _lock: File,
}

/// Some thousand gaps: what a day without room has to say.
const LARGEST_RESERVE: u64 = 4 << 20;

impl Limits {
    /// Bytes that only gaps in place of flows may take, and the progress among them.
    fn reserve(self) -> u64 {
        LARGEST_RESERVE.min(self.max_bytes / 8)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue = None;
        self.shared.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the log has panicked");
        }
    }
}

impl Spool {
    /// Opens the log in `dir`, which is created where missing, and recovers what is durable: an
    /// unfinished tail of the newest segment is cut off, any other damage is an error.
    pub fn open(dir: &Path, limits: Limits, metrics: LogMetrics) -> Result<Self> {
        if limits.max_bytes < limits.segment_bytes.saturating_mul(2) {
            return Err(Error::user("the log's limit is below two of its segments; raise it or make segments smaller"));
        }
        std::fs::create_dir_all(dir).map_err(|e| segment::failed("create", dir, e))?;
        let lock = lock(dir)?;
        let shared = Arc::new(Shared::open(dir, limits, metrics)?);
        let (queue, waiting) = mpsc::channel(writer::QUEUE);
        let writer = Writer::new(shared.clone());
        let thread = thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run(waiting));
        let thread = thread.map_err(|e| Error::external("cannot start the thread of the log").caused_by(e))?;
        Ok(Self { inner: Arc::new(Inner { shared, queue: Some(queue), writer: Some(thread), _lock: lock }) })
    }

    /// Its identity, which it keeps for life.
    pub fn id(&self) -> LogId {
        self.inner.shared.id()
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        self.inner.shared.dir()
    }

    /// The oldest position still in the log; equal to [`Spool::end`] when nothing is.
    pub fn first(&self) -> LogPosition {
        self.inner.shared.first()
    }

    /// The position the next entry will get; everything before it is durable.
    pub fn end(&self) -> LogPosition {
        self.inner.shared.end()
    }

    /// Durable bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.inner.shared.bytes()
    }

    /// The newest progress of a partition that is still in the log.
    pub fn progress_of(&self, partition: PartitionId) -> Option<EventTime> {
        self.inner.shared.progress_of(partition)
    }

    /// Reads on from `from`. A reader does not keep the log open, and keeps nothing from being dropped.
    pub fn reader(&self, from: LogPosition) -> Reader {
        Reader::new(self.inner.shared.clone(), from)
    }

    /// No sink needs anything before `position` any more: drops the segments that lie wholly before
    /// it, oldest first, as far as no source looks back on them and each partition keeps its newest
    /// progress. Touches the disk, briefly.
    pub fn truncate_before(&self, position: LogPosition) -> Result<()> {
        self.inner.shared.truncate_before(position)
    }

    /// Every sink has done what it can with the entries before `position`: those that it has not
    /// made durable wait for later ones.
    pub fn settle(&self, position: LogPosition) {
        self.inner.shared.settle(position);
    }

    /// Refuses what no truncation could ever make room for: the segment with the newest progress
    /// stays, and is as large as an append may be.
    fn check_size(&self, bytes: u64) -> Result<()> {
        let limits = self.inner.shared.limits();
        let limit = ((limits.max_bytes - limits.reserve()) / 2).saturating_sub(PREAMBLE as u64);
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::user(format!(
            "{bytes} bytes at once do not fit into half of the log, {limit}; raise the log's limit"
        )))
    }

    /// Makes the entries durable; `None` where no room can ever come.
    async fn store(&self, entries: &[Entry], urgent: bool) -> Result<Option<LogPosition>> {
        let (mut frames, mut starts) = (Vec::new(), Vec::with_capacity(entries.len()));
        for (at, entry) in (1..).zip(entries) {
            starts.push(frames.len() as u64);
            format::encode(entry, at < entries.len(), &mut frames)?;
        }
        let marks = (0..).zip(entries).filter_map(|(at, entry)| Mark::of(entry, LogPosition(at))).collect();
        self.check_size(frames.len() as u64)?;
        let (done, durable) = oneshot::channel();
        let queue = self.inner.queue.as_ref().expect("the queue is present until the drop");
        queue.send(Append { frames, starts, marks, urgent, done }).await.map_err(|_| writer_gone())?;
        durable.await.map_err(|_| writer_gone())?
    }
}

#[async_trait]
impl LogWriter for Spool {
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition> {
        if entries.is_empty() {
            return Ok(self.end());
        }
        if let Some(first) = self.store(&entries, false).await? {
            return Ok(first);
        }
        let bytes = entries.iter().map(payload_bytes).sum();
        self.inner.shared.refused(bytes);
        let first = self.store(&entries.into_iter().map(without_payload).collect::<Vec<_>>(), true).await?;
        first.ok_or_else(|| {
            let limit = self.inner.shared.limits().max_bytes;
            Error::user(format!(
                "the log has no room even for gaps in its {limit} bytes, and its sinks wait for more before they write; raise `spool.max_bytes`"
            ))
        })
    }

    async fn read(&self, position: LogPosition) -> Result<Option<Entry>> {
        self.inner.shared.read(position)
    }

    async fn replay(&self, since: EventTime, visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()> {
        for position in (self.first().0..self.end().0).map(LogPosition) {
            // What is dropped meanwhile is no longer in the log.
            if let Some(entry) = self.inner.shared.read(position)?
                && reach(&entry) >= since
            {
                visit(Logged { position, entry });
            }
            // Reading blocks for a moment at a time; others get their turn in between.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn payload_bytes(entry: &Entry) -> u64 {
    if let Entry::Flows(flows) = entry { flows.payload.len() as u64 } else { 0 }
}

/// What is known of an entry that has no room: flows become a gap. The rest stays as it is, and so does
/// a look that found none.
fn without_payload(entry: Entry) -> Entry {
    let bytes = payload_bytes(&entry);
    match entry {
        Entry::Flows(FlowsEntry { partition, span, .. }) if bytes > 0 => Entry::Gap(GapEntry {
            partition,
            span,
            reason: "log_full".to_owned(),
            detail: format!(
                "{bytes} bytes of flows found the log full of what sinks still gather; raise `spool.max_bytes`"
            ),
        }),
        other => other,
    }
}

/// The latest event time an entry speaks of.
fn reach(entry: &Entry) -> EventTime {
    match entry {
        Entry::Flows(flows) => flows.span.end,
        Entry::Progress { up_to, .. } => *up_to,
        Entry::Gap(gap) => gap.span.end,
        Entry::Knowledge(_) => EventTime::MAX,
    }
}

fn writer_gone() -> Error {
    Error::internal("the writer of the log has stopped; restart and report what was logged before")
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|e| segment::failed("create", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let dir = dir.display();
            Err(Error::user(format!("another process has the log in {dir} open; stop it or use another directory")))
        }
        Err(TryLockError::Error(e)) => Err(segment::failed("lock", &path, e)),
    }
}
