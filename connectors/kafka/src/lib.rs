//! Publishes epochs to Kafka, each exactly once for readers with `isolation.level=read_committed`.
//!
//! * Rows go to one topic a dataset, `catchment.<dataset>.v1`, as one JSON object a record. The
//!   record key is the cluster and the unordered pair of endpoints, so both directions of a
//!   conversation, and all its windows, share a partition. Data topics hold rows and nothing else,
//!   but that of findings, which is compacted and keyed by finding: a record without a value tells
//!   that one is forgotten.
//! * An epoch is cut into chunks by its rows alone; a chunk is one transaction. The same
//!   transaction moves the cursor, a record of the compacted topic `catchment.cursors.v1`. The
//!   cursor record that ends an epoch with a window carries the header `marker: window_end` and the
//!   window with its row counts: whoever waits for whole windows reads that topic.
//! * Opening fences the holder before (`init_transactions`) and only then reads the cursor, so what
//!   was read cannot be moved by anyone else. A fenced sink stops and does not come back.
//!
//! The sink never waits for another sink, never retries by itself beyond what a producer does, and
//! never writes to a topic outside a transaction.
//!
//! ```no_run
//! use catchment_kafka::{Config, KafkaSink};
//!
//! let config = Config { brokers: "kafka-0:9092,kafka-1:9092".to_owned(), ..Config::default() };
//! let sink = KafkaSink::new(config, &mut prometheus_client::registry::Registry::default())?;
//! # Ok::<(), catchment_core::Error>(())
//! ```

mod chunk;
mod client;
mod config;
mod count;
mod cursor;
mod key;
mod metrics;
mod publish;
mod sink;
mod topics;

pub use config::Config;
pub use count::count_rows;
pub use sink::KafkaSink;
