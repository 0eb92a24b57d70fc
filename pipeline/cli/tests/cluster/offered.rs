//! What is offered to be applied is taken by an API server: each staged policy in the evidence of findings, and the printed
//! network sets. Nothing is stored: the server is asked for a dry run, with unknown and repeated fields refused.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::lab::{collector_with, wait_for_windows};
use crate::process::{Running, binary};
use crate::server::Server;
use crate::{calico_kinds, text};

/// Objects that the flows below are joined with: a node of both versions of IP, one of whose addresses stands there twice,
/// and policies with a rule that is too wide.
const OBJECTS: &str = include_str!("offered.yaml");

#[test]
fn every_staged_policy_that_a_finding_offers_is_taken_by_an_api_server() {
    let Some(server) = Server::start("offered") else { return };
    calico_kinds::install(&server);
    let (literal, simulated) = (offered(&of_flows(&server)), offered(&of_a_simulated_cluster(&server)));
    println!("{} policies of literal flows, {} of simulated ones", literal.len(), simulated.len());
    let kinds: BTreeSet<_> = literal.iter().map(|policy| policy["kind"].as_str().unwrap().to_owned()).collect();
    assert!(kinds.iter().eq(["StagedGlobalNetworkPolicy", "StagedNetworkPolicy"]), "{kinds:?}");
    assert!(literal.len() >= 5 && simulated.len() >= 20, "{} {}", literal.len(), simulated.len());
    let all: Vec<_> = literal.into_iter().chain(simulated).collect();
    make_namespaces(&server, &all);
    for policy in &all {
        taken(&server, policy);
    }
}

#[test]
fn the_printed_network_sets_are_taken_by_an_api_server() {
    let Some(server) = Server::start("network-sets") else { return };
    calico_kinds::install(&server);
    let objects = server.file("objects.yaml");
    fs::write(&objects, OBJECTS).unwrap();
    let setup = |from: [&str; 2]| {
        let mut command = binary();
        command.args(["setup", "networksets"]).args(from).args(["--service-range", "10.96.0.0/12"]).output().unwrap()
    };
    let admin = server.kubeconfig("admin");
    for printed in [setup(["--snapshot", text(&objects)]), setup(["--kubeconfig", text(&admin)])] {
        let sets = documents(&printed);
        assert!(sets.len() >= 3, "{}", String::from_utf8_lossy(&printed.stderr));
        for set in &sets {
            taken(&server, set);
        }
    }
}

/// The test of the test: the server does judge.
#[test]
fn a_policy_that_is_none_is_refused() {
    let Some(server) = Server::start("refused") else { return };
    calico_kinds::install(&server);
    let policy = |rule: Value| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "StagedNetworkPolicy",
            "metadata": {"namespace": "default", "name": "p"}, "spec": {"types": ["Ingress"], "ingress": [rule]}})
    };
    let ports: Vec<_> = (1..=51).collect();
    let refused = [
        json!({"action": "allow"}),
        json!({"action": "Allow", "destination": {"ports": ports}}),
        json!({"action": "Allow", "source": {"nets": ["10.0.0.1/32", "10.0.0.1/32"]}}),
        json!({"action": "Allow", "source": {"nets": ["10.0.0.1/32", "fd00::1/128"]}}),
        json!({"action": "Allow", "source": {"selector": "global()"}}),
        json!({"action": "Allow", "from": {}}),
    ];
    for rule in refused {
        assert!(!dry_run(&server, &policy(rule.clone())).status.success(), "{rule}");
    }
    taken(&server, &policy(json!({"action": "Allow", "source": {"selector": "app == 'a'"}})));
}

fn dry_run(server: &Server, object: &Value) -> Output {
    let path = server.file("offered.json");
    fs::write(&path, object.to_string()).unwrap();
    server.try_kubectl(&["create", "--dry-run=server", "--validate=strict", "-f", text(&path)])
}

fn taken(server: &Server, object: &Value) {
    let answer = dry_run(server, object);
    assert!(answer.status.success(), "{}{object:#}", String::from_utf8_lossy(&answer.stderr));
}

/// Even a dry run is refused in a namespace that is not there.
fn make_namespaces(server: &Server, objects: &[Value]) {
    let namespaces: BTreeSet<_> =
        objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
    for namespace in namespaces.into_iter().filter(|namespace| *namespace != "default") {
        server.kubectl(&["create", "namespace", namespace]);
    }
}

fn documents(printed: &Output) -> Vec<Value> {
    let printed = std::str::from_utf8(&printed.stdout).unwrap();
    printed.split("---\n").filter(|part| !part.is_empty()).map(|part| serde_saphyr::from_str(part).unwrap()).collect()
}

/// The policies in the evidence of findings, each once.
fn offered(rows: &Path) -> Vec<Value> {
    let rows = fs::read_to_string(rows).unwrap();
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let policies: BTreeSet<_> = rows
        .lines()
        .filter_map(|line| Some(row(line)["evidence"].get("staged_policy")?.as_str()?.to_owned()))
        .collect();
    policies.iter().map(|policy| serde_saphyr::from_str(policy).unwrap()).collect()
}

