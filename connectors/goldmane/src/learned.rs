//! What earlier runs left in the log.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use catchment_core::{Entry, EventTime, LogPosition, LogWriter, Logged, Purpose, Result, Span};

use crate::clock::wall_clock;
use crate::reconcile::Digest;
use crate::run::PARTITION;

/// How far to look back: the hour that a collector holds, and some for clocks that disagree.
const LOOK_BACK_SECS: i64 = 3900;

/// What the log holds about a bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Its entries: the pages of the report, then corrections.
    pub(crate) entries: Vec<LogPosition>,
    /// Of the whole bucket; `None` where corrections make it more than its entries' sum.
    pub(crate) digest: Option<Digest>,
    /// How often the bucket was looked at again.
    pub(crate) looks: usize,
}

impl Known {
    /// A bucket without entries, which is what an empty one leaves in the log.
    const EMPTY: Self = Self { entries: Vec::new(), digest: Some(Digest::ZERO), looks: 0 };
}

/// What the log holds about the last hour.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// The newest progress.
    pub(crate) up_to: Option<EventTime>,
    /// Width of the buckets that were read.
    pub(crate) width: Option<i64>,
    flows: BTreeMap<EventTime, (Span, Known)>,
    marks: BTreeSet<EventTime>,
    gaps: Vec<Span>,
}

impl Learned {
    /// Looks back an hour, and through the whole log if that hour is empty: after a long outage the
    /// gap begins where the log ends.
    pub(crate) async fn from_log(log: &dyn LogWriter) -> Result<Self> {
        let recent = Self::since(log, wall_clock().plus(-LOOK_BACK_SECS * 1_000_000)).await?;
        if recent.up_to.is_some() { Ok(recent) } else { Self::since(log, EventTime::MIN).await }
    }

    async fn since(log: &dyn LogWriter, since: EventTime) -> Result<Self> {
        let mut learned = Self::default();
        let mut failed = Ok(());
        let mut visit = |logged: Logged| {
            if failed.is_ok() {
                failed = learned.visit(logged);
            }
        };
        log.replay(since, &mut visit).await?;
        failed.map(|()| learned)
    }

    fn visit(&mut self, logged: Logged) -> Result<()> {
        // Others keep time in the log too.
        if logged.entry.partition() != PARTITION {
            return Ok(());
        }
        match logged.entry {
            Entry::Progress { up_to, .. } => {
                self.up_to = self.up_to.max(Some(up_to));
                self.marks.insert(up_to);
            }
            Entry::Flows(flows) => {
                self.width = Some(flows.span.micros());
                self.add(logged.position, flows.span, flows.purpose, flows.payload)?;
            }
            // A bucket found damaged was settled then; another look would find the same damage.
            Entry::Gap(gap) => self.gaps.push(gap.span),
            Entry::Knowledge(_) => {}
        }
        Ok(())
    }

    fn add(&mut self, position: LogPosition, span: Span, purpose: Purpose, payload: Bytes) -> Result<()> {
        let (_, known) = self.flows.entry(span.start).or_insert((span, Known::EMPTY));
        known.looks += usize::from(purpose == Purpose::Correction);
        // A look that found nothing new.
        if payload.is_empty() {
            return Ok(());
        }
        known.entries.push(position);
        known.digest = match (purpose, known.digest) {
            (Purpose::Report, Some(digest)) => Some(digest.plus(Digest::of(&[payload])?)),
            _ => None,
        };
        Ok(())
    }

    /// Buckets of this width that are wholly in the log, those without flows included.
    pub(crate) fn buckets(mut self, width: i64) -> BTreeMap<EventTime, Known> {
        self.flows.retain(|_, (span, _)| span.micros() == width);
        let is_damaged = |start: EventTime| self.gaps.iter().any(|gap| (gap.start..gap.end).contains(&start));
        let starts = self.marks.iter().map(|mark| mark.plus(-width)).filter(|start| !is_damaged(*start));
        starts.map(|start| (start, self.flows.remove(&start).map_or(Known::EMPTY, |(_, known)| known))).collect()
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{Entry, PartitionId};

    use super::*;

    #[test]
    fn marks_of_others_say_nothing_of_what_was_read() {
        let mut learned = Learned::default();
        let mark = |partition, secs| Entry::Progress { partition, up_to: EventTime::from_secs(secs) };
        let entries = [mark(PARTITION, 60), mark(PartitionId::KNOWLEDGE, 600)];
        for (position, entry) in (0..).map(LogPosition).zip(entries) {
            learned.visit(Logged { position, entry }).expect("readable");
        }
        assert_eq!(learned.up_to, Some(EventTime::from_secs(60)));
        assert_eq!(learned.buckets(15_000_000).len(), 1);
    }
}
