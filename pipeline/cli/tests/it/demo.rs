//! `catchment demo` through the real binary: simulator, gRPC, log, windows, files, judged by the truth.

use crate::binary;

#[test]
fn the_demo_shows_windows_and_publishes_what_the_cluster_produced() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("demo");
    let output = binary()
        .args(["demo", "--seconds", "12", "--speed", "40", "--flows-per-second", "50", "--dir"])
        .arg(&dir)
        .output()
        .expect("the binary starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.lines().filter(|line| line.starts_with("  window ")).count() > 2, "{text}");
    let verdict = text.lines().find(|line| line.contains("whole windows")).expect("a verdict");
    assert!(verdict.ends_with(", 0 differ"), "{verdict}");
    assert!(!verdict.contains(" 0 whole windows"), "{verdict}");
    assert!(text.contains("(Deployment)"), "the screen shows workloads: {text}");
    let why = text.lines().find(|line| line.starts_with("  catchment why ")).expect("it says how to ask for the rule");
    assert!(answer(why).lines().next().is_some_and(|line| line.ends_with(": deny")), "{why}\n{}", answer(why));
    let explain =
        text.lines().find(|line| line.starts_with("  catchment findings explain ")).expect("something is found");
    assert!(answer(explain).contains("What to do"), "{explain}\n{}", answer(explain));
    assert_eq!(unknown_workloads(&dir.join("rows.jsonl")), Vec::<String>::new(), "every workload is known");
    assert!(dir.join("lake/flows").is_dir() && dir.join("catchment-demo.yaml").is_file());
}

/// What the command on a line of the screen prints.
fn answer(line: &str) -> String {
    let words = line.split_whitespace().skip(1).map(|word| word.trim_matches('\''));
    let output = binary().args(words).output().expect("the binary starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Ends of rows that are workloads and were not found.
fn unknown_workloads(rows: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(rows).expect("rows");
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a row"));
    let flows = rows.filter(|row| row["dataset"] == "flows");
    let unknown = |row: serde_json::Value| {
        ["source", "dest"].into_iter().filter_map(move |end| {
            let is_workload = row[format!("{end}_type")] == "WorkloadEndpoint";
            let is_known = row[format!("{end}_workload_name")].is_string();
            (is_workload && !is_known).then(|| format!("{} {}", row[format!("{end}_name")], row["window_start"]))
        })
    };
    flows.flat_map(unknown).collect()
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("precious"), "").expect("written");
    let output = binary().args(["demo", "--dir"]).arg(folder.path()).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(folder.path().join("precious").exists());
}
