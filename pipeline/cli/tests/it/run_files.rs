//! `catchment run --from FILE --to -` through the real binary.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::{Running, binary, catchment};

/// One flow in each of the three shapes, and a line that is none.
const FLOWS: &str = r#"{"Key":{"source_name":"web-7d4b-*","source_namespace":"shop","source_type":1,"dest_name":"pvt","dest_namespace":"-","dest_type":4,"dest_port":443,"proto":"TCP","reporter":1,"action":1,"policies":{"enforced_policies":[{"kind":9,"name":"kns.shop","action":1}]}},"start_time":1767225600,"end_time":1767225615,"source_labels":["app=web"],"packets_in":3,"packets_out":4,"num_connections_live":2}
{"start_time":"2026-01-01T00:00:15Z","end_time":"2026-01-01T00:00:30Z","action":"Allow","source_name":"web-*","source_namespace":"shop","source_labels":"tier=front | app=web","dest_name":"PUBLIC NETWORK","dest_namespace":"-","protocol":"tcp","dest_port":443,"reporter":"Src","policies":{"enforced":[],"pending":[]},"packets_in":1,"packets_out":1}
{"id":"7","flow":{"Key":{"sourceName":"web-7d4b-*","sourceNamespace":"shop","sourceType":"WorkloadEndpoint","destName":"api-*","destNamespace":"shop","destType":"WorkloadEndpoint","destPort":"8080","proto":"tcp","reporter":"Dst","action":"Deny","policies":{"enforcedPolicies":[{"kind":"EndOfTier","tier":"default","action":"Deny","ruleIndex":"-1","trigger":{"kind":"NetworkPolicy","namespace":"shop","name":"deny","tier":"default"}}]}},"startTime":"1767225600","endTime":"1767225615","packetsIn":"5"}}
{"broken":
"#;

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("every line is a JSON object")).collect()
}

#[test]
fn the_three_shapes_become_rows_and_a_broken_line_a_reject() {
    let output = catchment(&["run", "--from", "-", "--to", "-", "--dataset", "flows", "--dataset", "rejects"], FLOWS);
    let rows = rows(&output);
    let by = |name: &str| rows.iter().filter(|row| row["dataset"] == name).collect::<Vec<_>>();
    let (flows, rejects) = (by("flows"), by("rejects"));
    assert_eq!((flows.len(), rejects.len()), (3, 1));

    let [whisker, emitter, proto] = flows[..] else { unreachable!("three flows") };
    assert_eq!(whisker["dest_name"], "PUBLIC NETWORK");
    assert_eq!(whisker["source_labels"], serde_json::json!(["app=web", "tier=front"]));
    assert_eq!(whisker["num_connections_live"], Value::Null, "Whisker cannot carry connections");
    assert_eq!((&emitter["dest_name"], &emitter["dest_name_raw"]), (&"PRIVATE NETWORK".into(), &"pvt".into()));
    assert_eq!((&emitter["dest_namespace"], &emitter["verdict_reason"]), (&Value::Null, &"profile".into()));
    assert_eq!((&emitter["num_connections_live"], &emitter["num_connections_started"]), (&2.into(), &0.into()));
    assert_eq!((&proto["verdict_reason"], &proto["enforced_policy"]), (&"end_of_tier".into(), &"shop/deny".into()));
    assert_eq!((&rejects[0]["origin"], &rejects[0]["original"]), (&"stdin:4".into(), &"{\"broken\":".into()));
}

#[test]
fn the_same_files_are_published_once_and_others_are_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (first, second) = (FLOWS.lines().next().expect("a flow"), FLOWS.lines().nth(2).expect("a flow"));
    std::fs::write(path("a.jsonl"), first).expect("file");
    std::fs::write(path("b.jsonl"), second).expect("file");
    let run = |input: &str, more: &[&str]| {
        let output = catchment(&[&["run", "--from", &path(input), "--to", &path("out.jsonl")], more].concat(), "");
        let written = std::fs::read_to_string(path("out.jsonl")).expect("output");
        assert_eq!(written.lines().count(), 1, "after {input}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run("a.jsonl", &[]), (Some(0), String::new()));
    let (code, said) = run("a.jsonl", &[]);
    assert!(code == Some(0) && said.contains("already published"), "{said}");

    // The cursor as builds before identities wrote it.
    let cursor = std::fs::read_to_string(path("out.jsonl.cursor")).expect("a cursor beside the rows");
    let mut older: Value = serde_json::from_str(&cursor).expect("an object");
    older["cursor"].as_object_mut().expect("an object").remove("log").expect("it names the input");
    std::fs::write(path("out.jsonl.cursor"), older.to_string()).expect("written");
    let (code, said) = run("a.jsonl", &[]);
    assert!(code == Some(0) && said.contains("already published"), "{said}");
    std::fs::write(path("out.jsonl.cursor"), cursor).expect("written");

    for (input, more) in [("b.jsonl", &[][..]), ("a.jsonl", &["--window", "2m"])] {
        let (code, said) = run(input, more);
        let told = said.contains("it holds rows of input") && said.contains("give this input a sink of its own");
        assert!(code == Some(2) && told, "{said}");
    }
    std::fs::write(path("a.jsonl"), format!("{first}\n{second}")).expect("file");
    assert_eq!(run("a.jsonl", &[]).0, Some(2), "a file that has changed is another one");
}

#[test]
fn a_stop_does_not_wait_for_standard_input() {
    let mut child = binary();
    child.args(["run", "--from", "-", "--to", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running(child.spawn().expect("the binary starts"));
    let flow = FLOWS.lines().nth(1).expect("a flow");
    let later = flow.replace("T00:00:", "T00:10:");
    let mut input = running.0.stdin.take().expect("piped");
    writeln!(input, "{flow}\n{later}").expect("the binary reads its input");
    let mut rows = BufReader::new(running.0.stdout.take().expect("piped"));
    rows.read_line(&mut String::new()).expect("the first window has closed");
    running.stop();
    drop(input);
}

#[test]
fn a_missing_file_is_named_and_exits_with_2() {
    let output = catchment(&["run", "--from", "no-such-file.ndjson", "--to", "-"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file.ndjson"));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = binary().args(["schema", "--reference"]).stdout(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("the binary ends").success());
}
