//! `catchment setup` and `catchment trust` through the real binary.

use std::fs;
use std::process::Output;

use crate::catchment;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints UTF-8")
}

const CLUSTER: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.11"}]}},
    {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "default", "name": "kubernetes",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 6443}]}
]}"#;

fn networksets(further: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("state.json");
    fs::write(&path, CLUSTER).expect("written");
    let path = path.to_str().expect("paths are text");
    catchment(&[&["setup", "networksets", "--snapshot", path], further].concat(), "")
}

#[test]
fn network_sets_are_printed_to_be_applied_and_name_what_is_missing() {
    let output = networksets(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (yaml, notes) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(yaml.matches("kind: GlobalNetworkSet").count(), 4, "{yaml}");
    for part in ["apiVersion: projectcalico.org/v3", "name: catchment-nodes", "catchment.dev/range: api-server"] {
        assert!(yaml.contains(part), "{part} is missing in {yaml}");
    }
    assert!(notes.contains("no set for services") && notes.contains("--service-range"), "{notes}");
}

#[test]
fn printed_network_sets_can_be_read_back_as_objects() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("sets.yaml");
    fs::write(&path, networksets(&["--service-range", "10.96.0.0/12"]).stdout).expect("written");
    let read = catchment_kubernetes::Snapshot::read(&[path.to_str().expect("paths are text").to_owned()]);
    let read = read.expect("what is printed can be read");
    let names: Vec<_> = read.objects.iter().map(|object| object.key().name.to_string()).collect();
    let expected =
        ["nodes", "api-server", "services", "metadata", "credentials"].map(|range| format!("catchment-{range}"));
    assert_eq!(names, expected);
}

#[test]
fn a_range_that_is_none_is_refused() {
    let output = networksets(&["--service-range", "10.96"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--service-range"), "{}", text(&output.stderr));
}

fn row(account: &str, label: &str) -> String {
    format!(
        r#"{{"source_namespace":"shop","source_name":"web-*","source_service_accounts":["{account}"],"dest_namespace":"pay","dest_type":"WorkloadEndpoint","dest_labels":["app=ledger","{label}"],"action":"Allow","packets_in":3,"packets_out":2}}"#
    )
}

#[test]
fn boundaries_are_proposed_from_who_reached_critical_backends() {
    let rows = format!("{}\n\n{}\n", row("web", "catchment.dev/critical=true"), row("job", "tier=cache"));
    let output = catchment(&["trust", "propose", "-"], &rows);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let yaml = text(&output.stdout);
    for part in ["boundaries:", "name: pay-ledger", "shop/web", "app == 'ledger'"] {
        assert!(yaml.contains(part), "{part} is missing in {yaml}");
    }
    assert!(!yaml.contains("shop/job"), "{yaml}");
    let chosen = catchment(&["trust", "propose", "-", "--critical", "tier == 'cache'"], &rows);
    assert!(text(&chosen.stdout).contains("shop/job"), "{}", text(&chosen.stdout));
}

#[test]
fn a_line_that_is_no_row_names_its_place() {
    let output = catchment(&["trust", "propose", "-"], &format!("{}\n{{}}\n", row("web", "a=b")));
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("line 2 of standard input") && error.contains("no row of the dataset `flows`"), "{error}");
}
