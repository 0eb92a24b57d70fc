//! The object store sink: sorted Parquet files by event time, each row exactly once.
//!
//! Epochs are gathered until one lies in a later slot of event time (`roll`); then the gathered rows
//! are written, one or more objects per dataset, and after them the cursor object moves. Names and
//! bytes are functions of the rows, so writing a group again after a crash meets the same objects.
//!
//! What this crate never does: overwrite a data object, read a clock, publish rows before their
//! window has closed, or move a cursor that another process has taken over.

mod columns;
mod config;
mod count;
mod cursor;
mod digest;
mod encode;
mod fault;
mod file;
mod folder;
mod group;
mod identity;
mod keys;
mod metrics;
mod name;
mod sink;
mod store;

pub use config::{Config, DatasetName, S3};
pub use count::{Counted, count_rows};
pub use sink::ParquetSink;
