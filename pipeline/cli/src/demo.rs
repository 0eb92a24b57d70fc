//! `catchment demo`: the main job end to end over a simulated cluster, judged by the truth.

mod found;
mod planted;
mod screen;
mod summary;
mod talked;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catchment_core::{Error, EventTime, Period, Result};
use catchment_files::DatasetName::{Conversations, Findings, Flows, Gaps, Late, Rejects};
use catchment_runtime::{NamedSink, detect};
use catchment_simulator::{Offline, Options};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::args::DemoArgs;
use crate::config::{Config, EnrichConfig, HttpConfig, LimitsConfig, LogConfig, SinkConfig, SourceConfig, SpoolConfig};
use crate::{knowledge, run, wiring};

/// Name of the cluster in every row.
const CLUSTER: &str = "demo";

/// What is planted: of every family of findings what shows within minutes.
const SCENARIOS: [&str; 7] = [
    "public-exposure",
    "wrong-service-account",
    "cross-environment",
    "no-response",
    "denied-at-destination",
    "metadata-access",
    "source-gone",
];

/// What the folder of a demo holds; a folder without the first of them is somebody else's.
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn config(&self) -> PathBuf {
        self.0.join("catchment-demo.yaml")
    }

    pub(crate) fn truth(&self) -> PathBuf {
        self.0.join("truth.ndjson")
    }

    /// What was planted.
    fn plants(&self) -> PathBuf {
        self.0.join("plants.ndjson")
    }

    pub(crate) fn rows(&self) -> PathBuf {
        self.0.join("rows.jsonl")
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.0.join("lake")
    }

    /// Where the simulator says what it knows of its cluster.
    pub(crate) fn knowledge(&self) -> PathBuf {
        self.0.join("knowledge")
    }

    fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// Makes room for a new demo where an earlier one was, and nowhere else.
    fn prepare(&self) -> Result<()> {
        let place = self.0.display();
        let failed =
            |e| Error::user(format!("cannot prepare the folder `{place}`; choose another `--dir`")).caused_by(e);
        if self.0.exists() && !self.config().exists() {
            return Err(Error::user(format!("`{place}` exists and holds no earlier demo; choose another `--dir`")));
        }
        if self.0.exists() {
            fs::remove_dir_all(&self.0).map_err(failed)?;
        }
        fs::create_dir_all(self.lake()).map_err(failed)
    }
}

pub(crate) fn demo(args: &DemoArgs) -> Result<()> {
    // A clock that runs faster than ours is the point here, and no reason for a warning.
    let level = "warn,catchment_goldmane=error".to_owned();
    crate::start_log(&LogConfig { level, ..LogConfig::default() })?;
    let folder = Folder(std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone()));
    folder.prepare()?;
    let kafka = args.kafka.as_deref().map(kafka);
    let options = simulation(args, &folder);
    let cluster = Offline::new(&options)?;
    let declared = declared(cluster.findings_config())?;
    crate::tokio_runtime()?.block_on(simulate_and_run(args, &folder, options, |address| {
        configuration(&folder, address, kafka.clone(), declared)
    }))?;
    summary::print(&folder, kafka.as_ref(), cluster.plants())
}

async fn simulate_and_run(
    args: &DemoArgs,
    folder: &Folder,
    options: Options,
    configure: impl FnOnce(&str) -> Config,
) -> Result<()> {
    let collector = catchment_simulator::serve(options).await?;
    let config = configure(&format!("http://{}", collector.local_addr()));
    write(&folder.config(), &config.print())?;
    introduce(args, folder, &config)?;
    let mut registry = Registry::with_prefix("catchment");
    let (knowledge, _) = knowledge::gather(&config, &mut registry).await?;
    let mut streams = wiring::streams(&config, &knowledge, &mut registry)?;
    for stream in &mut streams {
        stream.sinks.push(NamedSink { name: "screen".to_owned(), sink: Box::new(screen::Screen) });
    }
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(stop_later(stop, args.seconds));
    run::run_streams(streams, registry, None, stopped).await?;
    collector.shutdown().await
}

/// Sets `stop` after `seconds`, or at the first signal.
async fn stop_later(stop: watch::Sender<bool>, seconds: u64) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        _ = run::stop_signal() => {}
    }
    run::stop_now_and_exit_on_signal(stop).await;
}

