//! Addresses with a meaning: the cluster's own, which network sets name by a label, and those that clouds keep for themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use catchment_core::Labels;

use crate::cluster::ClusterState;

/// The label of network sets that name a range of the cluster itself.
pub(crate) const RANGE: &str = "catchment.dev/range";
/// The range of the nodes.
pub(crate) const NODES: &str = "nodes";
/// The addresses of the Kubernetes API.
pub(crate) const API_SERVER: &str = "api-server";
/// The range of services.
pub(crate) const SERVICES: &str = "services";

/// The range of pods.
pub(crate) const PODS: &str = "pods";

/// The port at which clouds answer.
pub(crate) const HTTP: &[i64] = &[80];
/// Where clouds tell a machine who it is and hand out its credentials, with the ports.
pub(crate) const METADATA: [(IpAddr, &[i64]); 5] = [
    (v4(169, 254, 169, 254), HTTP),
    (ec2(0x254), HTTP),
    (v4(100, 100, 100, 200), HTTP),
    (v4(192, 0, 0, 192), HTTP),
    (v4(168, 63, 129, 16), &[80, 32_526]),
];
/// Where agents on nodes hand out the credentials of a pod's own account.
pub(crate) const CREDENTIALS: [IpAddr; 3] = [v4(169, 254, 170, 2), v4(169, 254, 170, 23), ec2(0x23)];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// `fd00:ec2::x`.
const fn ec2(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, last))
}

/// Whether the labels of a flow say that the range is meant.
pub(crate) fn is_labelled(labels: &Labels, range: &str) -> bool {
    let of_range = |label: &str| label.split_once('=') == Some((RANGE, range));
    labels.items.iter().any(|label| of_range(label))
}

/// Whether the cluster names all of its own ranges, so that what shows as a private network is outside of it.
pub(crate) fn are_known(state: &ClusterState) -> bool {
    let sets = state.surroundings().sets.iter().filter(|set| set.namespace.is_empty() && !set.nets.is_empty());
    let named: Vec<_> = sets.filter_map(|set| set.labels.get(RANGE)).collect();
    [NODES, API_SERVER, SERVICES].iter().all(|range| named.iter().any(|name| name == range))
}
