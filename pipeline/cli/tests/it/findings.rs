//! Findings on the command line: found in a file of flows, listed, told, failed on; from files and from a running process.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::pages::start_with;
use crate::{Running, binary, catchment};

/// Three workloads that no policy guards, one of them open to public networks.
const FLOWS: &str = r#"{"Key":{"source_name":"api-5f7d9c4b8-*","source_namespace":"shop","source_type":1,"dest_name":"db-*","dest_namespace":"shop","dest_type":1,"dest_port":5432,"proto":"tcp","reporter":2,"action":1,"policies":{"enforced_policies":[{"kind":9,"name":"kns.shop","action":1}]}},"start_time":1767225600,"end_time":1767225615,"packets_in":3,"packets_out":4,"num_connections_started":2}
{"Key":{"source_name":"pub","source_namespace":"-","source_type":4,"dest_name":"web-7d4b9c6f5-*","dest_namespace":"shop","dest_type":1,"dest_port":443,"proto":"tcp","reporter":2,"action":1,"policies":{"enforced_policies":[{"kind":9,"name":"kns.shop","action":1}]}},"start_time":1767225600,"end_time":1767225615,"packets_in":3,"packets_out":4,"num_connections_started":2}
{"Key":{"source_name":"api-5f7d9c4b8-*","source_namespace":"shop","source_type":1,"dest_name":"mail-*","dest_namespace":"office","dest_type":1,"dest_port":25,"proto":"tcp","reporter":2,"action":1,"policies":{"enforced_policies":[{"kind":9,"name":"kns.office","action":1}]}},"start_time":1767225600,"end_time":1767225615,"packets_in":3,"packets_out":4,"num_connections_started":2}
"#;

/// What the tests ask for: rules that come to see more in these flows change nothing here.
const KIND: &str = "policy.no-policy";

/// What the binary published of the flows: findings among flows.
fn rows(dir: &Path) -> String {
    let rows = dir.join("rows.jsonl").display().to_string();
    let output =
        catchment(&["run", "--from", "-", "--to", &rows, "--dataset", "flows", "--dataset", "findings"], FLOWS);
    assert!(output.status.success(), "{}", said(&output));
    rows
}

fn findings(args: &[&str]) -> Output {
    catchment(&[&["findings"], args].concat(), "")
}

fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn subjects(json: &str) -> Vec<String> {
    let rows: Vec<Value> = serde_json::from_str(json).expect("an array");
    rows.iter()
        .map(|row| format!("{}/{}", row["subject"]["namespace"], row["subject"]["workload"]).replace('"', ""))
        .collect()
}

#[test]
fn what_no_policy_decides_is_found_in_a_file_of_flows_and_listed_worst_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows = rows(dir.path());
    let list =
        |more: &[&str]| printed(&findings(&[&["list", "--from", &rows, "--kind", KIND, "-o", "json"], more].concat()));
    assert_eq!(subjects(&list(&[])), ["shop/web", "office/mail", "shop/db"].map(str::to_owned).as_slice());
    let table = printed(&findings(&["list", "--from", &rows, "--kind", KIND]));
    let first = table.lines().nth(1).expect("a row");
    let expected =
        ["medium", "policy.no-policy", "opened", "shop", "shop/web ingress", "No policy decides the ingress of"];
    assert!(expected.iter().all(|part| first.contains(part)), "{table}");
    assert!(!table.contains('\u{1b}'), "what is piped has no colour");
    assert_eq!(subjects(&list(&["--severity", "medium"])), ["shop/web"]);
    assert_eq!(subjects(&list(&["-n", "off*"])), ["office/mail"]);
    assert_eq!(subjects(&list(&["--status", "resolved,stale"])), [""; 0]);
    assert_eq!(subjects(&list(&["--family", "zombie"])), [""; 0]);
}

