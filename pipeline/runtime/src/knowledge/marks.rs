//! How far the knowledge has come, in the log of every stream.

use async_trait::async_trait;
use catchment_core::{
    Entry, Error, EventTime, IdentityState, LogPosition, LogWriter, Logged, PartitionId, Result, Span,
};
use catchment_stages::enrich::{Blind, FORESIGHT};

use super::Watched;
use super::book::missed;
use crate::patient::PatientLog;

/// Marks the log of a stream whenever the knowledge has come further.
pub(crate) struct Marker {
    watched: Watched,
    log: PatientLog,
    marked: EventTime,
}

impl Marker {
    /// The first mark makes windows wait for the next.
    pub(crate) async fn join(watched: Watched, log: PatientLog) -> Result<Self> {
        let joined = log.spool.progress_of(PartitionId::KNOWLEDGE).filter(|mark| *mark != EventTime::MAX);
        let mut marker = Self { watched, log, marked: joined.unwrap_or(EventTime::MIN) };
        if joined.is_none() {
            marker.mark(marker.settled()).await?;
        }
        Ok(marker)
    }

    /// Flows are dated back, so windows need to know a little more than their own time.
    fn settled(&self) -> EventTime {
        self.watched.timeline.sealed().plus(-FORESIGHT)
    }

    /// Marks until the recorder is gone, and the process with it; ends with a fault.
    pub(crate) async fn run(mut self) -> Error {
        let mut sealed = self.watched.sealed.clone();
        loop {
            sealed.borrow_and_update();
            if let Err(fault) = self.catch_up().await {
                return fault;
            }
            if sealed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Marks how far the knowledge has come by now.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        let up_to = self.settled();
        if up_to > self.marked { self.mark(up_to).await } else { Ok(()) }
    }

    async fn mark(&mut self, up_to: EventTime) -> Result<()> {
        self.log.append(marks(&self.watched, self.marked, up_to)).await?;
        self.marked = up_to;
        Ok(())
    }
}

/// A mark, behind what became known to be missing since the last.
fn marks(watched: &Watched, before: EventTime, up_to: EventTime) -> Vec<Entry> {
    let mark = Entry::Progress { partition: PartitionId::KNOWLEDGE, up_to };
    let span = Span::new(before, up_to);
    let state = watched.timeline.state(Span::new(before, up_to.plus(FORESIGHT)));
    // Before the first mark nothing was watched; that is no gap in what was.
    let missed_some = before > EventTime::MIN && state != IdentityState::Fresh;
    let gap = missed_some.then(|| missed(&Blind { span, unread: state == IdentityState::Unknown }));
    gap.into_iter().chain([mark]).collect()
}

/// Windows no longer wait for knowledge that nobody gathers.
pub(crate) async fn leave(log: &PatientLog) -> Result<()> {
    match log.spool.progress_of(PartitionId::KNOWLEDGE) {
        None | Some(EventTime::MAX) => Ok(()),
        Some(_) => {
            let end = Entry::Progress { partition: PartitionId::KNOWLEDGE, up_to: EventTime::MAX };
            log.append(vec![end]).await.map(drop)
        }
    }
}

/// A log that notes how far its flows have come.
pub(crate) struct Noted {
    log: PatientLog,
    watched: Watched,
}

impl Noted {
    pub(crate) const fn new(log: PatientLog, watched: Watched) -> Self {
        Self { log, watched }
    }
}

#[async_trait]
impl LogWriter for Noted {
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition> {
        let reached = entries.iter().filter_map(|entry| match entry {
            Entry::Progress { up_to, .. } => Some(*up_to),
            _ => None,
        });
        let reached = reached.max();
        let first = self.log.append(entries).await?;
        if let Some(time) = reached {
            self.watched.reach(time);
        }
        Ok(first)
    }

    async fn read(&self, position: LogPosition) -> Result<Option<Entry>> {
        self.log.read(position).await
    }

    async fn replay(&self, since: EventTime, visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()> {
        self.log.replay(since, visit).await
    }
}
