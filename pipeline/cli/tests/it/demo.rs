//! `catchment demo` through the real binary: simulator, gRPC, log, windows, files, judged by the truth.

use std::path::Path;

use serde_json::Value;

use crate::binary;

#[test]
fn the_demo_shows_windows_publishes_what_the_cluster_produced_and_finds_what_was_planted() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("demo");
    let output = binary()
        .args(["demo", "--seconds", "30", "--speed", "50", "--flows-per-second", "50", "--dir"])
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
    every_plant_is_found(&text, &dir);
    the_rule_that_denies_can_be_asked_for(&dir);
    what_is_not_answered_is_listed_until_it_is(&dir);
    assert_eq!(unknown_workloads(&dir.join("rows.jsonl")), Vec::<String>::new(), "every workload is known");
    assert!(dir.join("lake/flows").is_dir() && dir.join("catchment-demo.yaml").is_file());
}

/// The table tells of every problem that was planted, and of a finding of that kind among the rows.
fn every_plant_is_found(text: &str, dir: &Path) {
    let plants = lines(&dir.join("plants.ndjson"));
    let plants: Vec<_> = plants.iter().filter(|plant| plant["scenario"] != "ordinary").collect();
    let rows = findings(dir);
    let table = text.split("\nplanted\n").nth(1).expect("a table").lines();
    for (plant, line) in plants.iter().zip(table.skip(1)) {
        let cells: Vec<_> = line.split_whitespace().collect();
        let id = cells.last().expect("cells");
        let found = rows.iter().find(|row| row["finding_id"].as_str().is_some_and(|full| full.starts_with(id)));
        let found = found.unwrap_or_else(|| panic!("no row has the id: {line}"));
        let members = plant["subject"].as_object().expect("members");
        assert!(found["kind"] == plant["kind"] && members.iter().all(|(name, value)| found["subject"][name] == *value));
        assert!(cells[0] == plant["kind"] && line.contains(plant["from"].as_str().expect("a time")), "{line}");
    }
    assert!(text.contains(&format!("  {0} of {0} found", plants.len())), "{text}");
    let families = plants.iter().filter_map(|plant| plant["kind"].as_str()?.split('.').next());
    assert_eq!(families.collect::<std::collections::BTreeSet<_>>().len(), 5, "of every family");
}

/// The command that a denial of two pods ends with names pods that the cluster knows.
fn the_rule_that_denies_can_be_asked_for(dir: &Path) {
    let rows = findings(dir);
    let commands = rows.iter().filter(|row| row["kind"] == "policy.implicit-deny");
    let mut commands = commands.filter_map(|row| row["verify"].as_str());
    let command = commands.find(|command| command.starts_with("catchment why ")).expect("one is about pods");
    assert_eq!(verdict(command, dir), ": deny", "{command}");
}

/// Of requests without a reply the policies let through are shown, and the finding for as long as it is open.
fn what_is_not_answered_is_listed_until_it_is(dir: &Path) {
    let rows = findings(dir);
    let row = rows.iter().find(|row| row["kind"] == "asymmetry.no-response").expect("one is planted");
    let advice = row["remediation"].as_str().expect("advice");
    let why = advice.split('`').find(|part| part.starts_with("catchment why ")).expect("it is about pods");
    assert_eq!(verdict(why, dir), ": allow", "{why}");
    let list =
        format!("{} --from {} -o name", row["verify"].as_str().expect("a command"), dir.join("rows.jsonl").display());
    assert!(answer(&list).contains(row["finding_id"].as_str().expect("an id")), "{list}\n{}", answer(&list));
}

/// The end of the first line of the answer, which says what policies do.
fn verdict(why: &str, dir: &Path) -> String {
    let told = answer(&format!("{why} --snapshot {}", dir.join("knowledge/objects.json").display()));
    let first = told.lines().next().unwrap_or_default();
    first.rfind(": ").map(|place| first[place..].to_owned()).unwrap_or(told)
}

fn findings(dir: &Path) -> Vec<Value> {
    let mut rows = lines(&dir.join("rows.jsonl"));
    rows.retain(|row| row["dataset"] == "findings");
    rows
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

/// What the command on a line of the screen prints.
fn answer(line: &str) -> String {
    let words = line.split_whitespace().skip(1).map(|word| word.trim_matches('\''));
    let output = binary().args(words).output().expect("the binary starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Ends of rows that are workloads and were not found.
fn unknown_workloads(rows: &Path) -> Vec<String> {
    let flows = lines(rows).into_iter().filter(|row| row["dataset"] == "flows");
    let unknown = |row: Value| {
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
