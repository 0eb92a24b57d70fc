//! Objects that say what runs where: pods and what made them, services, nodes, address ranges.
//!
//! Pods come by the ten thousand. Their texts are shared ([`Text`]), and only what flows are joined by is kept.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Text, or_default};
use crate::EventTime;

mod ingress;
mod status;

pub use ingress::{Ingress, IngressSpec};
pub use status::{Conditions, ContainerEnd, ContainerState, ContainerStatus, JobEnd, RestartPolicy};

/// `metadata` of an object that says what runs where: the compact form of [`Meta`](super::Meta).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShortMeta {
    /// Name, unique in its namespace and kind.
    pub name: Text,
    /// What the name was generated from, with the trailing `-`; empty if it was given.
    #[serde(skip_serializing_if = "is_empty")]
    pub generate_name: Text,
    /// Namespace; empty for objects of the cluster.
    #[serde(skip_serializing_if = "is_empty")]
    pub namespace: Text,
    /// Unique in time and space: two pods of one name that follow each other differ in it.
    #[serde(skip_serializing_if = "is_empty")]
    pub uid: Text,
    /// What selectors match.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "LabelSet::is_empty")]
    pub labels: LabelSet,
    /// Who made it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "<[_]>::is_empty")]
    pub owner_references: Box<[Owner]>,
    /// When it was made.
    #[serde(with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<EventTime>,
    /// When it will be gone at the latest, once its deletion was asked for.
    #[serde(with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<EventTime>,
}

impl ShortMeta {
    /// When it was made, if it says so.
    pub const fn created(&self) -> Option<EventTime> {
        self.creation_timestamp
    }

    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Group and version of the owner.
    pub api_version: Text,
    /// Kind of the owner.
    pub kind: Text,
    /// Name of the owner, in the same namespace.
    pub name: Text,
    /// Unique id of the owner.
    pub uid: Text,
    /// Whether the owner is the one that manages the object.
    pub controller: bool,
}

/// Labels in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(Box<[(Text, Text)]>);

impl LabelSet {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&Text> {
        self.0.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok().map(|at| &self.0[at].1)
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Text)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Text, Text)> for LabelSet {
    fn from_iter<I: IntoIterator<Item = (Text, Text)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect())
    }
}

impl Serialize for LabelSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for LabelSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::collections::BTreeMap::<Text, Text>::deserialize(deserializer).map(|map| map.into_iter().collect())
    }
}

/// What an object of the API looks like, part by part.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            /// Name, namespace, labels, owners.
            pub metadata: ShortMeta,
            $($(#[$field_doc])* #[serde(deserialize_with = "or_default")] pub $field: $type,)*
        }
    )*};
}

objects! {
    /// A group of containers that share an address.
    Pod {
        /// What is asked for.
        spec: PodSpec,
        /// What is there.
        status: PodStatus,
    }
    /// A namespace; its labels are what policies select it by.
    Namespace {}
    /// An identity that pods run under.
    ServiceAccount {}
    /// A name and address in front of pods.
    Service {
        /// What is asked for.
        spec: ServiceSpec,
        /// What is there.
        status: ServiceStatus,
    }
    /// A machine; its labels name zone and region.
    Node {
        /// What is asked for.
        spec: NodeSpec,
        /// What is there.
        status: NodeStatus,
    }
    /// Pods of one revision of a [`Deployment`], which owns it.
    ReplicaSet {
        /// What is asked for.
        spec: TemplateSpec,
    }
    /// Pods that are replaced step by step.
    Deployment {
        /// What is asked for.
        spec: TemplateSpec,
    }
    /// Pods with names that stay.
    StatefulSet {
        /// What is asked for.
        spec: TemplateSpec,
    }
    /// One pod per node.
    DaemonSet {
        /// What is asked for.
        spec: TemplateSpec,
    }
    /// Pods that run to their end.
    Job {
        /// What is asked for.
        spec: TemplateSpec,
        /// What is there.
        status: JobStatus,
    }
    /// Jobs that begin by the clock.
    CronJob {
        /// What is asked for.
        spec: CronJobSpec,
    }
    /// A range that Calico gives pods addresses of.
    IPPool {
        /// What is asked for.
        spec: PoolSpec,
    }
    /// A part of a pool that a node gives addresses of.
    BlockAffinity {
        /// What is there.
        spec: BlockSpec,
    }
    /// Ranges that services get addresses of.
    ServiceCIDR {
        /// What is asked for.
        spec: ServiceRanges,
    }
}

