//! Sinks that tell of findings over HTTP: alerts to an Alertmanager, rows or OCSF events to a webhook.
//!
//! Neither receiver knows transactions, so delivery is at least once: what was sent and not yet written down as sent is
//! sent again after a fault or a restart. How far a stream has come stands in a small file of our own beside the logs
//! ([`state`]); without it a sink begins with the oldest window of the log.
//!
//! Nothing else leaves here: flows, and what could not be used of them, go through the other sinks.

mod alert;
mod alertmanager;
mod batch;
mod config;
mod door;
mod metrics;
mod state;
mod webhook;

pub use alertmanager::AlertmanagerSink;
pub use config::{AlertmanagerConfig, Format, Headers, Level, WebhookConfig};
pub use webhook::WebhookSink;
