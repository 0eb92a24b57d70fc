//! The line of one sink: it reads the log, folds it, and publishes what comes out.
//!
//! Every sink has a line of its own and the log is all they share, so a sink that stalls or fails
//! holds up nobody else. After any fault the line starts again from the sink's cursor.

use std::sync::Arc;
use std::time::Instant;

use catchment_core::{Cursor, Epoch, EpochId, Error, LogPosition, Logged, Result, Retry, Sink, StreamId};
use catchment_stages::{Folder, Resume, Settings};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;

use crate::metrics::LineMetrics;
use crate::readiness::{Part, STOPPED};
use crate::retry::Backoff;
use crate::spool::{Reader, Spool};
use crate::workers::ThreadWorkers;

/// Epochs that may wait for a sink. An epoch is a window's rows.
const QUEUED_EPOCHS: usize = 2;

/// What every line of a stream is folded with.
#[derive(Clone)]
pub(crate) struct Fold {
    pub(crate) settings: Settings,
    pub(crate) workers: usize,
}

/// Where a line's entries come from.
pub(crate) enum Input {
    Spool(Reader),
    Direct(Receiver<Logged>),
}

impl Input {
    /// The next entry; waits for one. `None` when a bounded input has ended.
    async fn next(&mut self) -> Result<Option<Logged>> {
        match self {
            Self::Direct(entries) => Ok(entries.recv().await),
            Self::Spool(reader) => loop {
                if let Some(logged) = reader.next()? {
                    return Ok(Some(logged));
                }
                reader.wait(reader.position()).await;
            },
        }
    }
}

/// A sink with the name it is configured under.
pub struct NamedSink {
    /// Its name.
    pub name: String,
    /// The connector.
    pub sink: Box<dyn Sink>,
}

/// Opens a sink, trying again while that may help.
async fn open(sink: &mut NamedSink, stream: &StreamId, progress: &Progress) -> Result<Option<Cursor>> {
    let mut backoff = Backoff::default();
    loop {
        let error = match sink.sink.open(stream).await {
            Ok(cursor) => {
                progress.opened(cursor.as_ref());
                return Ok(cursor);
            }
            Err(e) => e,
        };
        progress.failed();
        if error.retry == Retry::Never {
            return Err(error);
        }
        pause(&mut backoff, &sink.name, "cannot open the sink", &error).await;
    }
}

pub(crate) async fn pause(backoff: &mut Backoff, name: &str, what: &str, error: &Error) {
    let pause = backoff.next_pause();
    tracing::warn!(name, pause_ms = pause.as_millis() as u64, error = error.chain(), "{what}; trying again");
    tokio::time::sleep(pause).await;
}

/// Resolves once `stop` is set, or when nobody can set it any more.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Keeps one sink supplied from the spool until `stop`. A fault that trying again cannot mend ends
/// this line and no other.
pub(crate) async fn keep_supplied(
    sink: NamedSink,
    fold: Fold,
    spool: Spool,
    progress: Progress,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let (name, stream) = (sink.name.clone(), fold.settings.stream.to_string());
    let supplied = supply_until(sink, fold, spool, &progress, stop).await;
    supplied.inspect_err(|e| {
        progress.part.fails(STOPPED);
        tracing::error!(
            sink = name,
            stream,
            error = e.chain(),
            "the sink has stopped, others go on while the log has room; mend it and restart"
        );
    })
}

/// Supplies one sink; starts again from its cursor after faults.
async fn supply_until(
    mut sink: NamedSink,
    fold: Fold,
    spool: Spool,
    progress: &Progress,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let cursor = tokio::select! {
            cursor = open(&mut sink, &fold.settings.stream, progress) => cursor?,
            () = stopped(&mut stop) => return Ok(()),
        };
        let resume = cursor.as_ref().map_or_else(|| Resume::from_start(spool.first()), Resume::from_cursor);
        let input = Input::Spool(spool.reader(resume.position));
        let epochs = start_fold(fold.clone(), &resume, input, progress.metrics.clone(), stop.clone());
        let Err(error) = supply(&mut sink, epochs, cursor, progress, &mut backoff).await else { return Ok(()) };
        progress.failed();
        if error.retry == Retry::Never {
            return Err(error);
        }
        pause(&mut backoff, &sink.name, "cannot publish", &error).await;
    }
}

