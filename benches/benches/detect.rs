//! Findings: what looking for trouble adds to the whole line from bytes of flows to rows in JSON.
//!
//! The cluster is an ordinary one: nothing is wrong with it, and in every window a quarter of the pairs is idle. Without
//! any policy every row is a case of one rule; with policies nearly none is.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use catchment_benches::input::{self, WINDOW};
use catchment_benches::{fold, measure};
use catchment_core::{Counters, Entry, Epoch, EventTime, Span, Symmetry, json};
use catchment_stages::detect::{Detector, Settings};
use catchment_stages::{InlineWorkers, KeyLimits, Shard};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Windows before what is measured: enough to have told what there is to tell.
const WARM_UP: usize = 12;
/// Windows in a round: rules meet every key again once in so many.
const WINDOWS: usize = 60;
/// Rounds, at most, and keys in all of them together, about.
const ROUNDS: usize = 5;
const KEYS: usize = 400_000;
/// Pairs take turns in being idle.
const TURNS: usize = 4;
/// The budget: detection as a share of the line that it belongs to.
const SHARE: f64 = 0.1;

/// Input, distinct keys.
type Case = (&'static str, fn(usize, i64) -> Entry, usize);

const CASES: [Case; 6] = [
    ("no policies", input::unpoliced, 2_000),
    ("no policies", input::unpoliced, 20_000),
    ("no policies", input::unpoliced, 200_000),
    ("policies", input::list, 2_000),
    ("policies", input::list, 20_000),
    ("policies", input::list, 200_000),
];

/// `cargo bench --bench detect -- policies-20000` runs the cases whose name begins so.
fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    for (what, make, keys) in CASES {
        if format!("{what}-{keys}").starts_with(&only) {
            share(what, make, keys);
        }
    }
}

/// One window over and over, minute by minute: the whole line with and without detection in it, turn by turn within a
/// round, so that both meet the same machine.
fn share(what: &str, make: fn(usize, i64) -> Entry, keys: usize) {
    let entries = input::window(keys, make);
    let mut workers = InlineWorkers(vec![Shard::new(WINDOW, KeyLimits::default())]);
    let mut bare_workers = InlineWorkers(vec![Shard::new(WINDOW, KeyLimits::default())]);
    let mut detector = Detector::new(Arc::new(Settings::default()), "bench", None);
    let mut minute = 0;
    let mut round = |windows| {
        let mut spent = [Duration::ZERO; 2];
        for _ in 0..windows {
            minute += 1;
            spent[0] += measure::spent(|| {
                let mut epoch = window(&entries, &mut workers, minute);
                detector.observe(&mut epoch);
                render(&epoch);
            });
            spent[1] += measure::spent(|| render(&window(&entries, &mut bare_workers, minute)));
        }
        spent.map(|spent| spent.as_secs_f64() * 1e9 / (windows * keys) as f64)
    };
    round(WARM_UP);
    let share = |[with, without]: &[f64; 2]| (with - without) / with;
    let mut rounds: Vec<_> = (0..ROUNDS.min(KEYS / keys)).map(|_| round(WINDOWS)).collect();
    rounds.sort_by(|a, b| share(a).total_cmp(&share(b)));
    let (middle, last) = (rounds.len() / 2, rounds.len() - 1);
    let [with, without] = rounds[middle];
    let [low, median, high] = [0, middle, last].map(|round| share(&rounds[round]));
    println!(
        "{what:<12} {keys:>7} keys: the line {with:>6.0} ns a key and window, {:>5.0} of them to detect: {:>4.1} % ({:.1} to {:.1}), budget {:.0} % {}; {:?}",
        with - without,
        median * 100.0,
        low * 100.0,
        high * 100.0,
        SHARE * 100.0,
        if median < SHARE { "met" } else { "MISSED" },
        detector.effort(),
    );
}

/// The window of a minute; every fourth pair lives and moves nothing. A conversation has two rows here.
fn window(entries: &[Entry], workers: &mut InlineWorkers, minute: i64) -> Epoch {
    let mut epoch = fold(entries, workers).swap_remove(0);
    let window = epoch.window.as_mut().expect("the fold closed a window");
    window.span = span(minute);
    let still = |counters: &mut Counters| *counters = Counters { live: counters.live.max(1), ..Counters::default() };
    let pairs = window.flows.chunks_mut(2).zip(&mut window.conversations);
    for (rows, talk) in pairs.skip(minute as usize % TURNS).step_by(TURNS) {
        for row in rows {
            still(&mut row.counters);
        }
        for half in &mut talk.halves {
            still(&mut half.counters);
        }
        talk.symmetry = Symmetry::Idle;
    }
    epoch
}

fn span(minute: i64) -> Span {
    let start = EventTime::from_secs(input::START).plus(minute * WINDOW);
    Span::new(start, start.plus(WINDOW))
}

fn render(epoch: &Epoch) {
    json::for_each_row(epoch, |_, row| {
        black_box(row);
    });
}
