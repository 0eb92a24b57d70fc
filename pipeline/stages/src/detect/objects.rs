//! Objects of a cluster for the tests of rules, as JSON.
#![allow(clippy::needless_pass_by_value, reason = "values are written where they are used")]

use serde_json::{Value, json};

const CALICO: &str = "projectcalico.org/v3";
const LONG_AGO: &str = "2025-12-01T00:00:00Z";

/// A pod of this name that runs, with labels; `namespace/name`.
pub(crate) fn pod(name: &str, labels: Value) -> Value {
    let (namespace, name) = split(name);
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": name, "labels": labels},
        "spec": {"nodeName": "n1", "serviceAccountName": "default"}, "status": {"phase": "Running"}})
}

/// A policy of Calico that was made long ago; `namespace/name`, or `name` for one of the cluster.
pub(crate) fn policy(name: &str, spec: Value) -> Value {
    of_kind(["NetworkPolicy", "GlobalNetworkPolicy"], name, spec)
}

/// The same, staged.
pub(crate) fn staged_policy(name: &str, spec: Value) -> Value {
    of_kind(["StagedNetworkPolicy", "StagedGlobalNetworkPolicy"], name, spec)
}

fn of_kind(kinds: [&str; 2], name: &str, spec: Value) -> Value {
    let mut metadata = json!({"creationTimestamp": LONG_AGO, "generation": 1});
    let kind = if let Some((namespace, name)) = name.split_once('/') {
        (metadata["namespace"], metadata["name"]) = (namespace.into(), name.into());
        kinds[0]
    } else {
        metadata["name"] = name.into();
        kinds[1]
    };
    json!({"apiVersion": CALICO, "kind": kind, "metadata": metadata, "spec": spec})
}

/// An object that someone edited last at a time.
pub(crate) fn edited(mut object: Value, editor: &str, time: &str) -> Value {
    object["metadata"]["managedFields"] = json!([{"manager": editor, "time": time}]);
    object["metadata"]["generation"] = 2.into();
    object
}

/// A service that selects `app` and is reached in a way; `namespace/name`.
pub(crate) fn service(name: &str, kind: &str, app: &str) -> Value {
    let (namespace, name) = split(name);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": kind, "selector": {"app": app}, "ports": [{"port": 80, "nodePort": 30080}]}})
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').expect("it belongs to a namespace")
}

/// A namespace with labels.
pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// The service account that pods run as where nothing else is said.
pub(crate) fn default_account(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": "default"}})
}

/// A deployment whose pods bear labels; `namespace/name`.
pub(crate) fn deployment(name: &str, labels: Value) -> Value {
    let (namespace, name) = split(name);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": {"serviceAccountName": "default"}}}})
}

/// What is known of a cluster as a whole: a pod, a deployment, a namespace and an account that no test is about.
pub(crate) fn surroundings() -> [Value; 4] {
    let labels = json!({"app": "bystander"});
    let workloads = [pod("elsewhere/bystander-0", labels.clone()), deployment("elsewhere/bystander", labels)];
    let [pod, deployment] = workloads;
    [pod, deployment, namespace("elsewhere", json!({})), default_account("elsewhere")]
}
