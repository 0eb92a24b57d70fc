//! A start behind an outage: one hour in the log, which every sink has yet to publish.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use catchment_benches::input::{self, WINDOW, list};
use catchment_benches::measure::cpu;
use catchment_benches::stream;
use catchment_core::{Entry, Epoch, EventTime, LogPosition, LogWriter as _, PartitionId, Result};
use catchment_runtime::metrics::LogMetrics;
use catchment_runtime::spool::{Limits, Spool};
use catchment_runtime::{KeyLimits, ThreadWorkers};
use catchment_stages::{Folder, Resume, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: usize = 20_000;
/// Of 15 s: an hour.
const BUCKETS: i64 = 240;
const BUDGET: Duration = Duration::from_secs(10);
/// The default configuration.
const LIMITS: Limits = Limits { segment_bytes: 128 << 20, max_bytes: 8 << 30, look_back: 65 * 60 * 1_000_000 };

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("a folder for the log");
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    runtime.block_on(fill(dir.path()))?;
    let stored: u64 = files(dir.path()).map(|path| fs::metadata(path).expect("a segment").len()).sum();
    println!("{BUCKETS} buckets of {KEYS} flows, {:.2} GB", stored as f64 / 1e9);
    measure("reference: read and sum the files", || Ok(files(dir.path()).map(|path| sum(&path)).sum::<u64>()))?;

    let begun = cpu();
    let spool = measure("open the log", || open(dir.path()))?;
    measure("the source learns what it has", || {
        let mut entries = 0;
        runtime.block_on(spool.replay(EventTime::MIN, &mut |_| entries += 1))?;
        Ok(entries)
    })?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = measure(&format!("fold it with {cores} workers"), || fold(&spool, cores))?;
    let took = cpu().saturating_sub(begun);
    let met = if took <= BUDGET { "met" } else { "MISSED" };
    let (took, budget) = (took.as_secs_f64(), BUDGET.as_secs_f64());
    println!("all of it, {rows} rows: {took:.2} s of processor time   budget {budget:.0} s {met}");
    Ok(())
}

fn open(dir: &Path) -> Result<Spool> {
    Spool::open(dir, LIMITS, LogMetrics::default())
}

async fn fill(dir: &Path) -> Result<()> {
    let spool = open(dir)?;
    for bucket in 0..BUCKETS {
        let up_to = EventTime::from_secs(input::START).plus((bucket + 1) * WINDOW / input::BUCKETS);
        spool.append(vec![list(KEYS, bucket), Entry::Progress { partition: PartitionId(0), up_to }]).await?;
    }
    Ok(())
}

fn files(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let files = fs::read_dir(dir).expect("the folder is there");
    files.map(|file| file.expect("a file").path()).filter(|path| path.extension().is_some())
}

fn sum(path: &Path) -> u64 {
    crc32c::crc32c(&fs::read(path).expect("a segment")).into()
}

fn fold(spool: &Spool, workers: usize) -> Result<usize> {
    let settings = Settings {
        stream: stream(),
        log: spool.id(),
        window: WINDOW,
        partitions: vec![PartitionId(0)],
        limits: KeyLimits::default(),
        enrichment: None,
    };
    let mut folder = Folder::new(settings, &Resume::from_start(LogPosition(0)));
    let mut workers = ThreadWorkers::start(workers, WINDOW, KeyLimits::default()).expect("threads");
    let (mut reader, mut rows) = (spool.reader(LogPosition(0)), 0);
    while let Some(logged) = reader.next()? {
        rows += folder.entry(logged, &mut workers).iter().map(Epoch::rows).sum::<usize>();
    }
    Ok(rows)
}

/// Wall-clock and processor time of one call: a start happens once.
fn measure<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    let (wall, processor) = (Instant::now(), cpu());
    let result = call()?;
    let processor = cpu().saturating_sub(processor);
    println!(
        "{what:<34} {:>6.2} s   {:>6.2} s of processor time",
        wall.elapsed().as_secs_f64(),
        processor.as_secs_f64()
    );
    Ok(result)
}
