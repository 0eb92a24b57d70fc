//! What a source writes to the log, and nothing else is ever processed.
//!
//! An entry is kept exactly as it came: payloads are the collector's own bytes. Progress is in the
//! log too, so the watermark at a position is a function of the log's prefix.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::{EventTime, Span};

/// The place of an entry in its stream's log: 0, 1, 2, ... without holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The identity of a log: positions mean something in one log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LogId(pub u64);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<LogId> for String {
    fn from(id: LogId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for LogId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

/// A part of a stream that keeps time of its own (one collector, one node, one file set).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u32);

impl PartitionId {
    /// What is known about the cluster keeps time like a part of the stream: windows wait for it too. It joins with its
    /// first progress and leaves with one up to the end of time.
    pub const KNOWLEDGE: Self = Self(u32::MAX);
}

/// How the payload of a [`FlowsEntry`] is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// One `goldmane.FlowListResult` message.
    GoldmaneList,
    /// One JSON object per line, each in any of the three shapes of Calico flow JSON.
    JsonLines,
}

/// Why the flows were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The first report of these flows.
    Report,
    /// Only what a later look at the same interval showed on top of the report; without flows it says
    /// that the look was made.
    Correction,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A batch of flows, as it came.
    Flows(FlowsEntry),
    /// Everything of `partition` with an event time before `up_to` has been written, or is late.
    Progress {
        /// The part of the stream that moved on.
        partition: PartitionId,
        /// Exclusive end of what is complete.
        up_to: EventTime,
    },
    /// Something is known to be missing.
    Gap(GapEntry),
    /// What a cluster told; stands in the log of its knowledge, and in no stream's.
    Knowledge(KnowledgeEntry),
}

/// What a cluster told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnowledgeEntry {
    /// Whether it is all that is known, so that nothing before it is needed.
    pub whole: bool,
    /// Changes of objects, one as JSON on each line.
    pub changes: Bytes,
}

/// A batch of flows, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowsEntry {
    /// Where it belongs.
    pub partition: PartitionId,
    /// How `payload` is written.
    pub encoding: Encoding,
    /// Report or correction.
    pub purpose: Purpose,
    /// The interval of event time that was asked for; the widest possible one where nobody asked.
    pub span: Span,
    /// Where it came from, for people: an address, a file name.
    pub origin: String,
    /// Number of the first record inside `origin` (a line number, or 0), for error messages.
    pub first_record: u64,
    /// The bytes as they came.
    pub payload: Bytes,
}

/// Something is known to be missing from the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapEntry {
    /// Where it is missing.
    pub partition: PartitionId,
    /// The interval that is missing or incomplete.
    pub span: Span,
    /// A stable word: `collector_forgot`, `collector_restarted`, `not_comparable`, `log_full`.
    pub reason: String,
    /// One sentence for people.
    pub detail: String,
}

/// The part of an entry that precedes its payload; JSON, because it is read by people in trouble.
#[derive(Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Header {
    Flows {
        partition: PartitionId,
        encoding: Encoding,
        purpose: Purpose,
        span: Span,
        origin: String,
        first_record: u64,
    },
    Progress {
        partition: PartitionId,
        up_to: EventTime,
    },
    Gap(GapEntry),
    Knowledge {
        whole: bool,
    },
}

impl Entry {
    /// The partition the entry belongs to.
    pub const fn partition(&self) -> PartitionId {
        match self {
            Self::Flows(f) => f.partition,
            Self::Progress { partition, .. } => *partition,
            Self::Gap(g) => g.partition,
            Self::Knowledge(_) => PartitionId::KNOWLEDGE,
        }
    }

    /// Splits the entry into the bytes the log stores: a header and the payload as it came.
    pub fn to_parts(&self) -> (Vec<u8>, Bytes) {
        let (header, payload) = match self.clone() {
            Self::Flows(f) => (
                Header::Flows {
                    partition: f.partition,
                    encoding: f.encoding,
                    purpose: f.purpose,
                    span: f.span,
                    origin: f.origin,
                    first_record: f.first_record,
                },
                f.payload,
            ),
            Self::Progress { partition, up_to } => (Header::Progress { partition, up_to }, Bytes::new()),
            Self::Gap(gap) => (Header::Gap(gap), Bytes::new()),
            Self::Knowledge(told) => (Header::Knowledge { whole: told.whole }, told.changes),
        };
        (serde_json::to_vec(&header).expect("headers hold only plain values"), payload)
    }

    /// The inverse of [`Entry::to_parts`].
    pub fn from_parts(header: &[u8], payload: Bytes) -> Result<Self, serde_json::Error> {
        Ok(match serde_json::from_slice(header)? {
            Header::Flows { partition, encoding, purpose, span, origin, first_record } => {
                Self::Flows(FlowsEntry { partition, encoding, purpose, span, origin, first_record, payload })
            }
            Header::Progress { partition, up_to } => Self::Progress { partition, up_to },
            Header::Gap(gap) => Self::Gap(gap),
            Header::Knowledge { whole } => Self::Knowledge(KnowledgeEntry { whole, changes: payload }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_for_people_and_read_back() {
        let id = LogId(0xfeed);
        let text = serde_json::to_string(&id).expect("plain value");
        assert_eq!(text, "\"000000000000feed\"");
        assert_eq!(serde_json::from_str::<LogId>(&text).expect("stored form"), id);
    }

    #[test]
    fn entries_survive_their_stored_form() {
        let span = Span::new(EventTime::from_secs(15), EventTime::from_secs(30));
        let entries = [
            Entry::Flows(FlowsEntry {
                partition: PartitionId(3),
                encoding: Encoding::GoldmaneList,
                purpose: Purpose::Correction,
                span,
                origin: "goldmane:7443".into(),
                first_record: 7,
                payload: Bytes::from_static(b"\x00raw"),
            }),
            Entry::Progress { partition: PartitionId(0), up_to: EventTime::MAX },
            Entry::Gap(GapEntry {
                partition: PartitionId(1),
                span,
                reason: "collector_forgot".into(),
                detail: "older than the ring".into(),
            }),
            Entry::Knowledge(KnowledgeEntry { whole: true, changes: Bytes::from_static(b"{}\n") }),
        ];
        for entry in entries {
            let (header, payload) = entry.to_parts();
            assert_eq!(Entry::from_parts(&header, payload).expect("stored form"), entry);
        }
    }
}
