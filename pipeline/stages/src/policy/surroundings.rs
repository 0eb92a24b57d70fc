//! What rules may name besides endpoints: network sets and services.

use std::collections::HashMap;
use std::net::IpAddr;

use catchment_core::knowledge::LabelMap;
use catchment_core::knowledge::policy::{GlobalNetworkSet, NetworkSet, Protocol};
use ipnet::IpNet;

use super::endpoint::{Endpoint, EndpointKind, NAMESPACE, OF_NAMESPACE, inherited};

/// Named addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// Empty for global sets.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// What selectors match; labels of its namespace included.
    pub labels: LabelMap,
    /// Its networks; what is none is left out, as Calico does.
    pub nets: Vec<IpNet>,
}

impl AddressSet {
    /// A set of a namespace with such labels.
    pub fn namespaced(set: &NetworkSet, namespace_labels: &LabelMap) -> Self {
        let mut labels = inherited(OF_NAMESPACE, namespace_labels, &set.metadata.namespace);
        labels.extend(set.metadata.labels.clone());
        labels.insert(NAMESPACE.to_owned(), set.metadata.namespace.clone());
        let nets = nets(&set.spec.nets);
        Self { namespace: set.metadata.namespace.clone(), name: set.metadata.name.clone(), labels, nets }
    }

    /// A set of the cluster.
    pub fn global(set: &GlobalNetworkSet) -> Self {
        let nets = nets(&set.spec.nets);
        Self { namespace: String::new(), name: set.metadata.name.clone(), labels: set.metadata.labels.clone(), nets }
    }

    /// The set as an end of a connection, for flow logs that name the set and hide the address.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            kind: EndpointKind::NetworkSet,
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            ..Endpoint::address(&self.name, Vec::new())
        }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&address))
    }
}

/// An address and a port behind a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceEndpoint {
    /// The address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// What rules may name besides endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// All network sets.
    pub sets: Vec<AddressSet>,
    /// What is behind each service, by namespace and name; `None` if services are not known.
    pub services: Option<HashMap<(String, String), Vec<ServiceEndpoint>>>,
}

/// A network, or a single address.
pub(super) fn net(text: &str) -> Option<IpNet> {
    let net: Option<IpNet> = text.parse().ok();
    net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn nets(texts: &[String]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| net(text)).collect()
}
