//! The log on a disk that is really full: a small file system in a mount namespace of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::tests::{flows, progress, read_all};
use super::*;
use catchment_core::Retry;

/// Names the folder of the small file system to the process that runs inside.
const INSIDE: &str = "CATCHMENT_TEST_SMALL_DISK";

/// Bytes of the file system.
const DISK: u64 = 1 << 20;

/// Less than what is free on a full disk, which counts whole pages.
const PAGE: u64 = 4096;

const LIMITS: Limits = Limits { segment_bytes: 100_000, max_bytes: 1 << 22, look_back: 0 };

/// Runs this test once more with a small disk mounted; `None` in the outer process, which is done then.
fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(INSIDE) {
        return Some(disk.into());
    }
    let mount = TempDir::new().unwrap();
    let inner = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg(format!("mount -t tmpfs -o size={DISK} small \"$0\" || exit 77; exec \"$@\""))
        .arg(mount.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, mount.path())
        .output();
    match inner {
        Ok(ran) if ran.status.success() => {
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(said.contains("1 passed"), "the name of the test is wrong: {said}");
        }
        Ok(ran) if ran.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
        }
        // Past the capture of the test: who reads the summary must see it.
        why => writeln!(std::io::stderr(), "{test} DID NOT RUN: no file system can be mounted here: {why:?}").unwrap(),
    }
    None
}

/// A file that takes all but `left` bytes, rounded to pages.
fn fill_up(disk: &Path, left: u64) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[1; PAGE as usize]).is_ok() {}
    let taken = file.metadata().unwrap().len();
    file.set_len((taken - left) / PAGE * PAGE).unwrap();
    path
}

#[tokio::test]
async fn a_full_disk_refuses_appends_whole_and_takes_them_once_there_is_room() {
    let test = "spool::full_disk::a_full_disk_refuses_appends_whole_and_takes_them_once_there_is_room";
    let Some(disk) = small_disk(test) else { return };
    let dir = disk.join("log");
    // The disk fills up within a write, between segments, and before the first byte of one.
    for (round, left) in (0..).zip((0..40).map(|pages| pages * PAGE)) {
        let (mut written, spool) = (Vec::new(), Spool::open(&dir, LIMITS, LogMetrics::default()).unwrap());
        let filler = fill_up(&disk, left);
        let append = vec![flows(round, 30_000), flows(round, 3_000), progress(round + 1)];
        let error = loop {
            match spool.append(append.clone()).await {
                Ok(_) => written.extend(append.clone()),
                Err(e) => break e,
            }
        };
        assert!(
            error.message.contains("cannot write to the log") && error.message.contains("No space left"),
            "{error}"
        );
        assert_eq!(error.retry, Retry::Backoff);
        assert_eq!(read_all(&spool), written);
        let stored: u64 = segment::list(&dir).unwrap().iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
        assert!(stored <= spool.bytes() + PREAMBLE as u64, "half an append is left on the disk");
        spool.append(append.clone()).await.unwrap_err();
        // What fits into the last page may go there, but never behind a segment that was begun.
        if spool.append(vec![progress(round)]).await.is_ok() {
            written.push(progress(round));
        }

        std::fs::remove_file(filler).unwrap();
        assert_eq!(spool.append(append.clone()).await.unwrap(), LogPosition(written.len() as u64));
        written.extend(append);
        assert_eq!(read_all(&spool), written);
        drop(spool);
        assert_eq!(read_all(&Spool::open(&dir, LIMITS, LogMetrics::default()).unwrap()), written);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[tokio::test]
async fn a_start_on_a_full_disk_says_so_and_loses_nothing() {
    let Some(disk) = small_disk("spool::full_disk::a_start_on_a_full_disk_says_so_and_loses_nothing") else { return };
    let dir = disk.join("log");
    let spool = Spool::open(&dir, LIMITS, LogMetrics::default()).unwrap();
    spool.append(vec![flows(1, 10), progress(2)]).await.unwrap();
    drop(spool);
    let filler = fill_up(&disk, 0);
    let spool = Spool::open(&dir, LIMITS, LogMetrics::default()).unwrap();
    assert_eq!(read_all(&spool), [flows(1, 10), progress(2)]);
    let error = Spool::open(&disk.join("other"), LIMITS, LogMetrics::default()).unwrap_err();
    assert!(error.chain().contains("No space left"), "{}", error.chain());
    std::fs::remove_file(filler).unwrap();
    Spool::open(&disk.join("other"), LIMITS, LogMetrics::default()).unwrap();
}
