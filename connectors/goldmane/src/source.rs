//! The source itself: carries out what the planner says.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use catchment_core::{
    Encoding, Entry, Error, EventTime, FlowsEntry, GapEntry, LogPosition, LogWriter, PartitionId, Purpose, Result,
    Source, Span,
};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::Config;
use crate::client::Client;
use crate::clock::ServerClock;
use crate::learned::{Known, Learned};
use crate::metrics::Metrics;
use crate::planner::{Action, Planner};
use crate::reconcile::{self, Digest};
use crate::sweep::{self, Reader, Sighting};

/// A collector keeps time as a whole.
const PARTITION: PartitionId = PartitionId(0);
/// How long to wait for a collector that has no flow at all, or whose clock cannot be placed.
const IDLE_WAIT: Duration = Duration::from_secs(5);

/// Reads one Goldmane.
pub struct GoldmaneSource {
    config: Config,
    metrics: Metrics,
    client: Client,
    reader: Reader,
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
            if let (Some(clock), Some(width)) = (sighting.clock, sighting.width.or(logged_width)) {
                self.metrics.bucket_width.set(width as f64 / 1e6);
                return Ok((clock, width));
            }
            tracing::debug!("the collector shows no flow or no time yet; asking again");
            tokio::time::sleep(IDLE_WAIT).await;
        }
    }

    async fn sight(&mut self) -> Result<Sighting> {
        let sighting = sweep::sight(&mut self.client, self.reader.probe_rows()).await?;
        self.metrics.clock_skew.set(sighting.skew as f64);
        if (sighting.skew != 0 || sighting.clock.is_none()) && !self.skew_reported {
            tracing::warn!(
                skew_seconds = sighting.skew,
                "the collector's clock differs from ours; buckets are timed by the collector's"
            );
            self.skew_reported = true;
        }
        Ok(sighting)
    }
}

#[async_trait]
impl Source for GoldmaneSource {
    async fn run(&mut self, log: &dyn LogWriter) -> Result<()> {
        let learned = Learned::from_log(log).await?;
        let (clock, width) = self.meet(learned.width).await?;
        let now = clock.now(Instant::now());
        let Config { settle, reconcile, begin, .. } = self.config;
        let mut planner = Planner::new(width, settle, reconcile, begin, learned.up_to, now);
        let known = learned.buckets(width);
        for bucket in known.keys() {
            planner.recall(*bucket, now);
        }
        Run { source: self, log, clock, planner, known }.forever().await
    }

    async fn check(&mut self) -> Result<String> {
        let sighting = self.sight().await?;
        let address = &self.config.address;
        let width = sighting
            .width
            .map_or_else(|| "no flows yet".to_owned(), |width| format!("buckets of {} s", width as f64 / 1e6));
        let clock = match (sighting.clock, sighting.skew) {
            (None, _) => "its clock is more than an hour behind ours".to_owned(),
            (_, 0) => "its clock agrees with ours".to_owned(),
            (_, skew) => format!("its clock differs from ours by {skew} s"),
        };
        Ok(format!("collector at {address} answers: {width}, {clock}"))
    }
}

/// One run, from a start to a fault.
struct Run<'a> {
    source: &'a mut GoldmaneSource,
    log: &'a dyn LogWriter,
    clock: ServerClock,
    planner: Planner,
    known: BTreeMap<EventTime, Known>,
}

