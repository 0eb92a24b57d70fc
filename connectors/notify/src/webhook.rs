//! The sink that posts findings to any receiver.

use std::path::PathBuf;

use async_trait::async_trait;
use catchment_core::json::RowWriter;
use catchment_core::{ClosedWindow, Cursor, Epoch, Error, Result, Sink, StreamId, ocsf};
use catchment_schemas::Dataset;
use prometheus_client::registry::Registry;
use reqwest::Url;

use crate::batch;
use crate::config::{Format, WebhookConfig};
use crate::door::Door;
use crate::metrics::Sent;
use crate::state::{State, StateFile};

/// Posts what has become of findings, at least once.
pub struct WebhookSink {
    config: WebhookConfig,
    url: Url,
    door: Door,
    folder: PathBuf,
    sent: Sent,
    session: Option<(StateFile, State)>,
}

impl WebhookSink {
    /// A sink that keeps its cursors in `folder`. Nothing is connected or written before [`Sink::open`].
    pub fn new(config: WebhookConfig, folder: PathBuf, registry: &mut Registry) -> Result<Self> {
        let url = config.address()?;
        let door = Door::new("webhook", &url, &config.headers, config.timeout.0)?;
        Ok(Self { config, url, door, folder, sent: Sent::of_webhook(registry), session: None })
    }

    /// The requests that tell of an epoch.
    fn bodies(&self, epoch: &Epoch) -> Vec<Vec<u8>> {
        let Some(window) = &epoch.window else { return Vec::new() };
        let max = usize::try_from(self.config.max_body.0).unwrap_or(usize::MAX);
        match self.config.format {
            Format::Json => batch::bodies(rows(epoch, window), &envelope(&epoch.stream), b"]}", max),
            Format::Ocsf => batch::bodies(events(epoch, window), b"[", b"]", max),
        }
    }

    async fn deliver(&self, epoch: &Epoch) -> Result<()> {
        for body in self.bodies(epoch) {
            self.sent.requests.inc();
            self.door.post(&self.url, body).await.inspect_err(|_| {
                self.sent.failures.inc();
            })?;
        }
        self.sent.items.inc_by(epoch.findings.len() as u64);
        Ok(())
    }
}

fn rows(epoch: &Epoch, window: &ClosedWindow) -> impl Iterator<Item = Vec<u8>> {
    let writer = RowWriter::for_window(&epoch.stream, window);
    epoch.findings.iter().map(move |row| {
        let mut out = Vec::new();
        writer.finding(&mut out, row);
        out
    })
}

fn events(epoch: &Epoch, window: &ClosedWindow) -> impl Iterator<Item = Vec<u8>> {
    let event = |row| ocsf::finding(&epoch.stream, window.span, row);
    epoch.findings.iter().map(move |row| serde_json::to_vec(&event(row)).expect("an event serializes"))
}

fn envelope(stream: &StreamId) -> Vec<u8> {
    let (cluster, source) = (serde_json::json!(stream.cluster), serde_json::json!(stream.source));
    format!(r#"{{"cluster":{cluster},"source":{source},"findings":["#).into_bytes()
}

#[async_trait]
impl Sink for WebhookSink {
    async fn open(&mut self, stream: &StreamId) -> Result<Option<Cursor>> {
        let file = StateFile::of(&self.folder, stream);
        let state = file.load().await?;
        let cursor = state.cursor.clone();
        self.session = Some((file, state));
        Ok(cursor)
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        let (file, state) = self.session.as_ref().ok_or_else(not_open)?;
        if state.knows(epoch) {
            return Ok(state.cursor.clone());
        }
        let next = State { cursor: Some(epoch.cursor()), ..State::default() };
        self.deliver(epoch).await?;
        file.save(&next).await?;
        self.session = Some((file.clone(), next));
        Ok(Some(epoch.cursor()))
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        let (_, state) = self.session.as_ref().ok_or_else(not_open)?;
        Ok(state.cursor.clone())
    }

    fn takes(&self, dataset: Dataset) -> bool {
        dataset == Dataset::Findings
    }

    async fn check(&mut self) -> Result<String> {
        let status = self.door.knock(&self.url).await?;
        Ok(format!("{} answers HEAD with {status}; nothing was posted", self.url.origin().ascii_serialization()))
    }
}

fn not_open() -> Error {
    Error::internal("webhook: findings were handed over before the sink was opened")
}
