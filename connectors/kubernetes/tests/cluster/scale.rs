//! What a large cluster takes; run by hand, see benches/README.md.

use std::collections::BTreeMap;
use std::time::Instant;

use catchment_core::knowledge::{Coverage, Key, Kind, News, Object};
use catchment_kubernetes::{Cluster, Config};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::support::planter::{Planter, together};
use crate::support::server::Server;
use crate::support::watched::OF_KUBERNETES;

const PODS: usize = 20_000;
/// Names the kubeconfig to the process that is measured.
const KUBECONFIG: &str = "CATCHMENT_TEST_KUBECONFIG";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn plant_and_measure() {
    let Some(server) = Server::start("scale") else { return };
    let planter = Planter::new(&server).await;
    planter.create("/api/v1/namespaces", json!({"metadata": {"name": "load"}})).await;
    together((0..PODS).map(|number| plant(&planter, number))).await;
    // In a process of its own: what planted all of them is large itself.
    let itself = std::env::current_exe().unwrap();
    let arguments = ["--exact", "scale::watch_and_tell_what_it_takes", "--ignored", "--nocapture"];
    let mut child = std::process::Command::new(itself);
    let status = child.args(arguments).env(KUBECONFIG, server.kubeconfig("admin")).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by plant_and_measure"]
#[allow(clippy::print_stdout)]
async fn watch_and_tell_what_it_takes() {
    let Some(kubeconfig) = std::env::var_os(KUBECONFIG) else { return };
    let config = Config { kubeconfig: Some(kubeconfig.into()), ..Config::default() };
    let cluster = Cluster::new(config, &mut Registry::default()).await.unwrap();
    let (sender, mut news) = tokio::sync::mpsc::channel(1024);
    let (start, before) = (Instant::now(), memory("VmRSS"));
    tokio::spawn(async move { cluster.run(sender).await });
    let mut view: BTreeMap<Key, Object> = BTreeMap::new();
    let mut waiting: Vec<Kind> = OF_KUBERNETES.to_vec();
    while !waiting.is_empty() {
        match news.recv().await.unwrap() {
            News::Change(change) => match change.state {
                Some(object) => drop(view.insert(change.key, object)),
                None => drop(view.remove(&change.key)),
            },
            News::Coverage { kind, coverage: Coverage::Synced, .. } => waiting.retain(|other| *other != kind),
            News::Coverage { .. } => {}
        }
    }
    let pods = view.keys().filter(|key| key.kind == Kind::Pod).count();
    let seconds = start.elapsed().as_secs_f64();
    let (now, peak) = (memory("VmRSS"), memory("VmHWM"));
    println!("{pods} pods in {seconds:.1} s; resident {before} kB before, {now} kB after, {peak} kB at most");
    println!("{:.0} kB per 1000 pods", (now - before) as f64 / (pods as f64 / 1000.0));
    assert_eq!(pods, PODS);
    assert!(now < 60_000, "{now} kB are more than 60 MB");
}

/// A line of `/proc/self/status`, in kB.
fn memory(line: &str) -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A pod as large as pods are, some 5 kB, of one of a thousand replica sets.
async fn plant(planter: &Planter, number: usize) {
    let set = format!("app-{}-{:08x}", number % 1000, number % 1000 * 7919);
    let variables: Vec<Value> =
        (0..40).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x".repeat(50)})).collect();
    let ports = json!([{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}]);
    let name = format!("{set}-{number:05}");
    let pod = json!({
        "metadata": {
            "name": name, "generateName": format!("{set}-"),
            "labels": {"app": format!("app-{}", number % 1000), "pod-template-hash": &set[set.len() - 8..], "team": format!("t{}", number % 30),
                "version": "v1", "tier": "backend"},
            "annotations": {"note": "n".repeat(400)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": format!("{:032x}", number % 1000),
                "controller": true}],
        },
        "spec": {"nodeName": format!("node-{}", number % 200), "serviceAccountName": format!("app-{}", number % 1000),
            "containers": [{"name": "main", "image": "app:1", "env": variables, "ports": ports}]},
    });
    planter.create("/api/v1/namespaces/load/pods", pod).await;
    let ip = format!("10.{}.{}.{}", 100 + number / 62_500, number / 250 % 250, number % 250 + 1);
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]);
    let status = json!({"status": {"phase": "Running", "podIPs": [{"ip": ip}], "podIP": ip, "conditions": ready}});
    planter.change(&format!("/api/v1/namespaces/load/pods/{name}/status"), status).await;
}