/// Some endpoints of a service, which its label `kubernetes.io/service-name` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Name, namespace, labels, owners.
    pub metadata: ShortMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: Text,
    /// Who answers.
    #[serde(deserialize_with = "or_default")]
    pub endpoints: Box<[ServiceEndpoint]>,
    /// Where they answer.
    #[serde(deserialize_with = "or_default")]
    pub ports: Box<[SlicePort]>,
}

/// Trimmed parts of objects: every field may be absent.
macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(deserialize_with = "or_default")] pub $field: $type,)*
        }
    )*};
}

parts! {
    /// `spec` of a [`Pod`].
    PodSpec {
        /// The node it was bound to; empty before.
        node_name: Text,
        /// The service account it runs under.
        service_account_name: Text,
        /// Whether it has the addresses of its node, which then tell nothing of the pod.
        host_network: bool,
        /// What runs in it.
        containers: Box<[Container]>,
        /// What runs before the containers, or beside them.
        init_containers: Box<[Container]>,
        /// Which of its containers are started again once they have ended.
        restart_policy: RestartPolicy,
        /// Seconds its containers are given to end by themselves; the API fills in 30.
        termination_grace_period_seconds: Option<u32>,
    }
    /// A container, trimmed to its ports.
    Container {
        /// Name, unique in the pod.
        name: Text,
        /// What it declares to listen on.
        ports: Box<[ContainerPort]>,
        /// Of one that runs before the others: `Always` if it stays beside them and is stopped after them.
        #[serde(skip_serializing_if = "Option::is_none")] restart_policy: Option<RestartPolicy>,
    }
    /// `status` of a [`Pod`].
    PodStatus {
        /// How far it has come.
        phase: Phase,
        /// Its addresses, the main one first.
        #[serde(rename = "podIPs")] pod_ips: Addresses,
        /// Whether it is `Ready`, and since when.
        conditions: Conditions,
        /// What became of its containers, those that run before the others left out.
        container_statuses: Box<[ContainerStatus]>,
    }
    /// `spec` of a [`Service`].
    ServiceSpec {
        /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
        #[serde(rename = "type")] service_type: Text,
        /// Its addresses inside the cluster, the main one first; `None` without any.
        #[serde(rename = "clusterIPs")] cluster_ips: Box<[Text]>,
        /// Addresses outside the cluster that nodes answer on.
        #[serde(rename = "externalIPs")] external_ips: Box<[Text]>,
        /// The name it stands for, if it is an `ExternalName`.
        external_name: Text,
        /// Labels of the pods behind it.
        selector: LabelSet,
        /// What it listens on.
        ports: Box<[ServicePort]>,
    }
    /// `status` of a [`Service`].
    ServiceStatus {
        /// Where load balancers listen for it.
        load_balancer: LoadBalancer,
    }
    /// Where load balancers listen.
    LoadBalancer {
        /// Their addresses.
        ingress: Addresses,
    }
    /// Who answers for a service.
    ServiceEndpoint {
        /// Addresses of one endpoint, all the same to its clients.
        addresses: Box<[Text]>,
        /// Whether it answers.
        conditions: EndpointConditions,
        /// What it is.
        target_ref: Target,
        /// The node it is on.
        node_name: Text,
        /// The zone it is in.
        zone: Text,
    }
    /// Whether an endpoint answers; what is absent is not known.
    EndpointConditions {
        /// It answers and is not being stopped.
        ready: Option<bool>,
        /// It answers.
        serving: Option<bool>,
        /// It is being stopped.
        terminating: Option<bool>,
    }
    /// The object an endpoint is.
    Target {
        /// Kind, `Pod` as a rule.
        kind: Text,
        /// Its namespace.
        namespace: Text,
        /// Its name.
        name: Text,
        /// Its unique id.
        uid: Text,
    }
    /// `spec` of a [`Node`].
    NodeSpec {
        /// Ranges that its pods get addresses of, where the cluster deals them out by node.
        #[serde(rename = "podCIDRs")] pod_cidrs: Box<[Text]>,
    }
    /// `status` of a [`Node`].
    NodeStatus {
        /// Addresses and names by their type.
        addresses: Box<[NodeAddress]>,
        /// Whether it is `Ready`, and since when.
        conditions: Conditions,
    }
    /// An address or name of a node.
    NodeAddress {
        /// `InternalIP`, `ExternalIP`, `Hostname` and others.
        #[serde(rename = "type")] address_type: Text,
        /// Address or name.
        address: Text,
    }
    /// `spec` of what makes pods.
    TemplateSpec {
        /// How many pods are wanted, where they are counted; the API fills in 1.
        #[serde(skip_serializing_if = "Option::is_none")] replicas: Option<u32>,
        /// What its pods look like.
        template: Template,
    }
    /// What pods look like, trimmed to what policies select them by and how they end.
    Template {
        /// `metadata` of the pods.
        metadata: TemplateMeta,
        /// `spec` of the pods.
        spec: TemplatePod,
    }
    /// What is asked of pods to be made.
    TemplatePod {
        /// The service account they run under.
        service_account_name: Text,
        /// Whether they have the addresses of their nodes.
        host_network: bool,
        /// Seconds their containers are given to end by themselves; the API fills in 30.
        termination_grace_period_seconds: Option<u32>,
    }
    /// `status` of a [`Job`].
    JobStatus {
        /// Whether it has ended, how and when.
        conditions: JobEnd,
    }
    /// Labels of pods to be made.
    TemplateMeta {
        /// What selectors match.
        labels: LabelSet,
    }
    /// `spec` of a [`CronJob`].
    CronJobSpec {
        /// What its jobs look like.
        job_template: JobTemplate,
    }
    /// What jobs look like.
    JobTemplate {
        /// `spec` of the jobs.
        spec: TemplateSpec,
    }
    /// `spec` of an [`IPPool`].
    PoolSpec {
        /// The range.
        cidr: Text,
        /// Whether no more addresses are given of it.
        disabled: bool,
    }
    /// `spec` of a [`BlockAffinity`].
    BlockSpec {
        /// The node.
        node: Text,
        /// The range.
        cidr: Text,
        /// `confirmed` once the node may give addresses of it.
        state: Text,
    }
    /// `spec` of a [`ServiceCIDR`].
    ServiceRanges {
        /// One range per address family.
        cidrs: Box<[Text]>,
    }
}

