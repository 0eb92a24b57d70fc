//! The line of one sink: it opens the sink, publishes what that does not have yet, and tells how far it is.

use std::collections::VecDeque;
use std::sync::Arc;

use catchment_core::{Cursor, Epoch, Error, LogPosition, Result, Retry, Sink, StreamId};
use tokio::sync::watch;

use crate::findings::{Memory, MemoryFile, Saved};
use crate::metrics::LineMetrics;
use crate::readiness::Part;
use crate::retry::{Backoff, pause, stopped};
use crate::spool::Spool;
use crate::supply::Fold;

/// A sink with the name it is configured under.
pub struct NamedSink {
    /// Its name.
    pub name: String,
    /// The connector.
    pub sink: Box<dyn Sink>,
}

/// A sink and how far it has come.
pub(crate) struct Line {
    pub(crate) sink: NamedSink,
    pub(crate) progress: Progress,
    /// What is durable; known once the sink is open.
    pub(crate) cursor: Option<Cursor>,
    /// Epochs handed over since the process started.
    handed_over: u64,
    /// Where what is remembered of findings is kept; `None` where a start begins at the beginning.
    memory: Option<MemoryFile>,
    /// What was remembered behind epochs that are not durable yet, in their order.
    unkept: VecDeque<Arc<Saved>>,
    /// Where a start would begin to fold for the sake of findings.
    memory_floor: Option<LogPosition>,
}

impl Line {
    pub(crate) const fn new(sink: NamedSink, progress: Progress) -> Self {
        let (cursor, memory, memory_floor) = (None, None, None);
        Self { sink, progress, cursor, handed_over: 0, memory, unkept: VecDeque::new(), memory_floor }
    }

    /// With a file for what is remembered of findings.
    pub(crate) fn with_memory(self, memory: Option<MemoryFile>) -> Self {
        Self { memory, ..self }
    }

    /// What is remembered of findings from before the start.
    pub(crate) fn recall(&mut self, fold: &Fold, log: &Spool) -> Result<Option<Memory>> {
        self.unkept.clear();
        let (Some(file), Some(settings)) = (&self.memory, &fold.detect) else { return Ok(None) };
        file.load(fold, settings, (log.id(), log.first()), self.cursor.as_ref())
    }

    /// The fold begins here. What a start needs stays in the log.
    pub(crate) fn resumed(&mut self, position: LogPosition) {
        self.memory_floor = self.memory.as_ref().map(|_| position);
        if self.cursor.is_some() {
            self.progress.needs(position);
        }
    }

    /// Takes what is remembered of findings behind the last epoch, to be kept once that is durable.
    pub(crate) fn remember(&mut self, saved: &Arc<Saved>) -> Result<()> {
        if self.memory.is_none() {
            return Ok(());
        }
        self.unkept.push_back(saved.clone());
        self.keep_memory()
    }

    fn keep_memory(&mut self) -> Result<()> {
        let (Some(file), Some(cursor)) = (&self.memory, &self.cursor) else { return Ok(()) };
        let durable = self.unkept.iter().take_while(|saved| saved.id <= cursor.committed).count();
        let Some(newest) = self.unkept.drain(..durable).next_back() else { return Ok(()) };
        let floor = cursor.floor.position;
        // Flows come first: where a full disk has no room for memory, the log must not be kept for its sake.
        self.memory_floor = file.keep(&newest).map(|()| newest.floor).inspect_err(not_kept).ok();
        self.progress.cut(self.memory_floor.map_or(floor, |needed| needed.min(floor)))
    }

    /// Opens the sink, trying again while that may help; `false` where `stop` was set first.
    pub(crate) async fn open(&mut self, stream: &StreamId, stop: &mut watch::Receiver<bool>) -> Result<bool> {
        self.cursor = tokio::select! {
            cursor = open(&mut self.sink, stream, &self.progress) => cursor?,
            () = stopped(stop) => return Ok(false),
        };
        Ok(true)
    }

