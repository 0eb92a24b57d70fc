//! What the sinks count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a sink sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// Alerts or findings that the receiver has taken.
    pub(crate) items: Counter,
    pub(crate) requests: Counter,
    pub(crate) failures: Counter,
}

impl Sent {
    pub(crate) fn of_webhook(registry: &mut Registry) -> Self {
        let sent = Self::default();
        registry.register("webhook_findings", "Findings the receiver took, repeated ones too", sent.items.clone());
        registry.register("webhook_requests", "Requests made", sent.requests.clone());
        registry.register("webhook_failures", "Requests refused or not answered", sent.failures.clone());
        sent
    }
}

/// Of alerts there is more to tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlertMetrics {
    pub(crate) sent: Sent,
    pub(crate) open: Gauge,
    pub(crate) held_back: Counter,
}

impl AlertMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("alertmanager_alerts", "Alerts the server took, repeated ones too", m.sent.items.clone());
        registry.register("alertmanager_requests", "Requests made", m.sent.requests.clone());
        registry.register("alertmanager_failures", "Requests refused or not answered", m.sent.failures.clone());
        registry.register("alertmanager_open", "Alerts that are sent again until they end", m.open.clone());
        registry.register(
            "alertmanager_held_back",
            "Rows of findings that are muted or below the severity asked for",
            m.held_back.clone(),
        );
        m
    }
}
