//! A process that is killed again and again tells the findings that an undisturbed one tells: the same ids, in the same
//! order, with the same history.
//!
//! One process gathers the log of a simulated cluster. Others publish what copies of that log hold, with a collector that
//! does not answer, so that nothing is added: one undisturbed, one that is killed at ten points.

use std::collections::{BTreeMap, BTreeSet};
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

    let slots: BTreeSet<_> = lake(&gathered.join("lake/findings")).into_keys().collect();
    assert!(slots.len() > 2, "{slots:?}");

    let calm_process = publish_until(&calm, whole);
    wait_for_files(&calm, &slots);
    drop(calm_process);
    for kill in 0..KILLS {
        drop(publish_until(&killed, whole * kill / KILLS));
    }
    let killed_process = publish_until(&killed, whole);
    wait_for_files(&killed, &slots);
    drop(killed_process);

    // An end comes where it comes: one of them may have gone a few windows further.
    let [calm_rows, killed_rows] = [&calm, &killed].map(|dir| rows(dir));
    let same = calm_rows.iter().zip(&killed_rows).take_while(|(a, b)| a == b).count();
    let shorter = calm_rows.len().min(killed_rows.len());
    assert_eq!(same, shorter, "they differ:\n{:?}\n{:?}", calm_rows.get(same), killed_rows.get(same));
    let findings = calm_rows[..same].iter().filter(|row| row.contains(r#""dataset":"findings""#)).count();
    assert!(findings > 10, "there are findings to compare: {findings}");

    let [calm_files, killed_files] = [&calm, &killed].map(|dir| lake(&dir.join("lake/findings")));
    for slot in &slots {
        assert!(calm_files[slot] == killed_files[slot], "{slot} differs");
    }
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

/// Until the Parquet sink has written these files.
fn wait_for_files(dir: &Path, wanted: &BTreeSet<String>) {
    let (folder, deadline) = (dir.join("lake/findings"), Instant::now() + PATIENCE);
    while !wanted.iter().all(|name| folder.join(name).exists()) {
        assert!(Instant::now() < deadline, "{:?} of {wanted:?} were written", lake(&folder).keys());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Whole rows.
fn rows(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("rows.jsonl")).expect("rows");
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
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
