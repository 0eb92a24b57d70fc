//! An application as its controllers would run it.

use serde_json::{Value, json};

use super::planter::{Planter, together};

/// The namespace of all of it.
const PODS: &str = "/api/v1/namespaces/shop/pods";
/// Names of the nodes.
pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// A pod that is there.
struct Running {
    pod: Value,
    address: String,
}

/// The pods of a deployment, the oldest first.
pub(crate) struct Shop<'a> {
    planter: &'a Planter,
    pods: Vec<Running>,
    /// Addresses that are free, the next one at the end.
    addresses: Vec<String>,
    planted: usize,
}

impl<'a> Shop<'a> {
    /// Nodes, a namespace, a deployment.
    pub(crate) async fn open(planter: &'a Planter) -> Self {
        for (number, name) in NODES.iter().enumerate() {
            let labels = json!({"topology.kubernetes.io/zone": format!("zone-{}", number % 2)});
            planter.create("/api/v1/nodes", json!({"metadata": {"name": name, "labels": labels}})).await;
            let addresses = json!([{"type": "InternalIP", "address": format!("192.0.2.{}", number + 1)}]);
            let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            let status = json!({"status": {"addresses": addresses, "conditions": ready}});
            planter.change(&format!("/api/v1/nodes/{name}/status"), status).await;
        }
        planter.create("/api/v1/namespaces", json!({"metadata": {"name": "shop", "labels": {"team": "a"}}})).await;
        let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template("none")});
        let deployment = json!({"metadata": {"name": "web"}, "spec": spec});
        planter.create("/apis/apps/v1/namespaces/shop/deployments", deployment).await;
        // Fewer addresses than pods come and go: they are used again.
        let addresses = (0..700).map(|n| format!("10.244.{}.{}", n / 250, n % 250 + 1)).collect();
        Self { planter, pods: Vec::new(), addresses, planted: 0 }
    }

    /// The replica set of a revision.
    pub(crate) async fn revise(&self, revision: &str) -> Value {
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "0", "controller": true}]);
        let labels = json!({"app": "web", "pod-template-hash": revision});
        let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template(revision)});
        let set = json!({"metadata": {"name": format!("web-{revision}"), "labels": labels, "ownerReferences": owner},
            "spec": spec});
        self.planter.create("/apis/apps/v1/namespaces/shop/replicasets", set).await
    }

    /// Starts pods of a replica set on the nodes in turn: created, bound, running, ready.
    pub(crate) async fn start(&mut self, set: &Value, count: usize, nodes: &[&str]) {
        let numbers = self.planted..self.planted + count;
        self.planted += count;
        let mut started: Vec<Running> = Vec::with_capacity(count);
        for number in numbers {
            let address = self.addresses.pop().expect("enough addresses");
            started.push(Running { pod: pod(set, number, nodes[number % nodes.len()]), address });
        }
        together(started.iter().map(|one| run(self.planter, one))).await;
        self.pods.extend(started);
    }

    /// Ends the `count` oldest pods: asked to end, ended, gone. Their addresses are free again.
    pub(crate) async fn stop(&mut self, count: usize) {
        let stopped: Vec<_> = self.pods.drain(..count).collect();
        let planter = self.planter;
        together(stopped.iter().map(|Running { pod, .. }| async move {
            planter.end(&path(pod)).await;
            planter.change(&format!("{}/status", path(pod)), json!({"status": {"phase": "Succeeded"}})).await;
            planter.delete(&path(pod), &named(pod)).await;
        }))
        .await;
        self.addresses.extend(stopped.into_iter().map(|one| one.address));
    }

    /// A node is lost: nobody hears of its pods any more, and after a while they are taken for gone.
    pub(crate) async fn lose(&mut self, node: &str) -> usize {
        let not_ready = json!([{"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T01:00:00Z"}]);
        let status = json!({"status": {"conditions": not_ready}});
        self.planter.change(&format!("/api/v1/nodes/{node}/status"), status).await;
        let here = |one: &Running| one.pod["spec"]["nodeName"] == node;
        let (lost, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pods).into_iter().partition(here);
        self.pods = kept;
        let planter = self.planter;
        together(lost.iter().map(|one| async move { planter.delete(&path(&one.pod), &named(&one.pod)).await })).await;
        let gone = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        planter.delete(&format!("/api/v1/nodes/{node}"), &gone).await;
        let lost_pods = lost.len();
        self.addresses.extend(lost.into_iter().map(|one| one.address));
        lost_pods
    }

    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }
}

async fn run(planter: &Planter, Running { pod, address: ip, .. }: &Running) {
    planter.create(PODS, pod.clone()).await;
    let status = format!("{}/status", path(pod));
    planter.change(&status, json!({"status": {"phase": "Pending"}})).await;
    let running = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]});
    planter.change(&status, json!({"status": running})).await;
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]);
    planter.change(&status, json!({"status": {"conditions": ready}})).await;
    // What is not read is not told.
    planter.change(&path(pod), json!({"metadata": {"annotations": {"note": ip}}})).await;
}

fn template(revision: &str) -> Value {
    let labels = json!({"app": "web", "pod-template-hash": revision});
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}})
}

fn pod(set: &Value, number: usize, node: &str) -> Value {
    let name = set["metadata"]["name"].as_str().unwrap();
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": set["metadata"]["uid"],
        "controller": true}]);
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    json!({
        "metadata": {"name": format!("{name}-{number}"), "generateName": format!("{name}-"), "namespace": "shop",
            "labels": set["metadata"]["labels"], "ownerReferences": owner},
        "spec": {"nodeName": node, "serviceAccountName": "web", "containers": [{"name": "main", "image": "web:1", "ports": ports}]},
    })
}

fn path(pod: &Value) -> String {
    format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap())
}

fn named(pod: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]})
}
