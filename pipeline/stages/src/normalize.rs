//! From the collector's words to the contract's: `-` and empty become NULL, protocols lower case,
//! everything shared through the interner.

use std::sync::Arc;

use catchment_core::{Endpoint, FlowKey, PolicyHit, PolicyRef, Service};
use catchment_schemas::goldmane;

use crate::key_table::{Identity, Interner};

/// Builds the identity of a flow from full messages. Happens once per distinct run of raw bytes.
pub(crate) fn identity(
    interner: &mut Interner,
    key: &goldmane::FlowKey,
    source_labels: Vec<String>,
    dest_labels: Vec<String>,
    has_connections: bool,
) -> Identity {
    let flow_key = FlowKey {
        source: endpoint(interner, &key.source_namespace, &key.source_name, key.source_type),
        dest: endpoint(interner, &key.dest_namespace, &key.dest_name, key.dest_type),
        dest_port: key.dest_port,
        protocol: interner.text(&key.proto.to_ascii_lowercase()),
        service: Service {
            namespace: present(interner, &key.dest_service_namespace),
            name: present(interner, &key.dest_service_name),
            port_name: present(interner, &key.dest_service_port_name),
            port: (key.dest_service_port != 0).then_some(key.dest_service_port),
        },
        reporter: key.reporter,
        action: key.action,
        trace: trace(interner, key.policies.as_ref()),
    };
    Identity {
        key: interner.key(flow_key, has_connections),
        source_labels: interner.labels(boxed(source_labels)),
        dest_labels: interner.labels(boxed(dest_labels)),
    }
}

fn boxed(labels: Vec<String>) -> Vec<Box<str>> {
    labels.into_iter().map(String::into_boxed_str).collect()
}

fn endpoint(interner: &mut Interner, namespace: &str, name: &str, kind: i32) -> Endpoint {
    Endpoint { namespace: present(interner, namespace), raw_name: interner.text(raw_name(name, kind)), kind }
}

/// Sources without endpoint types print the two networks in their display form.
fn raw_name(name: &str, kind: i32) -> &str {
    match (kind == goldmane::EndpointType::Network as i32, name) {
        (true, "PRIVATE NETWORK") => "pvt",
        (true, "PUBLIC NETWORK") => "pub",
        _ => name,
    }
}

/// `-` is how the collector writes "none".
fn present(interner: &mut Interner, text: &str) -> Option<Arc<str>> {
    (!text.is_empty() && text != "-").then(|| interner.text(text))
}

fn trace(interner: &mut Interner, trace: Option<&goldmane::PolicyTrace>) -> Arc<catchment_core::Trace> {
    let empty = goldmane::PolicyTrace::default();
    let trace = trace.unwrap_or(&empty);
    let enforced = trace.enforced_policies.iter().map(|hit| policy_hit(interner, hit)).collect();
    let pending = trace.pending_policies.iter().map(|hit| policy_hit(interner, hit)).collect();
    interner.trace(enforced, pending)
}

fn policy_hit(interner: &mut Interner, hit: &goldmane::PolicyHit) -> PolicyHit {
    PolicyHit {
        policy: policy_ref(interner, hit),
        action: hit.action,
        policy_index: hit.policy_index,
        rule_index: hit.rule_index,
        trigger: hit.trigger.as_deref().map(|trigger| policy_ref(interner, trigger)),
    }
}

fn policy_ref(interner: &mut Interner, hit: &goldmane::PolicyHit) -> PolicyRef {
    PolicyRef {
        kind: hit.kind,
        namespace: present(interner, &hit.namespace),
        name: present(interner, &hit.name),
        tier: present(interner, &hit.tier),
    }
}
