//! Calico's kinds as resources of the cluster, with schemas cut down to what the tests plant.

use serde_json::{Value, json};

use super::planter::Planter;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Kind, resource, and whether it lives in namespaces.
const KINDS: [(&str, &str, bool); 4] = [
    ("Tier", "tiers", false),
    ("NetworkPolicy", "networkpolicies", true),
    ("GlobalNetworkPolicy", "globalnetworkpolicies", false),
    ("NetworkSet", "networksets", true),
];

/// Defines the kinds under a group and version.
pub(crate) async fn install(planter: &Planter, group: &str, version: &str) {
    for (kind, plural, namespaced) in KINDS {
        let schema = json!({"type": "object", "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": spec(kind),
        }});
        let names =
            json!({"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")});
        let spec = json!({
            "group": group, "names": names, "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        });
        planter.create(CRDS, json!({"metadata": {"name": format!("{plural}.{group}")}, "spec": spec})).await;
    }
}

/// Takes the kinds of a group away, and all their objects with them.
pub(crate) async fn remove(planter: &Planter, group: &str) {
    for (_, plural, _) in KINDS {
        let foreign = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"});
        planter.delete(&format!("{CRDS}/{plural}.{group}"), &foreign).await;
    }
}

fn spec(kind: &str) -> Value {
    let properties = match kind {
        "Tier" => json!({"order": {"type": "number"}, "defaultAction": {"type": "string", "enum": ["Pass", "Deny"]}}),
        "NetworkSet" => json!({"nets": {"type": "array", "items": {"type": "string"}}}),
        _ => {
            let entity = json!({"type": "object", "properties": {
                "selector": {"type": "string"}, "nets": {"type": "array", "items": {"type": "string"}},
                "ports": {"type": "array", "items": {"x-kubernetes-int-or-string": true}},
            }});
            let rule = json!({"type": "object", "required": ["action"], "properties": {
                "action": {"type": "string", "enum": ["Allow", "Deny", "Log", "Pass"]},
                "protocol": {"x-kubernetes-int-or-string": true}, "source": entity, "destination": entity,
            }});
            let rules = json!({"type": "array", "items": rule});
            let types = json!({"type": "array", "items": {"type": "string", "enum": ["Ingress", "Egress"]}});
            json!({"tier": {"type": "string"}, "order": {"type": "number"}, "selector": {"type": "string"},
                "types": types, "ingress": rules, "egress": rules})
        }
    };
    json!({"type": "object", "properties": properties})
}
