//! What moves the flows of Catchment: everything that runs, waits, retries and touches the disk.
//!
//! [`spool`] is the log that every flow passes before it is processed; [`pipeline`] runs a stream
//! from its source through the log and one line per sink; [`metrics`] says how it goes.

mod direct;
mod line;
pub mod metrics;
pub mod pipeline;
mod retry;
pub mod spool;
mod workers;

pub use catchment_stages::KeyLimits;
pub use line::NamedSink;
pub use retry::Backoff;
pub use workers::ThreadWorkers;
