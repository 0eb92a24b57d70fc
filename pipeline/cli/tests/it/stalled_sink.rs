//! A sink that stands still holds up neither the collector, nor another sink, nor memory.
//!
//! The sink that stands still is standard output behind a pipe that nobody reads.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use crate::lab::{collector, wait_for_windows, window_of, windows};
use crate::{Running, binary};

fn resident_kib(process: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn configuration(dir: &Path, address: &str) -> String {
    format!(
        "cluster: lab\nworkers: 1\nspool: {{ dir: {0}/spool }}\nsources:\n  calico: {{ type: goldmane, address: '{address}', begin: latest }}\n\
         sinks:\n  lines: {{ type: jsonl, path: {0}/rows.jsonl }}\n  stuck: {{ type: jsonl, path: '-' }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        dir.display()
    )
}

#[test]
fn a_sink_that_stands_still_holds_up_nobody_and_no_memory_and_gets_every_row_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_collector, address) = collector();
    let (config, rows) = (dir.path().join("catchment.yaml"), dir.path().join("rows.jsonl"));
    fs::write(&config, configuration(dir.path(), &address)).expect("written");
    let child = binary().args(["run", "--config"]).arg(&config).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut pipeline = Running(child.expect("the binary starts"));

    // A pipe holds 64 KiB, so the stuck sink stands from its first window on.
    wait_for_windows(&rows, 8);
    let early = resident_kib(&pipeline.0);
    wait_for_windows(&rows, 24);
    let late = resident_kib(&pipeline.0);
    assert!(late < early + 24 * 1024, "memory went from {early} to {late} KiB while a sink stood still");

    let checked = binary().args(["check", "--config"]).arg(&config).output().expect("the binary starts");
    let found = String::from_utf8_lossy(&checked.stdout);
    assert!(found.contains("source calico: ok"), "the collector answers others: {found}");
    let told = found.lines().find(|line| line.starts_with("log calico: ok")).expect("the log is looked at");
    let spool = dir.path().join("spool/lab/calico");
    assert!(told.contains(spool.to_str().expect("text")) && told.contains("of 8192.0 MiB, positions 0 to "), "{told}");

    let mut stuck = BufReader::new(pipeline.0.stdout.take().expect("piped"));
    let mut first_line = String::new();
    stuck.read_line(&mut first_line).expect("the pipe is readable");
    let reader = thread::spawn(move || {
        let mut rest = String::new();
        stuck.read_to_string(&mut rest).expect("rows are text");
        first_line + &rest
    });
    wait_for_windows(&rows, windows(&rows).len() + 6);
    pipeline.stop();

    let delivered = reader.join().expect("the reader ends");
    let published = fs::read_to_string(&rows).expect("readable");
    let (short, long) = if delivered.len() < published.len() { (delivered, published) } else { (published, delivered) };
    assert!(long.starts_with(&short), "both sinks published the same rows in the same order");
    assert!(short.lines().filter_map(window_of).collect::<BTreeSet<_>>().len() > 24, "the stuck sink caught up");
}
