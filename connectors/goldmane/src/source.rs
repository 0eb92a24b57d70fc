//! The source: meets the collector, learns from the log, and starts a run.

use std::time::Duration;

use async_trait::async_trait;
use catchment_core::{LogWriter, Result, Source};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::Config;
use crate::client::Client;
use crate::clock::{Renewal, ServerClock};
use crate::learned::Learned;
use crate::metrics::Metrics;
use crate::planner::Planner;
use crate::run::Run;
use crate::sweep::{self, Reader, Sighting};

/// How long to wait for a collector that has no flow at all, or whose clock cannot be placed.
const IDLE_WAIT: Duration = Duration::from_secs(5);

/// Reads one Goldmane.
pub struct GoldmaneSource {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) client: Client,
    pub(crate) reader: Reader,
    skew_reported: bool,
}

impl GoldmaneSource {
    /// Checks the configuration; connects only when run.
    pub fn new(config: Config, registry: &mut Registry) -> Result<Self> {
        config.validate()?;
        let metrics = Metrics::register(registry);
        let client = Client::new(config.clone(), metrics.clone());
        let reader = Reader::new(config.page_size);
        Ok(Self { config, metrics, client, reader, skew_reported: false })
    }

    /// Waits until the collector's clock and bucket width are known. An idle collector shows no
    /// width; what an earlier run saw will do then.
    async fn meet(&mut self, logged_width: Option<i64>) -> Result<(ServerClock, i64)> {
        loop {
            let sighting = self.sight().await?;
            let width = self.width(&sighting).await?.or(logged_width);
            if let (Some(clock), Some(width)) = (sighting.clock, width) {
                self.metrics.bucket_width.set(width as f64 / 1e6);
                return Ok((clock, width));
            }
            tracing::debug!("the collector shows no flow or no time yet; asking again");
            tokio::time::sleep(IDLE_WAIT).await;
        }
    }

    pub(crate) async fn sight(&mut self) -> Result<Sighting> {
        let sighting = sweep::sight(&mut self.client, self.reader.probe_rows()).await?;
        self.metrics.clock_skew.set(sighting.skew as f64);
        let differs = "the collector's clock differs from ours; buckets are timed by the collector's";
        match (sighting.clock, sighting.skew) {
            (Some(_), 0) => return Ok(sighting),
            _ if self.skew_reported => return Ok(sighting),
            (None, _) => tracing::warn!("{differs}: it is more than an hour behind"),
            (_, skew_seconds) => tracing::warn!(skew_seconds, "{differs}"),
        }
        self.skew_reported = true;
        Ok(sighting)
    }

    async fn width(&mut self, sighting: &Sighting) -> Result<Option<i64>> {
        sweep::width(&mut self.client, self.reader.probe_rows(), sighting).await
    }
}

#[async_trait]
impl Source for GoldmaneSource {
    async fn run(&mut self, log: &dyn LogWriter) -> Result<()> {
        let learned = Learned::from_log(log).await?;
        let (clock, width) = self.meet(learned.width).await?;
        log.reading();
        let now = clock.now(Instant::now());
        let Config { settle, reconcile, begin, .. } = self.config;
        let mut planner = Planner::new(width, settle, reconcile, begin, learned.up_to, now);
        let known = learned.buckets(width);
        for (bucket, known) in &known {
            planner.recall(*bucket, known.looks);
        }
        let renewal = Renewal::new(Instant::now());
        Run { source: self, log, clock, renewal, planner, known, doubt: None }.forever().await
    }

    async fn check(&mut self) -> Result<String> {
        let sighting = self.sight().await?;
        let width = self.width(&sighting).await?;
        let address = &self.config.address;
        let width =
            width.map_or_else(|| "no flows yet".to_owned(), |width| format!("buckets of {} s", width as f64 / 1e6));
        let clock = match (sighting.clock, sighting.skew) {
            (None, _) => "its clock is more than an hour behind ours".to_owned(),
            (_, 0) => "its clock agrees with ours".to_owned(),
            (_, skew) => format!("its clock differs from ours by {skew} s"),
        };
        Ok(format!("collector at {address} answers: {width}, {clock}"))
    }
}
