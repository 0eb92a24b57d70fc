//! The sink that keeps alerts open in an Alertmanager.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use catchment_core::{Cursor, Epoch, Error, Result, Sink, StreamId};
use catchment_schemas::Dataset;
use prometheus_client::registry::Registry;
use reqwest::Url;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::alert::Alert;
use crate::batch;
use crate::config::AlertmanagerConfig;
use crate::door::Door;
use crate::metrics::AlertMetrics;
use crate::state::{State, StateFile};

/// Sends findings as alerts, at least once, and those that are open again and again.
pub struct AlertmanagerSink {
    config: AlertmanagerConfig,
    status: Url,
    outlet: Outlet,
    folder: PathBuf,
    session: Option<Session>,
}

/// Sends alerts.
#[derive(Clone)]
struct Outlet {
    door: Door,
    url: Url,
    max_body: usize,
    metrics: AlertMetrics,
}

/// What holds from one open to the next.
struct Session {
    file: StateFile,
    /// Held while alerts are sent: one that has just ended must not be sent as open by who sends them again.
    state: Arc<Mutex<State>>,
    /// Sends what is open again; ends with the session.
    _again: JoinSet<()>,
}

impl AlertmanagerSink {
    /// A sink that keeps its cursors in `folder`. Nothing is connected or written before [`Sink::open`].
    pub fn new(config: AlertmanagerConfig, folder: PathBuf, registry: &mut Registry) -> Result<Self> {
        let (url, status) = config.addresses()?;
        let door = Door::new("alertmanager", &url, &config.headers, config.timeout.0)?;
        let max_body = usize::try_from(config.max_body.0).unwrap_or(usize::MAX);
        let outlet = Outlet { door, url, max_body, metrics: AlertMetrics::register(registry) };
        Ok(Self { config, status, outlet, folder, session: None })
    }
}

impl Outlet {
    async fn send(&self, alerts: impl Iterator<Item = &Alert>) -> Result<()> {
        let items: Vec<_> = alerts.map(Alert::to_json).collect();
        let count = items.len() as u64;
        for body in batch::bodies(items, b"[", b"]", self.max_body) {
            self.metrics.sent.requests.inc();
            self.door.post(&self.url, body).await.inspect_err(|_| {
                self.metrics.sent.failures.inc();
            })?;
        }
        self.metrics.sent.items.inc_by(count);
        Ok(())
    }

    /// Sends what is open after `first` and then every `period`: after it has not heard of an alert for a while, an
    /// Alertmanager takes it for resolved.
    async fn send_again(self, state: Arc<Mutex<State>>, first: Duration, period: Duration) {
        let mut ticks = interval_at(Instant::now() + first, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let state = state.lock().await;
            if let Err(error) = self.send(state.open.alerts()).await {
                tracing::warn!(
                    error = error.chain(),
                    "alerts that are open were not sent again; the next time is later"
                );
            }
        }
    }
}

impl Session {
    async fn publish(&self, epoch: &Epoch, config: &AlertmanagerConfig, outlet: &Outlet) -> Result<Option<Cursor>> {
        let mut state = self.state.lock().await;
        if state.knows(epoch) {
            return Ok(state.cursor.clone());
        }
        let mut open = state.open.clone();
        let news = open.follow(epoch, config.min_severity.into());
        outlet.send(news.alerts.iter()).await?;
        let next = State { cursor: Some(epoch.cursor()), open };
        self.file.save(&next).await?;
        outlet.metrics.held_back.inc_by(news.held_back);
        outlet.metrics.open.set(next.open.len() as i64);
        *state = next;
        Ok(state.cursor.clone())
    }
}

#[async_trait]
impl Sink for AlertmanagerSink {
    async fn open(&mut self, stream: &StreamId) -> Result<Option<Cursor>> {
        self.session = None;
        let file = StateFile::of(&self.folder, stream);
        let state = file.load().await?;
        let cursor = state.cursor.clone();
        self.outlet.metrics.open.set(state.open.len() as i64);
        let period = self.config.resend.0;
        // Nobody has sent what was open before for as long as this process was away.
        let first = if state.open.is_empty() { period } else { Duration::ZERO };
        let state = Arc::new(Mutex::new(state));
        let mut again = JoinSet::new();
        again.spawn(self.outlet.clone().send_again(Arc::clone(&state), first, period));
        self.session = Some(Session { file, state, _again: again });
        Ok(cursor)
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        let session = self.session.as_ref().ok_or_else(not_open)?;
        session.publish(epoch, &self.config, &self.outlet).await
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        let session = self.session.as_ref().ok_or_else(not_open)?;
        Ok(session.state.lock().await.cursor.clone())
    }

    fn takes(&self, dataset: Dataset) -> bool {
        dataset == Dataset::Findings
    }

    async fn check(&mut self) -> Result<String> {
        let status = self.outlet.door.get(&self.status).await?;
        let word = |path: &str| status.pointer(path).and_then(|word| word.as_str()).map(ToOwned::to_owned);
        let version = word("/versionInfo/version")
            .ok_or_else(|| Error::user(format!("{}: answers, but as no Alertmanager; check `url`", self.config.url)))?;
        let cluster = word("/cluster/status").unwrap_or_else(|| "unknown".to_owned());
        Ok(format!("Alertmanager {version}, its cluster is {cluster}"))
    }
}

fn not_open() -> Error {
    Error::internal("alertmanager: findings were handed over before the sink was opened")
}
