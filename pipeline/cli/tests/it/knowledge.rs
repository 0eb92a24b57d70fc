//! Who talked, through the real binary, from what `kubectl get -o json` prints.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binary;

const FLOWS: &str = r#"{"Key":{"source_name":"web-7d4b-*","source_namespace":"shop","source_type":1,"dest_name":"db-*","dest_namespace":"shop","dest_type":1,"dest_port":5432,"proto":"tcp","reporter":1,"action":1},"start_time":1767225600,"end_time":1767225615,"source_labels":["app=web"],"packets_in":3}
{"Key":{"source_name":"web-7d4b-*","source_namespace":"shop","source_type":1,"dest_name":"pvt","dest_namespace":"-","dest_type":4,"dest_port":443,"proto":"tcp","reporter":1,"action":1},"start_time":1767229200,"end_time":1767229215,"packets_in":1}
"#;

fn objects() -> Value {
    let owner =
        |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true}]);
    let pod = |name: &str, prefix: &str, owner: Value, account: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "generateName": prefix, "ownerReferences": owner,
                "creationTimestamp": "2025-12-31T00:00:00Z", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-1", "serviceAccountName": account}, "status": {"phase": "Running"}})
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"environment": "prod", "team": "retail"}}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "eu-1a"}}},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"namespace": "shop", "name": "web-7d4b", "ownerReferences": owner("Deployment", "web")}},
        pod("web-7d4b-abcde", "web-7d4b-", owner("ReplicaSet", "web-7d4b"), "web"),
        pod("db-0", "db-", owner("StatefulSet", "db"), "db"),
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "db-x", "labels": {"kubernetes.io/service-name": "db"}},
            "endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "db-0"}}],
            "ports": [{"port": 5432, "protocol": "TCP"}]},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "not-read", "namespace": "shop"}},
    ]})
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path
}

fn flows(args: &[&str], folder: &Path) -> Vec<Value> {
    let input = written(folder, "flows.ndjson", FLOWS);
    let output = binary().args(["run", "--from"]).arg(input).args(["--to", "-"]).args(args).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("every line is a JSON object")).collect()
}

#[test]
fn a_file_of_objects_says_who_talked() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = written(folder.path(), "cluster.json", &objects().to_string());
    let rows = flows(&["--knowledge", cluster.to_str().expect("a path")], folder.path());
    let row = &rows[0];
    for (column, expected) in [
        ("source_workload_kind", json!("Deployment")),
        ("source_workload_name", json!("web")),
        ("source_service_accounts", json!(["web"])),
        ("source_nodes", json!(["node-1"])),
        ("source_zones", json!(["eu-1a"])),
        ("source_namespace_labels", json!(["environment=prod", "team=retail"])),
        ("source_environment", json!("prod")),
        ("source_owner", json!("retail")),
        ("source_pods", json!(1)),
        ("source_address_class", json!("pod")),
        ("source_identity_from", json!("generate_name")),
        ("dest_workload_kind", json!("StatefulSet")),
        ("dest_services", json!(["shop/db"])),
        ("dest_services_from", json!("endpoints")),
        ("dest_ready_endpoints", json!(1)),
        ("identity_state", json!("fresh")),
    ] {
        assert_eq!(row[column], expected, "{column}");
    }
    assert_eq!((&rows[1]["dest_address_class"], &rows[1]["dest_identity_from"]), (&json!("private"), &json!("none")));
    let without = flows(&[], folder.path());
    assert_eq!((&without[0]["source_workload_name"], &without[0]["identity_state"]), (&Value::Null, &Value::Null));
    assert_eq!(without[0]["flow_id"], row["flow_id"], "who talked is no part of the key");
}

fn config(folder: &Path, kubernetes: &str) -> PathBuf {
    let input = written(folder, "flows.ndjson", FLOWS);
    let text = format!(
        "cluster: test\nenrich:\n  environment_labels: [team]\n  kubernetes:\n{kubernetes}\nsources:\n  in:\n    type: files\n    paths: [{}]\nsinks:\n  out:\n    type: jsonl\n    path: {}\n",
        input.display(),
        folder.join("rows.jsonl").display(),
    );
    written(folder, "catchment.yaml", &text)
}

#[test]
fn changes_over_time_are_joined_as_of_each_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = written(folder.path(), "cluster.json", &objects().to_string());
    let gone = json!({"at": "2026-01-01T00:30:00Z", "type": "DELETED", "object":
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "web-7d4b-abcde"}}});
    let changes = written(folder.path(), "changes.jsonl", &gone.to_string());
    let config = config(
        folder.path(),
        &format!("    snapshot: ['{}']\n    changes: ['{}']", cluster.display(), changes.display()),
    );
    let output = binary().args(["run", "--config"]).arg(&config).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.path().join("rows.jsonl")).expect("rows");
    let pods: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row"))
        .map(|row| (row["source_pods"].clone(), row["source_workload_name"].clone(), row["source_environment"].clone()))
        .collect();
    let told = |pods: u64| (json!(pods), json!("web"), json!("retail"));
    assert_eq!(pods, [told(1), told(0)], "the pod has gone before the second window, and its name is remembered");
}

#[test]
fn check_says_what_the_files_hold_and_names_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = written(folder.path(), "cluster.json", &objects().to_string());
    let check = |kubernetes: &str| {
        let output =
            binary().args(["check", "--config"]).arg(config(folder.path(), kubernetes)).output().expect("runs");
        let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), format!("{out}{errors}"))
    };
    let (code, text) = check(&format!("    snapshot: ['{}']", cluster.display()));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(
            "knowledge kubernetes: ok, 6 objects (1 EndpointSlice, 1 Namespace, 1 Node, 2 Pod, 1 ReplicaSet)"
        ),
        "{text}"
    );
    let (code, text) = check("    snapshot: [missing.json]");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("knowledge kubernetes: FAILED") && text.contains("missing.json"), "{text}");
    let (code, text) = check("    snapshot: [a.json]\n    context: prod");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("line 4") && text.contains("remove `kubeconfig`"), "{text}");
}
