//! The words every other crate of Catchment speaks.
//!
//! [`entry`] is what a source writes to the log, [`key`] and [`row`] are what the stages make of
//! it, [`epoch`] is what a sink publishes, [`source`] and [`sink`] are the two doors. [`knowledge`] is what a cluster says
//! of itself.
//!
//! This crate does no IO, starts no task and knows neither tokio nor arrow.

mod canonical;
pub mod entry;
pub mod epoch;
pub mod error;
pub mod finding;
pub mod identity;
pub mod json;
pub mod key;
pub mod knowledge;
pub mod ocsf;
pub mod row;
pub mod sink;
pub mod source;
pub mod time;
pub mod units;

pub use entry::{Encoding, Entry, FlowsEntry, GapEntry, KnowledgeEntry, LogId, LogPosition, PartitionId, Purpose};
pub use epoch::{ClosedWindow, Cursor, Epoch, EpochId, Floor};
pub use error::{Domain, Error, Result, Retry};
pub use finding::{
    Confidence, Family, FindingId, FindingKind, FindingRow, Mute, Resolution, Severity, Status, Subject,
};
pub use identity::{AddressClass, Ends, Identity, IdentityFrom, IdentityState, Served, Services, ServicesFrom, Who};
pub use key::{Endpoint, FlowKey, KeyRecord, Labels, PolicyHit, PolicyRef, Service, Trace, VerdictReason};
pub use row::{
    Agreement, Conversation, Counters, Exchange, FlowRow, GapRow, Half, LateReason, LateRow, RejectRow, Symmetry, View,
};
pub use sink::Sink;
pub use source::{LogWriter, Logged, Source, StreamId};
pub use time::{EventTime, Span};
pub use units::{ByteSize, Period};
