//! Flow bytes to closed windows, conversations included, on one core.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use catchment_benches::fold;
use catchment_benches::input::{self, BUCKETS, WINDOW, lines, list, payload_bytes};
use catchment_benches::measure::{pair, report};
use catchment_benches::reference::Sums;
use catchment_core::{Entry, Epoch};
use catchment_stages::{InlineWorkers, KeyLimits, Shard};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;

/// Input, distinct keys, budget in flows per second.
type Case = (&'static str, fn(usize, i64) -> Entry, usize, f64);

const CASES: [Case; 5] = [
    ("protobuf", list, 2_000, 4e6),
    ("protobuf", list, 20_000, 2.5e6),
    ("protobuf", list, 200_000, 1.2e6),
    ("json", lines, 2_000, 0.7e6),
    ("json", lines, 20_000, 0.7e6),
];

/// `cargo bench --bench fold -- json` runs the cases whose name begins so.
fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    for (what, make, keys, budget) in CASES {
        if format!("{what}-{keys}").starts_with(&only) {
            compare(what, keys, budget, make);
        }
    }
}

/// One window over and over: the keys are known, as they are in a cluster that goes on living.
fn compare(what: &str, keys: usize, budget: f64, make: fn(usize, i64) -> Entry) {
    let entries = input::window(keys, make);
    let flows = keys * BUCKETS as usize;
    let bytes = payload_bytes(&entries) / flows;
    let mut workers = InlineWorkers(vec![Shard::new(WINDOW, KeyLimits::default())]);
    let mut sums = Sums::default();
    let (reference, ours) = pair(
        ROUNDS,
        || sums.add(&entries),
        || {
            let rows: usize = fold(&entries, &mut workers).iter().map(Epoch::rows).sum();
            assert_eq!(rows, keys + keys / 2, "a row for every key and conversation");
        },
    );
    report(&format!("{what} {bytes} B, {keys} keys"), flows, ours, reference, budget);
}
