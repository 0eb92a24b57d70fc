//! Decode, normalize, window, conversations: from entries of the log to epochs. Beside that line, [`selector`] and
//! [`policy`] say what the policies of a cluster mean, [`cluster`] what was known of it at a moment, and [`setup`] proposes
//! what makes findings surer.
//!
//! Everything here is pure, synchronous and deterministic: no clock, no IO, no task. [`Folder`]
//! reads the log in order and decides what closes when; [`Shard`]s do the work per record, each with
//! a key table of its own. Neither the number of shards, their hash seeds nor the order of records
//! within a window can be seen in what comes out.
//!
//! ```text
//! entry -> Folder -> jobs -> Shard: slice, look up key, add ──┐
//!                 -> watermark passes a window end -> close ──┴-> merge -> conversations -> Epoch
//! ```

pub mod cluster;
mod conversation;
pub mod detect;
pub mod enrich;
mod fold;
mod json_flow;
mod json_scan;
mod key_table;
mod limits;
mod merge;
mod normalize;
pub mod policy;
mod record;
pub mod selector;
pub mod setup;
mod shard;
mod window;

pub use fold::{Folder, InlineWorkers, Resume, Settings, Workers};
pub use limits::KeyLimits;
pub use shard::{Closing, Job, Shard, ShardClose};
