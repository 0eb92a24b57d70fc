//! The delivery protocol as an executable model, and the invariants it keeps.
//!
//! What the pipeline does step by step is done here over tiny state: a row is a window, a key and a
//! count; the log is a list; a broker is what is committed and one open transaction; an object store
//! is a map with create-only puts and one compared swap. A seed draws a schedule of steps and
//! faults: crashes at every step, requests that fail, lose their answer or arrive late, processes
//! that stand still and go on after another took over, a collector that forgets and contradicts
//! itself. Then faults stop, everything drains, and the [`invariants`] are judged.
//!
//! Each rule of the protocol has a broken variant in [`flaws`] that some schedule must expose.
//!
//! The model never touches a clock, a disk or a network, and nothing depends on it.
//!
//! ```
//! use catchment_model::schedule::{Plan, run};
//! use catchment_model::Flaws;
//!
//! assert_eq!(run(&Plan::new(1, Flaws::NONE)).violation, None);
//! ```

pub mod around;
pub mod broker;
pub mod collector;
pub mod coverage;
pub mod entry;
pub mod flaws;
pub mod fold;
pub mod invariants;
pub mod kafka;
pub mod line;
pub mod log;
pub mod parquet;
pub mod planner;
pub mod process;
pub mod reference;
pub mod retention;
pub mod rng;
pub mod schedule;
pub mod source;
pub mod store;
pub mod world;

pub use flaws::{Flaw, Flaws};
