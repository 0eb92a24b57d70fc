//! From the configuration to streams that can run.

use std::path::PathBuf;
use std::sync::Arc;

use catchment_core::{Result, Sink, Source, StreamId};
use catchment_files::{FileSource, JsonSink};
use catchment_goldmane::GoldmaneSource;
use catchment_kafka::KafkaSink;
use catchment_notify::{AlertmanagerSink, WebhookSink};
use catchment_parquet::ParquetSink;
use catchment_runtime::pipeline::{LogKind, Stream};
use catchment_runtime::spool::Limits;
use catchment_runtime::{KeyLimits, NamedSink};
use prometheus_client::registry::Registry;

use crate::config::{Config, SinkConfig, SourceConfig};
use crate::knowledge::Knowledge;

/// Segments are cut whole, so a segment is a small share of what may be kept.
const SEGMENTS_PER_SPOOL: u64 = 64;

/// One stream per source, each with its own instance of every sink. All share what is known about the cluster.
pub(crate) fn streams(config: &Config, knowledge: &Knowledge, registry: &mut Registry) -> Result<Vec<Stream>> {
    config.sources.iter().map(|(name, source)| stream(config, name, source, knowledge, registry)).collect()
}

fn stream(
    config: &Config,
    name: &str,
    source_config: &SourceConfig,
    knowledge: &Knowledge,
    registry: &mut Registry,
) -> Result<Stream> {
    let id = StreamId { cluster: config.cluster.clone(), source: name.to_owned() };
    let labels = [("cluster".into(), config.cluster.clone().into()), ("source".into(), name.to_owned().into())];
    let registry = registry.sub_registry_with_labels(labels.into_iter());
    Ok(Stream {
        source: source(source_config, registry)?,
        log: log_kind(config, name, source_config),
        sinks: sinks(config, registry)?,
        window: config.window.micros(),
        limits: KeyLimits {
            max_keys: config.limits.max_keys as usize,
            max_bytes: usize::try_from(config.limits.max_bytes.0).unwrap_or(usize::MAX),
        },
        enrichment: knowledge.enrichment.clone(),
        watched: knowledge.watched.clone(),
        detect: config.findings.enabled.then(|| Arc::new(config.findings.clone())),
        workers: usize::from(config.workers),
        id,
    })
}

pub(crate) fn source(config: &SourceConfig, registry: &mut Registry) -> Result<Box<dyn Source>> {
    Ok(match config {
        SourceConfig::Goldmane(config) => Box::new(GoldmaneSource::new(config.clone(), registry)?),
        SourceConfig::Files(config) => Box::new(FileSource::new(config.clone(), registry)),
    })
}

/// Where the log of a source lies, and how large it may grow.
pub(crate) fn log_kind(config: &Config, name: &str, source: &SourceConfig) -> LogKind {
    match source {
        SourceConfig::Files(_) => LogKind::Direct,
        SourceConfig::Goldmane(_) => LogKind::Spool {
            dir: config.spool.dir.join(&config.cluster).join(name),
            limits: Limits { look_back: config.spool.max_age.micros(), ..knowledge_limits(config) },
        },
    }
}

/// The log of the knowledge is bounded like that of a source, and nobody looks back in it.
pub(crate) fn knowledge_limits(config: &Config) -> Limits {
    let max_bytes = config.spool.max_bytes.0;
    Limits { segment_bytes: max_bytes / SEGMENTS_PER_SPOOL, max_bytes, look_back: 0 }
}

fn sinks(config: &Config, registry: &mut Registry) -> Result<Vec<NamedSink>> {
    let named = |(name, sink_config): (&String, &SinkConfig)| {
        let labels = [("sink".into(), name.clone().into())];
        let sink = sink(config, name, sink_config, registry.sub_registry_with_labels(labels.into_iter()))?;
        Ok(NamedSink { name: name.clone(), sink })
    };
    config.sinks.iter().map(named).collect()
}

/// The sink that a section `name` of the configuration asks for.
pub(crate) fn sink(config: &Config, name: &str, sink: &SinkConfig, registry: &mut Registry) -> Result<Box<dyn Sink>> {
    Ok(match sink {
        SinkConfig::Kafka(sink) => Box::new(KafkaSink::new(sink.clone(), registry)?),
        SinkConfig::Parquet(sink) => Box::new(ParquetSink::new(sink.clone(), registry)?),
        SinkConfig::Jsonl(sink) => Box::new(JsonSink::new(sink.clone(), registry)),
        SinkConfig::Alertmanager(sink) => {
            Box::new(AlertmanagerSink::new(sink.clone(), cursors(config, name), registry)?)
        }
        SinkConfig::Webhook(sink) => Box::new(WebhookSink::new(sink.clone(), cursors(config, name), registry)?),
    })
}

/// Where a sink keeps the cursors that its receiver cannot: beside the logs, whose positions they hold.
fn cursors(config: &Config, sink: &str) -> PathBuf {
    config.spool.dir.join(&config.cluster).join(CURSORS).join(sink)
}

/// No source has such a name.
const CURSORS: &str = ".cursors";
