//! The door flows come in through.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Entry, EventTime, LogId, LogPosition, Result};

/// One independent line of flows: its own log, keys, windows, watermark and cursors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// The cluster the flows belong to.
    pub cluster: String,
    /// The configured name of the source.
    pub source: String,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.source)
    }
}

/// An entry with its place in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Where it stands.
    pub position: LogPosition,
    /// What stands there.
    pub entry: Entry,
}

/// What a source may do with the log: append, and look back at what it wrote.
#[async_trait]
pub trait LogWriter: Send + Sync {
    /// Appends the entries in order; returns when they are durable, with the position of the first.
    ///
    /// Waits while the log is full or cannot be written: a source that cannot wait records a gap
    /// instead. Where no room can ever come, a gap stands in the place of each batch of flows.
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition>;

    /// Reads one entry that is still in the log; `None` once it has been dropped.
    async fn read(&self, position: LogPosition) -> Result<Option<Entry>>;

    /// Everything still in the log whose event time may reach `since` or later, payloads included,
    /// oldest first, handed to `visit`. A source calls this once, at start, to learn what it has.
    async fn replay(&self, since: EventTime, visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()>;

    /// The source has met what it reads from and waits for nothing but flows: readiness waits for
    /// this, after every start of [`Source::run`].
    fn reading(&self) {}
}

/// A connector that reads or receives flows.
#[async_trait]
pub trait Source: Send {
    /// Runs until the input ends (bounded inputs return `Ok`) or a fault needs a new start.
    ///
    /// Cancelled by dropping: every `append` is atomic, so no await point leaves half an entry.
    /// The runtime calls `run` again after an error whose retry hint allows it.
    async fn run(&mut self, log: &dyn LogWriter) -> Result<()>;

    /// The identity of a bounded input: equal only where reading again gives the same entries, so that
    /// what a sink has of it is recognized. `None` where it cannot be read again.
    fn input(&self) -> Result<Option<LogId>> {
        Ok(None)
    }

    /// Connects and says in one line what it found, without reading flows: `catchment check`.
    async fn check(&mut self) -> Result<String>;
}
