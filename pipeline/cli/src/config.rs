//! The configuration: one YAML file, read once, checked whole, typed from then on.
//!
//! `${NAME}` and `${NAME:-default}` in string values are taken from the environment; a name that
//! is not set, a key that is not known and a value that does not fit are refused with their line.

mod env;
mod place;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use catchment_core::{ByteSize, Error, Period, Result};
use catchment_runtime::{LabelKeys, detect};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Everything `catchment run` needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name of the cluster the flows belong to; the first column of every row.
    pub(crate) cluster: String,
    /// Length of a window of event time; a multiple of the collector's bucket of 15s.
    #[serde(default = "default_window")]
    pub(crate) window: Period,
    /// Threads that decode and fold flows; by default one per available core.
    #[serde(default = "default_workers")]
    pub(crate) workers: u16,
    /// Bounds on memory, for each source.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
    /// The local log that every source writes to first.
    #[serde(default)]
    pub(crate) spool: SpoolConfig,
    /// Who talked: what is known about the cluster is joined to every row.
    #[serde(default)]
    pub(crate) enrich: EnrichConfig,
    /// Where flows come from, by a name of your choice; the name is a column of every row.
    #[serde(default)]
    pub(crate) sources: BTreeMap<String, SourceConfig>,
    /// Where rows go, by a name of your choice.
    #[serde(default)]
    pub(crate) sinks: BTreeMap<String, SinkConfig>,
    /// What trouble is looked for.
    #[serde(default)]
    pub(crate) findings: detect::Settings,
    /// Metrics and health.
    #[serde(default)]
    pub(crate) http: HttpConfig,
    /// What Catchment says about itself, on standard error.
    #[serde(default)]
    pub(crate) log: LogConfig,
}

/// The local log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SpoolConfig {
    /// Its folder; one subfolder per source.
    pub(crate) dir: PathBuf,
    /// Sources wait, or record a gap, before the log of one source grows beyond this.
    pub(crate) max_bytes: ByteSize,
    /// How long entries are kept that no sink needs any more.
    pub(crate) max_age: Period,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        // A collector holds one hour: with a little more, a restart knows all it may be told again.
        Self { dir: "catchment-spool".into(), max_bytes: ByteSize(8 << 30), max_age: Period::secs(65 * 60) }
    }
}

/// Bounds on memory. Beyond them the first keys in canonical order keep their rows; all others share
/// a row named `(overflow)` for each reporter and verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    /// Distinct flow keys of a window.
    pub(crate) max_keys: u32,
    /// Bytes of names, ports and policy traces of those keys.
    pub(crate) max_bytes: ByteSize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = catchment_runtime::KeyLimits::default();
        Self { max_keys: limits.max_keys as u32, max_bytes: ByteSize(limits.max_bytes as u64) }
    }
}

/// What rows are joined with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EnrichConfig {
    /// The cluster's objects, from its API or from files; without it nothing is joined.
    pub(crate) kubernetes: Option<catchment_kubernetes::Config>,
    /// How long windows wait for news of the cluster while its API cannot be reached; their rows are marked then.
    pub(crate) wait: Period,
    /// Label keys that name the environment of a namespace, then of a pod; the first that is there wins.
    pub(crate) environment_labels: Vec<String>,
    /// Label keys that name the owner of a workload, then of a pod, then of a namespace; the first that is there wins.
    pub(crate) owner_labels: Vec<String>,
}

impl Default for EnrichConfig {
    fn default() -> Self {
        let LabelKeys { environment, owner } = LabelKeys::default();
        Self { kubernetes: None, wait: Period::secs(60), environment_labels: environment, owner_labels: owner }
    }
}

/// A source, chosen by `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum SourceConfig {
    /// Calico's flow collector, over gRPC.
    Goldmane(catchment_goldmane::Config),
    /// JSON from files and standard input.
    Files(catchment_files::SourceConfig),
}

/// A sink, chosen by `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum SinkConfig {
    /// JSON records to Kafka topics, in transactions.
    Kafka(catchment_kafka::Config),
    /// Parquet files to an object store or a folder.
    Parquet(catchment_parquet::Config),
    /// JSON lines to a file or standard output.
    Jsonl(catchment_files::SinkConfig),
    /// Findings as alerts to an Alertmanager.
    Alertmanager(catchment_notify::AlertmanagerConfig),
    /// Findings to any receiver over HTTP.
    Webhook(catchment_notify::WebhookConfig),
}

/// The HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpConfig {
    /// Address and port; loopback unless you say otherwise.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// The log on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// How lines are written.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,catchment_goldmane=debug`.
    pub(crate) level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

