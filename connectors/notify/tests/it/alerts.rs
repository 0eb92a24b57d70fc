//! Findings as alerts.

use std::path::Path;
use std::time::Duration;

use catchment_core::{Domain, Epoch, EventTime, FindingRow, Mute, Period, Retry, Severity, Sink as _, Status};
use catchment_notify::{AlertmanagerConfig, AlertmanagerSink, Level};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::sample::{epoch, finding, resolved, stream};

/// Nothing is sent again while a test runs.
const NEVER: Period = Period::secs(3600);

fn config(receiver: &Receiver) -> AlertmanagerConfig {
    AlertmanagerConfig { url: receiver.url.clone(), resend: NEVER, ..AlertmanagerConfig::default() }
}

fn sink(config: AlertmanagerConfig, folder: &Path) -> AlertmanagerSink {
    AlertmanagerSink::new(config, folder.to_owned(), &mut Registry::default()).unwrap()
}

/// Publishes to a fresh sink; returns the alerts that were sent.
async fn sent(epochs: &[Epoch]) -> Vec<Value> {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let mut sink = sink(config(&receiver), folder.path());
    sink.open(&stream()).await.unwrap();
    for epoch in epochs {
        assert_eq!(sink.publish(epoch).await.unwrap(), Some(epoch.cursor()));
    }
    receiver.bodies().iter().flat_map(|body| body.as_array().unwrap().clone()).collect()
}

#[tokio::test]
async fn an_open_finding_is_an_alert_with_its_words() {
    let alerts = sent(&[epoch(1, vec![FindingRow { owner: Some("payments".to_owned()), ..finding("web") }])]).await;
    let labels = json!({
        "alertname": "private.metadata-access",
        "kind": "private.metadata-access",
        "severity": "high",
        "family": "private",
        "cluster": "prod",
        "source": "calico",
        "namespace": "shop",
        "owner": "payments",
        "finding_id": finding("web").id.to_string(),
    });
    let annotations = json!({
        "title": "web reads the metadata service",
        "explanation": "it may read credentials of the node",
        "remediation": "deny it",
        "verify": "catchment why shop/web 169.254.169.254:80",
        "runbook": "https://runbooks.example/private.md#privatemetadata-access",
    });
    assert_eq!(alerts, [json!({ "labels": labels, "annotations": annotations, "startsAt": "2026-01-01T00:00:00Z" })]);
}

#[tokio::test]
async fn an_alert_ends_where_its_finding_is_resolved_stale_or_forgotten() {
    let stale = FindingRow { status: Status::Stale, ..finding("db") };
    let opened = epoch(1, vec![finding("web"), finding("db"), finding("api")]);
    let last = Epoch { forgotten: vec![finding("api").id], ..epoch(2, vec![resolved("web"), stale]) };
    let alerts = sent(&[opened, last]).await;
    let ends: Vec<_> = alerts[3..].iter().map(|alert| alert["endsAt"].as_str().unwrap()).collect();
    assert_eq!(ends, ["2026-01-01T00:03:00Z"; 3]);
    assert!(alerts[..3].iter().all(|alert| alert["endsAt"].is_null()));
    let labels = |alerts: &[Value]| alerts.iter().map(|alert| alert["labels"].clone()).collect::<Vec<_>>();
    assert_eq!(labels(&alerts[..3]), labels(&alerts[3..]));
}

#[tokio::test]
async fn muted_findings_and_those_below_the_severity_are_held_back_and_counted() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let mut registry = Registry::default();
    let mut sink = AlertmanagerSink::new(config(&receiver), folder.path().to_owned(), &mut registry).unwrap();
    sink.open(&stream()).await.unwrap();
    let mute = Some(Mute { reason: "known".to_owned(), until: EventTime::from_secs(9) });
    let muted = FindingRow { mute, ..finding("web") };
    let low = FindingRow { severity: Severity::Low, ..finding("db") };
    let medium = FindingRow { severity: Severity::Medium, ..finding("api") };
    sink.publish(&epoch(1, vec![muted, low, medium, resolved("never told")])).await.unwrap();
    let bodies = receiver.bodies();
    let ids: Vec<_> = bodies[0].as_array().unwrap().iter().map(|a| a["labels"]["finding_id"].clone()).collect();
    assert_eq!(ids, [finding("api").id.to_string()]);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in ["alertmanager_held_back_total 2", "alertmanager_open 1", "alertmanager_alerts_total 1"] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn an_alert_ends_when_its_finding_is_muted_or_becomes_harmless() {
    let mute = Some(Mute { reason: "known".to_owned(), until: EventTime::from_secs(9) });
    let muted = FindingRow { mute, ..finding("web") };
    let low = FindingRow { severity: Severity::Low, ..finding("db") };
    let alerts = sent(&[epoch(1, vec![finding("web"), finding("db")]), epoch(2, vec![muted, low])]).await;
    assert!(alerts.len() == 4 && alerts[2..].iter().all(|alert| alert["endsAt"].is_string()), "{alerts:?}");
    assert_eq!(alerts[3]["labels"]["severity"], "high", "under the labels it was known by");
}