#[test]
fn a_list_fails_on_what_it_shows_and_on_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows = rows(dir.path());
    let code = |more: &[&str]| findings(&[&["list", "--from", &rows, "--kind", KIND], more].concat()).status.code();
    assert_eq!(code(&["--fail-on", "medium"]), Some(10));
    assert_eq!(code(&["--fail-on", "high"]), Some(0));
    assert_eq!(code(&["--fail-on", "medium", "-n", "office"]), Some(0));
    let muted = fs::read_to_string(&rows).expect("rows").replace(
        r#""muted":false,"mute_reason":null,"mute_until":null"#,
        r#""muted":true,"mute_reason":"known","mute_until":"2027-01-01T00:00:00Z""#,
    );
    let output = catchment(&["findings", "list", "--from", "-", "--kind", KIND, "--fail-on", "info"], &muted);
    assert_eq!((output.status.code(), printed(&output)), (Some(0), "no findings\n".to_owned()));
    assert_eq!(said(&output), "3 more muted; --muted lists them too\n");
    let output = catchment(&["findings", "list", "--from", "-", "--muted", "--fail-on", "info"], &muted);
    assert!(printed(&output).contains("opened, muted"), "what is muted fails nothing: {}", printed(&output));
}

#[test]
fn a_beginning_of_an_id_is_enough_for_the_whole_story() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows = rows(dir.path());
    let names = printed(&findings(&["list", "--from", &rows, "--kind", KIND, "-o", "name"]));
    let id = names.lines().next().expect("an id");
    let story = printed(&findings(&["explain", &id[..8], "--from", &rows]));
    for part in [
        "No policy decides the ingress of shop/web",
        id,
        "policy.no-policy, certain",
        "2026-01-01T00:00:00Z",
        "PUBLIC NETWORK  shop/web-7d4b9c6f5-*  443/tcp",
        "1. Profile kns.shop: Allow",
        "What to do",
        "catchment findings list --kind policy.no-policy",
        "docs/findings/policy.md",
    ] {
        assert!(story.contains(part), "{part} in {story}");
    }
    let yaml = printed(&findings(&["get", &id[..8], "--from", &rows, "-o", "yaml"]));
    assert!(yaml.contains(&format!("finding_id: {id}")), "{yaml}");
    let output = findings(&["get", "", "--from", &rows]);
    assert_eq!(output.status.code(), Some(2));
    assert!(names.lines().all(|id| said(&output).contains(id)), "the candidates are named: {}", said(&output));
    assert_eq!(findings(&["explain", "xyz", "--from", &rows]).status.code(), Some(2));
}

#[test]
fn a_kind_is_explained_without_any_finding_and_an_unknown_word_is_answered_with_the_nearest() {
    let told = printed(&findings(&["explain", "private.metadata-access"]));
    assert!(told.starts_with("private.metadata-access: high, certain") && told.contains("\nFix. "), "{told}");
    for (args, hint) in [
        (["list", "--kind", "policy.nopolicy"], "did you mean `policy.no-policy`?"),
        (["list", "--severity", "mediun"], "did you mean `medium`?"),
        (["list", "--status", "closed"], "known are opened, ongoing, resolved, stale, all"),
        (["list", "--family", "x"], "known are policy, trust, asymmetry, private, zombie, health"),
    ] {
        let output = findings(&args);
        assert!(output.status.code() == Some(2) && said(&output).contains(hint), "{}", said(&output));
    }
}

#[test]
fn events_of_ocsf_carry_the_ids_and_a_file_is_watched_from_its_beginning() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows = rows(dir.path());
    let names = printed(&findings(&["list", "--from", &rows, "--kind", KIND, "-o", "name"]));
    let events = printed(&findings(&["list", "--from", &rows, "--kind", KIND, "-o", "ocsf"]));
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("an event");
    let ids: Vec<_> = events.lines().map(|line| event(line)["finding_info"]["uid"].clone()).collect();
    assert_eq!(ids, names.lines().collect::<Vec<_>>());
    let lines = fs::read_to_string(&rows).expect("rows");
    let watched =
        printed(&catchment(&["findings", "watch", "--from", "-", "--kind", KIND, "--severity", "medium"], &lines));
    assert!(watched.lines().count() == 1 && watched.contains("medium opened policy.no-policy shop/web"), "{watched}");
}

