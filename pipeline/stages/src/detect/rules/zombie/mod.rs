//! Zombie connections and stale traffic.

pub(super) mod background_chatter;
pub(super) mod chatter_after_shutdown;
pub(super) mod gone;
pub(super) mod long_lived;
mod silence;
