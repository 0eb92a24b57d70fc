//! Input, clock and table of the benchmarks.
//!
//! Every figure is processor time, so that it means the same on a busy machine; every
//! table has a reference loop measured in the same run, so that ratios compare across machines.
//! Nothing here passes or fails: README.md beside this crate holds the recorded figures.

#![allow(clippy::print_stdout, reason = "tables are what this crate is for")]

pub mod cluster;
pub mod input;
pub mod measure;
pub mod reference;

use catchment_core::{Entry, Epoch, LogId, LogPosition, Logged, PartitionId, StreamId};
use catchment_stages::{Folder, InlineWorkers, KeyLimits, Resume, Settings};

/// The stream all benchmarks belong to.
pub fn stream() -> StreamId {
    StreamId { cluster: "bench".into(), source: "goldmane".into() }
}

/// A window from the log to its epoch.
pub fn fold(entries: &[Entry], workers: &mut InlineWorkers) -> Vec<Epoch> {
    let settings = Settings {
        stream: stream(),
        log: LogId(1),
        window: input::WINDOW,
        partitions: vec![PartitionId(0)],
        limits: KeyLimits::default(),
        enrichment: None,
    };
    let mut folder = Folder::new(settings, &Resume::from_start(LogPosition(0)));
    let logged = (0..).map(LogPosition).zip(entries).map(|(position, entry)| Logged { position, entry: entry.clone() });
    logged.flat_map(|logged| folder.entry(logged, workers)).collect()
}
