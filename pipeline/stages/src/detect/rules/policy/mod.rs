//! Policy misconfiguration.

pub(super) mod broad_allow;
pub(super) mod denies;
pub(super) mod label_mismatch;
pub(super) mod no_policy;
mod passed_over;
pub(super) mod public_exposure;
pub(super) mod shadowed;
pub(super) mod staged;
pub(super) mod staged_forgotten;
pub(super) mod stale_verdict;
pub(super) mod unused;