/// Late reports would only show after the later look at a bucket, six minutes on: there are none. Plants begin in the
/// first half of the duration.
fn simulation(args: &DemoArgs, folder: &Folder) -> Options {
    Options {
        listen: ([127, 0, 0, 1], 0).into(),
        seed: args.seed,
        flows_per_second: args.flows_per_second,
        speed: args.speed,
        late_share: 0.0,
        start: EventTime::from_secs(jiff::Timestamp::now().as_second()),
        duration: Some(Period::secs((args.seconds as f64 * args.speed) as u64)),
        scenarios: SCENARIOS.map(str::to_owned).to_vec(),
        plants_truth: Some(folder.plants()),
        truth: Some(folder.truth()),
        knowledge: Some(folder.knowledge()),
        ..Options::default()
    }
}

/// What has to be declared before all that is planted can be told.
fn declared(section: &str) -> Result<detect::Settings> {
    serde_saphyr::from_str(section).map_err(|e| Error::internal("what the scenarios of the demo declare").caused_by(e))
}

/// What a newcomer would write, so that the file can be kept as a start.
fn configuration(
    folder: &Folder,
    address: &str,
    kafka: Option<catchment_kafka::Config>,
    findings: detect::Settings,
) -> Config {
    let source = catchment_goldmane::Config {
        address: address.to_owned(),
        begin: catchment_goldmane::Begin::Latest,
        ..catchment_goldmane::Config::default()
    };
    let lake = catchment_parquet::Config {
        url: format!("file://{}", folder.lake().display()),
        roll: Period::secs(60),
        ..catchment_parquet::Config::default()
    };
    let lines = catchment_files::SinkConfig {
        path: folder.rows().display().to_string(),
        datasets: vec![Flows, Conversations, Late, Rejects, Gaps, Findings],
    };
    let mut sinks = BTreeMap::from([
        ("lake".to_owned(), SinkConfig::Parquet(lake)),
        ("lines".to_owned(), SinkConfig::Jsonl(lines)),
    ]);
    sinks.extend(kafka.map(|kafka| ("kafka".to_owned(), SinkConfig::Kafka(kafka))));
    Config {
        cluster: CLUSTER.to_owned(),
        window: Period::secs(60),
        workers: 1,
        limits: LimitsConfig::default(),
        spool: SpoolConfig { dir: folder.spool(), ..SpoolConfig::default() },
        enrich: EnrichConfig { kubernetes: Some(cluster(folder)), ..EnrichConfig::default() },
        sources: BTreeMap::from([("calico".to_owned(), SourceConfig::Goldmane(source))]),
        sinks,
        findings,
        http: HttpConfig::default(),
        log: LogConfig::default(),
    }
}

/// The simulated cluster has no API: files say what it would tell.
fn cluster(folder: &Folder) -> catchment_kubernetes::Config {
    let file = |name| vec![folder.knowledge().join(name).display().to_string()];
    catchment_kubernetes::Config {
        snapshot: file("objects.json"),
        changes: file("changes.jsonl"),
        ..catchment_kubernetes::Config::default()
    }
}

/// A broker may hold an earlier demo, whose place in its log means nothing to this one.
fn kafka(brokers: &str) -> catchment_kafka::Config {
    let name = format!("demo-{}", jiff::Timestamp::now().as_second());
    catchment_kafka::Config { brokers: brokers.to_owned(), name, ..catchment_kafka::Config::default() }
}

fn introduce(args: &DemoArgs, folder: &Folder, config: &Config) -> Result<()> {
    let kafka = match &args.kafka {
        Some(brokers) => format!("Kafka at {brokers}"),
        None => "no Kafka (give --kafka HOST:PORT)".to_owned(),
    };
    crate::emit(&format!(
        "a simulated cluster of 5 nodes, {} flows/s, {} times as fast as real time\n\
         into {kafka}, Parquet in {}, JSON lines in {}\n\
         the configuration stands in {}; what is known of workloads and policies in {}; what is planted in {}\n\
         for {} s, Ctrl-C ends it earlier; windows of {} as they close:\n\n",
        args.flows_per_second,
        args.speed,
        folder.lake().display(),
        folder.rows().display(),
        folder.config().display(),
        folder.knowledge().display(),
        folder.plants().display(),
        args.seconds,
        config.window,
    ))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |e| Error::user(format!("cannot write `{}`", path.display())).caused_by(e);
    fs::write(path, text).map_err(failed)
}
