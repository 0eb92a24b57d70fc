//! Network sets that name the cluster's own addresses, by a label.

use catchment_core::Labels;

use crate::cluster::ClusterState;

/// The label of network sets that name a range of the cluster itself.
pub const RANGE: &str = "catchment.dev/range";
/// The range of the nodes.
pub const NODES: &str = "nodes";
/// The addresses of the Kubernetes API.
pub const API_SERVER: &str = "api-server";
/// The range of services.
pub const SERVICES: &str = "services";

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
