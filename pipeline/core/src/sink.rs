//! The door rows leave through.

use async_trait::async_trait;
use catchment_schemas::Dataset;

use crate::{Cursor, Epoch, Result, StreamId};

/// A connector that publishes epochs in order, each exactly once, and keeps its own cursor with
/// its own data. One value serves one stream.
#[async_trait]
pub trait Sink: Send {
    /// Connects, fences whoever held `stream` before, and returns the committed cursor.
    ///
    /// Also called again after an error with [`crate::Retry::Reopen`]; whatever was handed over and
    /// not committed is then published again from the log.
    async fn open(&mut self, stream: &StreamId) -> Result<Option<Cursor>>;

    /// Takes the next epoch. Returns the cursor that is durable after this call: the epoch's own,
    /// or an older one while the sink still gathers rows for a larger object.
    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>>;

    /// The input has ended: writes out whatever is still gathered. Not called on shutdown, where
    /// gathered rows stay in the log.
    async fn finish(&mut self) -> Result<Option<Cursor>>;

    /// Whether it does anything with rows of the dataset. What no sink takes need not be worked out; a sink may be handed
    /// rows that it does not take.
    fn takes(&self, _dataset: Dataset) -> bool {
        true
    }

    /// Connects and says in one line what it found, without writing rows: `catchment check`.
    async fn check(&mut self) -> Result<String>;
}
