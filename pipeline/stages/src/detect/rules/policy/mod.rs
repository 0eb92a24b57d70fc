//! Policy misconfiguration.

pub(super) mod denies;
pub(super) mod no_policy;
