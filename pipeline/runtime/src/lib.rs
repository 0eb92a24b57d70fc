//! What moves the flows of Catchment: everything that runs, waits, retries and touches the disk.
//!
//! [`spool`] is the log that every flow passes before it is processed.

pub mod spool;
