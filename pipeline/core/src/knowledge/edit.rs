//! Who edited an object last: the newest entry of `metadata.managedFields`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Text;
use crate::EventTime;

/// The last edit of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The client that made it, such as `kubectl-edit` or `argocd-controller`.
    pub manager: Text,
    /// When.
    pub at: EventTime,
}

/// One entry of `managedFields`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    manager: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// What controllers report about an object is no edit.
    #[serde(skip_serializing)]
    subresource: String,
}

#[allow(clippy::ref_option)] // serde asks for this shape
pub(super) fn serialize<S: Serializer>(edited: &Option<Edited>, serializer: S) -> Result<S::Ok, S::Error> {
    let listed = edited.iter().map(|edited| Entry {
        manager: edited.manager.clone(),
        time: Some(edited.at.to_rfc3339()),
        subresource: String::new(),
    });
    serializer.collect_seq(listed)
}

/// Of several at one time the last by name, whatever the order they are listed in.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Edited>, D::Error> {
    let entries: Vec<Entry> = super::or_default(deserializer)?;
    let edits = entries.into_iter().filter(|entry| entry.subresource != "status").filter_map(|entry| {
        let at = EventTime::parse_rfc3339(entry.time.as_deref()?)?;
        Some(Edited { manager: entry.manager, at })
    });
    Ok(edits.max_by(|a, b| (a.at, &a.manager).cmp(&(b.at, &b.manager))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::knowledge::Meta;

    #[test]
    fn the_last_edit_is_kept_and_reports_of_controllers_are_none() {
        let entry = |manager: &str, time: &str, subresource: &str| json!({"manager": manager, "operation": "Update", "time": time, "subresource": subresource, "fieldsV1": {}});
        let fields = json!([
            entry("helm", "2026-01-01T00:00:00Z", ""),
            entry("kubectl-edit", "2026-01-02T00:00:00Z", ""),
            entry("tigera-operator", "2026-01-03T00:00:00Z", "status"),
            {"manager": "timeless"},
        ]);
        let meta: Meta = serde_json::from_value(json!({"name": "p", "managedFields": fields})).unwrap();
        let at = EventTime::parse_rfc3339("2026-01-02T00:00:00Z").unwrap();
        assert_eq!(meta.edited, Some(Edited { manager: "kubectl-edit".into(), at }));
        let written = serde_json::to_value(&meta).unwrap();
        assert_eq!(serde_json::from_value::<Meta>(written).unwrap(), meta);
    }
}
