//! Every kind of object that Catchment reads, as one type.

use std::fmt;
use std::sync::Arc;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use super::policy::{
    ClusterNetworkPolicy, GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint, KubernetesNetworkPolicy, NetworkPolicy,
    NetworkSet, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy, Tier,
};
use super::workload::{
    BlockAffinity, CronJob, DaemonSet, Deployment, EndpointSlice, IPPool, Ingress, Job, Namespace, Node, Pod,
    ReplicaSet, Service, ServiceAccount, ServiceCIDR, StatefulSet,
};
use super::{Text, storage};
use crate::EventTime;

/// The group of Calico's API.
pub const CALICO: &str = "projectcalico.org";
/// The group that Calico's own API server stores its objects under.
pub const CALICO_STORAGE: &str = "crd.projectcalico.org";

/// One line per kind: type, kind of the API, resource, group, version, and whether it lives in namespaces.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $name:literal, $plural:literal, $group:expr, $version:literal, $namespaced:literal;)*) => {
        /// A kind of object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        /// An object of a cluster; cloning counts a reference.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $($(#[$doc])* $kind(Arc<$kind>),)*
        }

        impl Kind {
            /// Every kind, objects that others refer to first.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What the API calls it, such as `Pod`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What the API lists it under, such as `pods`.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural,)* }
            }

            /// Its group; empty for the core group.
            pub const fn group(self) -> &'static str {
                match self { $(Self::$kind => $group,)* }
            }

            /// The version of its group that objects are written in.
            pub const fn version(self) -> &'static str {
                match self { $(Self::$kind => $version,)* }
            }

            /// Whether its objects live in namespaces.
            pub const fn namespaced(self) -> bool {
                match self { $(Self::$kind => $namespaced,)* }
            }
        }

        impl Object {
            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            /// What it is known by.
            pub fn key(&self) -> Key {
                match self { $(Self::$kind(object) => Key {
                    kind: Kind::$kind,
                    namespace: Text::new(&object.metadata.namespace),
                    name: Text::new(&object.metadata.name),
                },)* }
            }

            /// When it was made, if it says so.
            pub fn created(&self) -> Option<EventTime> {
                match self { $(Self::$kind(object) => object.metadata.created(),)* }
            }

            fn parse(kind: Kind, json: &str) -> serde_json::Result<Self> {
                match kind { $(Kind::$kind => serde_json::from_str(json).map(|object| Self::$kind(Arc::new(object))),)* }
            }

            fn to_value(&self) -> serde_json::Result<serde_json::Value> {
                match self { $(Self::$kind(object) => serde_json::to_value(object),)* }
            }
        }

        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Arc::new(object))
            }
        })*
    };
}

kinds! {
    /// A namespace.
    Namespace: "Namespace", "namespaces", "", "v1", false;
    /// A machine.
    Node: "Node", "nodes", "", "v1", false;
    /// An identity of pods.
    ServiceAccount: "ServiceAccount", "serviceaccounts", "", "v1", true;
    /// Pods replaced step by step.
    Deployment: "Deployment", "deployments", "apps", "v1", true;
    /// Pods of one revision.
    ReplicaSet: "ReplicaSet", "replicasets", "apps", "v1", true;
    /// Pods with names that stay.
    StatefulSet: "StatefulSet", "statefulsets", "apps", "v1", true;
    /// One pod per node.
    DaemonSet: "DaemonSet", "daemonsets", "apps", "v1", true;
    /// Jobs that begin by the clock.
    CronJob: "CronJob", "cronjobs", "batch", "v1", true;
    /// Pods that run to their end.
    Job: "Job", "jobs", "batch", "v1", true;
    /// Containers that share an address.
    Pod: "Pod", "pods", "", "v1", true;
    /// A name and address in front of pods.
    Service: "Service", "services", "", "v1", true;
    /// Who answers for a service.
    EndpointSlice: "EndpointSlice", "endpointslices", "discovery.k8s.io", "v1", true;
    /// Services that requests from outside are led to.
    Ingress: "Ingress", "ingresses", "networking.k8s.io", "v1", true;
    /// Ranges of service addresses.
    ServiceCIDR: "ServiceCIDR", "servicecidrs", "networking.k8s.io", "v1", false;
    /// A policy of Kubernetes over pods.
    KubernetesNetworkPolicy: "NetworkPolicy", "networkpolicies", "networking.k8s.io", "v1", true;
    /// A policy of Kubernetes over the cluster.
    ClusterNetworkPolicy: "ClusterNetworkPolicy", "clusternetworkpolicies", "policy.networking.k8s.io", "v1alpha2", false;
    /// A group of Calico policies.
    Tier: "Tier", "tiers", CALICO, "v3", false;
    /// A policy of Calico over a namespace.
    NetworkPolicy: "NetworkPolicy", "networkpolicies", CALICO, "v3", true;
    /// A policy of Calico over the cluster.
    GlobalNetworkPolicy: "GlobalNetworkPolicy", "globalnetworkpolicies", CALICO, "v3", false;
    /// A namespaced policy, evaluated only.
    StagedNetworkPolicy: "StagedNetworkPolicy", "stagednetworkpolicies", CALICO, "v3", true;
    /// A global policy, evaluated only.
    StagedGlobalNetworkPolicy: "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", CALICO, "v3", false;
    /// A Kubernetes policy, evaluated only.
    StagedKubernetesNetworkPolicy: "StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", CALICO, "v3", true;
    /// Named addresses of a namespace.
    NetworkSet: "NetworkSet", "networksets", CALICO, "v3", true;
    /// Named addresses of the cluster.
    GlobalNetworkSet: "GlobalNetworkSet", "globalnetworksets", CALICO, "v3", false;
    /// An interface of a node.
    HostEndpoint: "HostEndpoint", "hostendpoints", CALICO, "v3", false;
    /// A range of pod addresses.
    IPPool: "IPPool", "ippools", CALICO, "v3", false;
    /// A part of a pool that belongs to a node.
    BlockAffinity: "BlockAffinity", "blockaffinities", CALICO, "v3", false;
}

