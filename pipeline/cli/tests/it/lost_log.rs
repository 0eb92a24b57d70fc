//! A log that is lost stops the line with its name, and once restored nothing is missing or there twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::lab::{collector, wait_for_windows, windows};
use crate::{Running, binary};

fn run(config: &Path) -> Command {
    let mut command = binary();
    command.args(["run", "--config"]).arg(config);
    command
}

fn run_until_windows(config: &Path, rows: &Path, count: usize) {
    let child = run(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut running = Running(child.expect("the binary starts"));
    wait_for_windows(rows, count);
    running.stop();
}

/// Windows and flows of all rows, in their order.
fn keys(rows: &str) -> Vec<(String, String)> {
    let text = |row: &Value, member: &str| row[member].as_str().expect("text").to_owned();
    let row = |line: &str| serde_json::from_str::<Value>(line).expect("every line is a row");
    rows.lines().map(row).map(|row| (text(&row, "window_start"), text(&row, "flow_id"))).collect()
}

#[test]
fn a_lost_log_is_named_and_a_restored_one_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_collector, address) = collector();
    let path = |name: &str| dir.path().join(name);
    let (config, rows, spool) = (path("catchment.yaml"), path("rows.jsonl"), path("spool"));
    let text = format!(
        "cluster: lab\nspool: {{ dir: {} }}\nsources:\n  calico: {{ type: goldmane, address: '{address}', begin: latest }}\n\
         sinks:\n  lines: {{ type: jsonl, path: {} }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        spool.display(),
        rows.display()
    );
    fs::write(&config, text).expect("written");
    run_until_windows(&config, &rows, 3);
    let published = fs::read_to_string(&rows).expect("rows");

    fs::rename(&spool, path("kept")).expect("moved");
    let refused = run(&config).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    let cursor = fs::read_to_string(path("rows.jsonl.cursor")).expect("the cursor stands beside the rows");
    let cursor: Value = serde_json::from_str(&cursor).expect("an object");
    let held = cursor["cursor"]["log"].as_str().expect("the cursor names its log");
    let here = spool.join("lab/calico");
    let refusal = format!("lab/calico, sink lines: its cursor is of log {held}, and {} holds log ", here.display());
    assert!(said.contains(&refusal) && said.contains(&format!("restore the folder of log {held}, or ")), "{said}");
    assert_eq!(fs::read_to_string(&rows).expect("rows"), published);

    fs::remove_dir_all(&spool).expect("removed");
    fs::rename(path("kept"), &spool).expect("moved back");
    run_until_windows(&config, &rows, windows(&rows).len() + 3);
    let all = fs::read_to_string(&rows).expect("rows");
    assert!(all.starts_with(&published), "what stood still stands");
    let keys = keys(&all);
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "no row is there twice");
}
