//! The contract of Catchment: what comes in on the wire and what goes out in every dataset.
//!
//! * [`goldmane`] holds the collector's protobuf messages (and, with the feature `grpc`, its client
//!   and server), [`wire`] the views that slice a receive buffer without parsing its keys.
//! * [`dataset`] is the one column table. The Arrow schema (`arrow`), the JSON Schema
//!   ([`json_schema`]) and the reference page ([`reference`]) are derived from it and from nothing else.

pub mod dataset;
pub mod goldmane;
pub mod json_schema;
pub mod reference;
pub mod wire;

#[cfg(feature = "arrow")]
pub mod arrow;

pub use dataset::{Column, ColumnType, Dataset, SCHEMA_VERSION};