#[test]
fn coverage_is_of_the_configured_sources() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("catchment.yaml");
    let config = "cluster: c\nsources: { lines: { type: files, paths: ['-'] } }\nsinks: { out: { type: jsonl } }\n";
    fs::write(&file, config).expect("written");
    let table = printed(&findings(&["coverage", "--config", &file.display().to_string()]));
    let line = |kind: &str| table.lines().find(|line| line.starts_with(kind)).expect("a line").to_owned();
    assert!(line("policy.no-policy ").contains("lines   yes"), "{table}");
    assert!(line("trust.cross-environment ").contains("set enrich.kubernetes"), "{table}");
    assert!(printed(&findings(&["coverage"])).contains("netobserv"));
}

#[test]
fn a_printed_mute_is_a_section_of_the_configuration_that_mutes() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows = rows(dir.path());
    let id = printed(&findings(&["list", "--from", &rows, "--kind", KIND, "--severity", "medium", "-o", "name"]));
    let mute =
        printed(&findings(&["mute", &id[..8], "--from", &rows, "--reason", "it's: \"known\"", "--until", "720h"]));
    let config = format!(
        "cluster: default\nsources: {{ files: {{ type: files, paths: ['-'] }} }}\n\
         sinks: {{ out: {{ type: jsonl, datasets: [findings] }} }}\nhttp: {{ listen: '127.0.0.1:0' }}\n{mute}"
    );
    let file = dir.path().join("catchment.yaml");
    fs::write(&file, config).expect("written");
    let published = catchment(&["run", "--config", &file.display().to_string()], FLOWS);
    let listed = catchment(&["findings", "list", "--from", "-", "--kind", KIND], &printed(&published));
    assert!(
        said(&listed).starts_with("1 more muted") && !printed(&listed).contains("shop/web"),
        "{}",
        printed(&listed)
    );
}

/// A process that reads flows from its standard input; its address.
pub(crate) fn running(dir: &Path) -> (Running, String) {
    let rows = dir.join("published.jsonl");
    let config = format!(
        "cluster: lab\nsources: {{ lines: {{ type: files, paths: ['-'] }} }}\n\
         sinks: {{ rows: {{ type: jsonl, path: {}, datasets: [findings] }} }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        rows.display()
    );
    let (mut running, address) = start_with(dir, &config);
    let flows = running.0.stdin.as_mut().expect("piped");
    // Time passes, so the window closes while the input goes on.
    let later = FLOWS.lines().next().expect("a flow").replace("17672256", "17672356");
    writeln!(flows, "{FLOWS}{later}").expect("the process reads");
    (running, address)
}

#[test]
fn a_running_process_is_asked_at_its_address() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_running, address) = running(dir.path());
    let mut watch = binary();
    let watch = watch.args(["findings", "watch", "--kind", KIND, "-o", "jsonl", "--url", &format!("http://{address}")]);
    let mut watch = Running(watch.stdout(Stdio::piped()).spawn().expect("the binary starts"));
    let changes = BufReader::new(watch.0.stdout.take().expect("piped")).lines();
    let changes: Vec<Value> =
        changes.take(3).map(|line| serde_json::from_str(&line.expect("a line")).expect("a row")).collect();
    assert!(changes.iter().all(|row| row["kind"] == KIND && row["status"] == "opened"), "{changes:?}");
    let listed = printed(&findings(&["list", "--url", &format!("http://{address}/"), "--kind", KIND, "-o", "name"]));
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[test]
fn where_nobody_listens_the_address_is_named_with_what_to_do() {
    let output = findings(&["list", "--url", "http://127.0.0.1:9"]);
    let told = said(&output);
    assert!(output.status.code() == Some(1) && told.contains("http://127.0.0.1:9/findings: see that"), "{told}");
    let output = findings(&["list", "--url", "127.0.0.1:9464"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("write it like http://"), "{}", said(&output));
}