/// A port that a container declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name that services and policies may use; may be empty.
    pub name: Text,
    /// The port.
    pub container_port: u16,
    /// The port of the node that leads to it; 0 for none.
    pub host_port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default = "tcp")]
    pub protocol: Text,
}

/// A port that a service listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Name; may be empty where it is the only one.
    pub name: Text,
    /// The port.
    pub port: u16,
    /// Where it leads: a port of the pods, by number or by name.
    #[serde(deserialize_with = "or_default")]
    pub target_port: TargetPort,
    /// The port of every node that leads to it; 0 for none.
    pub node_port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default = "tcp")]
    pub protocol: Text,
}

/// A port that endpoints answer on; an absent number means every port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlicePort {
    /// Name of the service's port; may be empty.
    #[serde(deserialize_with = "or_default")]
    pub name: Text,
    /// The port.
    pub port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default = "tcp")]
    pub protocol: Text,
}

/// A port of pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// By its number; 0 stands for the service's own port.
    Number(u16),
    /// By the name that containers declare.
    Name(Text),
}

impl Default for TargetPort {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Accepted, not running yet.
    Pending,
    /// At least one container runs.
    Running,
    /// Ended well; its address may be another's by now.
    Succeeded,
    /// Ended badly; its address may be another's by now.
    Failed,
    /// Not known, or a phase that is not known here.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Addresses that the API lists as `{"ip": "10.0.0.1"}`. What is no address, such as the host name of a load balancer,
/// is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(pub Box<[IpAddr]>);

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Listed {
            ip: IpAddr,
        }
        serializer.collect_seq(self.0.iter().map(|ip| Listed { ip: *ip }))
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Listed {
            #[serde(default)]
            ip: Text,
        }
        let listed = Vec::<Listed>::deserialize(deserializer)?;
        Ok(Self(listed.iter().filter_map(|address| address.ip.parse().ok()).collect()))
    }
}

fn tcp() -> Text {
    "TCP".into()
}

fn is_empty(text: &Text) -> bool {
    text.is_empty()
}

/// Times as the API writes them; what cannot be read as one is unknown.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::EventTime;
    use crate::knowledge::Text;

    #[allow(clippy::ref_option)] // serde asks for this shape
    pub(super) fn serialize<S: Serializer>(time: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&time.to_rfc3339()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventTime>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.and_then(|text| EventTime::parse_rfc3339(&text)))
    }
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
