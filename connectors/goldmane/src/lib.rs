//! The source that reads a Goldmane flow collector, Calico's one-hour memory of flows.
//!
//! Each closed bucket is listed once when its late flows have settled, and written to the log with
//! a progress mark. Later looks at the same bucket become corrections or gaps, never a rewrite.
//!
//! What it never does: push flows (`FlowCollector.Connect`), subscribe (`Flows.Stream` loses late
//! flows, and one stalled reader freezes the collector), keep two requests in flight, or look at
//! event time through the local clock alone.
//!
//! ```
//! use catchment_goldmane::{Config, GoldmaneSource};
//! use prometheus_client::registry::Registry;
//!
//! let config = Config { address: "http://localhost:7443".into(), ..Config::default() };
//! let source = GoldmaneSource::new(config, &mut Registry::default())?;
//! # Ok::<(), catchment_core::Error>(())
//! ```

mod client;
mod clock;
mod config;
mod learned;
mod metrics;
mod planner;
mod reconcile;
mod run;
mod source;
mod sweep;

pub use config::{Begin, Config, Tls};
pub use source::GoldmaneSource;
