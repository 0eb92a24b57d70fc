//! What moves the flows of Catchment: everything that runs, waits, retries and touches the disk.
//!
//! [`spool`] is the log that every flow passes before it is processed; [`pipeline`] runs a stream
//! from its source through the log and one line per sink; [`metrics`] and [`Readiness`] say how it goes, [`http`]
//! tells it to others.

mod direct;
mod findings;
mod fit;
pub mod http;
pub mod knowledge;
mod line;
pub mod metrics;
mod patient;
pub mod pipeline;
mod readiness;
mod reading;
mod retry;
pub mod spool;
mod supply;
mod workers;

pub use catchment_stages::KeyLimits;
pub use catchment_stages::detect;
pub use catchment_stages::enrich::{Enrichment, LabelKeys, Timeline};
pub use findings::FindingsBoard;
pub use line::NamedSink;
pub use readiness::Readiness;
pub use retry::Backoff;
pub use workers::ThreadWorkers;
