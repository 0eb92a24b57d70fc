//! Who talked, from flows to rows: the objects of a simulated cluster stand in a real API server, and half of them are
//! rolled out anew while the pipeline runs.
//!
//! A simulated second is one of ours: the server knows no other clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::lab::{PATIENCE, collector_with};
use crate::process::{Running, binary};
use crate::server::Server;
use crate::text;

/// Kinds that say who somebody is.
const KINDS: [&str; 7] = ["Namespace", "Node", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Pod"];
/// Whole windows that are asked for before and after the rollout.
const WINDOWS: usize = 2;
/// A window that comes closer to the rollout than this may see either side of it.
const EDGE: SignedDuration = SignedDuration::from_secs(3);

/// What the rows say of an end.
#[derive(Debug, PartialEq)]
struct Told {
    workload: (String, String),
    accounts: BTreeSet<String>,
    nodes: BTreeSet<String>,
    pods: usize,
}

#[test]
fn rows_name_the_workloads_accounts_and_nodes_that_were_planted_before_and_after_a_rollout() {
    let Some(server) = Server::start("who") else { return };
    let (start, knowledge) = (Timestamp::now().to_string(), server.file("knowledge"));
    let (_collector, address) =
        collector_with(&["--speed", "1", "--start", &start, "--duration", "30m", "--knowledge", text(&knowledge)]);
    let mut cluster = Planted::of(&server, &knowledge);
    let mut pipeline = run(&server, &address);
    let rows = server.file("rows.jsonl");

    let old = cluster.pods.clone();
    wait_for(&mut pipeline, &rows, Window::is_fresh);
    let begun = Timestamp::now() - EDGE;
    cluster.roll_out();
    let done = Timestamp::now() + EDGE;
    wait_for(&mut pipeline, &rows, |window| window.is_fresh() && window.start >= done);
    pipeline.stop();

    let windows = windows(&rows);
    let first = windows.iter().position(Window::is_fresh).unwrap();
    assert!(windows[first..].iter().all(Window::is_fresh), "once the cluster is known it stays known");
    let before = compare(windows.iter().filter(|w| w.is_fresh() && w.end <= begun), &cluster, &old);
    let after = compare(windows.iter().filter(|w| w.start >= done), &cluster, &cluster.pods);
    let is_second = |told: &&Told| told.accounts.contains("second");
    let moved = after.iter().filter(is_second).count();
    let (before, after) = (before.len(), after.len());
    assert!(
        before > 100 && moved > 100 && after > moved + 100,
        "compared: {before} before, {after} after, {moved} moved"
    );
    println!("{before} ends compared before the rollout, {after} after it, {moved} of them of new pods");
}

/// Compares all ends that bear a planted name, and gives what they say.
fn compare<'a>(windows: impl Iterator<Item = &'a Window>, cluster: &Planted, pods: &[Value]) -> Vec<Told> {
    let mut compared = Vec::new();
    for row in windows.flat_map(|window| &window.rows) {
        for end in ["source", "dest"].map(|end| End { row, end }) {
            let Some(planted) = cluster.told_of(&end, pods) else { continue };
            assert_eq!(end.told(), planted, "{} of {row}", end.end);
            assert_eq!(end.column("identity_from"), "generate_name", "{row}");
            compared.push(planted);
        }
    }
    compared
}

fn run(server: &Server, address: &str) -> Running {
    let file = |name| server.file(name).display().to_string();
    let config = format!(
        "cluster: test\nwindow: 15s\nspool: {{ dir: '{}' }}\nhttp: {{ listen: '127.0.0.1:0' }}\n\
         enrich: {{ kubernetes: {{ kubeconfig: '{}' }} }}\n\
         sources:\n  calico: {{ type: goldmane, address: '{address}', settle: 20s }}\n\
         sinks:\n  lines: {{ type: jsonl, path: '{}', datasets: [flows] }}\n",
        file("spool"),
        server.kubeconfig("admin").display(),
        file("rows.jsonl"),
    );
    std::fs::write(server.file("catchment.yaml"), config).unwrap();
    let log = std::fs::File::create(server.file("run.log")).unwrap();
    let mut command = binary();
    command.args(["run", "--config"]).arg(server.file("catchment.yaml")).stdout(Stdio::null()).stderr(log);
    Running(command.spawn().unwrap())
}

/// The rows of one window.
struct Window {
    start: Timestamp,
    end: Timestamp,
    rows: Vec<Value>,
}

impl Window {
    fn is_fresh(&self) -> bool {
        self.rows.iter().all(|row| row["identity_state"] == "fresh")
    }
}

/// What was published, without a line that is being written.
fn windows(rows: &Path) -> Vec<Window> {
    let text = std::fs::read_to_string(rows).unwrap_or_default();
    let mut windows = BTreeMap::<_, Vec<Value>>::new();
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    for line in text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        windows.entry((time(&row["window_start"]), time(&row["window_end"]))).or_default().push(row);
    }
    windows.into_iter().map(|((start, end), rows)| Window { start, end, rows }).collect()
}

fn wait_for(pipeline: &mut Running, rows: &Path, wanted: impl Fn(&Window) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while windows(rows).iter().filter(|window| wanted(window)).count() < WINDOWS {
        let log = || std::fs::read_to_string(rows.with_file_name("run.log")).unwrap_or_default();
        assert!(pipeline.0.try_wait().unwrap().is_none(), "it ended: {}", log());
        assert!(Instant::now() < deadline, "{} windows, too few of them wanted: {}", windows(rows).len(), log());
        std::thread::sleep(Duration::from_millis(500));
    }
}

