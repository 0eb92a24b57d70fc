//! Kinds of Calico 3.32 that are offered to be applied, with what an API server refuses of them: unknown fields and words,
//! what is too much or too long or there twice, and what contradicts itself. What Calico's own server checks beyond the
//! schemas is checked by a rule here.

use serde_json::{Value, json};

use crate::server::Server;
use crate::text;

const KINDS: [(&str, &str, bool); 3] = [
    ("StagedNetworkPolicy", "stagednetworkpolicies", true),
    ("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", false),
    ("GlobalNetworkSet", "globalnetworksets", false),
];

/// Defines the kinds, and waits until they are served.
pub(crate) fn install(server: &Server) {
    let items: Vec<_> = KINDS.iter().map(|(kind, plural, namespaced)| definition(kind, plural, *namespaced)).collect();
    let path = server.file("kinds.json");
    std::fs::write(&path, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
    server.kubectl(&["create", "-f", text(&path)]);
    for (_, plural, _) in KINDS {
        server.kubectl(&["wait", "--for=condition=Established", &format!("crd/{plural}.projectcalico.org")]);
    }
}

fn definition(kind: &str, plural: &str, namespaced: bool) -> Value {
    let names =
        json!({"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")});
    let spec = if kind == "GlobalNetworkSet" { network_set() } else { staged_policy(!namespaced) };
    let schema = json!({"type": "object", "required": ["metadata", "spec"], "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": spec,
    }});
    let version = json!({"name": "v3", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.projectcalico.org"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
        "spec": {"group": "projectcalico.org", "names": names, "versions": [version],
            "scope": if namespaced { "Namespaced" } else { "Cluster" }}})
}

fn network_set() -> Value {
    let mut nets = texts(100_000);
    nets["x-kubernetes-validations"] = json!([rule("self.all(net, isCIDR(net) || isIP(net))", "no network")]);
    json!({"type": "object", "properties": {"nets": nets}})
}

fn staged_policy(global: bool) -> Value {
    let rules = || json!({"type": "array", "maxItems": 1024, "items": rule_schema()});
    let mut spec = json!({"type": "object", "properties": {
        "stagedAction": word(&["Set", "Delete", "Learn", "Ignore"]), "tier": {"type": "string"},
        "order": {"type": "number"}, "selector": selector(), "serviceAccountSelector": selector(),
        "types": {"type": "array", "minItems": 1, "maxItems": 2, "items": word(&["Ingress", "Egress"]),
            "x-kubernetes-list-type": "set"},
        "ingress": rules(), "egress": rules(),
    }});
    let properties = &mut spec["properties"];
    if global {
        properties["namespaceSelector"] = selector();
        for flag in ["doNotTrack", "preDNAT", "applyOnForward"] {
            properties[flag] = json!({"type": "boolean"});
        }
    }
    spec["x-kubernetes-validations"] = json!([not_global()]);
    spec
}

fn rule_schema() -> Value {
    let icmp = json!({"type": "object", "properties": {
        "type": {"type": "integer", "minimum": 0, "maximum": 254},
        "code": {"type": "integer", "minimum": 0, "maximum": 255},
    }});
    let path = json!({"type": "object", "properties": {"exact": {"type": "string"}, "prefix": {"type": "string"}}});
    let http = json!({"type": "object", "properties": {
        "methods": {"type": "array", "items": {"type": "string"}}, "paths": {"type": "array", "items": path}}});
    json!({"type": "object", "required": ["action"], "properties": {
        "action": word(&["Allow", "Deny", "Log", "Pass"]), "ipVersion": {"type": "integer", "enum": [4, 6]},
        "protocol": number_or_text(), "notProtocol": number_or_text(), "icmp": icmp, "notICMP": icmp,
        "source": entity(), "destination": entity(), "http": http,
    }, "x-kubernetes-validations": [
        rule("!has(self.http) || self.action == 'Allow'", "HTTP is for what is allowed"),
        rule("!has(self.icmp) || has(self.protocol)", "ICMP without its protocol"),
    ]})
}

fn entity() -> Value {
    let ports = json!({"type": "array", "maxItems": 50, "items": number_or_text()});
    let accounts = json!({"type": "object", "properties": {"names": texts(256), "selector": {"type": "string"}}});
    let services =
        json!({"type": "object", "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}}});
    json!({"type": "object", "properties": {
        "nets": nets(), "notNets": nets(), "selector": selector(), "notSelector": selector(),
        "namespaceSelector": selector(), "ports": ports, "notPorts": ports, "serviceAccounts": accounts,
        "services": services,
    }, "x-kubernetes-validations": [
        not_global(),
        rule("!has(self.services) || !has(self.selector) && !has(self.nets)", "a service and something else"),
    ]})
}

/// Networks of one version of IP. Half as many as Calico takes: an API server bounds what a rule over them may cost.
fn nets() -> Value {
    let mut nets = texts(128);
    let one_version = "!self.exists(net, net.contains(':')) || self.all(net, net.contains(':'))";
    nets["x-kubernetes-validations"] = json!([rule(one_version, "networks of both versions of IP")]);
    nets
}

fn texts(most: usize) -> Value {
    json!({"type": "array", "maxItems": most, "items": {"type": "string", "maxLength": 49},
        "x-kubernetes-list-type": "set"})
}

fn selector() -> Value {
    json!({"type": "string", "maxLength": 1024})
}

fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn number_or_text() -> Value {
    json!({"x-kubernetes-int-or-string": true})
}

fn not_global() -> Value {
    rule("!has(self.selector) || !self.selector.contains('global(')", "global() is for selectors of namespaces")
}

fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}
