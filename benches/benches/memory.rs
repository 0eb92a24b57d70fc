//! Memory of a fold by distinct keys and by open windows.
//!
//! Each case runs in a process of its own that reads its input from a file, so that nothing which
//! made the input can be taken for memory of the fold, or lend it some.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use std::fs;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use catchment_benches::fold;
use catchment_benches::input::{WINDOW, list, window};
use catchment_benches::measure::resident;
use catchment_core::Entry;
use catchment_stages::{InlineWorkers, KeyLimits, Shard};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [folder, keys, ..] if Path::new(folder).is_dir() => {
            measure(Path::new(folder), keys.parse().expect("the number of keys"));
        }
        _ => [20_000, 200_000].into_iter().for_each(in_own_process),
    }
}

fn in_own_process(keys: usize) {
    let folder = tempfile::tempdir().expect("a folder for the input");
    for (i, entry) in window(keys, list).iter().enumerate() {
        let (header, payload) = entry.to_parts();
        fs::write(folder.path().join(format!("{i}.header")), header).expect("the input is written");
        fs::write(folder.path().join(format!("{i}.payload")), payload).expect("the input is written");
    }
    let program = std::env::current_exe().expect("this program has a path");
    let status = Command::new(program).arg(folder.path()).arg(keys.to_string()).status();
    assert!(status.expect("the measuring process starts").success(), "the measuring process failed");
}

fn measure(folder: &Path, keys: usize) {
    let entries = read(folder);
    let (reports, close) = entries.split_at(entries.len() - 1);
    let mut workers = InlineWorkers(vec![Shard::new(WINDOW, KeyLimits::default())]);
    let per_key = |from: u64| (resident().saturating_sub(from)) / keys as u64;
    let start = resident();
    fold(reports, &mut workers);
    println!("{keys} keys with a window open: {} B a key (budget 2000 and 120 more a window)", per_key(start));
    let open = resident();
    let epochs = fold(close, &mut workers);
    assert_eq!(epochs[0].rows(), keys + keys / 2, "a row for every key and conversation");
    println!("  its rows, while a sink holds them: {} B a key", per_key(open));
}

fn read(folder: &Path) -> Vec<Entry> {
    let part = |i: usize, what: &str| fs::read(folder.join(format!("{i}.{what}"))).ok();
    let entry = |i| {
        let (header, payload) = (part(i, "header")?, part(i, "payload")?);
        Some(Entry::from_parts(&header, Bytes::from(payload)).expect("the input was written as entries"))
    };
    (0..).map_while(entry).collect()
}
