//! A log that cannot hold what a sink gathers goes on, and says what had no room.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{PATIENCE, collector, wait_for_windows, windows};
use crate::{Running, binary};

#[test]
fn a_log_that_is_smaller_than_a_slot_of_the_parquet_sink_never_stands_still() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_collector, address) = collector();
    let [config, rows, gaps, lake] =
        ["catchment.yaml", "rows.jsonl", "gaps.jsonl", "lake"].map(|name| dir.path().join(name));
    let text = format!(
        "cluster: lab\nworkers: 1\nspool: {{ dir: {0}/spool, max_bytes: 1MiB }}\nsources:\n  calico: {{ type: goldmane, address: '{address}', begin: latest }}\n\
         sinks:\n  lines: {{ type: jsonl, path: {0}/rows.jsonl, datasets: [flows] }}\n  gaps: {{ type: jsonl, path: {0}/gaps.jsonl, datasets: [gaps] }}\n  \
         lake: {{ type: parquet, url: 'file://{0}/lake', roll: 15m, datasets: [flows] }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        dir.path().display()
    );
    fs::write(&config, text).expect("written");
    let child = binary().args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn();
    let _pipeline = Running(child.expect("the binary starts"));

    let deadline = Instant::now() + PATIENCE;
    let gap = loop {
        if let Some(line) = fs::read_to_string(&gaps).unwrap_or_default().lines().next() {
            break serde_json::from_str::<Value>(line).expect("a row");
        }
        assert!(Instant::now() < deadline, "no gap was written; {} windows were", windows(&rows).len());
        thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(gap["reason"], "log_full");
    // The slot ends, the sink writes it, and there is room for flows again.
    let seen = windows(&rows).len();
    wait_for_windows(&rows, seen + 20);
    let slots = fs::read_dir(lake.join("flows")).expect("the sink has written").count();
    assert!(slots > 0);
}
