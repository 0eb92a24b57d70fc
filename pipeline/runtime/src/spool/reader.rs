//! Reading a log in order while it grows.

use std::sync::Arc;

use catchment_core::{Error, LogPosition, Logged, Result};

use super::state::Shared;

/// Hands out the durable entries of a log, one after the other.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    next: LogPosition,
}

impl Reader {
    pub(super) const fn new(shared: Arc<Shared>, next: LogPosition) -> Self {
        Self { shared, next }
    }

    /// The position [`Reader::next`] reads.
    pub const fn position(&self) -> LogPosition {
        self.next
    }

    /// The next durable entry; `None` at the end of the log as it is now. Never waits for a writer.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end: the log grows")]
    pub fn next(&mut self) -> Result<Option<Logged>> {
        let position = self.next;
        if position >= self.shared.end() {
            return Ok(None);
        }
        let entry = self.shared.read(position)?.ok_or_else(|| dropped(position, self.shared.first()))?;
        self.next = position.next();
        Ok(Some(Logged { position, entry }))
    }

    /// Resolves once the entry at `position` is durable. A reader at the end waits for its own
    /// [`Reader::position`].
    pub async fn wait(&self, position: LogPosition) {
        self.shared.durable(position).await;
    }
}

fn dropped(position: LogPosition, first: LogPosition) -> Error {
    let (position, first) = (position.0, first.0);
    Error::internal(format!("position {position} was dropped from the log, which begins at {first} now"))
}
