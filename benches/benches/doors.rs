//! Closed windows to bytes: JSON rows, and Parquet files in a folder.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use std::hint::black_box;

use catchment_benches::input::{WINDOW, list, window};
use catchment_benches::measure::{pair, report};
use catchment_benches::{fold, stream};
use catchment_core::{Epoch, LogPosition, Sink as _, Span, json};
use catchment_parquet::{Config, ParquetSink};
use catchment_stages::{InlineWorkers, KeyLimits, Shard};
use prometheus_client::registry::Registry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: usize = 20_000;
/// A file holds five minutes unless it is set otherwise.
const WINDOWS_A_FILE: i64 = 5;
const ROUNDS: usize = 5;

fn main() {
    let mut workers = InlineWorkers(vec![Shard::new(WINDOW, KeyLimits::default())]);
    let epoch = fold(&window(KEYS, list), &mut workers).swap_remove(0);
    let (rows, bytes) = (epoch.rows(), render(&epoch));
    println!("{rows} rows of flows and conversations, {} B of JSON each on average", bytes / rows);
    let rendered: Vec<Vec<u8>> = rendered_rows(&epoch);
    let mut row = Vec::new();
    let (copied, to_json) =
        pair(ROUNDS, || rendered.iter().for_each(|text| copy(text, &mut row)), || assert_eq!(render(&epoch), bytes));
    report("rows to JSON (copying them)", rows, to_json, copied, 1e6);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let slot: Vec<Epoch> = (0..WINDOWS_A_FILE).map(|minute| in_minute(&epoch, minute)).collect();
    let (to_json, to_parquet) = pair(
        ROUNDS,
        || assert_eq!(slot.iter().map(render).sum::<usize>(), bytes * slot.len()),
        || runtime.block_on(write_parquet(&slot)),
    );
    report("rows to Parquet (rendering JSON)", rows * slot.len(), to_parquet, to_json, 0.5e6);
}

/// The same rows in a later window.
fn in_minute(epoch: &Epoch, minute: i64) -> Epoch {
    let mut epoch = epoch.clone();
    let window = epoch.window.as_mut().expect("the fold closed a window");
    window.span = Span::new(window.span.start.plus(minute * WINDOW), window.span.end.plus(minute * WINDOW));
    epoch.id.position = LogPosition(epoch.id.position.0 + minute as u64);
    epoch
}

/// Renders every row into a buffer that is used again, as a producer is handed them; returns the bytes.
fn render(epoch: &Epoch) -> usize {
    let mut bytes = 0;
    json::for_each_row(epoch, |_, row| bytes += black_box(row).len());
    bytes
}

fn rendered_rows(epoch: &Epoch) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    json::for_each_row(epoch, |_, row| rows.push(row.to_vec()));
    rows
}

fn copy(text: &[u8], row: &mut Vec<u8>) {
    row.clear();
    row.extend_from_slice(text);
    black_box(row);
}

/// One file a dataset, written and synced as in a run; a folder in memory keeps the disk out of it.
async fn write_parquet(slot: &[Epoch]) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("memory holds a folder");
    let config = Config { url: format!("file://{}", folder.path().display()), ..Config::default() };
    let mut sink = ParquetSink::new(config, &mut Registry::default()).expect("the settings are valid");
    sink.open(&stream()).await.expect("the folder is empty");
    for epoch in slot {
        sink.publish(epoch).await.expect("the epoch is gathered");
    }
    sink.finish().await.expect("the files are written");
}
