//! A stream from its source to its sinks.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use catchment_core::{Error, LogId, PartitionId, Result, Source, StreamId};
use catchment_schemas::Dataset;
use catchment_stages::detect;
use catchment_stages::enrich::Enrichment;
use catchment_stages::{KeyLimits, Settings};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::findings::{Board, FindingsBoard, MemoryFile};
use crate::knowledge::{self, Marker, Noted, leave};
use crate::line::{Line, NamedSink, Progress, Retention};
use crate::metrics::{self, LineMetrics, LogMetrics};
use crate::patient::PatientLog;
use crate::readiness::{Part, Readiness, STOPPED};
use crate::reading::{Watch, keep_reading};
use crate::retry::stopped;
use crate::spool::{Limits, Spool};
use crate::supply::{Feed, Fold, keep_supplied};

/// Where a stream's entries are kept.
pub enum LogKind {
    /// In local segments: for collectors that forget.
    Spool {
        /// Folder of the stream's segments.
        dir: PathBuf,
        /// How much may be kept.
        limits: Limits,
    },
    /// Nowhere: the input can be read again.
    Direct,
}

/// A stream ready to run.
pub struct Stream {
    /// Its identity.
    pub id: StreamId,
    /// Where flows come from.
    pub source: Box<dyn Source>,
    /// Where they are kept.
    pub log: LogKind,
    /// Where rows go.
    pub sinks: Vec<NamedSink>,
    /// Width of the windows in microseconds.
    pub window: i64,
    /// How many keys a window tells apart.
    pub limits: KeyLimits,
    /// What is known about the cluster; `None` leaves identities out.
    pub enrichment: Option<Enrichment>,
    /// Where that goes on being told; `None` if all of it is known.
    pub watched: Option<knowledge::Watched>,
    /// What is looked for in the windows; `None` where nothing is.
    pub detect: Option<Arc<detect::Settings>>,
    /// Worker threads a line.
    pub workers: usize,
}