/// Publishes epochs that the sink does not have yet, until the fold ends.
async fn supply(
    sink: &mut NamedSink,
    mut epochs: Receiver<Result<Arc<Epoch>>>,
    cursor: Option<Cursor>,
    progress: &Progress,
    backoff: &mut Backoff,
) -> Result<()> {
    let committed: Option<EpochId> = cursor.map(|cursor| cursor.committed);
    while let Some(epoch) = epochs.recv().await {
        let epoch = epoch?;
        if committed.is_some_and(|committed| epoch.id <= committed) {
            continue;
        }
        publish(sink, &epoch, progress).await?;
        backoff.reset();
    }
    Ok(())
}

async fn publish(sink: &mut NamedSink, epoch: &Epoch, progress: &Progress) -> Result<()> {
    let durable = sink.sink.publish(epoch).await?;
    progress.published(epoch, durable.as_ref())
}

/// Folds a bounded input for all sinks at once; ends with the input.
pub(crate) async fn run_bounded(
    mut sinks: Vec<(NamedSink, Progress)>,
    fold: Fold,
    entries: Receiver<Logged>,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut committed = Vec::new();
    for (sink, progress) in &mut sinks {
        let cursor = open(sink, &fold.settings.stream, progress).await?;
        committed.push(cursor.map(|cursor| cursor.committed));
    }
    let resume = Resume::from_start(LogPosition(0));
    let metrics = sinks.first().map(|(_, progress)| progress.metrics.clone()).unwrap_or_default();
    let mut epochs = start_fold(fold, &resume, Input::Direct(entries), metrics, stop.clone());
    while let Some(epoch) = epochs.recv().await {
        let epoch = epoch?;
        for ((sink, progress), committed) in sinks.iter_mut().zip(&committed) {
            if committed.is_none_or(|committed| epoch.id > committed) {
                publish(sink, &epoch, progress).await?;
            }
        }
    }
    if !*stop.borrow() {
        for (sink, _) in &mut sinks {
            sink.sink.finish().await?;
        }
    }
    Ok(())
}

/// Starts the fold in a thread of its own; it ends when its input ends, `stop` is set or nobody listens.
fn start_fold(
    fold: Fold,
    resume: &Resume,
    input: Input,
    metrics: LineMetrics,
    stop: watch::Receiver<bool>,
) -> Receiver<Result<Arc<Epoch>>> {
    let (out, epochs) = channel(QUEUED_EPOCHS);
    let folder = Folder::new(fold.settings.clone(), resume);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let outcome = runtime.block_on(fold_log(folder, &fold, input, &metrics, stop, &out));
        if let Err(e) = outcome {
            let _ = out.blocking_send(Err(e));
        }
    });
    epochs
}

async fn fold_log(
    mut folder: Folder,
    fold: &Fold,
    mut input: Input,
    metrics: &LineMetrics,
    mut stop: watch::Receiver<bool>,
    out: &Sender<Result<Arc<Epoch>>>,
) -> Result<()> {
    let mut workers = ThreadWorkers::start(fold.workers, fold.settings.window, fold.settings.limits)
        .map_err(|e| Error::internal("cannot start the worker threads").caused_by(e))?;
    loop {
        let logged = tokio::select! {
            logged = input.next() => logged?,
            () = stopped(&mut stop) => None,
            () = out.closed() => None,
        };
        let Some(logged) = logged else { return Ok(()) };
        for epoch in folder.entry(logged, &mut workers) {
            let waiting = Instant::now();
            let sent = out.send(Ok(Arc::new(epoch))).await;
            metrics.blocked.inc_by(waiting.elapsed().as_secs_f64());
            if sent.is_err() {
                return Ok(());
            }
        }
        metrics.watermark.set(folder.watermark().secs());
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
    fn opened(&self, cursor: Option<&Cursor>) {
        self.part.works();
        if let (Some(cursor), Some(retention)) = (cursor, &self.retention) {
            lock(retention).floors[self.line] = Some(cursor.floor.position);
        }
    }

    fn failed(&self) {
        self.part.fails("cannot be opened or published to; trying again");
        self.metrics.failures.inc();
    }

    fn published(&self, epoch: &Epoch, durable: Option<&Cursor>) -> Result<()> {
        self.metrics.published(epoch);
        let Some(durable) = durable else { return Ok(()) };
        self.metrics.durable.set(durable.committed.position.0 as i64);
        let Some(retention) = &self.retention else { return Ok(()) };
        let mut retention = lock(retention);
        retention.floors[self.line] = Some(durable.floor.position);
        retention.cut()
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
}

impl Retention {
    pub(crate) fn new(spool: Spool, lines: usize) -> Self {
        Self { spool, floors: vec![None; lines] }
    }

    /// Cuts behind the slowest line.
    fn cut(&self) -> Result<()> {
        let slowest = self.floors.iter().copied().min().flatten();
        slowest.map_or(Ok(()), |slowest| self.spool.truncate_before(slowest))
    }
}
