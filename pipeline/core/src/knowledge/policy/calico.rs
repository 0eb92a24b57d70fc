//! The kinds of `projectcalico.org/v3`.

use serde::{Deserialize, Serialize};

use super::kubernetes::KubernetesPolicySpec;
use super::{Port, Protocol, objects};
use crate::knowledge::or_default;

objects! {
    /// A group of policies that is asked before the tiers of higher order.
    Tier: TierSpec,
    /// A policy over the workloads of its namespace.
    NetworkPolicy: PolicySpec,
    /// A policy over workloads of all namespaces and over host endpoints.
    GlobalNetworkPolicy: PolicySpec,
    /// A namespaced policy that is evaluated and not enforced.
    StagedNetworkPolicy: StagedPolicySpec,
    /// A global policy that is evaluated and not enforced.
    StagedGlobalNetworkPolicy: StagedPolicySpec,
    /// A Kubernetes policy that is evaluated and not enforced.
    StagedKubernetesNetworkPolicy: StagedKubernetesPolicySpec,
    /// Named addresses that rules of its namespace select by its labels.
    NetworkSet: NetworkSetSpec,
    /// Named addresses that rules select by its labels.
    GlobalNetworkSet: NetworkSetSpec,
    /// An interface of a node.
    HostEndpoint: HostEndpointSpec,
}

/// What a tier is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TierSpec {
    /// Lower is asked first; none is last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// What happens to traffic of endpoints that a policy of the tier selects and no rule matches; `Deny` if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_action: Option<Action>,
}

/// What happens to traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// It goes through; nothing more is asked on this side.
    Allow,
    /// It is dropped.
    Deny,
    /// It is written down, and the next rule is asked.
    Log,
    /// The next tier is asked.
    Pass,
}

/// Whether a policy governs what arrives or what leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyType {
    /// What arrives at the endpoint.
    Ingress,
    /// What leaves the endpoint.
    Egress,
}

/// What happens when a staged policy is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StagedAction {
    /// The policy of the same name is made or replaced.
    #[default]
    Set,
    /// The policy of the same name is deleted.
    Delete,
    /// Rules are being learned.
    Learn,
    /// Nothing.
    Ignore,
}

/// The specification of namespaced and global policies. Only global ones have `namespaceSelector` and the last three.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// The tier; `default` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// Lower is asked first; none is last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// Which endpoints it applies to; empty means all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Which namespaces it applies to; empty means all, and host endpoints.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// Which service accounts it applies to; empty means all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_selector: String,
    /// Directions it governs; empty means what follows from its rules.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<PolicyType>,
    /// Rules for what arrives, first match decides.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Rule>,
    /// Rules for what leaves, first match decides.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Rule>,
    /// Host endpoints only: asked before connection tracking.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub do_not_track: bool,
    /// Host endpoints only: asked before destination addresses are translated.
    #[serde(rename = "preDNAT", skip_serializing_if = "std::ops::Not::not")]
    pub pre_dnat: bool,
    /// Host endpoints only: asked for forwarded traffic too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub apply_on_forward: bool,
}

/// The specification of a staged policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StagedPolicySpec {
    /// What committing it would do.
    #[serde(deserialize_with = "or_default")]
    pub staged_action: StagedAction,
    /// The policy itself.
    #[serde(flatten)]
    pub policy: PolicySpec,
}

/// The specification of a staged Kubernetes policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StagedKubernetesPolicySpec {
    /// What committing it would do.
    #[serde(deserialize_with = "or_default")]
    pub staged_action: StagedAction,
    /// The policy itself.
    #[serde(flatten)]
    pub policy: KubernetesPolicySpec,
}

/// One rule: it matches traffic for which all that is given holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What happens to traffic that matches.
    pub action: Action,
    /// 4 or 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<u8>,
    /// Only this protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Any protocol but this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<Protocol>,
    /// Only this kind of ICMP message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpMatch>,
    /// Any ICMP message but this.
    #[serde(default, rename = "notICMP", skip_serializing_if = "Option::is_none")]
    pub not_icmp: Option<IcmpMatch>,
    /// Where the traffic comes from.
    #[serde(default, deserialize_with = "or_default")]
    pub source: EntityRule,
    /// Where the traffic goes to.
    #[serde(default, deserialize_with = "or_default")]
    pub destination: EntityRule,
    /// Only these requests, where a proxy sees them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMatch>,
}

/// Type and code of an ICMP message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IcmpMatch {
    /// The type; any if none.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    /// The code; any if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

/// One end of the traffic: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntityRule {
    /// Addresses in any of these networks.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<String>,
    /// Addresses in none of these networks.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub not_nets: Vec<String>,
    /// Endpoints and network sets with such labels.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Anything but endpoints and network sets with such labels.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub not_selector: String,
    /// Endpoints and network sets of such namespaces.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// Any of these ports.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// None of these ports.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub not_ports: Vec<Port>,
    /// Workloads that run as such a service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountMatch>,
    /// Endpoints of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceMatch>,
}

/// Which service accounts: both must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceAccountMatch {
    /// Any of these; any at all if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// With such labels; any if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
}

/// Which service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceMatch {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the policy if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Which HTTP requests: one of the methods and one of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpMatch {
    /// Any if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Any if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<HttpPath>,
}

/// A path of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpPath {
    /// Exactly this.
    Exact(String),
    /// What begins so.
    Prefix(String),
}

/// What a network set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSetSpec {
    /// Networks or single addresses.
    #[serde(deserialize_with = "or_default")]
    pub nets: Vec<String>,
}

/// Which interface of which node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostEndpointSpec {
    /// The node.
    pub node: String,
    /// Name of the interface; `*` for all of them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// Addresses that selectors of rules stand for.
    #[serde(rename = "expectedIPs", deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub expected_ips: Vec<String>,
    /// Profiles that are asked after all tiers.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Ports that rules may call by name.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// A port with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// The name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}
