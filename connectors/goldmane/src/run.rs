//! One run of the source: carries out what the planner says.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use catchment_core::{
    Encoding, Entry, EventTime, FlowsEntry, GapEntry, LogPosition, LogWriter, PartitionId, Purpose, Result, Span,
};
use tokio::time::Instant;

use crate::GoldmaneSource;
use crate::clock::{Renewal, ServerClock};
use crate::learned::Known;
use crate::planner::{Action, Planner};
use crate::reconcile::{self, Difference, Digest};
use crate::sweep;

/// A collector keeps time as a whole.
pub(crate) const PARTITION: PartitionId = PartitionId(0);

/// One run, from a start to a fault.
pub(crate) struct Run<'a> {
    pub(crate) source: &'a mut GoldmaneSource,
    pub(crate) log: &'a dyn LogWriter,
    pub(crate) clock: ServerClock,
    pub(crate) renewal: Renewal,
    pub(crate) planner: Planner,
    pub(crate) known: BTreeMap<EventTime, Known>,
    /// When a restart of the collector was noticed: what ended before may have been lost with it.
    pub(crate) doubt: Option<EventTime>,
}

impl Run<'_> {
    pub(crate) async fn forever(mut self) -> Result<()> {
        loop {
            let local = Instant::now();
            if self.renewal.is_due(local) {
                self.renew_clock().await?;
            }
            let now = self.clock.now(local);
            self.lapse(now).await?;
            self.tell_overdue(now);
            match self.planner.next(now) {
                Action::WaitUntil(moment) => self.wait(moment.0.saturating_sub(now.0)).await,
                Action::Forget(span) => self.forget(span).await?,
                Action::Sweep { bucket, urgent } => self.sweep(bucket, urgent).await?,
                Action::Reconcile(bucket) => self.reconcile(bucket).await?,
            }
        }
    }

    /// Gives up looks that came too late. What was never looked at again may lack what came late to it.
    async fn lapse(&mut self, now: EventTime) -> Result<()> {
        let lapsed = self.planner.lapse(now);
        self.source.metrics.lapsed_looks.inc_by(lapsed.looks as u64);
        for span in lapsed.unseen {
            let detail = "the collector no longer held these buckets when what came late to them could be read";
            self.log.append(vec![gap(span, "collector_forgot", detail)]).await?;
            tracing::warn!(from = %span.start, to = %span.end, "buckets were forgotten before a later look");
            self.source.metrics.gaps.inc();
        }
        Ok(())
    }

    fn tell_overdue(&self, now: EventTime) {
        let metrics = &self.source.metrics;
        let overdue = self.planner.overdue(now);
        metrics.overdue_looks.set(overdue.looks as i64);
        metrics.oldest_overdue_look.set(overdue.oldest as f64 / 1e6);
    }

    /// Waits, but not beyond the next look at the collector's clock.
    async fn wait(&self, micros: i64) {
        let until = Instant::now() + Duration::from_micros(micros.max(0) as u64);
        tokio::time::sleep_until(until.min(self.renewal.due())).await;
    }

    /// Takes the bound anew. The collector may have run ahead of the local clock: this machine was
    /// suspended, or the collector is a simulated one.
    async fn renew_clock(&mut self) -> Result<()> {
        let fresh = self.source.sight().await?.clock;
        let local = Instant::now();
        // Less than half a bucket is how much one look may know better than another.
        let expected = self.clock.now(local).plus(self.planner.width() / 2);
        let ahead = fresh.filter(|fresh| fresh.now(local) > expected);
        self.renewal.taken(local, ahead.is_some());
        self.clock = ahead.or(fresh.filter(|_| !self.renewal.is_frequent())).unwrap_or(self.clock);
        Ok(())
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
        let reads_as_look = self.planner.reads_as_look(bucket.start, self.clock.now(Instant::now()));
        // Expired meanwhile: the planner will say so.
        let Some(pages) = self.read(bucket, urgent).await? else { return Ok(()) };
        let digest = Digest::of(&pages)?;
        let pages = if digest.rows == 0 { Vec::new() } else { pages };
        let count = pages.len();
        let mut entries: Vec<_> = pages.into_iter().map(|page| self.flows(bucket, Purpose::Report, page)).collect();
        if self.in_doubt(bucket, digest.rows).await? {
            entries.push(gap(bucket, "collector_restarted", "the collector restarted before this bucket was read"));
            self.source.metrics.gaps.inc();
        }
        if reads_as_look {
            entries.push(self.flows(bucket, Purpose::Correction, Bytes::new()));
        }
        entries.push(progress(bucket.end));
        let first = self.log.append(entries).await?;
        self.source.metrics.rows.inc_by(digest.rows);
        self.source.metrics.buckets_swept.inc();
        let known = Known { entries: positions(first, count), digest: Some(digest), looks: 0 };
        self.remember(bucket.start, known);
        self.planner.passed(bucket.end);
        Ok(())
    }

    /// Whether the bucket, read for the first time with so many rows, may be what a restart left of
    /// it: it and those after it are empty, up to and including the first that is not.
    async fn in_doubt(&mut self, bucket: Span, rows: u64) -> Result<bool> {
        if rows == 0 && self.doubt.is_none() && self.vanished_before(bucket).await? {
            self.doubt = Some(self.clock.now(Instant::now()));
        }
        let in_doubt = self.doubt.is_some_and(|noticed| bucket.start < noticed);
        if rows > 0 || !in_doubt {
            self.doubt = None;
        }
        Ok(in_doubt)
    }

    /// Whether the bucket before this one had flows and has none now.
    async fn vanished_before(&mut self, bucket: Span) -> Result<bool> {
        let before = Span::new(bucket.start.plus(-bucket.micros()), bucket.start);
        let busy = |known: &Known| known.digest.is_none_or(|digest| digest.rows > 0);
        if !self.known.get(&before.start).is_some_and(busy) {
            return Ok(false);
        }
        let pages = self.read(before, false).await?;
        pages.map_or(Ok(false), |pages| Ok(Digest::of(&pages)?.rows == 0))
    }

    async fn reconcile(&mut self, bucket: Span) -> Result<()> {
        let Some(pages) = self.read(bucket, false).await? else { return Ok(()) };
        let digest = Digest::of(&pages)?;
        let known = self.known.remove(&bucket.start).unwrap_or_default();
        if known.digest == Some(digest) {
            return self.correct(bucket, known, Difference::default(), digest).await;
        }
        match self.logged(&known).await? {
            Some(logged) => self.correct(bucket, known, reconcile::compare(&logged, &pages)?, digest).await,
            None => self.give_up(bucket).await,
        }
    }

    /// What came late to the bucket cannot be told from what was logged: that has left the log.
    async fn give_up(&mut self, bucket: Span) -> Result<()> {
        let detail = "flows were added or lost since the bucket was read, and what they add to has left the log";
        self.log.append(vec![gap(bucket, "not_comparable", detail)]).await?;
        tracing::warn!(bucket = %bucket.start, "a later look differs from what has left the log");
        self.source.metrics.gaps.inc();
        self.planner.settled(bucket.start);
        Ok(())
    }

    /// Writes down how the bucket, now of this digest, differs from what was logged. A look that shows
    /// nothing new is an empty correction: the next start must know that it was made.
    async fn correct(&mut self, bucket: Span, known: Known, difference: Difference, digest: Digest) -> Result<()> {
        let Difference { corrections, lost } = difference;
        let corrected = corrections.len();
        let mut entries = vec![self.flows(bucket, Purpose::Correction, reconcile::encode(corrections))];
        if lost > 0 {
            let detail = format!("{lost} flows shrank or vanished since the bucket was read");
            entries.push(gap(bucket, "collector_restarted", &detail));
        }
        let first = self.log.append(entries).await?;
        self.source.metrics.reconcile_corrections.inc_by(corrected as u64);
        if lost > 0 {
            // Each later look would find the same loss again.
            self.lost(bucket, lost);
            return Ok(());
        }
        let added = positions(first, usize::from(corrected > 0));
        let entries = [known.entries, added].concat();
        self.remember(bucket.start, Known { entries, digest: Some(digest), looks: known.looks + 1 });
        Ok(())
    }

    fn lost(&mut self, bucket: Span, flows: u64) {
        tracing::warn!(bucket = %bucket.start, flows, "flows shrank or vanished; the collector has restarted");
        self.source.metrics.gaps.inc();
        self.planner.settled(bucket.start);
    }

    /// The payloads of the entries; `None` once one of them has left the log, or found no room in it.
    async fn logged(&self, known: &Known) -> Result<Option<Vec<Bytes>>> {
        let mut payloads = Vec::with_capacity(known.entries.len());
        for &position in &known.entries {
            match self.log.read(position).await? {
                Some(Entry::Flows(flows)) => payloads.push(flows.payload),
                _ => return Ok(None),
            }
        }
        Ok(Some(payloads))
    }

    /// `None` if the bucket may have expired, so that its emptiness says nothing. Our clock cannot tell:
    /// it is a lower bound, and stands still while this machine is suspended.
    async fn read(&mut self, bucket: Span, urgent: bool) -> Result<Option<Vec<Bytes>>> {
        let pages = self.source.reader.bucket(&mut self.source.client, bucket, urgent).await?;
        sweep::verify(&pages, bucket)?;
        // A collector forgets buckets as a whole.
        let is_empty = Digest::of(&pages)?.rows == 0;
        let expired = is_empty && self.has_passed(self.planner.held_until(bucket.start)).await?;
        Ok((!expired).then_some(pages))
    }

    /// Whether the collector's clock has passed `moment`; ours has too from then on.
    async fn has_passed(&mut self, moment: EventTime) -> Result<bool> {
        let has_passed = sweep::has_passed(&mut self.source.client, moment).await?;
        let local = Instant::now();
        if has_passed && self.clock.now(local) < moment {
            self.clock = ServerClock::new(moment, local);
        }
        Ok(has_passed)
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
