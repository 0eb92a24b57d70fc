//! Rows of the datasets, as the sinks receive them.

use std::sync::Arc;

use bytes::Bytes;
use catchment_schemas::goldmane::Reporter;

use crate::{Ends, EventTime, IdentityState, KeyRecord, Labels, LogPosition, PartitionId, Services, Span, Trace};

/// What was counted for a key, relative to the reporting workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets towards the reporter.
    pub packets_in: u64,
    /// Packets from the reporter.
    pub packets_out: u64,
    /// Bytes towards the reporter.
    pub bytes_in: u64,
    /// Bytes from the reporter.
    pub bytes_out: u64,
    /// Connections first seen.
    pub started: u64,
    /// Connections that ended.
    pub completed: u64,
    /// Connections active: summed inside a bucket, the maximum over buckets.
    pub live: u64,
}

impl Counters {
    /// Adds everything, live connections included; saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets_in: self.packets_in.saturating_add(other.packets_in),
            packets_out: self.packets_out.saturating_add(other.packets_out),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            started: self.started.saturating_add(other.started),
            completed: self.completed.saturating_add(other.completed),
            live: self.live.saturating_add(other.live),
        }
    }

    /// Packets in both directions; saturating.
    #[must_use]
    pub const fn packets(self) -> u64 {
        self.packets_in.saturating_add(self.packets_out)
    }

    /// Bytes in both directions; saturating.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes_in.saturating_add(self.bytes_out)
    }

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            packets_in: self.packets_in.max(other.packets_in),
            packets_out: self.packets_out.max(other.packets_out),
            bytes_in: self.bytes_in.max(other.bytes_in),
            bytes_out: self.bytes_out.max(other.bytes_out),
            started: self.started.max(other.started),
            completed: self.completed.max(other.completed),
            live: self.live.max(other.live),
        }
    }
}

/// A row of `flows`: one key in one window.
#[derive(Clone, Debug)]
pub struct FlowRow {
    /// The key.
    pub key: Arc<KeyRecord>,
    /// Labels every record of the key carried in the window.
    pub source_labels: Arc<Labels>,
    /// Labels every record of the key carried in the window.
    pub dest_labels: Arc<Labels>,
    /// What was counted.
    pub counters: Counters,
    /// Source records folded into the row.
    pub records: u32,
    /// Buckets of the window in which the key was reported.
    pub buckets: u16,
    /// The records did not all carry the same labels.
    pub labels_varied: bool,
    /// Another row differs by the policy trace only and was reported in a common bucket: each
    /// carries the full counters, so they must not be added up.
    pub trace_split: bool,
    /// Who stands at both ends; `None` where nobody looked.
    pub ends: Option<Ends>,
    /// The services in front of the destination; `None` where nobody looked.
    pub services: Option<Arc<Services>>,
}

impl FlowRow {
    /// A row of one record in one bucket; nobody has looked who stands at its ends.
    pub const fn new(
        key: Arc<KeyRecord>,
        source_labels: Arc<Labels>,
        dest_labels: Arc<Labels>,
        counters: Counters,
    ) -> Self {
        Self {
            key,
            source_labels,
            dest_labels,
            counters,
            records: 1,
            buckets: 1,
            labels_varied: false,
            trace_split: false,
            ends: None,
            services: None,
        }
    }

    /// Who stands at both ends, as far as it is known.
    pub fn ends(&self) -> &Ends {
        self.ends.as_ref().unwrap_or_else(|| Ends::unknown())
    }

    /// The services in front of the destination, as far as they are known.
    pub fn services(&self) -> &Arc<Services> {
        self.services.as_ref().unwrap_or_else(|| Services::unknown())
    }
}

/// What one reporter said about a conversation, for one verdict.
#[derive(Clone, Debug)]
pub struct Half {
    /// Wire number of the reporter.
    pub reporter: i32,
    /// Wire number of the verdict.
    pub action: i32,
    /// What was counted. With `trace_split` the traces' largest, which is a lower bound; else their sum.
    pub counters: Counters,
    /// The policy traces seen, in canonical order.
    pub traces: Vec<Arc<Trace>>,
    /// Whether rows with the same counters under different traces were met.
    pub trace_split: bool,
    /// Whether the source carries connection counts.
    pub has_connections: bool,
}

/// How the verdicts of the two reporters relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Both reported, with one and the same verdict.
    Agree,
    /// Both reported, with opposite verdicts.
    Disagree,
    /// A reporter saw both verdicts within the window.
    Mixed,
    /// Only one reporter spoke.
    OneSided,
}

impl Agreement {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Disagree => "disagree",
            Self::Mixed => "mixed",
            Self::OneSided => "one_sided",
        }
    }
}

/// What kind of exchange a conversation was, over its window and the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetry {
    /// Requests and replies, and every expected half reported.
    Symmetric,
    /// Requests without any reply.
    RequestOnly,
    /// Replies without any request.
    ReplyOnly,
    /// Requests and replies, but the destination's half is missing.
    SourceHalfOnly,
    /// Requests and replies, but the source's half is missing.
    DestHalfOnly,
    /// Every verdict was Deny, so no reply is expected.
    Denied,
    /// Reported without a packet.
    Idle,
}

impl Symmetry {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric",
            Self::RequestOnly => "request_only",
            Self::ReplyOnly => "reply_only",
            Self::SourceHalfOnly => "source_half_only",
            Self::DestHalfOnly => "dest_half_only",
            Self::Denied => "denied",
            Self::Idle => "idle",
        }
    }
}

