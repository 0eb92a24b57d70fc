//! Network sets that name nodes, API server, services and pods of a cluster, and what clouds keep for themselves.
//!
//! A collector without addresses calls all of them public or private networks; behind a set they have a name. Calico names
//! an address by the longest prefix, so the API server goes before the nodes it runs on.

use std::collections::BTreeSet;
use std::net::IpAddr;

use catchment_core::knowledge::policy::{GlobalNetworkSet, NetworkSetSpec};
use catchment_core::knowledge::workload::{EndpointSlice, Node};
use catchment_core::knowledge::{LabelMap, Meta, Object};
use ipnet::IpNet;

use crate::detect::ranges::{API_SERVER, CREDENTIALS, METADATA, NODES, PODS, RANGE, SERVICES};
use crate::enrich::SERVICE_NAME;

/// Sets to apply, and what keeps them from being complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkSets {
    /// The sets, none of them empty.
    pub sets: Vec<GlobalNetworkSet>,
    /// What is missing, for people.
    pub notes: Vec<String>,
}

/// Sets for the ranges that the objects tell of. `services` are ranges of services where no `ServiceCIDR` tells them.
pub fn network_sets(objects: &[Object], services: &[IpNet]) -> NetworkSets {
    let mut found = Ranges { services: services.iter().copied().collect(), ..Ranges::default() };
    for object in objects {
        found.learn(object);
    }
    // What has two names is called by the first of them that is found: the API is worth more than its machine.
    let nodes: BTreeSet<_> = found.nodes.difference(&found.api).copied().collect();
    let metadata = METADATA.iter().map(|(address, _)| IpNet::from(*address)).collect();
    let credentials = CREDENTIALS.iter().map(|address| IpNet::from(*address)).collect();
    let own = [
        (NODES, nodes, "no Node has an address: allow `list` of nodes"),
        (API_SERVER, found.api, "no EndpointSlice of default/kubernetes: allow `list` of endpointslices"),
        (SERVICES, found.services, "no ServiceCIDR: name the range of `--service-cluster-ip-range` by --service-range"),
        (PODS, found.pods, "no IPPool: allow `list` of ippools"),
    ];
    let mut all = NetworkSets::default();
    for (range, nets, missing) in own {
        if nets.is_empty() {
            all.notes.push(format!("there is no set for {range}: {missing}"));
        } else {
            all.sets.push(set(range, &nets));
        }
    }
    all.sets.extend([set("metadata", &metadata), set("credentials", &credentials)]);
    all
}

#[derive(Default)]
struct Ranges {
    nodes: BTreeSet<IpNet>,
    api: BTreeSet<IpNet>,
    services: BTreeSet<IpNet>,
    pods: BTreeSet<IpNet>,
}

impl Ranges {
    fn learn(&mut self, object: &Object) {
        match object {
            Object::Node(node) => self.nodes.extend(addresses(node)),
            Object::EndpointSlice(slice) if leads_to_api(slice) => {
                let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                self.api.extend(addresses.filter_map(|address| host(address)));
            }
            Object::ServiceCIDR(ranges) => {
                self.services.extend(ranges.spec.cidrs.iter().filter_map(|range| range.parse::<IpNet>().ok()));
            }
            Object::IPPool(pool) => self.pods.extend(pool.spec.cidr.parse::<IpNet>()),
            _ => {}
        }
    }
}

fn addresses(node: &Node) -> impl Iterator<Item = IpNet> {
    let is_address = |kind: &str| matches!(kind, "InternalIP" | "ExternalIP");
    let addresses = node.status.addresses.iter().filter(move |address| is_address(&address.address_type));
    addresses.filter_map(|address| host(&address.address))
}

fn leads_to_api(slice: &EndpointSlice) -> bool {
    let meta = &slice.metadata;
    *meta.namespace == *"default" && meta.labels.get(SERVICE_NAME).is_some_and(|service| **service == *"kubernetes")
}

fn host(address: &str) -> Option<IpNet> {
    address.parse::<IpAddr>().ok().map(IpNet::from)
}

fn set(range: &str, nets: &BTreeSet<IpNet>) -> GlobalNetworkSet {
    let labels = LabelMap::from([(RANGE.to_owned(), range.to_owned())]);
    GlobalNetworkSet {
        metadata: Meta { name: format!("catchment-{range}"), labels, ..Meta::default() },
        spec: NetworkSetSpec { nets: nets.iter().map(IpNet::to_string).collect() },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn objects(values: impl IntoIterator<Item = Value>) -> Vec<Object> {
        let read = |value: Value| Object::from_json(&value.to_string()).expect("an object").expect("of a known kind");
        values.into_iter().map(read).collect()
    }

    fn node(name: &str, address: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": [
            {"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]}})
    }

    fn api(address: &str) -> Value {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "default", "name": "kubernetes",
                "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": [{"addresses": [address]}], "ports": [{"port": 6443}]})
    }

    fn nets<'a>(sets: &'a NetworkSets, name: &str) -> Option<&'a [String]> {
        sets.sets.iter().find(|set| set.metadata.name == name).map(|set| set.spec.nets.as_slice())
    }

    #[test]
    fn every_range_that_objects_tell_of_becomes_a_set_with_its_label() {
        let sets = network_sets(
            &objects([
                node("a", "10.0.0.11"),
                node("b", "fd00::12"),
                api("10.0.0.1"),
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
                    "spec": {"cidrs": ["10.96.0.0/12", "fd00:96::/112"]}}),
                json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"},
                    "spec": {"cidr": "192.168.0.0/16"}}),
            ]),
            &[],
        );
        assert_eq!(sets.notes, [] as [String; 0]);
        assert_eq!(nets(&sets, "catchment-nodes").expect("told"), ["10.0.0.11/32", "fd00::12/128"]);
        assert_eq!(nets(&sets, "catchment-api-server").expect("told"), ["10.0.0.1/32"]);
        assert_eq!(nets(&sets, "catchment-services").expect("told"), ["10.96.0.0/12", "fd00:96::/112"]);
        assert_eq!(nets(&sets, "catchment-pods").expect("told"), ["192.168.0.0/16"]);
        assert_eq!(sets.sets[0].metadata.labels["catchment.dev/range"], "nodes");
    }

    #[test]
    fn the_api_server_goes_before_the_node_it_runs_on() {
        let sets = network_sets(&objects([node("a", "10.0.0.1"), node("b", "10.0.0.2"), api("10.0.0.1")]), &[]);
        assert_eq!(nets(&sets, "catchment-nodes").expect("told"), ["10.0.0.2/32"]);
        assert_eq!(nets(&sets, "catchment-api-server").expect("told"), ["10.0.0.1/32"]);
    }

    #[test]
    fn what_nothing_tells_of_is_named_and_no_empty_set_is_printed() {
        let sets = network_sets(&[], &["10.96.0.0/12".parse().expect("a network")]);
        assert_eq!(sets.notes.len(), 3, "{:?}", sets.notes);
        assert!(sets.notes[0].contains("no set for nodes"), "{}", sets.notes[0]);
        assert_eq!(nets(&sets, "catchment-services").expect("given"), ["10.96.0.0/12"]);
        assert!(sets.sets.iter().all(|set| !set.spec.nets.is_empty()));
    }

    #[test]
    fn what_clouds_keep_for_themselves_is_always_there() {
        let sets = network_sets(&[], &[]);
        assert!(nets(&sets, "catchment-metadata").expect("shipped").contains(&"169.254.169.254/32".to_owned()));
        assert!(nets(&sets, "catchment-credentials").expect("shipped").contains(&"169.254.170.23/32".to_owned()));
    }
}
