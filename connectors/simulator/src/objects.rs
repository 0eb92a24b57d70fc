//! Objects as the API writes them.

use catchment_core::EventTime;
use serde_json::{Value, json};

pub(crate) const CALICO: &str = "projectcalico.org/v3";

/// An object with nothing but its name; of the cluster if `namespace` is empty.
pub(crate) fn object(api: &str, kind: &str, namespace: &str, name: &str, made: i64) -> Value {
    let mut metadata = json!({"name": name, "creationTimestamp": EventTime::from_secs(made).to_rfc3339()});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": api, "kind": kind, "metadata": metadata})
}

pub(crate) fn owned_by(kind: &str, name: &str) -> Value {
    let api = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    json!([{"apiVersion": api, "kind": kind, "name": name, "controller": true}])
}
