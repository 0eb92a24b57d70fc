//! A simulated cluster behind a collector that speaks Goldmane's gRPC.
//!
//! The cluster is a function of a seed: namespaces, workloads, policies, rolling updates and policy
//! edits, and nodes that flush their flows every 15 s and a bit. The collector answers as a real one
//! does, its oddities included, so that a reader that copes with this one copes with that one. The
//! clock runs as fast as asked, and a truth ledger tells what a reader should have found.
//!
//! Chance never comes from outside: two runs with one seed hold the same flows and write the same
//! ledger, byte for byte. Wall time only decides when a flow becomes visible.
//!
//! ```no_run
//! # async fn run() -> catchment_core::Result<()> {
//! let running = catchment_simulator::serve(catchment_simulator::Options::default()).await?;
//! println!("http://{}", running.local_addr());
//! running.shutdown().await
//! # }
//! ```

mod cluster;
mod dice;
mod draw;
mod encode;
mod filter;
mod judge;
mod knowledge;
mod labels;
mod ledger;
mod objects;
mod offline;
mod options;
mod ordinary;
mod policy;
mod query;
mod ring;
mod running;
mod scenarios;
mod script;
mod server;
mod traffic;
mod world;

pub use judge::{Verdict, judge};
pub use labels::LabelsId;
pub use offline::{Bucket, Offline, SETTLE};
pub use options::Options;
pub use ring::{BUCKET_SECS, EndLabels, KeySlot, Ring, Tally, bucket_of};
pub use running::{Running, serve};
pub use scenarios::Scenario;
pub use script::Plant;
