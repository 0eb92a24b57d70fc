//! Answers of the collector, as they come, through the fold.

use catchment_core::Encoding;

use crate::fold::{self, Plan};

/// A byte that chooses workers and progress, then an encoded `goldmane.FlowListResult`.
pub fn check(data: &[u8]) {
    if let Some((plan, payload)) = Plan::split(data) {
        fold::check(&plan, Encoding::GoldmaneList, payload);
    }
}
