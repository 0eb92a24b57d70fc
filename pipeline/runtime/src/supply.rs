//! From the log to the sinks: fold, publish, and start again from the sinks' cursors after a fault.
//!
//! A sink that is supplied from a kept log has a fold of its own and the log is all it shares with
//! others, so one that stalls or fails holds up nobody else. An input that is not kept is read once for
//! all its sinks.

use std::sync::Arc;
use std::time::Instant;

use catchment_core::{Epoch, Error, LogPosition, Logged, Result, Retry, Source};
use catchment_stages::detect;
use catchment_stages::enrich::Timeline;
use catchment_stages::{Folder, Resume, Settings};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;

use crate::direct::direct_log;
use crate::findings::{Board, Detecting, Memory, Saved};
use crate::fit;
use crate::line::Line;
use crate::metrics::LineMetrics;
use crate::readiness::STOPPED;
use crate::reading::{Watch, WatchedLog};
use crate::retry::{Backoff, pause, stopped};
use crate::spool::{Reader, Spool};
use crate::workers::ThreadWorkers;

/// Epochs that may wait for a sink. An epoch is a window's rows.
const QUEUED_EPOCHS: usize = 2;

/// What a stream is folded with.
#[derive(Clone)]
pub(crate) struct Fold {
    pub(crate) settings: Settings,
    pub(crate) workers: usize,
    /// What is looked for; `None` where nothing is.
    pub(crate) detect: Option<Arc<detect::Settings>>,
    /// Where findings are posted.
    pub(crate) board: Option<Board>,
}

impl Fold {
    /// The same for one line, which looks for findings or does not.
    pub(crate) fn of_line(&self, line: usize, looks: bool) -> Self {
        let detect = self.detect.clone().filter(|_| looks);
        let board = self.board.as_ref().filter(|_| looks).map(|board| board.of_line(line));
        Self { settings: self.settings.clone(), workers: self.workers, detect, board }
    }

    /// What is known about the cluster, where rows are joined with it.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        self.settings.enrichment.as_ref().map(|enrichment| enrichment.timeline.clone())
    }
}

/// Where the entries come from.
pub(crate) enum Feed {
    /// From a log that is kept, to one sink.
    Log(Spool),
    /// From the input itself, to all sinks.
    Input {
        source: Box<dyn Source>,
        watch: Watch,
        /// Whether it gives the same entries when it is read again.
        again: bool,
    },
}

/// What a fold hands over, in the order of the log.
enum Folded {
    Epoch(Arc<Epoch>),
    /// What is remembered of findings behind the epoch that came last.
    Memory(Arc<Saved>),
    /// The fold waits for the entry at this position; everything that those before it gave came first.
    Reached(LogPosition),
}

type Epochs = Receiver<Result<Folded>>;

/// Keeps the sinks supplied until the input ends or `stop` is set, starting again while that may help.
pub(crate) async fn keep_supplied(
    mut lines: Vec<Line>,
    fold: Fold,
    mut feed: Feed,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let supplied = supply_until(&mut lines, &fold, &mut feed, stop).await;
    supplied.inspect_err(|_| {
        for line in &lines {
            line.progress.part.fails(STOPPED);
        }
        if let Feed::Input { watch, .. } = &feed {
            watch.stopped();
        }
    })
}