impl Run<'_> {
    async fn forever(mut self) -> Result<()> {
        loop {
            let local = Instant::now();
            if self.clock.is_stale(local) {
                self.clock = self.source.sight().await?.clock.unwrap_or(self.clock);
            }
            let now = self.clock.now(local);
            match self.planner.next(now) {
                Action::WaitUntil(moment) => self.wait(moment.0.saturating_sub(now.0)).await,
                Action::Forget(span) => self.forget(span).await?,
                Action::Sweep { bucket, urgent } => self.sweep(bucket, urgent).await?,
                Action::Reconcile(bucket) => self.reconcile(bucket).await?,
            }
        }
    }

    async fn wait(&self, micros: i64) {
        tokio::time::sleep(Duration::from_micros(micros.max(0) as u64)).await;
    }

    async fn forget(&mut self, span: Span) -> Result<()> {
        let gap = gap(span, "collector_forgot", "the collector no longer held these buckets when they could be read");
        self.log.append(vec![gap, progress(span.end)]).await?;
        tracing::warn!(from = %span.start, to = %span.end, "the collector forgot buckets that were never read");
        self.source.metrics.gaps.inc();
        self.planner.passed(span.end);
        Ok(())
    }

    async fn sweep(&mut self, bucket: Span, urgent: bool) -> Result<()> {
        let pages = self.read(bucket, urgent).await?;
        let digest = Digest::of(&pages)?;
        let pages = if digest.rows == 0 { Vec::new() } else { pages };
        let count = pages.len();
        let mut entries: Vec<_> = pages.into_iter().map(|page| self.flows(bucket, Purpose::Report, page)).collect();
        entries.push(progress(bucket.end));
        let first = self.log.append(entries).await?;
        self.source.metrics.rows.inc_by(digest.rows);
        self.source.metrics.buckets_swept.inc();
        self.remember(bucket.start, Known { entries: positions(first, count), digest: Some(digest) });
        self.planner.passed(bucket.end);
        Ok(())
    }

    async fn reconcile(&mut self, bucket: Span) -> Result<()> {
        let pages = self.read(bucket, false).await?;
        let digest = Digest::of(&pages)?;
        let known = self.known.remove(&bucket.start).unwrap_or_default();
        if known.digest == Some(digest) {
            self.remember(bucket.start, known);
            return Ok(());
        }
        if let Some(logged) = self.logged(&known).await? {
            return self.correct(bucket, known, &logged, &pages).await;
        }
        self.planner.settled(bucket.start);
        Ok(())
    }

    /// Writes down how `pages` differ from what was logged.
    async fn correct(&mut self, bucket: Span, mut known: Known, logged: &[Bytes], pages: &[Bytes]) -> Result<()> {
        let difference = reconcile::compare(logged, pages)?;
        let corrected = difference.corrections.len();
        let mut entries = Vec::new();
        if corrected > 0 {
            let payload = reconcile::encode(difference.corrections);
            entries.push(self.flows(bucket, Purpose::Correction, payload));
        }
        if difference.lost > 0 {
            let detail = format!("{} flows shrank or vanished since the bucket was read", difference.lost);
            entries.push(gap(bucket, "collector_restarted", &detail));
        }
        if !entries.is_empty() {
            let first = self.log.append(entries).await?;
            known.entries.extend(positions(first, usize::from(corrected > 0)));
        }
        self.source.metrics.reconcile_corrections.inc_by(corrected as u64);
        if difference.lost > 0 {
            // Each later look would find the same loss again.
            self.lost(bucket, difference.lost);
        } else {
            self.remember(bucket.start, Known { digest: Some(Digest::of(pages)?), ..known });
        }
        Ok(())
    }

    fn lost(&mut self, bucket: Span, flows: u64) {
        tracing::warn!(bucket = %bucket.start, flows, "flows shrank or vanished; the collector has restarted");
        self.source.metrics.gaps.inc();
        self.planner.settled(bucket.start);
    }

    /// The payloads of the entries; `None` once one of them has left the log.
    async fn logged(&self, known: &Known) -> Result<Option<Vec<Bytes>>> {
        let mut payloads = Vec::with_capacity(known.entries.len());
        for &position in &known.entries {
            match self.log.read(position).await? {
                Some(Entry::Flows(flows)) => payloads.push(flows.payload),
                Some(_) => return Err(Error::internal(format!("log position {} holds no flows", position.0))),
                None => return Ok(None),
            }
        }
        Ok(Some(payloads))
    }

    async fn read(&mut self, bucket: Span, urgent: bool) -> Result<Vec<Bytes>> {
        let pages = self.source.reader.bucket(&mut self.source.client, bucket, urgent).await?;
        sweep::verify(&pages, bucket)?;
        Ok(pages)
    }

    /// Keeps what a later look needs, and drops what no later look will ask for.
    fn remember(&mut self, bucket: EventTime, known: Known) {
        self.planner.look_again(bucket, self.clock.now(Instant::now()));
        self.known.insert(bucket, known);
        let oldest = self.planner.oldest_look();
        self.known = oldest.map(|oldest| self.known.split_off(&oldest)).unwrap_or_default();
    }

    fn flows(&self, span: Span, purpose: Purpose, payload: Bytes) -> Entry {
        Entry::Flows(FlowsEntry {
            partition: PARTITION,
            encoding: Encoding::GoldmaneList,
            purpose,
            span,
            origin: self.source.config.address.clone(),
            first_record: 0,
            payload,
        })
    }
}

const fn progress(up_to: EventTime) -> Entry {
    Entry::Progress { partition: PARTITION, up_to }
}

fn gap(span: Span, reason: &str, detail: &str) -> Entry {
    Entry::Gap(GapEntry { partition: PARTITION, span, reason: reason.to_owned(), detail: detail.to_owned() })
}

fn positions(first: LogPosition, count: usize) -> Vec<LogPosition> {
    (0..count as u64).map(|i| LogPosition(first.0 + i)).collect()
}
