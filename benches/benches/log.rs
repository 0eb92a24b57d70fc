//! From an append to its answer: how long a source waits until what it read is on the disk.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use catchment_benches::input;
use catchment_core::{Encoding, Entry, EventTime, FlowsEntry, LogWriter as _, PartitionId, Purpose, Result, Span};
use catchment_runtime::metrics::LogMetrics;
use catchment_runtime::spool::{Limits, Spool};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const APPENDS: usize = 400;
/// The default configuration.
const LIMITS: Limits = Limits { segment_bytes: 128 << 20, max_bytes: 8 << 30, look_back: 0 };

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "", "median", "99 %", "longest", "MB/s");
    for (name, bytes) in [("a mark of progress", 0), ("64 KiB of flows", 64 << 10), ("4 MiB of flows", 4 << 20)] {
        let dir = tempfile::tempdir().expect("a folder for the log");
        tell(&format!("reference: write and sync, {name}"), bytes, synced_writes(dir.path(), bytes));
        for sources in [1, 8] {
            let dir = tempfile::tempdir().expect("a folder for the log");
            let waits = runtime.block_on(appends(dir.path(), bytes, sources))?;
            tell(&format!("append, {name}, {sources} at a time"), bytes, waits);
        }
    }
    Ok(())
}

/// A file written and synced piece by piece, by one who waits.
fn synced_writes(dir: &std::path::Path, bytes: usize) -> (Vec<Duration>, Duration) {
    let mut file = File::create(dir.join("plain")).expect("a file");
    let piece = vec![7; bytes.max(64)];
    let begun = Instant::now();
    let waits = (0..APPENDS).map(|_| {
        let asked = Instant::now();
        file.write_all(&piece).and_then(|()| file.sync_data()).expect("written");
        asked.elapsed()
    });
    (waits.collect(), begun.elapsed())
}

/// Appends by `sources` at a time, each of whom waits for the answer before the next.
async fn appends(dir: &std::path::Path, bytes: usize, sources: usize) -> Result<(Vec<Duration>, Duration)> {
    let spool = Spool::open(dir, LIMITS, LogMetrics::default())?;
    let begun = Instant::now();
    let source = |_| {
        let spool = spool.clone();
        tokio::spawn(async move {
            let mut waits = Vec::new();
            for _ in 0..APPENDS / sources {
                let asked = Instant::now();
                spool.append(vec![entry(bytes)]).await?;
                waits.push(asked.elapsed());
            }
            Ok::<_, catchment_core::Error>(waits)
        })
    };
    let running: Vec<_> = (0..sources).map(source).collect();
    let mut waits = Vec::new();
    for source in running {
        waits.extend(source.await.expect("no append panics")?);
    }
    Ok((waits, begun.elapsed()))
}

fn entry(bytes: usize) -> Entry {
    let start = EventTime::from_secs(input::START);
    if bytes == 0 {
        return Entry::Progress { partition: PartitionId(0), up_to: start };
    }
    Entry::Flows(FlowsEntry {
        partition: PartitionId(0),
        encoding: Encoding::GoldmaneList,
        purpose: Purpose::Report,
        span: Span::new(start, start.plus(15_000_000)),
        origin: "bench".into(),
        first_record: 0,
        payload: Bytes::from(vec![7; bytes]),
    })
}

fn tell(name: &str, bytes: usize, (mut waits, took): (Vec<Duration>, Duration)) {
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let rate = (bytes * waits.len()) as f64 / took.as_secs_f64() / 1e6;
    println!("{name:<44} {:>6.2} ms {:>6.2} ms {:>6.2} ms {rate:>9.1}", at(0.5), at(0.99), at(1.0));
}
