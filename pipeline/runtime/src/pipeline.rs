//! A stream from its source to its sinks.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use catchment_core::{LogWriter, PartitionId, Result, Retry, Source, StreamId};
use catchment_stages::{KeyLimits, Settings};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::direct::direct_log;
use crate::line::{Fold, NamedSink, Progress, Retention, keep_supplied, pause, run_bounded, stopped};
use crate::metrics::{LineMetrics, LogMetrics, Readiness};
use crate::retry::Backoff;
use crate::spool::{Limits, Spool};

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
    /// Worker threads a line.
    pub workers: usize,
}

/// Runs a stream until its input ends, `stop` is set, or a fault that trying again cannot mend.
///
/// ```text
/// source -> log -> (per sink) fold: decode, normalize, window, conversations -> sink
/// ```
pub fn run(
    stream: Stream,
    registry: &mut Registry,
    ready: Readiness,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = Result<()>> + Send + use<> {
    let metrics: Vec<_> = stream.sinks.iter().map(|sink| line_metrics(registry, &stream.id, &sink.name)).collect();
    let log_metrics = log_metrics(registry, &stream);
    async move {
        ready.set();
        match stream.log {
            LogKind::Direct => run_direct(stream, metrics, stop).await,
            LogKind::Spool { ref dir, limits } => {
                let spool = Spool::open(dir, limits, log_metrics)?;
                run_spooled(stream, spool, metrics, stop).await
            }
        }
    }
}

fn line_metrics(registry: &mut Registry, stream: &StreamId, sink: &str) -> LineMetrics {
    let labels = stream_labels(stream).into_iter().chain([("sink".into(), sink.to_owned().into())]);
    LineMetrics::register(registry.sub_registry_with_labels(labels))
}

/// A log that is not kept counts nothing.
fn log_metrics(registry: &mut Registry, stream: &Stream) -> LogMetrics {
    match stream.log {
        LogKind::Spool { .. } => {
            LogMetrics::register(registry.sub_registry_with_labels(stream_labels(&stream.id).into_iter()))
        }
        LogKind::Direct => LogMetrics::default(),
    }
}

fn stream_labels(stream: &StreamId) -> [(Cow<'static, str>, Cow<'static, str>); 2] {
    [("cluster".into(), stream.cluster.clone().into()), ("source".into(), stream.source.clone().into())]
}

fn fold_of(stream: &Stream) -> Fold {
    let settings = Settings {
        stream: stream.id.clone(),
        window: stream.window,
        partitions: vec![PartitionId::default()],
        limits: stream.limits,
    };
    Fold { settings, workers: stream.workers }
}

async fn run_direct(stream: Stream, metrics: Vec<LineMetrics>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let fold = fold_of(&stream);
    let (log, entries) = direct_log();
    let progress = |(line, metrics)| Progress { metrics, line, retention: None };
    let sinks = stream.sinks.into_iter().zip(metrics.into_iter().enumerate().map(progress)).collect();
    let mut source = stream.source;
    let folding = run_bounded(sinks, fold, entries, stop.clone());
    let reading = async move {
        let read = tokio::select! {
            read = source.run(&log) => read,
            () = stopped(&mut stop) => Ok(()),
        };
        drop(log);
        read
    };
    let (read, folded) = tokio::join!(reading, folding);
    folded.and(read)
}

async fn run_spooled(
    stream: Stream,
    spool: Spool,
    metrics: Vec<LineMetrics>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let fold = fold_of(&stream);
    let retention = Arc::new(Mutex::new(Retention::new(spool.clone(), stream.sinks.len())));
    let mut tasks = JoinSet::new();
    for (line, (sink, metrics)) in stream.sinks.into_iter().zip(metrics).enumerate() {
        let progress = Progress { metrics, line, retention: Some(retention.clone()) };
        tasks.spawn(keep_supplied(sink, fold.clone(), spool.clone(), progress, stop.clone()));
    }
    tasks.spawn(keep_reading(stream.source, stream.id, spool));
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(ended) => ended.map_err(|e| catchment_core::Error::internal("a task panicked").caused_by(e))??,
                None => return Ok(()),
            },
            () = stopped(&mut stop) => return finish_lines(tasks).await,
        }
    }
}

/// The lines end by themselves after the epoch in hand; the source, the last to be waited for, never does.
async fn finish_lines(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while tasks.len() > 1 {
        match tasks.join_next().await {
            Some(Ok(ended)) => ended?,
            Some(Err(e)) => return Err(catchment_core::Error::internal("a task panicked").caused_by(e)),
            None => break,
        }
    }
    Ok(())
}

/// Runs an unbounded source, starting it again while that may help.
async fn keep_reading(mut source: Box<dyn Source>, id: StreamId, log: impl LogWriter) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        match source.run(&log).await {
            Ok(()) => return Ok(()),
            Err(e) if e.retry == Retry::Never => return Err(e),
            Err(e) => pause(&mut backoff, &id.to_string(), "cannot read from the source", &e).await,
        }
    }
}