#[tokio::test]
async fn a_finding_that_becomes_worse_is_another_alert_and_the_one_before_ends() {
    let medium = FindingRow { severity: Severity::Medium, ..finding("web") };
    let alerts = sent(&[epoch(1, vec![medium]), epoch(2, vec![finding("web")])]).await;
    let told: Vec<_> = alerts.iter().map(|a| (&a["labels"]["severity"], a["endsAt"].is_string())).collect();
    assert_eq!(told, [(&json!("medium"), false), (&json!("medium"), true), (&json!("high"), false)]);
}

#[tokio::test]
async fn everything_is_told_where_that_is_asked_for() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let mut sink = sink(AlertmanagerConfig { min_severity: Level::Info, ..config(&receiver) }, folder.path());
    sink.open(&stream()).await.unwrap();
    sink.publish(&epoch(1, vec![FindingRow { severity: Severity::Info, ..finding("web") }])).await.unwrap();
    assert_eq!(receiver.bodies()[0][0]["labels"]["severity"], "info");
}

#[tokio::test]
async fn what_is_open_is_sent_again_until_it_ends() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let resend = Period(Duration::from_millis(20));
    let mut sink = sink(AlertmanagerConfig { resend, ..config(&receiver) }, folder.path());
    sink.open(&stream()).await.unwrap();
    sink.publish(&epoch(1, vec![finding("web"), finding("db")])).await.unwrap();
    receiver.await_requests(4).await;
    assert!(receiver.bodies().iter().all(|body| body.as_array().unwrap().len() == 2), "{:?}", receiver.bodies());
    sink.publish(&epoch(2, vec![resolved("web")])).await.unwrap();
    let ended = receiver.requests().len();
    receiver.await_requests(ended + 2).await;
    let db = finding("db").id.to_string();
    for body in &receiver.bodies()[ended..] {
        let ids: Vec<_> = body.as_array().unwrap().iter().map(|alert| &alert["labels"]["finding_id"]).collect();
        assert_eq!(ids, [&db], "what has ended is not opened again");
    }
}

#[tokio::test]
async fn what_was_open_before_a_restart_is_sent_again_at_once() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let first = epoch(1, vec![finding("web")]);
    let mut before = sink(config(&receiver), folder.path());
    before.open(&stream()).await.unwrap();
    before.publish(&first).await.unwrap();
    drop(before);
    receiver.clear();
    let mut after = sink(config(&receiver), folder.path());
    assert_eq!(after.open(&stream()).await.unwrap(), Some(first.cursor()));
    receiver.await_requests(1).await;
    assert_eq!(receiver.bodies()[0][0]["labels"]["finding_id"], finding("web").id.to_string());
    after.publish(&epoch(2, vec![resolved("web")])).await.unwrap();
    assert!(receiver.bodies()[1][0]["endsAt"].is_string(), "{:?}", receiver.bodies());
}

#[tokio::test]
async fn an_alert_that_was_not_taken_is_not_open_and_is_sent_again_with_its_epoch() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    receiver.answer(&[(500, "no quorum")]);
    let mut sink = sink(config(&receiver), folder.path());
    let told = epoch(1, vec![finding("web")]);
    sink.open(&stream()).await.unwrap();
    let error = sink.publish(&told).await.unwrap_err();
    assert_eq!((error.domain, error.retry), (Domain::External, Retry::Backoff));
    assert_eq!(sink.open(&stream()).await.unwrap(), None);
    sink.publish(&told).await.unwrap();
    let bodies = receiver.bodies();
    assert!(bodies.len() == 2 && bodies[0] == bodies[1], "{bodies:?}");
}

#[tokio::test]
async fn a_check_tells_a_server_of_another_kind() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    receiver.answer(&[(200, r#"{"versionInfo":{"version":"0.28.0"},"cluster":{"status":"ready"}}"#)]);
    let mut sink = sink(config(&receiver), folder.path());
    assert_eq!(sink.check().await.unwrap(), "Alertmanager 0.28.0, its cluster is ready");
    assert_eq!(receiver.requests()[0].path, "/api/v2/status");
    let error = sink.check().await.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert!(error.message.contains("as no Alertmanager"), "{error}");
}
