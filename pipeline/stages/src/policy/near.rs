//! Policies that were probably meant to select an endpoint.

use serde::Serialize;

use super::compile::{Direction, PolicyId};
use super::endpoint::Endpoint;
use super::index::PolicySet;
use crate::selector::Term;

/// A policy that selects an endpoint but for one term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyMiss {
    /// The policy.
    pub policy: PolicyId,
    /// The term, and the label that was probably meant.
    pub term: Term,
}

/// Policies that govern `direction` and miss `endpoint` by one term that resembles one of its labels. That a policy belongs
/// to another namespace is no slip.
pub(super) fn near_policies(policies: &PolicySet, endpoint: &Endpoint, direction: Direction) -> Vec<PolicyMiss> {
    let near = policies.policies().filter(|policy| {
        policy.governs(direction) && (policy.id.namespace.is_empty() || policy.id.namespace == endpoint.namespace)
    });
    let mut misses: Vec<_> = near
        .flat_map(|policy| {
            let terms = policy.selector.missed(&endpoint.labels).into_iter().filter(|term| term.resembles.is_some());
            terms.map(|term| PolicyMiss { policy: policy.id.clone(), term })
        })
        .collect();
    misses.sort_unstable();
    misses
}