    /// Publishes the epoch, unless the sink has it; returns whether more is durable than before.
    pub(crate) async fn publish(&mut self, epoch: &Epoch) -> Result<bool> {
        let before = self.cursor.as_ref().map(|cursor| cursor.committed);
        if before.is_some_and(|committed| epoch.id <= committed) {
            return Ok(false);
        }
        let durable = self.sink.sink.publish(epoch).await.inspect_err(|_| self.progress.failed())?;
        self.handed_over += 1;
        self.progress.published(epoch, durable.as_ref());
        self.cursor = durable;
        if let Some(cursor) = &self.cursor {
            let floor = cursor.floor.position;
            self.progress.cut(self.memory_floor.map_or(floor, |needed| needed.min(floor)))?;
        }
        self.keep_memory()?;
        Ok(self.cursor.as_ref().map(|cursor| cursor.committed) > before)
    }

    /// The input has ended.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        self.cursor = self.sink.sink.finish().await.inspect_err(|_| self.progress.failed())?;
        if self.handed_over == 0 && self.cursor.is_some() {
            tracing::warn!(sink = self.sink.name, "already published: the sink has all rows of this input");
        }
        Ok(())
    }
}

fn not_kept(error: &Error) {
    tracing::warn!(
        error = error.chain(),
        "the next window's memory may fit; a restart before it tells open findings again"
    );
}

async fn open(sink: &mut NamedSink, stream: &StreamId, progress: &Progress) -> Result<Option<Cursor>> {
    let mut backoff = Backoff::default();
    loop {
        let opened = sink.sink.open(stream).await.inspect_err(|_| progress.failed());
        match opened {
            Err(e) if e.retry != Retry::Never => pause(&mut backoff, &sink.name, "cannot open the sink", &e).await,
            opened => return opened,
        }
    }
}

/// What a line tells the others: how its sink does, and how far it is, so that the log can be cut
/// behind the slowest.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) metrics: LineMetrics,
    pub(crate) part: Part,
    pub(crate) line: usize,
    pub(crate) retention: Option<Arc<std::sync::Mutex<Retention>>>,
}

impl Progress {
    /// A start of this line would begin to read here.
    fn needs(&self, position: LogPosition) {
        if let Some(retention) = &self.retention {
            lock(retention).floors[self.line] = Some(position);
        }
    }

    /// The log is cut behind the slowest line, where this one needs nothing before `position`.
    fn cut(&self, position: LogPosition) -> Result<()> {
        self.needs(position);
        self.retention.as_ref().map_or(Ok(()), |retention| lock(retention).cut())
    }

    fn failed(&self) {
        self.part.fails("cannot be opened or published to; trying again");
        self.metrics.failures.inc();
    }

    /// Everything that the entries before `position` gave was handed to the sink, and it took it.
    pub(crate) fn reached(&self, position: LogPosition) {
        if let Some(retention) = &self.retention {
            lock(retention).reached(self.line, position);
        }
    }

    fn published(&self, epoch: &Epoch, durable: Option<&Cursor>) {
        self.metrics.published(epoch);
        if let Some(durable) = durable {
            self.metrics.durable.set(durable.committed.position.0 as i64);
        }
    }
}

fn lock(retention: &std::sync::Mutex<Retention>) -> std::sync::MutexGuard<'_, Retention> {
    retention.lock().expect("nobody panics while holding the lock")
}

/// How much of the log the sinks need.
pub(crate) struct Retention {
    spool: Spool,
    /// The floor of each line; `None` until its sink has a cursor.
    floors: Vec<Option<LogPosition>>,
    /// How far each line has come, whether or not its sink has made anything of it durable.
    reached: Vec<LogPosition>,
}

impl Retention {
    pub(crate) fn new(spool: Spool, lines: usize) -> Self {
        Self { spool, floors: vec![None; lines], reached: vec![LogPosition(0); lines] }
    }

    fn reached(&mut self, line: usize, position: LogPosition) {
        self.reached[line] = position;
        self.spool.settle(self.reached.iter().copied().fold(position, LogPosition::min));
    }

    /// Cuts behind the slowest line.
    fn cut(&self) -> Result<()> {
        let slowest = self.floors.iter().copied().min().flatten();
        slowest.map_or(Ok(()), |slowest| self.spool.truncate_before(slowest))
    }
}
