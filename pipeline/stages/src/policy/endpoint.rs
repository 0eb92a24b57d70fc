//! The two ends of a connection.

use std::net::IpAddr;

use catchment_core::knowledge::LabelMap;
use catchment_core::knowledge::policy::{EndpointPort, HostEndpoint};

pub(super) const NAMESPACE: &str = "projectcalico.org/namespace";
pub(super) const SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";
const ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
pub(super) const OF_NAMESPACE: &str = "pcns.";
pub(super) const OF_SERVICE_ACCOUNT: &str = "pcsa.";
const NAME: &str = "projectcalico.org/name";

/// What stands at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointKind {
    /// A pod with a network of its own.
    Workload,
    /// An interface of a node that Calico guards.
    Host,
    /// Addresses that a network set names.
    NetworkSet,
    /// Addresses that nothing names; also pods in the network of their node.
    Address,
}

/// One end of a connection. Policies govern workloads and host endpoints only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What stands there.
    pub kind: EndpointKind,
    /// Empty for what belongs to no namespace.
    pub namespace: String,
    /// The name for people.
    pub name: String,
    /// Everything selectors match, inherited labels included; empty for addresses.
    pub labels: LabelMap,
    /// Ports that rules may call by name.
    pub ports: Vec<EndpointPort>,
    /// As far as known; at most one of each version is used.
    pub addresses: Vec<IpAddr>,
    /// Profiles of a host endpoint.
    pub profiles: Vec<String>,
}

/// What a workload is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its own labels.
    pub labels: LabelMap,
    /// Labels of the namespace.
    pub namespace_labels: LabelMap,
    /// Name of its service account; empty if unknown.
    pub service_account: String,
    /// Labels of the service account.
    pub service_account_labels: LabelMap,
    /// Ports of its containers.
    pub ports: Vec<EndpointPort>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl From<Workload> for Endpoint {
    fn from(workload: Workload) -> Self {
        let mut labels = inherited(OF_NAMESPACE, &workload.namespace_labels, &workload.namespace);
        if !workload.service_account.is_empty() {
            let account = &workload.service_account;
            labels.extend(inherited(OF_SERVICE_ACCOUNT, &workload.service_account_labels, account));
        }
        labels.extend(workload.labels);
        labels.insert(NAMESPACE.to_owned(), workload.namespace.clone());
        labels.insert(ORCHESTRATOR.to_owned(), "k8s".to_owned());
        if !workload.service_account.is_empty() {
            labels.insert(SERVICE_ACCOUNT.to_owned(), workload.service_account);
        }
        Self {
            kind: EndpointKind::Workload,
            namespace: workload.namespace,
            name: workload.name,
            labels,
            ports: workload.ports,
            addresses: workload.addresses,
            profiles: Vec::new(),
        }
    }
}

impl From<&HostEndpoint> for Endpoint {
    fn from(host: &HostEndpoint) -> Self {
        Self {
            kind: EndpointKind::Host,
            namespace: String::new(),
            name: host.metadata.name.clone(),
            labels: host.metadata.labels.clone(),
            ports: host.spec.ports.clone(),
            addresses: host.spec.expected_ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
            profiles: host.spec.profiles.clone(),
        }
    }
}

impl Endpoint {
    /// Addresses that no endpoint owns; none at all where a flow log hides them.
    pub fn address(name: &str, addresses: Vec<IpAddr>) -> Self {
        Self {
            kind: EndpointKind::Address,
            namespace: String::new(),
            name: name.to_owned(),
            labels: LabelMap::new(),
            ports: Vec::new(),
            addresses,
            profiles: Vec::new(),
        }
    }

    /// `namespace/name`, or the name alone.
    pub fn title(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

/// Labels of a namespace or a service account as its workloads inherit them.
pub(super) fn inherited(prefix: &str, labels: &LabelMap, name: &str) -> LabelMap {
    let mut inherited: LabelMap = labels.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone())).collect();
    inherited.insert(format!("{prefix}{NAME}"), name.to_owned());
    inherited
}