/// A row of `conversations`: both halves of one source, destination, port and protocol in one window.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Any key of the conversation; only its conversation members are meant.
    pub key: Arc<KeyRecord>,
    /// At most four, ordered by reporter, then verdict.
    pub halves: Vec<Half>,
    /// How many reporters should speak, from the endpoint types; `None` where the types are unknown.
    pub expected_halves: Option<u8>,
    /// How the verdicts relate.
    pub agreement: Agreement,
    /// What kind of exchange it was.
    pub symmetry: Symmetry,
    /// Who stands at both ends; `None` where nobody looked.
    pub ends: Option<Ends>,
}

/// Why a row stands in `late`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateReason {
    /// Reported for the first time after its window had closed.
    Late,
    /// A later look at a closed bucket showed more than the report had.
    Correction,
}

impl LateReason {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Correction => "correction",
        }
    }
}

/// A row of `late`: one record that came after its window had closed.
#[derive(Clone, Debug)]
pub struct LateRow {
    /// Position of its entry in the log.
    pub position: LogPosition,
    /// Number of the record within the entry.
    pub index: u32,
    /// Why it stands here.
    pub reason: LateReason,
    /// The closed window it belongs to.
    pub window: Span,
    /// The interval the record itself covers.
    pub bucket: Span,
    /// The record as a row of its own; add its counters to the window's row of the same `flow_id`.
    pub flow: FlowRow,
    /// How far the identities can be trusted; `None` where nobody looked.
    pub identity: Option<IdentityState>,
}

/// A row of `rejects`: a record that could not be used.
#[derive(Clone, Debug)]
pub struct RejectRow {
    /// Position of its entry in the log.
    pub position: LogPosition,
    /// Number of the record within the entry.
    pub index: u32,
    /// A stable word.
    pub reason: &'static str,
    /// One sentence: what is wrong and the mend.
    pub detail: String,
    /// Where the record came from, with its line where there are lines.
    pub origin: String,
    /// Its event time, or the start of the interval that its log entry speaks of; `None` where
    /// neither says one.
    pub event_time: Option<EventTime>,
    /// The record's own bytes, at most [`RejectRow::MAX_ORIGINAL`] of them.
    pub original: Bytes,
    /// How long the record was.
    pub original_len: u64,
}

impl RejectRow {
    /// Bytes of a rejected record that are kept.
    pub const MAX_ORIGINAL: usize = 4096;
}

/// A row of `gaps`: an interval known to be missing or incomplete.
#[derive(Clone, Debug)]
pub struct GapRow {
    /// Position of its entry in the log.
    pub position: LogPosition,
    /// Which part of the stream.
    pub partition: PartitionId,
    /// What is missing.
    pub span: Span,
    /// A stable word.
    pub reason: String,
    /// One sentence for people.
    pub detail: String,
}

/// A conversation as one reporter saw it, verdicts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Packets and bytes from source to destination and back; `None` where the reporter was silent.
    pub seen: Option<Exchange>,
}

/// Traffic in the two directions of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Packets from source to destination.
    pub request_packets: u64,
    /// Bytes from source to destination.
    pub request_bytes: u64,
    /// Packets from destination to source.
    pub reply_packets: u64,
    /// Bytes from destination to source.
    pub reply_bytes: u64,
}

impl View {
    /// The view's columns for a source, in table order.
    pub const SRC: [&str; 4] = ["src_request_packets", "src_request_bytes", "src_reply_packets", "src_reply_bytes"];
    /// The view's columns for a destination, in table order.
    pub const DST: [&str; 4] = ["dst_request_packets", "dst_request_bytes", "dst_reply_packets", "dst_reply_bytes"];

    /// What the columns hold.
    pub fn values(&self) -> [Option<u64>; 4] {
        let values = |e: Exchange| [e.request_packets, e.request_bytes, e.reply_packets, e.reply_bytes];
        self.seen.map_or([None; 4], |seen| values(seen).map(Some))
    }
}

impl Half {
    /// What was counted, as directions of the conversation: a source sends requests out, a
    /// destination takes them in. A reporter that this release does not know is read as a source.
    pub fn exchange(&self) -> Exchange {
        let c = &self.counters;
        let (request, reply) = if self.reporter == Reporter::Dst as i32 {
            ((c.packets_in, c.bytes_in), (c.packets_out, c.bytes_out))
        } else {
            ((c.packets_out, c.bytes_out), (c.packets_in, c.bytes_in))
        };
        Exchange { request_packets: request.0, request_bytes: request.1, reply_packets: reply.0, reply_bytes: reply.1 }
    }
}

impl Conversation {
    /// Who stands at both ends, as far as it is known.
    pub fn ends(&self) -> &Ends {
        self.ends.as_ref().unwrap_or_else(|| Ends::unknown())
    }

    /// What the source's node saw.
    pub fn source_view(&self) -> View {
        self.view(Reporter::Src as i32)
    }

    /// What the destination's node saw.
    pub fn dest_view(&self) -> View {
        self.view(Reporter::Dst as i32)
    }

    fn view(&self, reporter: i32) -> View {
        let halves = self.halves.iter().filter(|h| h.reporter == reporter);
        View { seen: halves.map(Half::exchange).reduce(Exchange::plus) }
    }
}

impl Exchange {
    /// Adds up two verdicts of one reporter; saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            request_packets: self.request_packets.saturating_add(other.request_packets),
            request_bytes: self.request_bytes.saturating_add(other.request_bytes),
            reply_packets: self.reply_packets.saturating_add(other.reply_packets),
            reply_bytes: self.reply_bytes.saturating_add(other.reply_bytes),
        }
    }
}
