//! What a Kubernetes cluster says of its workloads and policies.
//!
//! [`Cluster`] watches its API and tells what changes as [`News`](catchment_core::knowledge::News), in one order;
//! [`Cluster::look`] reads what there is once, [`Snapshot`] and [`read_changes`] read the same from files. The objects and what becomes of them are in
//! [`catchment_core::knowledge`].
//!
//! What it never does: write to the cluster, read secrets or config maps, list again what can be watched on, or take what it
//! may not see for what is not there.
//!
//! ```no_run
//! use catchment_core::knowledge::News;
//! use catchment_kubernetes::{Cluster, Config};
//! use prometheus_client::registry::Registry;
//!
//! # async fn example() -> catchment_core::Result<()> {
//! let cluster = Cluster::new(Config::default(), &mut Registry::default()).await?;
//! let (sender, mut news) = tokio::sync::mpsc::channel(1024);
//! tokio::spawn(async move { cluster.run(sender).await });
//! while let Some(News::Change(change)) = news.recv().await {
//!     println!("{} {}", change.at, change.key);
//! }
//! # Ok(())
//! # }
//! ```

mod api;
mod catalog;
mod config;
mod fault;
mod feed;
mod files;
mod known;
mod line;
mod listener;
mod look;
mod metrics;
mod outlet;
mod tiers;
mod watch;

pub use config::Config;
pub use files::{Snapshot, read_changes};
pub use look::Look;
pub use watch::Cluster;
