//! What the sinks publish: the outputs between two positions of the log.

use catchment_schemas::Dataset;
use serde::{Deserialize, Serialize};

use crate::{
    Conversation, EventTime, FindingId, FindingRow, FlowRow, GapRow, IdentityState, LateRow, LogId, LogPosition,
    PartitionId, RejectRow, Span, StreamId,
};

/// The identity of an epoch: the log position that closed it, and a number within that position
/// (one progress mark may close many windows; each is an epoch of its own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpochId {
    /// Position of the progress entry that closed it.
    pub position: LogPosition,
    /// 0 for the first epoch of that position.
    pub part: u32,
}

/// Where folding must start again so that every window still open is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The oldest position that an open window, or the window before it, still needs.
    pub position: LogPosition,
    /// The watermark of each partition just before that position.
    pub watermarks: Vec<(PartitionId, EventTime)>,
}

/// How far a sink has come in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Whose positions these are; unknown where the cursor was written before logs had an identity.
    #[serde(default)]
    pub log: Option<LogId>,
    /// The last epoch whose rows are durable; everything at or before it is suppressed on restart.
    pub committed: EpochId,
    /// Where folding starts again.
    pub floor: Floor,
}

/// All rows determined by the log up to [`Epoch::id`] and not by an earlier epoch.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Whose rows these are.
    pub stream: StreamId,
    /// The log they are determined by.
    pub log: LogId,
    /// Its place in the order.
    pub id: EpochId,
    /// Where folding starts again once this epoch is durable.
    pub floor: Floor,
    /// The window that closed, if one did: the last epoch of an ended input may have side rows only.
    pub window: Option<ClosedWindow>,
    /// Flows that came after their window had closed, in log order.
    pub late: Vec<LateRow>,
    /// Records that could not be used, in log order.
    pub rejects: Vec<RejectRow>,
    /// What is known to be missing, in log order.
    pub gaps: Vec<GapRow>,
    /// What has become of findings with the window, by their ids; nothing where nobody looks for them.
    pub findings: Vec<FindingRow>,
    /// Findings that have been over for long enough to be forgotten with the window, in order.
    pub forgotten: Vec<FindingId>,
}

impl Epoch {
    /// The cursor that stands once this epoch is durable.
    pub fn cursor(&self) -> Cursor {
        Cursor { log: Some(self.log), committed: self.id, floor: self.floor.clone() }
    }

    /// Rows over all datasets.
    pub fn rows(&self) -> usize {
        Dataset::ALL.into_iter().map(|dataset| self.rows_of(dataset)).sum()
    }

    /// Rows of one dataset.
    pub fn rows_of(&self, dataset: Dataset) -> usize {
        match dataset {
            Dataset::Flows => self.window.as_ref().map_or(0, |window| window.flows.len()),
            Dataset::Conversations => self.window.as_ref().map_or(0, |window| window.conversations.len()),
            Dataset::Late => self.late.len(),
            Dataset::Rejects => self.rejects.len(),
            Dataset::Gaps => self.gaps.len(),
            Dataset::Findings => self.findings.len(),
        }
    }
}

/// A window that no further record of the log can touch.
#[derive(Clone, Debug)]
pub struct ClosedWindow {
    /// Its interval.
    pub span: Span,
    /// Share of the interval that the source could read, 0 to 1; below 1 where the log has gaps.
    pub coverage: f64,
    /// How far the identities of its rows can be trusted; `None` where nobody looked.
    pub identity: Option<IdentityState>,
    /// One row per flow key, in canonical order.
    pub flows: Vec<FlowRow>,
    /// One row per conversation, in canonical order.
    pub conversations: Vec<Conversation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_from_before_logs_had_an_identity_is_still_read() {
        let stored = r#"{"committed":{"position":7,"part":0},"floor":{"position":3,"watermarks":[]}}"#;
        let cursor: Cursor = serde_json::from_str(stored).expect("an earlier release wrote it");
        assert_eq!((cursor.log, cursor.committed.position), (None, LogPosition(7)));
    }
}
