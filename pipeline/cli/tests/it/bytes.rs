//! What is published is a function of what was read: not of workers, of the order within a bucket,
//! or of how the collector wrote its keys. Judged by the bytes of files, through the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binary;

const START: i64 = 1_767_225_600;
const BUCKETS: i64 = 24;
const KEYS: i64 = 150;

/// One report in the emitter's shape.
fn flow(key: i64, bucket: i64) -> Value {
    let start = START + bucket * 15;
    let labels = if (key + bucket) % 9 == 0 { json!(["app=web", "canary=yes"]) } else { json!(["app=web"]) };
    json!({
        "Key": {
            "source_name": format!("web-{}-*", key / 6), "source_namespace": "shop", "source_type": 1,
            "dest_name": if key % 5 == 0 { "pvt" } else { "db-*" }, "dest_namespace": if key % 5 == 0 { "-" } else { "data" },
            "dest_type": if key % 5 == 0 { 4 } else { 1 }, "dest_port": 5000 + key % 6, "proto": "tcp",
            "reporter": 1 + key % 2, "action": 1 + key % 2,
            "policies": {"enforced_policies": [
                {"kind": 1, "namespace": "shop", "name": format!("p{}", bucket % 2), "tier": "default", "action": 1 + key % 2}
            ]},
        },
        "start_time": start, "end_time": start + 15, "source_labels": labels, "dest_labels": ["app=db"],
        "packets_in": key + bucket, "packets_out": 1, "bytes_in": 100 * key, "bytes_out": 10,
        "num_connections_started": 1, "num_connections_live": key % 4,
    })
}

/// The same report as proto3 JSON tools write it, members in another order.
fn reencoded(flow: &Value) -> Value {
    let key = &flow["Key"];
    let hit = &key["policies"]["enforced_policies"][0];
    let text = |value: &Value| Value::from(value.to_string());
    json!({"id": "9", "flow": {
        "numConnectionsLive": text(&flow["num_connections_live"]), "numConnectionsStarted": "1",
        "bytesOut": "10", "bytesIn": text(&flow["bytes_in"]), "packetsOut": "1", "packetsIn": text(&flow["packets_in"]),
        "destLabels": flow["dest_labels"], "sourceLabels": flow["source_labels"],
        "endTime": text(&flow["end_time"]), "startTime": text(&flow["start_time"]),
        "Key": {
            "policies": {"enforcedPolicies": [{
                "action": if hit["action"] == 1 { "Allow" } else { "Deny" }, "tier": "default", "name": hit["name"],
                "namespace": "shop", "kind": "CalicoNetworkPolicy",
            }]},
            "action": if key["action"] == 1 { "Allow" } else { "Deny" },
            "reporter": if key["reporter"] == 1 { "Src" } else { "Dst" },
            "proto": "TCP", "destPort": text(&key["dest_port"]),
            "destType": if key["dest_type"] == 4 { "Network" } else { "WorkloadEndpoint" },
            "destNamespace": key["dest_namespace"], "destName": key["dest_name"],
            "sourceType": "WorkloadEndpoint", "sourceNamespace": "shop", "sourceName": key["source_name"],
        },
    }})
}

/// Bucket after bucket, the keys of each in the order that `step` gives.
fn reports(step: i64) -> impl Iterator<Item = Value> {
    (0..BUCKETS).flat_map(move |bucket| (0..KEYS).map(move |i| flow(i * step % KEYS, bucket)))
}

fn text(lines: impl Iterator<Item = Value>) -> String {
    lines.flat_map(|line| [line.to_string(), "\n".to_owned()]).collect()
}

/// Runs the binary over `input` and returns every published file by its name.
fn publish(dir: &Path, input: &Path, workers: u16, disorder: Option<&str>) -> BTreeMap<PathBuf, Vec<u8>> {
    let lake = dir.join(format!("lake-{workers}"));
    fs::create_dir_all(&lake).expect("a folder");
    let rows = dir.join(format!("rows-{workers}.jsonl"));
    let config = dir.join("catchment.yaml");
    let disorder = disorder.map_or(String::new(), |d| format!("disorder: {d}"));
    let settings = format!(
        "cluster: lab\nworkers: {workers}\nsources:\n  logs:\n    type: files\n    paths: [{}]\n    {disorder}\nsinks:\n  \
         lake: {{ type: parquet, url: 'file://{}', roll: 2m, max_rows: 1000 }}\n  \
         lines: {{ type: jsonl, path: {}, datasets: [flows, conversations, late, rejects, gaps] }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        input.display(),
        lake.display(),
        rows.display(),
    );
    fs::write(&config, settings).expect("written");
    let output = binary().args(["run", "--config"]).arg(&config).output();
    let output = output.expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files = BTreeMap::from([("rows".into(), fs::read(&rows).expect("rows were written"))]);
    gather(&lake, &lake, &mut files);
    files
}

fn gather(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() {
            gather(root, &entry, files);
        } else if entry.extension().is_some_and(|e| e == "parquet") {
            let name = entry.strip_prefix(root).expect("below the root").to_owned();
            files.insert(name, fs::read(&entry).expect("readable"));
        }
    }
}

fn assert_same(expected: &BTreeMap<PathBuf, Vec<u8>>, found: &BTreeMap<PathBuf, Vec<u8>>, what: &str) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{what}");
    let different: Vec<_> = expected.iter().filter(|(name, bytes)| found[*name] != **bytes).map(|(n, _)| n).collect();
    assert!(different.is_empty(), "{what}: other bytes in {different:?}");
}

#[test]
fn one_two_and_seven_workers_publish_the_same_bytes_side_doors_included() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = dir.path().join("flows.ndjson");
    // Late flows after every window but the first, and a line that is no flow.
    let late = (1..3).map(|n| flow(n, 0));
    fs::write(&input, text(reports(1)) + "{\"broken\": \"\n" + &text(late.chain([flow(7, BUCKETS)]))).expect("written");
    let one = publish(dir.path(), &input, 1, Some("15s"));
    let count = |dataset: &str| {
        let rows = String::from_utf8_lossy(&one[Path::new("rows")]);
        rows.lines().filter(|line| line.starts_with(&format!("{{\"dataset\":\"{dataset}\""))).count()
    };
    assert!(count("flows") > 1000 && count("conversations") > 300, "{} {}", count("flows"), count("conversations"));
    assert_eq!((count("rejects"), count("late")), (1, 2));
    assert!(one.len() > 5, "files of several slots and datasets: {:?}", one.keys());
    for workers in [2, 7] {
        assert_same(&one, &publish(dir.path(), &input, workers, Some("15s")), &format!("{workers} workers"));
    }
}

#[test]
fn reencoded_keys_in_another_order_publish_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let (input, other) = (dir.path().join("flows.ndjson"), dir.path().join("other.ndjson"));
    fs::write(&input, text(reports(1))).expect("written");
    fs::write(&other, text(reports(77).map(|flow| reencoded(&flow)))).expect("written");
    let expected = publish(dir.path(), &input, 1, None);
    assert_same(&expected, &publish(dir.path(), &other, 2, None), "shuffled and in other words");
    let mixed = dir.path().join("mixed.ndjson");
    let both = |(i, flow): (usize, Value)| if i % 2 == 0 { flow } else { reencoded(&flow) };
    fs::write(&mixed, text(reports(7).enumerate().map(both))).expect("written");
    assert_same(&expected, &publish(dir.path(), &mixed, 7, None), "both shapes in one file");
}
