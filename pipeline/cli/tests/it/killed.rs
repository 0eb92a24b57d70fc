//! A process that is killed again and again tells the findings that an undisturbed one tells: the same ids, in the same
//! order, with the same history.
//!
//! One process gathers the log of a simulated cluster. Others publish what copies of that log hold, with a collector that
//! does not answer, so that nothing is added: one undisturbed, one that is killed at ten points.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{PATIENCE, collector_with, wait_for_windows};
use crate::{Running, binary};

const WINDOWS: usize = 40;
const KILLS: u64 = 10;
/// Where no collector answers.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn findings_are_the_same_however_often_the_process_was_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let [gathered, calm, killed] = ["gathered", "calm", "killed"].map(|name| dir.path().join(name));
    gather(&gathered);
    copy_log(&gathered, &calm);
    copy_log(&gathered, &killed);
    let whole = published(&gathered);

    publish_until(&calm, whole).stop();
    for kill in 0..KILLS {
        drop(publish_until(&killed, whole * kill / KILLS));
    }
    publish_until(&killed, whole).stop();

    // A stop comes where it comes: one of them may have gone a few windows further.
    let [calm_rows, killed_rows] = [&calm, &killed].map(|dir| rows(dir));
    let same = calm_rows.iter().zip(&killed_rows).take_while(|(a, b)| a == b).count();
    let shorter = calm_rows.len().min(killed_rows.len());
    assert_eq!(same, shorter, "they differ:\n{:?}\n{:?}", calm_rows.get(same), killed_rows.get(same));
    let findings = calm_rows[..same].iter().filter(|row| row.contains(r#""dataset":"findings""#)).count();
    assert!(findings > 10, "there are findings to compare: {findings}");

    let [calm_files, killed_files] = [&calm, &killed].map(|dir| lake(&dir.join("lake/findings")));
    let both: Vec<_> = calm_files.keys().filter(|name| killed_files.contains_key(*name)).collect();
    assert!(both.len() > 2 && both.iter().all(|name| calm_files[*name] == killed_files[*name]), "{both:?}");
    let further = calm_files.len().max(killed_files.len()) - both.len();
    assert!(further <= 1, "{:?} {:?}", calm_files.keys(), killed_files.keys());
}

fn start(dir: &Path, address: &str) -> Running {
    fs::create_dir_all(dir.join("lake")).expect("a folder");
    let config = format!(
        "cluster: lab\nworkers: 1\nspool: {{ dir: {0}/spool }}\nsources:\n  calico: {{ type: goldmane, address: '{address}' }}\n\
         sinks:\n  lake: {{ type: parquet, url: 'file://{0}/lake', roll: 5m, datasets: [findings] }}\n  \
         rows: {{ type: jsonl, path: {0}/rows.jsonl, datasets: [flows, findings] }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        dir.display()
    );
    let file = dir.join("catchment.yaml");
    fs::write(&file, config).expect("written");
    let child = binary().args(["run", "--config"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(child.expect("the binary starts"))
}

/// Reads an hour of history of a simulated cluster.
fn gather(dir: &Path) {
    let (_collector, address) = collector_with(&["--speed", "120", "--backfill", "55m"]);
    let mut running = start(dir, &address);
    wait_for_windows(&dir.join("rows.jsonl"), WINDOWS);
    running.stop();
}

/// The log without what was remembered of findings while it was gathered.
fn copy_log(from: &Path, to: &Path) {
    let [from, to] = [from, to].map(|dir| dir.join("spool/lab/calico"));
    fs::create_dir_all(&to).expect("a folder");
    for entry in fs::read_dir(from).expect("a log").map(|entry| entry.expect("an entry").path()) {
        if entry.is_file() {
            fs::copy(&entry, to.join(entry.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// Bytes that were published.
fn published(dir: &Path) -> u64 {
    fs::metadata(dir.join("rows.jsonl")).map_or(0, |file| file.len())
}

/// A process that has published so many bytes.
fn publish_until(dir: &Path, bytes: u64) -> Running {
    let running = start(dir, NOBODY);
    let deadline = Instant::now() + PATIENCE;
    while published(dir) < bytes {
        assert!(Instant::now() < deadline, "{} of {bytes} bytes were published", published(dir));
        thread::sleep(Duration::from_millis(1));
    }
    running
}

/// The rows that were committed.
fn rows(dir: &Path) -> Vec<String> {
    fs::read_to_string(dir.join("rows.jsonl")).expect("rows").lines().map(str::to_owned).collect()
}

/// Files below a folder, by their path in it.
fn lake(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
        if entry.is_dir() {
            files.extend(lake(&entry).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            files.insert(name, fs::read(&entry).expect("read"));
        }
    }
    files
}