/// Runs the pipeline over flows of every kind of peer, and over more ports than a rule holds.
fn of_flows(server: &Server) -> std::path::PathBuf {
    fs::write(server.file("objects.yaml"), OBJECTS).unwrap();
    let rows = server.file("literal.jsonl");
    let source = "lines: { type: files, paths: ['-'] }";
    let config = configuration(server, source, "objects.yaml", None, &rows);
    let mut child = binary().args(["run", "--config", &config]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(flows().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    rows
}

/// Runs the pipeline over the history of a simulated cluster in which everything is planted.
fn of_a_simulated_cluster(server: &Server) -> std::path::PathBuf {
    let knowledge = server.file("knowledge");
    let (_collector, address) = collector_with(&[
        "--seed=4",
        "--backfill=58m",
        "--scenario=all",
        "--plants=2",
        "--knowledge",
        text(&knowledge),
    ]);
    let rows = server.file("simulated.jsonl");
    let source = format!("calico: {{ type: goldmane, address: '{address}' }}");
    let config = configuration(server, &source, "knowledge/objects.json", Some("knowledge/changes.jsonl"), &rows);
    let mut running = Running(binary().args(["run", "--config", &config]).stderr(Stdio::null()).spawn().unwrap());
    wait_for_windows(&rows, 50);
    running.stop();
    rows
}

fn configuration(server: &Server, source: &str, snapshot: &str, changes: Option<&str>, rows: &Path) -> String {
    let file = |name: &str| server.file(name).display().to_string();
    let changes = changes.map_or_else(String::new, |changes| format!(", changes: ['{}']", file(changes)));
    let config = format!(
        "cluster: test\nspool: {{ dir: '{}' }}\nhttp: {{ listen: '127.0.0.1:0' }}\n\
         enrich: {{ kubernetes: {{ snapshot: ['{}']{changes} }} }}\nsources:\n  {source}\n\
         sinks:\n  lines: {{ type: jsonl, path: '{}', datasets: [flows, findings] }}\n",
        file("spool"),
        file(snapshot),
        rows.display(),
    );
    let path = file("offered-run.yaml");
    fs::write(&path, config).unwrap();
    path
}

const UNSELECTED: &str = r#"{"kind":9,"name":"kns.shop","action":1}"#;
const WORKLOAD: i32 = 1;
const HOST: i32 = 2;
const SET: i32 = 3;
const NETWORK: i32 = 4;

/// A flow from the first end, `(namespace, name, kind, label)`, to the second.
fn flow(from: (&str, &str, i32, &str), to: (&str, &str, i32, &str), port: u16, proto: &str, trace: &str) -> String {
    let reporter = if to.2 == WORKLOAD { 2 } else { 1 };
    format!(
        r#"{{"Key":{{"source_namespace":"{}","source_name":"{}","source_type":{},"dest_namespace":"{}","dest_name":"{}","dest_type":{},"dest_port":{port},"proto":"{proto}","reporter":{reporter},"action":1,"policies":{{"enforced_policies":[{trace}]}}}},"start_time":1767225600,"end_time":1767225615,"source_labels":["{}"],"dest_labels":["{}"],"packets_in":3,"packets_out":4,"num_connections_started":2}}"#,
        from.0, from.1, from.2, to.0, to.1, to.2, from.3, to.3,
    ) + "\n"
}

fn flows() -> String {
    let web = ("shop", "web-7d4b9c6f5-*", WORKLOAD, "app=web");
    let db = ("shop", "db-*", WORKLOAD, "app.kubernetes.io/name=db");
    let hit = |kind: i32, namespace: &str, name: &str, tier: &str| {
        format!(
            r#"{{"kind":{kind},"namespace":"{namespace}","name":"{name}","tier":"{tier}","action":1,"rule_index":1}}"#
        )
    };
    let peers = [
        ("shop", "api-5f7d9c4b8-*", WORKLOAD, "app=api"),
        ("ops", "job-*", WORKLOAD, "k8s-app=job"),
        ("-", "n1", HOST, "zone=a"),
        ("-", "office", SET, "role=office"),
        ("shop", "partners", SET, "role=partners"),
        ("-", "pvt", NETWORK, ""),
        ("-", "pub", NETWORK, ""),
    ];
    let ports = (0..60).map(|port| flow(peers[0], web, 8000 + port, "tcp", UNSELECTED));
    let protocols = ["tcp", "udp", "icmp", "sctp"].map(|proto| flow(peers[1], web, 53, proto, UNSELECTED));
    let received = peers.iter().map(|peer| flow(*peer, web, 443, "tcp", UNSELECTED));
    let sent = peers.iter().skip(2).map(|peer| flow(db, *peer, 443, "tcp", UNSELECTED));
    let wide = [("mail", 1, "shop", "open", "security"), ("store", 2, "", "open", "default")];
    let wide = wide.iter().flat_map(|(app, kind, namespace, name, tier)| {
        let (to, label) = (format!("{app}-*"), format!("app={app}"));
        let trace = hit(*kind, namespace, name, tier);
        peers
            .iter()
            .map(move |peer| flow(*peer, ("shop", &to, WORKLOAD, &label), 25, "tcp", &trace))
            .collect::<Vec<_>>()
    });
    ports.chain(protocols).chain(received).chain(sent).chain(wide).collect()
}