fn default_window() -> Period {
    Period::secs(60)
}

fn default_workers() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u16)
}

impl Config {
    /// Reads and checks the file at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::user(format!("cannot read the configuration `{name}`: check the path")).caused_by(e))?;
        Self::parse(&text, &|variable| std::env::var(variable).ok())
            .map_err(|e| Error::user(format!("{name}: {}", e.message)))
    }

    /// Reads and checks `text`, with `${NAME}` looked up in `variables`.
    pub(crate) fn parse(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut members: Map<String, Value> = serde_saphyr::from_str(text).map_err(|e| place::of_yaml_error(&e))?;
        for value in members.values_mut() {
            env::expand(value, variables).map_err(|e| place::refuse(text, &[], Some(&e.reference), &e.message))?;
        }
        let enrich = members.remove("enrich").unwrap_or_else(|| Value::Object(Map::new()));
        let enrich = typed(text, &["enrich"], enrich)?;
        let findings = findings(text, members.remove("findings"))?;
        let sources = named(text, "sources", members.remove("sources"))?;
        let sinks = named(text, "sinks", members.remove("sinks"))?;
        let mut config: Self = typed(text, &[], Value::Object(members))?;
        (config.enrich, config.findings, config.sources, config.sinks) = (enrich, findings, sources, sinks);
        config.validate(text)?;
        Ok(config)
    }

    /// The effective configuration as YAML, with secrets masked.
    pub(crate) fn print(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a configuration holds only plain values");
        mask(&mut value);
        serde_saphyr::to_string(&value).expect("plain values have a YAML form")
    }

    /// The JSON Schema of the file, for editors.
    pub(crate) fn schema() -> Value {
        schemars::schema_for!(Self).into()
    }

    fn validate(&self, text: &str) -> Result<()> {
        let wrong = [
            ("cluster", self.cluster.is_empty(), "`cluster` is empty: name the cluster the flows come from"),
            ("window", self.window.0.is_zero(), "`window` must be longer than zero: write it like 60s"),
            ("window", self.window.micros() % 1_000_000 != 0, "`window` must be whole seconds: write it like 60s"),
            ("workers", self.workers == 0, "`workers` must be at least 1"),
            ("limits", self.limits.max_keys == 0, "`limits.max_keys` must be at least 1"),
            ("sources", self.sources.is_empty(), "no source: name at least one under `sources`"),
            ("sinks", self.sinks.is_empty(), "no sink: name at least one under `sinks`"),
        ];
        if let Some((key, _, message)) = wrong.iter().find(|(_, is_wrong, _)| *is_wrong) {
            return Err(place::refuse(text, &[key], None, message));
        }
        let kubernetes = self.enrich.kubernetes.as_ref().map_or(Ok(()), catchment_kubernetes::Config::validate);
        kubernetes.map_err(|e| place::refuse(text, &["enrich", "kubernetes"], None, &e.message))
    }
}

/// The section that is written by hand most, and longest: its mistakes are told with line and column.
fn findings(text: &str, value: Option<Value>) -> Result<detect::Settings> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(rename = "findings")]
        _findings: detect::Settings,
    }
    let value = value.filter(|value| !value.is_null()).unwrap_or_else(|| Value::Object(Map::new()));
    serde_json::from_value(value).map_err(|e| match serde_saphyr::from_str::<Only>(text) {
        Err(read) => place::of_read_error(text, &["findings"], &e.to_string(), &read),
        Ok(_) => place::of_value_error(text, &["findings"], &e.to_string()),
    })
}

/// The entries of a map of connectors, each read for itself so that an error knows its place.
fn named<T: DeserializeOwned>(text: &str, section: &str, value: Option<Value>) -> Result<BTreeMap<String, T>> {
    let entries: Map<String, Value> = match value {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(value) => typed(text, &[section], value)?,
    };
    entries
        .into_iter()
        .map(|(name, value)| {
            let entry = typed(text, &[section, &name], value)?;
            Ok((name, entry))
        })
        .collect()
}

fn typed<T: DeserializeOwned>(text: &str, path: &[&str], value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| place::of_value_error(text, path, &e.to_string()))
}

/// Hides what stands under a name that promises a secret, wherever it is. What headers hold is not told by their names.
fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Object(headers) if name == "headers" => headers.values_mut().for_each(hide),
                    Value::String(_) if is_secret(name) => hide(value),
                    value => mask(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

fn hide(value: &mut Value) {
    *value = "***".into();
}

fn is_secret(name: &str) -> bool {
    ["password", "secret", "token", "credential", "key.pem", "jaas"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests;