impl Kind {
    /// The kind that `apiVersion` and `kind` of an object name, in any version of its group; `None` if it is not read.
    pub fn named(api_version: &str, name: &str) -> Option<Self> {
        let group = group_of(api_version);
        let group = if group == CALICO_STORAGE { CALICO } else { group };
        Self::ALL.iter().copied().find(|kind| kind.group() == group && kind.name() == name)
    }

    /// The `apiVersion` that objects are written in.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }
}

impl fmt::Display for Kind {
    /// As kubectl names resources: `pods`, `networkpolicies.networking.k8s.io`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group() {
            "" => f.write_str(self.plural()),
            group => write!(f, "{}.{group}", self.plural()),
        }
    }
}

/// The group in an `apiVersion`: what stands before the slash.
fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// What an object is known by; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for objects of the cluster.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{}/{}", self.kind, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.kind, self.name),
        }
    }
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It does not say what it is.
    #[error("no `apiVersion` and `kind`: is this an object as `kubectl get -o json` prints it?")]
    Nameless,
    /// A field has another shape than the API gives it.
    #[error("{kind}: {fault}")]
    Shape {
        /// `kind` of the object.
        kind: &'static str,
        /// Field and fault.
        fault: serde_json::Error,
    },
    /// It is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It has no name.
    #[error("{kind}: no `metadata.name`")]
    Unnamed {
        /// `kind` of the object.
        kind: &'static str,
    },
}

impl Object {
    /// Reads an object that says itself what it is; `None` if it is of a kind that is not read.
    pub fn from_json(json: &str) -> Result<Option<Self>, ObjectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            #[serde(default)]
            api_version: String,
            #[serde(default)]
            kind: String,
        }
        let head: Head = serde_json::from_str(json)?;
        Self::named(&head.api_version, &head.kind, json)
    }

    /// Reads an object that `api_version` and `name` of its kind describe: items of a list need not say what they are.
    /// `None` if it is of a kind that is not read.
    pub fn named(api_version: &str, name: &str, json: &str) -> Result<Option<Self>, ObjectError> {
        if api_version.is_empty() || name.is_empty() {
            return Err(ObjectError::Nameless);
        }
        let kind = Kind::named(api_version, name);
        kind.map(|kind| Self::of_kind(kind, group_of(api_version), json)).transpose()
    }

    /// Reads an object of `kind` that was served under `group`.
    pub fn of_kind(kind: Kind, group: &str, json: &str) -> Result<Self, ObjectError> {
        let shape = |fault| ObjectError::Shape { kind: kind.name(), fault };
        let object = if group == CALICO_STORAGE {
            Self::parse(kind, &storage::as_served(json).map_err(shape)?)
        } else {
            Self::parse(kind, json)
        };
        let object = object.map_err(shape)?;
        if object.key().name.is_empty() {
            return Err(ObjectError::Unnamed { kind: kind.name() });
        }
        Ok(object)
    }
}

impl Serialize for Object {
    /// As the API writes it, with `apiVersion` and `kind`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole {
            api_version: String,
            kind: &'static str,
            #[serde(flatten)]
            object: serde_json::Value,
        }
        let object = self.to_value().map_err(S::Error::custom)?;
        Whole { api_version: self.kind().api_version(), kind: self.kind().name(), object }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_read_by_what_it_says_it_is() {
        let policy = |version: &str| {
            let object =
                json!({"apiVersion": version, "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "n"}});
            Object::from_json(&object.to_string()).unwrap().map(|object| object.kind())
        };
        assert_eq!(policy("networking.k8s.io/v1"), Some(Kind::KubernetesNetworkPolicy));
        assert_eq!(policy("projectcalico.org/v3"), Some(Kind::NetworkPolicy));
        assert_eq!(policy("crd.projectcalico.org/v1"), Some(Kind::NetworkPolicy));
        assert_eq!(policy("example.org/v1"), None);
    }

    #[test]
    fn what_cannot_be_read_names_kind_and_fault() {
        let error = |json: &str| Object::from_json(json).unwrap_err().to_string();
        assert!(error("{").contains("EOF"));
        assert!(error(r#"{"metadata": {}}"#).contains("`apiVersion` and `kind`"));
        assert!(error(r#"{"apiVersion": "v1", "kind": "Pod"}"#).contains("Pod: no `metadata.name`"));
        let wrong = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": 1}}"#;
        assert!(error(wrong).starts_with("Pod: invalid type: integer `1`"), "{}", error(wrong));
    }

    #[test]
    fn a_written_object_is_read_again() {
        for kind in Kind::ALL {
            let json = json!({"apiVersion": kind.api_version(), "kind": kind.name(), "metadata": {"name": "a"}});
            let object = Object::from_json(&json.to_string()).unwrap().unwrap();
            assert_eq!(object.kind(), *kind);
            let written = serde_json::to_string(&object).unwrap();
            assert_eq!(Object::from_json(&written).unwrap(), Some(object), "{written}");
        }
    }
}
