//! An application as its controllers would run it.

use serde_json::{Value, json};

use super::planter::{Planter, together};

/// The namespace of all of it.
const PODS: &str = "/api/v1/namespaces/shop/pods";
/// Names of the nodes.
pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Pods by revision, as they are now.
pub(crate) struct Shop<'a> {
    planter: &'a Planter,
    /// Pods that are there: number and object.
    pods: Vec<(usize, Value)>,
    /// Addresses that are free, the one that was freed first at the end.
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
        let numbers: Vec<_> = (self.planted..self.planted + count).collect();
        self.planted += count;
        let addresses: Vec<_> = numbers.iter().map(|_| self.addresses.pop().expect("enough addresses")).collect();
        let planter = self.planter;
        together(numbers.iter().zip(&addresses).map(|(&n, ip)| run(planter, set, n, nodes[n % nodes.len()], ip))).await;
        self.pods.extend(numbers.into_iter().map(|number| (number, pod(set, number, ""))));
    }

    /// Ends the `count` oldest pods: asked to end, ended, gone. Their addresses are free again.
    pub(crate) async fn stop(&mut self, count: usize) {
        let pods: Vec<_> = self.pods.drain(..count).collect();
        let planter = self.planter;
        together(pods.iter().map(|(_, pod)| async move {
            planter.end(&path(pod)).await;
            planter.change(&format!("{}/status", path(pod)), json!({"status": {"phase": "Succeeded"}})).await;
            planter.delete(&path(pod), &named(pod)).await;
        }))
        .await;
        for (number, _) in pods {
            self.addresses.insert(0, address(number));
        }
    }

    /// A node is lost: nobody hears of its pods any more, and after a while they are taken for gone.
    pub(crate) async fn lose(&mut self, node: &str) -> usize {
        let not_ready = json!([{"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T01:00:00Z"}]);
        let status = json!({"status": {"conditions": not_ready}});
        self.planter.change(&format!("/api/v1/nodes/{node}/status"), status).await;
        let here = |number: &usize| NODES[number % NODES.len()] == node;
        let (lost, kept) = std::mem::take(&mut self.pods).into_iter().partition(|(number, _)| here(number));
        self.pods = kept;
        let lost: Vec<(usize, Value)> = lost;
        let planter = self.planter;
        together(lost.iter().map(|(_, pod)| async move { planter.delete(&path(pod), &named(pod)).await })).await;
        planter
            .delete(
                &format!("/api/v1/nodes/{node}"),
                &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}),
            )
            .await;
        self.addresses.extend(lost.iter().map(|(number, _)| address(*number)));
        lost.len()
    }

    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }
}

async fn run(planter: &Planter, set: &Value, number: usize, node: &str, ip: &str) {
    let pod = pod(set, number, node);
    planter.create(PODS, pod.clone()).await;
    let status = format!("{}/status", path(&pod));
    planter.change(&status, json!({"status": {"phase": "Pending"}})).await;
    let running = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]});
    planter.change(&status, json!({"status": running})).await;
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]);
    planter.change(&status, json!({"status": {"conditions": ready}})).await;
    // What is not read is not told.
    planter.change(&path(&pod), json!({"metadata": {"annotations": {"note": ip}}})).await;
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

fn address(number: usize) -> String {
    format!("10.244.{}.{}", number % 700 / 250, number % 250 + 1)
}
