//! The pages for Prometheus and for whoever watches over the process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use catchment_core::{Error, Result};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::findings::FindingsBoard;
use crate::readiness::Readiness;

/// Serves `/metrics`, `/healthz`, `/readyz` and `/findings` for as long as the process runs.
pub async fn serve(
    listen: SocketAddr,
    registry: Registry,
    ready: Readiness,
    board: FindingsBoard,
) -> Result<SocketAddr> {
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
        .route("/readyz", get(move || async move { ready_page(&ready) }))
        .route("/findings", get(move || async move { findings_page(&board) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn ready_page(ready: &Readiness) -> (StatusCode, String) {
    match ready.missing() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

fn findings_page(board: &FindingsBoard) -> Page {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/x-ndjson")], board.lines())
}

type Page = (StatusCode, [(header::HeaderName, &'static str); 1], String);

fn metrics_page(registry: &Registry) -> Page {
    let mut text = String::new();
    let status = encode(&mut text, registry).map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::OK);
    (status, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], one_family(&text))
}

/// Brings the samples of a metric together under one description, as the format demands: every
/// stream and sink has registered the metric for itself.
fn one_family(text: &str) -> String {
    let (samples, end) = text.split_once("# EOF").map_or((text, ""), |(samples, _)| (samples, "# EOF\n"));
    let mut families: Vec<String> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    let (mut family, mut is_new) = (0, false);
    for line in samples.split_inclusive('\n') {
        if let Some(described) = line.strip_prefix("# HELP ") {
            let name = described.split(' ').next().unwrap_or_default();
            is_new = !known.contains_key(name);
            family = *known.entry(name).or_insert(families.len());
            if is_new {
                families.push(String::new());
            }
        }
        if let Some(text) = families.get_mut(family)
            && (is_new || !line.starts_with('#'))
        {
            text.push_str(line);
        }
    }
    families.concat() + end
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_metric_of_many_streams_is_described_once() {
        let mut registry = Registry::default();
        for stream in ["a", "b"] {
            let of = registry.sub_registry_with_labels([("source".into(), stream.into())].into_iter());
            of.register("rows", "Rows", Counter::<u64>::default());
            of.register("gaps", "Gaps", Counter::<u64>::default());
        }
        let page = metrics_page(&registry).2;
        let rows = "# HELP rows Rows.\n# TYPE rows counter\nrows_total{source=\"a\"} 0\nrows_total{source=\"b\"} 0\n";
        assert_eq!(page, format!("{rows}{}# EOF\n", rows.replace("rows", "gaps").replace("Rows", "Gaps")));
    }

    #[test]
    fn who_is_not_ready_says_what_is_missing() {
        let ready = Readiness::default();
        let (log, sink) = (ready.part("log".to_owned()), ready.part("sink lake".to_owned()));
        assert_eq!(ready_page(&ready).1, "log: not open yet\nsink lake: not open yet\n");
        log.works();
        sink.works();
        assert_eq!(ready_page(&ready), (StatusCode::OK, "ready\n".to_owned()));
        sink.fails("lost");
        assert_eq!(ready_page(&ready), (StatusCode::SERVICE_UNAVAILABLE, "sink lake: lost\n".to_owned()));
    }
}
