//! What is known about a cluster: its objects, in the shape its API serves them.
//!
//! Every type is trimmed to the fields that Catchment reads; unknown fields are ignored, and a list or map that is absent
//! or `null` is empty, so objects of any release and from any tool can be read. [`policy`] holds the objects that decide
//! what may talk to whom, [`workload`] those that say what runs where. An [`Object`] is one of any kind, a [`Change`] what
//! became of one, and [`News`] what a cluster tells over time.

mod change;
mod edit;
mod object;
pub mod policy;
mod storage;
mod text;
pub mod workload;

pub use change::{Change, ChangeError, Coverage, News, Sight};
pub use edit::Edited;
pub use object::{CALICO, CALICO_STORAGE, Key, Kind, Object, ObjectError};
pub use text::Text;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Keys and values of labels or annotations.
pub type LabelMap = BTreeMap<String, String>;

/// `metadata` of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name, unique in its namespace and kind.
    pub name: String,
    /// What the name was generated from, with the trailing `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<String>,
    /// Namespace; empty for objects of the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Unique in time and space.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Opaque version of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Counts changes of the specification, where the API counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// When its deletion was asked for, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// What selectors match.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "LabelMap::is_empty")]
    pub labels: LabelMap,
    /// Notes of people and controllers.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "LabelMap::is_empty")]
    pub annotations: LabelMap,
    /// Who made it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Who edited it last, and when; of what the API keeps by field and editor nothing more.
    #[serde(rename = "managedFields", with = "edit", skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
}

impl Meta {
    /// When it was made, if it says so in a way that can be read.
    pub fn created(&self) -> Option<crate::EventTime> {
        crate::EventTime::parse_rfc3339(self.creation_timestamp.as_deref()?)
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the same namespace.
    pub name: String,
    /// Unique id of the owner.
    pub uid: String,
    /// Whether the owner is the one that manages the object.
    pub controller: bool,
}

/// A Kubernetes label selector: all of `matchLabels` and `matchExpressions` must hold; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels with exactly these values.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "LabelMap::is_empty")]
    pub match_labels: LabelMap,
    /// Further terms.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelExpression>,
}

/// One term of a [`LabelSelector`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: LabelOperator,
    /// What it is compared with; empty for `Exists` and `DoesNotExist`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a term of a [`LabelSelector`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

/// Reads `null` as the empty value, as the API does.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
