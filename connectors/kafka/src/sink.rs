//! The door itself: opening, publishing, giving up.

use async_trait::async_trait;
use catchment_core::{Cursor, Epoch, Error, Result, Retry, Sink, StreamId};
use catchment_schemas::Dataset;
use prometheus_client::registry::Registry;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::client::Producer;
use crate::config::Config;
use crate::cursor::{self, Partial};
use crate::metrics::Metrics;
use crate::publish::{Doors, Publisher};
use crate::topics::{self, Topics};

/// Publishes the epochs of one stream to Kafka, each exactly once.
pub struct KafkaSink {
    config: Config,
    metrics: Metrics,
    session: Option<Session>,
}

/// What holds from a successful open to the first error.
struct Session {
    stream: StreamId,
    producer: Producer,
    doors: Doors,
    cursor: Option<Cursor>,
    partial: Option<Partial>,
}

impl KafkaSink {
    /// Checks the configuration and registers the metrics; nothing connects yet.
    pub fn new(config: Config, registry: &mut Registry) -> Result<Self> {
        config.validate()?;
        let metrics = Metrics::register(registry, config.selected()?);
        Ok(Self { config, metrics, session: None })
    }

    async fn ensure_topics(&self) -> Result<()> {
        let wanted = topics::wanted(&self.config)?;
        let topics = Topics::connect(&self.config)?;
        let found = blocking(|| topics.find(&self.config.brokers))?;
        let missing = found.missing(&wanted);
        match (missing.is_empty(), self.config.create_topics) {
            (true, _) => Ok(()),
            (false, true) => topics.create(&missing).await,
            (false, false) => Err(topics::missing(&missing, &self.config.brokers)),
        }
    }

    /// Takes the stream over, then reads its cursor: in this order nobody else can move it.
    fn take_over(&self, stream: &StreamId) -> Result<Session> {
        let doors = Doors::new(&self.config, stream)?;
        let id = format!("{}-{}", self.config.topic_prefix, doors.cursor_key());
        let producer = Producer::open(&self.config.producer(&id))?;
        let record = cursor::read(&self.config, doors.cursor_key())?;
        let (cursor, partial) = record.map_or((None, None), |record| (record.cursor, record.partial));
        Ok(Session { stream: stream.clone(), producer, doors, cursor, partial })
    }

    fn counted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|_| {
            self.metrics.errors.inc();
        })
    }
}

impl Session {
    fn publish(&mut self, epoch: &Epoch, metrics: &Metrics) -> Result<()> {
        if self.cursor.as_ref().is_some_and(|cursor| epoch.id <= cursor.committed) {
            return Ok(());
        }
        let standing = self.standing_chunks(epoch)?;
        let before = self.cursor.clone();
        let cursor = Publisher::new(&self.producer, &self.doors, metrics, epoch, before, standing).run()?;
        self.cursor = Some(cursor);
        self.partial = None;
        Ok(())
    }

    /// Chunks of this epoch that stand from a run before.
    fn standing_chunks(&self, epoch: &Epoch) -> Result<u32> {
        match self.partial {
            None => Ok(0),
            Some(Partial { log: Some(held), .. }) if held != epoch.log => Err(Error::user(format!(
                "kafka, stream {}: holds a part of an epoch of log {held}, and this is log {}; restore that log, or \
                 choose another sink name to start over",
                self.stream, epoch.log
            ))),
            Some(partial) if partial.epoch == epoch.id => Ok(partial.chunks),
            Some(Partial { epoch: held, .. }) => Err(Error::internal(format!(
                "kafka, stream {}: holds a part of epoch {}.{}, but the log produced {}.{} next; was the log replaced? \
                 choose another sink name to start over",
                self.stream, held.position.0, held.part, epoch.id.position.0, epoch.id.part
            ))),
        }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn open(&mut self, stream: &StreamId) -> Result<Option<Cursor>> {
        self.session = None;
        let topics = self.ensure_topics().await;
        let session = topics.and_then(|()| blocking(|| self.take_over(stream)));
        let session = self.counted(session)?;
        tracing::info!(%stream, cursor = ?session.cursor, partial = ?session.partial, "kafka sink open");
        let cursor = session.cursor.clone();
        self.session = Some(session);
        Ok(cursor)
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        let mut session = self.session.take().ok_or_else(not_open)?;
        let published = blocking(|| session.publish(epoch, &self.metrics).inspect_err(|_| session.producer.abort()));
        // After an error the producer is gone: only opening again tells what stands.
        self.counted(published)?;
        let cursor = session.cursor.clone();
        self.session = Some(session);
        Ok(cursor)
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        // Every epoch was committed when it was published.
        let session = self.session.as_ref().ok_or_else(not_open)?;
        Ok(session.cursor.clone())
    }

    fn takes(&self, dataset: Dataset) -> bool {
        self.config.datasets.iter().any(|name| name == dataset.name())
    }

    async fn check(&mut self) -> Result<String> {
        let wanted = topics::wanted(&self.config)?;
        let topics = Topics::connect(&self.config)?;
        let found = blocking(|| topics.find(&self.config.brokers))?;
        let missing = found.missing(&wanted);
        if !missing.is_empty() && !self.config.create_topics {
            return Err(topics::missing(&missing, &self.config.brokers));
        }
        let differences = topics.differences(&wanted, &found).await?;
        let (there, to_make) = (wanted.len() - missing.len(), missing.len());
        let head = format!("{} brokers, {there} topics there, {to_make} to be created", found.brokers);
        Ok([vec![head], differences].concat().join("; "))
    }
}

fn not_open() -> Error {
    Error::external("kafka sink: not open; open it first").with_retry(Retry::Reopen)
}

/// Runs a call that blocks without stalling other tasks of this worker thread. A runtime with a
/// single thread has no other worker to hand them to, so there they wait.
fn blocking<T>(call: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(call),
        _ => call(),
    }
}
