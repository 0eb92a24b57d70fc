//! `catchment simulate` on the command line.

use std::fs;

use crate::binary;
use crate::lab::collector_with;

#[test]
fn scenarios_are_listed_by_name_and_unknown_ones_refused() {
    let simulate = |name: &str| {
        let output = binary().args(["simulate", "goldmane", "--scenario", name]).output().expect("the binary starts");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
        (output.status.code(), text.concat())
    };
    let (code, list) = simulate("list");
    let is_listed = |name: &str| list.lines().any(|line| line.split_whitespace().next() == Some(name));
    assert!(code == Some(0) && ["calm", "all", "no-policy", "scan", "ebpf"].into_iter().all(is_listed), "{list}");
    let (code, told) = simulate("no-pollicy");
    assert!(code == Some(2) && told.contains("`no-pollicy`") && told.contains("--scenario list"), "{told}");
}

#[test]
fn what_was_planted_is_written_before_the_collector_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plants.ndjson");
    let text = file.display().to_string();
    let (_collector, _) =
        collector_with(&["--scenario", "policy.explicit-deny,scan", "--plants", "3", "--plants-truth", &text]);
    let plants = fs::read_to_string(file).expect("plants");
    let count =
        |scenario: &str| plants.lines().filter(|line| line.contains(&format!("\"scenario\":\"{scenario}\""))).count();
    assert_eq!((count("explicit-deny"), count("scan")), (3, 3), "{plants}");
}
