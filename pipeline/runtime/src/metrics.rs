//! What the runtime counts, and the page Prometheus reads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use catchment_core::{Error, Result};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What one line counts.
#[derive(Clone, Default)]
pub struct LineMetrics {
    pub(crate) epochs: Counter,
    pub(crate) rows: Counter,
    pub(crate) late: Counter,
    pub(crate) rejects: Counter,
    pub(crate) gaps: Counter,
    pub(crate) overflow: Counter,
    pub(crate) failures: Counter,
    pub(crate) watermark: Gauge,
    pub(crate) durable: Gauge,
    pub(crate) blocked: Counter<f64, AtomicU64>,
    pub(crate) log_bytes: Gauge,
}

impl LineMetrics {
    /// Registers everything under the line's labels.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("epochs", "Epochs handed to the sink", m.epochs.clone());
        registry.register("rows", "Rows handed to the sink, all datasets", m.rows.clone());
        registry.register("late_rows", "Rows that came after their window had closed", m.late.clone());
        registry.register("rejected_rows", "Records that could not be used", m.rejects.clone());
        registry.register("gap_rows", "Intervals known to be missing", m.gaps.clone());
        registry.register(
            "overflow_records",
            "Records that gave up their identity because a window held more keys than the limits allow",
            m.overflow.clone(),
        );
        registry.register("failures", "Faults after which the line started again", m.failures.clone());
        registry.register("watermark_seconds", "Event time before which everything has been read", m.watermark.clone());
        registry.register(
            "durable_position",
            "Log position up to which the sink's rows are durable",
            m.durable.clone(),
        );
        registry.register("blocked_seconds", "Time the fold waited for the sink", m.blocked.clone());
        registry.register("log_bytes", "Size of the stream's log", m.log_bytes.clone());
        m
    }
}

/// What the log of a stream counts.
#[derive(Clone, Debug, Default)]
pub struct LogMetrics {
    pub(crate) look_back_dropped: Counter,
}

impl LogMetrics {
    /// Registers everything under the stream's labels.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register_with_unit(
            "log_look_back_dropped",
            "Dropped from a full log although the source may look back on it",
            Unit::Bytes,
            m.look_back_dropped.clone(),
        );
        m
    }
}

/// Whether the pipeline is up: every source and sink has answered once.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn status(&self) -> (StatusCode, &'static str) {
        if self.0.load(Ordering::Acquire) {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "starting: not every sink is open yet\n")
        }
    }
}

/// Serves `/metrics`, `/healthz` and `/readyz` until dropped.
pub async fn serve(listen: SocketAddr, registry: Registry, ready: Readiness) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(|e| {
        Error::user(format!("cannot listen on {listen} for /metrics; set `http.listen` to a free address")).caused_by(e)
    })?;
    let address = listener.local_addr().unwrap_or(listen);
    let registry = Arc::new(registry);
    let page = move || {
        let registry = registry.clone();
        async move { metrics_page(&registry) }
    };
    let router = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready.status() }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

type Page = (StatusCode, [(header::HeaderName, &'static str); 1], String);

fn metrics_page(registry: &Registry) -> Page {
    let mut text = String::new();
    let status = encode(&mut text, registry).map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::OK);
    (status, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
