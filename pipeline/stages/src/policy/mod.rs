//! What the policies of a cluster say of two endpoints.
//!
//! [`PolicySet`] holds tiers and compiled policies and answers which of them select an endpoint; [`explain`] walks them, tier
//! by tier, for one connection: egress at its source, ingress at its destination. Everything is plain values: an
//! [`Endpoint`] is labels, addresses and ports, wherever they come from.
//!
//! ```text
//! objects -> compile (Kubernetes: convert first) -> PolicySet -> selecting(endpoint) ─┐
//!    └────> State: endpoints, network sets, services ───────────────────────────────────┴> explain(source, destination)
//! ```
//!
//! The rules are Calico's: how a policy is narrowed to its namespace, how labels of namespaces and service accounts are
//! inherited, in which order policies stand and what happens at the end of a tier.

mod breadth;
mod compile;
mod endpoint;
mod endpoint_index;
mod explain;
mod index;
mod kubernetes;
mod label_index;
mod near;
mod rule;
mod staged;
mod state;
mod surroundings;
#[cfg(test)]
mod tests;
mod traffic;
mod walk;

pub use breadth::{Breadth, Peer};
pub use compile::{Compiled, Direction, HostStage, PolicyId, PolicyKind};
pub use endpoint::{Endpoint, EndpointKind, Workload};
pub use endpoint_index::EndpointIndex;
pub use explain::{
    Chain, Decision, Explanation, PolicyStep, Preview, RuleMiss, RuleRef, StagedEffect, TierEnd, TierStep, UnknownRule,
    Verdict, explain,
};
pub use index::{PolicySet, TierState};
pub use near::PolicyMiss;
pub use rule::Unmet;
pub use state::State;
pub(crate) use state::{answering, map};
pub use surroundings::{AddressSet, ServiceEndpoint, Surroundings};
pub use traffic::Connection;
