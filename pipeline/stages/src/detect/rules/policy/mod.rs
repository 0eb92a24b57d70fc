//! Policy misconfiguration.

pub(super) mod broad_allow;
pub(super) mod denies;
pub(super) mod no_policy;
mod preview;
pub(super) mod staged;
pub(super) mod stale_verdict;