async fn supply_until(lines: &mut [Line], fold: &Fold, feed: &mut Feed, mut stop: watch::Receiver<bool>) -> Result<()> {
    let mut backoff = Backoff::default();
    let name = lines.iter().map(|line| line.sink.name.as_str()).collect::<Vec<_>>().join(", ");
    loop {
        let Err(error) = supply(lines, fold, feed, &mut backoff, &mut stop).await else { return Ok(()) };
        if error.retry == Retry::Never || matches!(feed, Feed::Input { again: false, .. }) {
            return Err(error);
        }
        tokio::select! {
            () = pause(&mut backoff, &name, "cannot publish", &error) => {}
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}

/// One attempt, from opening the sinks to the end of the input.
async fn supply(
    lines: &mut [Line],
    fold: &Fold,
    feed: &mut Feed,
    backoff: &mut Backoff,
    stop: &mut watch::Receiver<bool>,
) -> Result<()> {
    for line in &mut *lines {
        if !line.open(&fold.settings.stream, stop).await? {
            return Ok(());
        }
        fit::check(line, &fold.settings, feed)?;
        line.progress.part.works();
    }
    match feed {
        Feed::Log(spool) => {
            let [line] = &mut *lines else { return Err(Error::internal("a log is folded for one sink")) };
            let memory = line.recall(fold, spool)?;
            let cursor = memory.as_ref().map(|memory| &memory.cursor).or(line.cursor.as_ref());
            let resume = cursor.map_or_else(|| Resume::from_start(spool.first()), Resume::from_cursor);
            line.resumed(resume.position);
            let input = Input::Log(spool.reader(resume.position));
            let epochs = start_fold(fold.clone(), &resume, memory, input, metrics(lines), stop.clone());
            publish_all(lines, epochs, backoff).await
        }
        Feed::Input { source, watch, .. } => {
            read_and_publish(lines, fold, source.as_mut(), watch, backoff, stop).await?;
            if !*stop.borrow() {
                for line in lines {
                    line.finish().await?;
                }
            }
            Ok(())
        }
    }
}

/// Reads the input to its end and publishes what comes out.
async fn read_and_publish(
    lines: &mut [Line],
    fold: &Fold,
    source: &mut dyn Source,
    watch: &Watch,
    backoff: &mut Backoff,
    stop: &watch::Receiver<bool>,
) -> Result<()> {
    let (log, entries) = direct_log();
    let start = Resume::from_start(LogPosition(0));
    let epochs = start_fold(fold.clone(), &start, None, Input::Direct(entries), metrics(lines), stop.clone());
    // The end of the log is the end of the fold, so the log goes with the reading.
    let log = WatchedLog::new(log, watch.part.clone());
    let reading = async move { source.run(&log).await.inspect_err(|_| watch.failed()) };
    let publishing = publish_all(lines, epochs, backoff);
    tokio::pin!(publishing);
    tokio::select! {
        published = &mut publishing => published,
        read = reading => publishing.await.and(read),
    }
}

/// Publishes what the sinks do not have yet, until the fold ends.
async fn publish_all(lines: &mut [Line], mut epochs: Epochs, backoff: &mut Backoff) -> Result<()> {
    while let Some(folded) = epochs.recv().await {
        match folded? {
            Folded::Reached(position) => lines.iter().for_each(|line| line.progress.reached(position)),
            Folded::Memory(saved) => lines.iter_mut().try_for_each(|line| line.remember(&saved))?,
            Folded::Epoch(epoch) => {
                for line in &mut *lines {
                    if line.publish(&epoch).await? {
                        backoff.reset();
                    }
                }
            }
        }
    }
    Ok(())
}

/// The fold counts for the first of its sinks.
fn metrics(lines: &[Line]) -> LineMetrics {
    lines.first().map(|line| line.progress.metrics.clone()).unwrap_or_default()
}

/// What a fold reads.
enum Input {
    Log(Reader),
    Direct(Receiver<Logged>),
}

impl Input {
    /// The next entry; tells `out` how far it came and waits where there is none. `None` when a
    /// bounded input has ended.
    async fn next(&mut self, out: &Sender<Result<Folded>>) -> Result<Option<Logged>> {
        match self {
            Self::Direct(entries) => Ok(entries.recv().await),
            Self::Log(reader) => loop {
                if let Some(logged) = reader.next()? {
                    return Ok(Some(logged));
                }
                // A closed channel is noticed by who waits for this.
                out.send(Ok(Folded::Reached(reader.position()))).await.ok();
                reader.wait(reader.position()).await;
            },
        }
    }
}

/// Starts the fold in a thread of its own; it ends when its input ends, `stop` is set or nobody listens.
fn start_fold(
    fold: Fold,
    resume: &Resume,
    memory: Option<Memory>,
    input: Input,
    metrics: LineMetrics,
    stop: watch::Receiver<bool>,
) -> Epochs {
    let (out, epochs) = channel(QUEUED_EPOCHS);
    let folder = Folder::new(fold.settings.clone(), resume);
    let detecting = fold.detect.as_ref().map(|settings| Detecting::new(&fold, settings, memory));
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let outcome = runtime.block_on(fold_log(folder, detecting, &fold, input, &metrics, stop, &out));
        if let Err(e) = outcome {
            let _ = out.blocking_send(Err(e));
        }
    });
    epochs
}

async fn fold_log(
    mut folder: Folder,
    mut detecting: Option<Detecting>,
    fold: &Fold,
    mut input: Input,
    metrics: &LineMetrics,
    mut stop: watch::Receiver<bool>,
    out: &Sender<Result<Folded>>,
) -> Result<()> {
    let mut workers = ThreadWorkers::start(fold.workers, fold.settings.window, fold.settings.limits)
        .map_err(|e| Error::internal("cannot start the worker threads").caused_by(e))?;
    loop {
        let logged = tokio::select! {
            logged = input.next(out) => logged?,
            () = stopped(&mut stop) => None,
            () = out.closed() => None,
        };
        let Some(logged) = logged else { return Ok(()) };
        for mut epoch in folder.entry(logged, &mut workers) {
            let memory = detecting.as_mut().and_then(|detecting| {
                detecting.observe(&mut epoch);
                detecting.save_behind(&epoch)
            });
            let waiting = Instant::now();
            let mut sent = out.send(Ok(Folded::Epoch(Arc::new(epoch)))).await;
            if let (Ok(()), Some(memory)) = (&sent, memory) {
                sent = out.send(Ok(Folded::Memory(Arc::new(memory)))).await;
            }
            metrics.blocked.inc_by(waiting.elapsed().as_secs_f64());
            if sent.is_err() {
                return Ok(());
            }
        }
        metrics.watermark.set(folder.watermark().secs());
    }
}
