//! The log as a source sees it: a disk that refuses makes an append wait, like a full log does.

use async_trait::async_trait;
use catchment_core::{Entry, EventTime, LogPosition, LogWriter, Logged, Result, Retry, StreamId};

use crate::metrics::LogMetrics;
use crate::readiness::Part;
use crate::retry::{Backoff, pause};
use crate::spool::Spool;

/// Appends to the log of `name`, again and again while that may help.
pub(crate) async fn append(
    spool: &Spool,
    entries: Vec<Entry>,
    name: &str,
    refused: impl Fn() + Send,
) -> Result<LogPosition> {
    let mut backoff = Backoff::default();
    loop {
        match spool.append(entries.clone()).await {
            Err(e) if e.retry != Retry::Never => {
                refused();
                pause(&mut backoff, name, "cannot write to the log", &e).await;
            }
            outcome => return outcome,
        }
    }
}

/// Tries an append again while that may help: a source that started over would read the same again.
#[derive(Clone)]
pub(crate) struct PatientLog {
    pub(crate) spool: Spool,
    pub(crate) stream: StreamId,
    pub(crate) metrics: LogMetrics,
    pub(crate) part: Part,
}

#[async_trait]
impl LogWriter for PatientLog {
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition> {
        let refused = || {
            self.metrics.write_failures.inc();
            self.part.fails("cannot be written; trying again");
        };
        let outcome = append(&self.spool, entries, &self.stream.to_string(), refused).await;
        self.part.works();
        outcome
    }

    async fn read(&self, position: LogPosition) -> Result<Option<Entry>> {
        self.spool.read(position).await
    }

    async fn replay(&self, since: EventTime, visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()> {
        self.spool.replay(since, visit).await
    }
}
