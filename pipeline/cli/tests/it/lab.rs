//! A simulated cluster for the binary to read, and what it published.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Running, binary};

/// Long past anything a loaded machine needs; what is waited for is a number of windows, not time.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// A simulated collector two minutes of whose time are a second of ours, and its address.
pub(crate) fn collector() -> (Running, String) {
    collector_with(&["--speed", "120"])
}

/// One with further arguments.
pub(crate) fn collector_with(further: &[&str]) -> (Running, String) {
    let mut child = binary()
        .args(["simulate", "goldmane"])
        .args(further)
        .args(["--listen", "127.0.0.1:0", "--flows-per-second", "20"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line =
        lines.find_map(|line| line.ok().filter(|line| line.contains("http://"))).expect("it says where it listens");
    thread::spawn(move || lines.for_each(drop));
    let address = line.split_once("http://").and_then(|(_, rest)| rest.split(';').next()).expect("an address");
    (Running(child), format!("http://{address}"))
}

/// The windows in a file of flow rows, oldest first, without one that is being written.
pub(crate) fn windows(rows: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(rows).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| window_of(line).expect("every line is a row")).collect()
}

pub(crate) fn window_of(line: &str) -> Option<String> {
    let row: Value = serde_json::from_str(line).ok()?;
    Some(row["window_start"].as_str()?.to_owned())
}

pub(crate) fn wait_for_windows(rows: &Path, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while windows(rows).len() < count {
        assert!(Instant::now() < deadline, "only {} windows were published", windows(rows).len());
        thread::sleep(Duration::from_millis(200));
    }
}
