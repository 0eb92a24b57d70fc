//! `catchment run`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use catchment_core::{Error, Result};
use catchment_runtime::pipeline::{self, Stream};
use catchment_runtime::{FindingsBoard, Readiness, detect, http};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::args::{DatasetArg, RunArgs};
use crate::config::{Config, EnrichConfig, HttpConfig, LimitsConfig, LogConfig, SinkConfig, SourceConfig, SpoolConfig};
use crate::{knowledge, wiring};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    match &args.config {
        Some(path) => start(&Config::load(path)?, true),
        // A short job over files serves no metrics and speaks only of trouble.
        None => start(&short_form(args), false),
    }
}

fn start(config: &Config, serve_metrics: bool) -> Result<()> {
    crate::start_log(&config.log)?;
    let runtime = crate::tokio_runtime()?;
    let ended = runtime.block_on(run_config(config, serve_metrics));
    // A thread that reads standard input does not hear of a stop, and nothing waits for it.
    runtime.shutdown_background();
    ended
}

async fn run_config(config: &Config, serve_metrics: bool) -> Result<()> {
    let mut registry = Registry::with_prefix("catchment");
    let (knowledge, gathering) = knowledge::gather(config, &mut registry).await?;
    let streams = wiring::streams(config, &knowledge, &mut registry)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        if stop_signal().await.is_ok() {
            tracing::info!("stopping after the epoch in hand; again to stop at once");
        }
        stop_now_and_exit_on_signal(stop).await;
    });
    let streams = run_streams(streams, registry, serve_metrics.then_some(config.http.listen), stopped);
    tokio::select! {
        ended = streams => ended,
        failed = gathering => failed,
    }
}

/// Runs the streams until all have ended or `stopped` is set; serves what they count at `metrics`.
/// One that fails leaves the others running, and its fault is the outcome.
pub(crate) async fn run_streams(
    streams: Vec<Stream>,
    mut registry: Registry,
    metrics: Option<SocketAddr>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let (ready, board) = (Readiness::default(), FindingsBoard::default());
    let mut running = JoinSet::new();
    for stream in streams {
        running.spawn(pipeline::run(stream, &mut registry, &ready, &board, stopped.clone()));
    }
    if let Some(listen) = metrics {
        let address = http::serve(listen, registry, ready, board).await?;
        tracing::info!(metrics = %format!("http://{address}/metrics"), "running");
    }
    let mut outcome = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.unwrap_or_else(|e| Err(Error::internal("a stream panicked").caused_by(e)));
        if let Err(e) = &ended
            && !running.is_empty()
        {
            tracing::error!(error = e.chain(), "a stream has ended, others go on; mend it and restart");
        }
        outcome = outcome.and(ended);
    }
    outcome
}

/// Exit code of a process that was asked twice to stop.
const STOPPED_AT_ONCE: i32 = 130;

/// Asks everything to stop; a further signal ends the process on the spot.
pub(crate) async fn stop_now_and_exit_on_signal(stop: watch::Sender<bool>) {
    let _ = stop.send(true);
    let _ = stop_signal().await;
    std::process::exit(STOPPED_AT_ONCE);
}

/// Resolves at the first interrupt or termination.
pub(crate) async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// `--from X --to Y` as a configuration.
fn short_form(args: &RunArgs) -> Config {
    let source = catchment_files::SourceConfig { paths: args.from.clone(), disorder: None };
    let datasets = args.datasets.iter().copied().map(dataset_name).collect();
    let sink = catchment_files::SinkConfig { path: args.to.clone(), datasets };
    Config {
        cluster: args.cluster.clone(),
        window: args.window,
        workers: 1,
        limits: LimitsConfig::default(),
        spool: SpoolConfig::default(),
        enrich: EnrichConfig { kubernetes: files_of_cluster(&args.knowledge), ..EnrichConfig::default() },
        sources: BTreeMap::from([("files".to_owned(), SourceConfig::Files(source))]),
        sinks: BTreeMap::from([("out".to_owned(), SinkConfig::Jsonl(sink))]),
        findings: detect::Settings::default(),
        http: HttpConfig::default(),
        log: LogConfig { level: "warn".to_owned(), ..LogConfig::default() },
    }
}

fn files_of_cluster(files: &[String]) -> Option<catchment_kubernetes::Config> {
    let kubernetes =
        catchment_kubernetes::Config { snapshot: files.to_vec(), ..catchment_kubernetes::Config::default() };
    (!files.is_empty()).then_some(kubernetes)
}

fn dataset_name(arg: DatasetArg) -> catchment_files::DatasetName {
    match arg {
        DatasetArg::Flows => catchment_files::DatasetName::Flows,
        DatasetArg::Conversations => catchment_files::DatasetName::Conversations,
        DatasetArg::Late => catchment_files::DatasetName::Late,
        DatasetArg::Rejects => catchment_files::DatasetName::Rejects,
        DatasetArg::Gaps => catchment_files::DatasetName::Gaps,
        DatasetArg::Findings => catchment_files::DatasetName::Findings,
    }
}