/// Runs a stream until its input ends, `stop` is set, or a fault that trying again cannot mend has
/// stopped its source or all of its sinks. Returns the first such fault, also when others went on.
///
/// ```text
/// source -> log -> (per sink) fold: decode, normalize, window, conversations, enrich -> detect -> sink
/// ```
pub fn run(
    stream: Stream,
    registry: &mut Registry,
    ready: &Readiness,
    board: &FindingsBoard,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = Result<()>> + Send + use<> {
    let watched = Watched::new(&stream, registry, ready, board);
    async move {
        match &stream.log {
            LogKind::Direct => run_direct(stream, watched, stop).await,
            LogKind::Spool { dir, limits } => {
                let opened = Spool::open(dir, *limits, watched.log_metrics.clone());
                let spool = opened.inspect_err(|_| watched.log.fails(STOPPED))?;
                watched.log.works();
                run_spooled(stream, spool, watched, stop).await
            }
        }
    }
}

/// What is counted and told about a stream.
struct Watched {
    log: Part,
    log_metrics: LogMetrics,
    source: Watch,
    lines: Vec<(LineMetrics, Part)>,
    /// `None` where nothing is looked for.
    board: Option<Board>,
}

impl Watched {
    fn new(stream: &Stream, registry: &mut Registry, ready: &Readiness, board: &FindingsBoard) -> Self {
        let id = &stream.id;
        let part = |name: String| ready.part(format!("stream {id}, {name}"));
        let registry = registry.sub_registry_with_labels(stream_labels(id).into_iter());
        let log = part("log".to_owned());
        let log_metrics = match stream.log {
            LogKind::Spool { .. } => LogMetrics::register(registry),
            // What is not kept needs no opening and counts nothing.
            LogKind::Direct => {
                log.works();
                LogMetrics::default()
            }
        };
        let board = stream.detect.as_ref().map(|_| Board::register(board.clone(), id.clone(), stream.window, registry));
        let failures = metrics::source_failures(registry);
        let source = Watch { id: id.clone(), failures, part: part("source".to_owned()) };
        let line = |sink: &NamedSink| {
            let label = [("sink".into(), sink.name.clone().into())];
            let metrics = LineMetrics::register(registry.sub_registry_with_labels(label.into_iter()));
            (metrics, part(format!("sink {}", sink.name)))
        };
        let lines = stream.sinks.iter().map(line).collect();
        Self { log, log_metrics, source, lines, board }
    }

    /// What the line of each sink tells, in their order.
    fn progress(&self, retention: Option<&Arc<Mutex<Retention>>>) -> Vec<Progress> {
        let told = |(line, (metrics, part)): (usize, &(LineMetrics, Part))| Progress {
            metrics: metrics.clone(),
            part: part.clone(),
            line,
            retention: retention.cloned(),
        };
        self.lines.iter().enumerate().map(told).collect()
    }
}

fn stream_labels(stream: &StreamId) -> [(Cow<'static, str>, Cow<'static, str>); 2] {
    [("cluster".into(), stream.cluster.clone().into()), ("source".into(), stream.source.clone().into())]
}

fn fold_of(stream: &Stream, log: LogId, board: Option<Board>) -> Fold {
    let settings = Settings {
        stream: stream.id.clone(),
        log,
        window: stream.window,
        partitions: vec![PartitionId::default()],
        limits: stream.limits,
        enrichment: stream.enrichment.clone(),
    };
    Fold { settings, workers: stream.workers, detect: stream.detect.clone(), board }
}

/// Which lines look for findings: those whose sinks take them; where none does, the first, for who asks the process.
fn looking(sinks: &[NamedSink]) -> Vec<bool> {
    let mut looking: Vec<_> = sinks.iter().map(|sink| sink.sink.takes(Dataset::Findings)).collect();
    if !looking.contains(&true)
        && let Some(first) = looking.first_mut()
    {
        *first = true;
    }
    looking
}

/// An input that is its own log is joined with what is known when its reading begins.
async fn run_direct(stream: Stream, watched: Watched, mut stop: watch::Receiver<bool>) -> Result<()> {
    if let Some(cluster) = &stream.watched {
        tokio::select! {
            () = cluster.first_news() => {}
            () = stopped(&mut stop) => return Ok(()),
        }
    }
    let input = stream.source.input()?;
    // The same files in windows of another width are other rows.
    let known = input.map(|input| LogId(input.0 ^ stream.window.cast_unsigned()));
    let mut fold = fold_of(&stream, known.unwrap_or_else(|| LogId(rand::random())), watched.board.clone());
    if let Some(enrichment) = &mut fold.settings.enrichment {
        enrichment.marked = false;
    }
    let lines = stream.sinks.into_iter().zip(watched.progress(None));
    let lines = lines.map(|(sink, progress)| Line::new(sink, progress)).collect();
    let feed = Feed::Input { source: stream.source, watch: watched.source, again: input.is_some() };
    keep_supplied(lines, fold, feed, stop).await
}

async fn run_spooled(stream: Stream, spool: Spool, watched: Watched, mut stop: watch::Receiver<bool>) -> Result<()> {
    let (dir, first, end) = (spool.dir().display(), spool.first().0, spool.end().0);
    tracing::info!(stream = %stream.id, log = %spool.id(), %dir, first, end, "log open");
    let fold = fold_of(&stream, spool.id(), watched.board.clone());
    let looking = looking(&stream.sinks);
    let retention = Arc::new(Mutex::new(Retention::new(spool.clone(), stream.sinks.len())));
    let (halt, halted) = watch::channel(false);
    let mut lines = Lines::default();
    for (sink, progress) in stream.sinks.into_iter().zip(watched.progress(Some(&retention))) {
        let fold = fold.of_line(progress.line, looking[progress.line]);
        let memory = fold.detect.as_ref().map(|_| MemoryFile::of(spool.dir(), &sink.name));
        let line = Line::new(sink, progress).with_memory(memory);
        lines.running.spawn(keep_one_supplied(line, fold, spool.clone(), halted.clone()));
    }
    let log = PatientLog { spool, stream: stream.id, metrics: watched.log_metrics, part: watched.log };
    let fault = tokio::select! {
        fault = fill(stream.source, &watched.source, log, stream.watched) => Some(fault),
        () = lines.ended() => None,
        () = stopped(&mut stop) => None,
    };
    if fault.is_some() || lines.first_fault.is_some() {
        watched.source.stopped();
    }
    if let Some(fault) = &fault {
        tracing::error!(stream = %watched.source.id, error = fault.chain(), "the source has stopped, and its sinks with it");
    }
    // The lines end by themselves after the epoch in hand.
    halt.send_replace(true);
    lines.ended().await;
    match fault {
        Some(fault) => Err(fault),
        None => lines.first_fault.map_or(Ok(()), Err),
    }
}

/// Writes everything that stands in the log of a stream: flows, and how far the cluster is known. Ends with a fault.
async fn fill(source: Box<dyn Source>, watch: &Watch, log: PatientLog, cluster: Option<knowledge::Watched>) -> Error {
    let Some(cluster) = cluster else {
        return match leave(&log).await {
            Ok(()) => keep_reading(source, watch, log).await,
            Err(fault) => fault,
        };
    };
    // Before the first flow, so that no window closes without it.
    let marker = match Marker::join(cluster.clone(), log.clone()).await {
        Ok(marker) => marker,
        Err(fault) => return fault,
    };
    tokio::select! {
        fault = keep_reading(source, watch, Noted::new(log, cluster)) => fault,
        fault = marker.run() => fault,
    }
}

/// A fault that trying again cannot mend ends this line and no other.
async fn keep_one_supplied(line: Line, fold: Fold, log: Spool, stop: watch::Receiver<bool>) -> Result<()> {
    let (sink, stream) = (line.sink.name.clone(), fold.settings.stream.to_string());
    keep_supplied(vec![line], fold, Feed::Log(log), stop).await.inspect_err(|e| {
        tracing::error!(
            sink,
            stream,
            error = e.chain(),
            "the sink has stopped, others go on while the log has room; mend it and restart"
        );
    })
}

/// The lines of a stream. One that ends leaves the others running.
#[derive(Default)]
struct Lines {
    running: JoinSet<Result<()>>,
    first_fault: Option<Error>,
}

impl Lines {
    /// Waits for the last of them, or for one that panics. Nothing is lost by asking again.
    async fn ended(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            let panicked = ended.is_err();
            let ended = ended.unwrap_or_else(|e| Err(Error::internal("a line panicked").caused_by(e)));
            self.first_fault = self.first_fault.take().or(ended.err());
            if panicked {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
