//! What makes findings surer, written from what is there and meant to be read before it is applied: network sets for the
//! cluster's own ranges, and boundaries of trust for backends.

mod boundaries;
mod network_sets;

pub use boundaries::{Observed, Proposal, RowError};
pub use network_sets::{NetworkSets, network_sets};
