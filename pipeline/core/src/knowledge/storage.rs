//! How Calico's API server stores an object under `crd.projectcalico.org`, and how it serves the same one.

use serde_json::{Map, Value};

/// Labels and annotations as they were given, as JSON: those of the stored object itself are not its own.
const GIVEN: &str = "projectcalico.org/metadata";
/// What stored names of policies in the tier `default` begin with.
const DEFAULT_PREFIX: &str = "default.";

/// The object as `projectcalico.org/v3` serves it: with its own labels and annotations, and under its own name.
pub(super) fn as_served(json: &str) -> serde_json::Result<String> {
    let mut object: Value = serde_json::from_str(json)?;
    let own_name = own_name(&object).map(str::to_owned);
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        restore_given(metadata)?;
        if let Some(name) = own_name {
            metadata.insert("name".to_owned(), name.into());
        }
    }
    serde_json::to_string(&object)
}

fn restore_given(metadata: &mut Map<String, Value>) -> serde_json::Result<()> {
    let Some(given) = metadata.get("annotations").and_then(|all| all.get(GIVEN)).and_then(Value::as_str) else {
        return Ok(());
    };
    let mut given: Map<String, Value> = serde_json::from_str(given)?;
    for part in ["labels", "annotations"] {
        metadata.insert(part.to_owned(), given.remove(part).unwrap_or_default());
    }
    Ok(())
}

/// The name without the prefix that policies of the tier `default`, and only they, are stored with.
fn own_name(object: &Value) -> Option<&str> {
    let is_policy = object.get("kind")?.as_str()?.ends_with("Policy");
    let tier = object.pointer("/spec/tier").and_then(Value::as_str).unwrap_or("default");
    let name = object.pointer("/metadata/name")?.as_str()?;
    (is_policy && tier == "default").then(|| name.strip_prefix(DEFAULT_PREFIX)).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served(stored: &Value) -> Value {
        serde_json::from_str(&as_served(&stored.to_string()).unwrap()).unwrap()
    }

    #[test]
    fn labels_and_annotations_are_those_that_were_given() {
        let given = json!({"labels": {"role": "db"}, "annotations": {"note": "x"}, "uid": "1"}).to_string();
        let stored = json!({"kind": "NetworkSet", "metadata": {
            "name": "s", "labels": {"stored": "y"}, "annotations": {GIVEN: given},
        }});
        let metadata = json!({"name": "s", "labels": {"role": "db"}, "annotations": {"note": "x"}});
        assert_eq!(served(&stored)["metadata"], metadata);
    }

    #[test]
    fn a_name_loses_its_prefix_in_the_default_tier_only() {
        let name = |kind: &str, tier: Option<&str>| {
            let stored = json!({"kind": kind, "metadata": {"name": "default.a"}, "spec": {"tier": tier}});
            served(&stored)["metadata"]["name"].as_str().unwrap().to_owned()
        };
        assert_eq!(name("GlobalNetworkPolicy", Some("default")), "a");
        assert_eq!(name("StagedNetworkPolicy", None), "a");
        assert_eq!(name("NetworkPolicy", Some("security")), "default.a");
        assert_eq!(name("NetworkSet", None), "default.a");
    }

    #[test]
    fn an_object_that_was_not_stored_by_the_api_server_stays_as_it_is() {
        let plain = json!({"kind": "NetworkSet", "metadata": {"name": "s", "labels": {"a": "b"}}});
        assert_eq!(served(&plain), plain);
    }
}
