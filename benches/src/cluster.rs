//! A cluster to judge policies of: 100 namespaces with ten policies and 200 pods each.

use catchment_core::knowledge::policy::{GlobalNetworkPolicy, KubernetesNetworkPolicy, NetworkPolicy};
use catchment_stages::policy::{Compiled, Endpoint, Workload};
use serde_json::{Value, json};

/// Namespaces of the cluster.
pub const NAMESPACES: usize = 100;
/// Workloads of a namespace.
const APPS: usize = 20;
/// Pods of a workload.
const REPLICAS: usize = 10;

/// All pods: 20,000.
pub fn pods() -> Vec<Endpoint> {
    let numbers = (0..NAMESPACES).flat_map(|n| (0..APPS).flat_map(move |app| (0..REPLICAS).map(move |r| (n, app, r))));
    numbers.map(|(namespace, app, replica)| pod(namespace, app, replica)).collect()
}

/// One pod, with the labels pods bear.
pub fn pod(namespace: usize, app: usize, replica: usize) -> Endpoint {
    let labels = [
        ("app.kubernetes.io/name", format!("app-{app}")),
        ("app.kubernetes.io/instance", format!("app-{app}")),
        ("app.kubernetes.io/managed-by", "Helm".to_owned()),
        ("pod-template-hash", format!("{:08x}", app * 7919)),
        ("tier", ["front", "back", "data"][app % 3].to_owned()),
        ("version", format!("v{}", app % 4)),
    ];
    let of_namespace = [
        ("kubernetes.io/metadata.name", format!("ns-{namespace}")),
        ("environment", ["dev", "prod"][namespace % 2].to_owned()),
        ("team", format!("team-{}", namespace % 12)),
    ];
    let owned = |(key, value): (&str, String)| (key.to_owned(), value);
    Workload {
        namespace: format!("ns-{namespace}"),
        name: format!("app-{app}-{replica}"),
        labels: labels.map(owned).into(),
        namespace_labels: of_namespace.map(owned).into(),
        service_account: format!("app-{app}"),
        addresses: vec![[10, namespace as u8, app as u8, replica as u8].into()],
        ..Workload::default()
    }
    .into()
}

/// All policies: 1,000. Seven of ten are of Kubernetes, two of Calico in namespaces, and one for the whole cluster.
pub fn policies() -> Vec<Compiled> {
    (0..NAMESPACES * 10).map(|number| policy(number / 10, number % 10)).collect()
}

/// One policy of ten of a namespace.
pub fn policy(namespace: usize, number: usize) -> Compiled {
    let metadata = json!({"name": format!("p-{number}"), "namespace": format!("ns-{namespace}")});
    match number {
        0 => kubernetes(&metadata, &json!({})),
        1..=6 => kubernetes(&metadata, &json!({"app.kubernetes.io/name": format!("app-{number}")})),
        7 | 8 => {
            let rule = json!({"action": "Allow", "source": {"selector": "tier == 'front'"}});
            let spec = json!({"selector": "tier in {'back', 'data'} && version != 'v0'", "ingress": [rule]});
            Compiled::from(&read::<NetworkPolicy>(json!({"metadata": metadata, "spec": spec})))
        }
        _ => {
            let selector = format!("has(tier) && app.kubernetes.io/name starts with 'app-{}'", namespace % APPS);
            let team = format!("team == 'team-{}'", namespace % 12);
            let rule = json!({"action": "Pass", "source": {"namespaceSelector": "environment == 'prod'"}});
            let spec = json!({"selector": selector, "namespaceSelector": team, "ingress": [rule], "order": namespace});
            Compiled::from(&read::<GlobalNetworkPolicy>(
                json!({"metadata": {"name": format!("g-{namespace}")}, "spec": spec}),
            ))
        }
    }
}

fn kubernetes(metadata: &Value, labels: &Value) -> Compiled {
    let peer = json!({"podSelector": {"matchLabels": {"tier": "front"}}});
    let spec = json!({
        "podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [peer], "ports": [{"port": 8080}]}],
    });
    Compiled::from(&read::<KubernetesNetworkPolicy>(json!({"metadata": metadata, "spec": spec})))
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("the API would serve it")
}