struct End<'a> {
    row: &'a Value,
    end: &'a str,
}

impl End<'_> {
    fn column(&self, name: &str) -> &Value {
        &self.row[format!("{}_{name}", self.end)]
    }

    fn told(&self) -> Told {
        let list = |name| strings(self.column(name)).collect();
        let workload = ["workload_kind", "workload_name"].map(|name| owned(self.column(name)));
        let pods = self.column("pods").as_u64().unwrap_or_default() as usize;
        Told { workload: workload.into(), accounts: list("service_accounts"), nodes: list("nodes"), pods }
    }

    /// Whether the name before the star and all labels are those of `pod`.
    fn means(&self, pod: &Value) -> bool {
        let name = format!("{}*", owned(&pod["metadata"]["generateName"]));
        let carries = |label: String| {
            let (key, value) = label.split_once('=').unwrap();
            pod["metadata"]["labels"][key] == value
        };
        *self.column("type") == "WorkloadEndpoint"
            && *self.column("name") == *name
            && self.column("namespace") == &pod["metadata"]["namespace"]
            && strings(self.column("labels")).all(carries)
    }
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().into_iter().flatten().map(owned)
}

/// The cluster as it stands in the server.
struct Planted<'a> {
    server: &'a Server,
    /// By namespace and name of a replica set, the deployment.
    deployments: BTreeMap<(String, String), String>,
    pods: Vec<Value>,
}

impl<'a> Planted<'a> {
    /// Plants what the simulator wrote to `folder`.
    fn of(server: &'a Server, folder: &Path) -> Self {
        let objects = std::fs::read_to_string(folder.join("objects.json")).unwrap();
        let mut objects: Value = serde_json::from_str(&objects).unwrap();
        let is_kind = |object: &Value, kind: &str| object["kind"] == kind;
        let items = objects["items"].as_array_mut().unwrap();
        items.retain(|object| KINDS.iter().any(|kind| is_kind(object, kind)));
        items.iter_mut().for_each(complete);
        let (pods, others): (Vec<_>, Vec<_>) = items.drain(..).partition(|object| is_kind(object, "Pod"));
        let sets = others.iter().filter(|object| is_kind(object, "ReplicaSet"));
        let deployments = sets.map(|set| (named(set), owned(&set["metadata"]["ownerReferences"][0]["name"]))).collect();
        apply(server, &others);
        start(server, &pods);
        Self { server, deployments, pods }
    }

    /// Pods of half of the namespaces are replaced by others that bear the same generated name: by another account, elsewhere.
    fn roll_out(&mut self) {
        let (mut new, kept): (Vec<_>, Vec<_>) =
            self.pods.drain(..).partition(|pod| owned(&pod["metadata"]["namespace"]).as_str() < "platform");
        let old = std::mem::take(&mut new);
        for mut pod in old.clone() {
            pod["metadata"]["name"] = format!("{}-new", owned(&pod["metadata"]["name"])).into();
            pod["spec"]["serviceAccountName"] = "second".into();
            pod["spec"]["nodeName"] = "node-0".into();
            new.push(pod);
        }
        start(self.server, &new);
        let file = written(self.server, "old.json", &old);
        self.server.kubectl(&["delete", "--force", "--grace-period=0", "-f", &file]);
        self.pods = [kept, new].concat();
    }

    /// What was planted for the name that an end bears; `None` where that is nothing.
    fn told_of(&self, end: &End<'_>, pods: &[Value]) -> Option<Told> {
        let meant: Vec<_> = pods.iter().filter(|pod| end.means(pod)).collect();
        let owner = &meant.first()?["metadata"]["ownerReferences"][0];
        let (namespace, name) = (owned(&meant[0]["metadata"]["namespace"]), owned(&owner["name"]));
        let deployment = self.deployments.get(&(namespace, name.clone()));
        let workload = deployment.map_or((owned(&owner["kind"]), name), |name| ("Deployment".to_owned(), name.clone()));
        let all = |field: &str| meant.iter().map(|pod| owned(&pod["spec"][field])).collect();
        Some(Told { workload, accounts: all("serviceAccountName"), nodes: all("nodeName"), pods: meant.len() })
    }
}

fn named(object: &Value) -> (String, String) {
    (owned(&object["metadata"]["namespace"]), owned(&object["metadata"]["name"]))
}

/// Fills in what the server insists on and nobody reads.
fn complete(object: &mut Value) {
    let containers = json!([{"name": "main", "image": "main:1"}]);
    if object["metadata"]["ownerReferences"].is_array() {
        object["metadata"]["ownerReferences"][0]["uid"] = "0".into();
    }
    match object["kind"].as_str().unwrap() {
        "Pod" => {
            object["spec"]["containers"] = containers;
            object["status"]["podIP"] = object["status"]["podIPs"][0]["ip"].clone();
        }
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            let labels = json!({"app": object["metadata"]["name"]});
            let template = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
            object["spec"] = json!({"selector": {"matchLabels": labels}, "template": template});
        }
        _ => {}
    }
}

/// Creates pods, which then run.
fn start(server: &Server, pods: &[Value]) {
    apply(server, pods);
    server.kubectl(&["replace", "--subresource=status", "-f", &written(server, "status.json", pods)]);
}

fn apply(server: &Server, objects: &[Value]) {
    server.kubectl(&["apply", "-f", &written(server, "planted.json", objects)]);
}

fn written(server: &Server, name: &str, objects: &[Value]) -> String {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(server.file(name), list.to_string()).unwrap();
    server.file(name).display().to_string()
}
