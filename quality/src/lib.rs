//! How good the detector is: a simulated cluster in which trouble is planted, folded and looked at as a job does it, and
//! findings compared with what was planted.
//!
//! ```text
//! simulator ── buckets ──> log entries ──> Folder, with all that is known ──> Detector ──> findings ──┐
//!           ── truth: plants, and what the calm cluster itself shows ─────────────────────────────────┴──> Score
//! ```
//!
//! Everything is a function of the seeds and happens in event time: no network, no clock.

mod memory;
mod plan;
mod run;
mod score;
mod table;

pub use memory::{KEYS, MOST_BYTES, bytes_a_key};
pub use plan::{Course, JUDGED_FROM, brief, calm, full};
pub use run::{Outcome, Told, run};
pub use score::{Complaint, Judged, Scores};
pub use table::{page, table};
