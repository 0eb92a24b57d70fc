//! `NetworkPolicy` of `networking.k8s.io/v1` and `ClusterNetworkPolicy` of `policy.networking.k8s.io`.

use serde::{Deserialize, Serialize};

use super::{PolicyType, Port, Protocol, objects};
use crate::knowledge::{LabelSelector, or_default};

objects! {
    /// A Kubernetes policy over the pods of its namespace.
    KubernetesNetworkPolicy: KubernetesPolicySpec,
    /// A policy of an administrator over pods of all namespaces.
    ClusterNetworkPolicy: ClusterPolicySpec,
}

/// The specification of a Kubernetes policy: what it does not allow to the pods it selects is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesPolicySpec {
    /// The pods it applies to.
    #[serde(deserialize_with = "or_default")]
    pub pod_selector: LabelSelector,
    /// Directions it governs.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub policy_types: Vec<PolicyType>,
    /// What may arrive.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IngressRule>,
    /// What may leave.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressRule>,
}

/// What may arrive: from one of the peers to one of the ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// Anyone if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Peer>,
    /// Any port if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PeerPort>,
}

/// What may leave: to one of the peers and one of the ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EgressRule {
    /// Anyone if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Peer>,
    /// Any port if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PeerPort>,
}

/// The other end: pods, or addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peer {
    /// Pods with such labels; all if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// In namespaces with such labels; in the policy's own if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses; excludes the other two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// A network without some of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpBlock {
    /// The network.
    pub cidr: String,
    /// Parts that are left out.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// A port, or a range of ports, of a protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerPort {
    /// TCP if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Number or name; all ports if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Last port of a range that begins at `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
}

/// The specification of a cluster policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPolicySpec {
    /// Before or after the policies of namespaces.
    pub tier: ClusterPolicyTier,
    /// Lower is asked first.
    pub priority: i32,
    /// The pods it applies to.
    pub subject: ClusterSubject,
    /// Rules for what arrives, first match decides.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<ClusterIngressRule>,
    /// Rules for what leaves, first match decides.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<ClusterEgressRule>,
}

/// Where a cluster policy stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterPolicyTier {
    /// Before the policies of namespaces.
    #[default]
    Admin,
    /// After the policies of namespaces.
    Baseline,
}

/// The pods a cluster policy applies to; exactly one is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterSubject {
    /// All pods of such namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Such pods of such namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPods>,
}

/// Pods with such labels in namespaces with such labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedPods {
    /// The namespaces.
    #[serde(deserialize_with = "or_default")]
    pub namespace_selector: LabelSelector,
    /// The pods in them.
    #[serde(deserialize_with = "or_default")]
    pub pod_selector: LabelSelector,
}

/// What a rule of a cluster policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterPolicyAction {
    /// The traffic goes through.
    Accept,
    /// The traffic is dropped.
    Deny,
    /// The policies of namespaces are asked.
    Pass,
}

/// A rule for what arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterIngressRule {
    /// A name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What happens.
    pub action: ClusterPolicyAction,
    /// From one of these.
    #[serde(default, deserialize_with = "or_default")]
    pub from: Vec<ClusterPeer>,
    /// By one of these; any if empty.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<ClusterProtocol>,
}

/// A rule for what leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEgressRule {
    /// A name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What happens.
    pub action: ClusterPolicyAction,
    /// To one of these.
    #[serde(default, deserialize_with = "or_default")]
    pub to: Vec<ClusterPeer>,
    /// By one of these; any if empty.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<ClusterProtocol>,
}

/// The other end of a rule of a cluster policy; exactly one is given. A peer of a kind that is not read here is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPeer {
    /// All pods of such namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Such pods of such namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPods>,
    /// Addresses in one of these networks; egress only.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
}

/// A protocol with a port; exactly one is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterProtocol {
    /// TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<ClusterPorts>,
    /// UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<ClusterPorts>,
    /// SCTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sctp: Option<ClusterPorts>,
    /// A port that pods declare, by its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_named_port: String,
}

/// Ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPorts {
    /// All if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<ClusterPort>,
}

/// A number or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterPort {
    /// One port.
    Number(u16),
    /// Several, both ends included.
    Range {
        /// The first.
        start: u16,
        /// The last.
        end: u16,
    },
}
