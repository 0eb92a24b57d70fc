//! The sink against a real Alertmanager, given by `CATCHMENT_TEST_ALERTMANAGER=http://host:port`;
//! `tools/alertmanager/server.sh` starts one. Without it nothing is tested and each test says so; where `CI` is set to true
//! that is a failure.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod sample;

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use catchment_core::{EventTime, FindingRow, Period, Severity, Sink as _, Status};
use catchment_notify::{AlertmanagerConfig, AlertmanagerSink};
use prometheus_client::registry::Registry;
use serde_json::Value;

use sample::{epoch_at, finding_since, stream};

/// Long past anything a loaded machine needs.
const PATIENCE: Duration = Duration::from_mins(1);

/// The address of the server.
fn server(test: &str) -> Option<String> {
    let Ok(url) = std::env::var("CATCHMENT_TEST_ALERTMANAGER") else {
        // Straight to the descriptor: the harness hides what print macros of a passing test say.
        let mut stderr = std::io::stderr();
        writeln!(stderr, "DID NOT RUN: {test}: set CATCHMENT_TEST_ALERTMANAGER=http://host:port").unwrap();
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "an Alertmanager is needed in CI");
        return None;
    };
    Some(url)
}

/// Windows have just ended, by the clock that the server goes by.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn sink(url: &str, folder: &std::path::Path) -> AlertmanagerSink {
    let resend = Period(Duration::from_millis(500));
    let config = AlertmanagerConfig { url: url.to_owned(), resend, ..AlertmanagerConfig::default() };
    AlertmanagerSink::new(config, folder.to_owned(), &mut Registry::default()).unwrap()
}

/// The alerts of a finding that are active on the server.
async fn active(url: &str, row: &FindingRow) -> Vec<Value> {
    let asked = format!("{url}/api/v2/alerts?filter=finding_id%3D%22{}%22", row.id);
    let answer = reqwest::get(asked).await.unwrap().error_for_status().unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// Waits until so many alerts of a finding are active.
async fn await_active(url: &str, row: &FindingRow, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let alerts = active(url, row).await;
        if alerts.len() == count {
            return alerts;
        }
        assert!(Instant::now() < deadline, "{alerts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_alert_fires_with_its_finding_and_ends_with_it() {
    let Some(url) = server("fires and ends") else { return };
    let (folder, start) = (tempfile::tempdir().unwrap(), now() - 600);
    let mut sink = sink(&url, folder.path());
    sink.open(&stream()).await.unwrap();
    let row = finding_since(&format!("web-{start}"), start);
    sink.publish(&epoch_at(1, start, vec![row.clone()])).await.unwrap();
    let [alert] = &await_active(&url, &row, 1).await[..] else { panic!("one") };
    assert_eq!(alert["labels"]["alertname"], "private.metadata-access");
    assert_eq!(alert["annotations"]["remediation"], "deny it");
    assert_eq!(alert["status"]["state"].as_str().map(|state| state != "suppressed"), Some(true));
    let resolved = FindingRow { status: Status::Resolved, ..row.clone() };
    sink.publish(&epoch_at(2, start, vec![resolved])).await.unwrap();
    await_active(&url, &row, 0).await;
}

/// The server ends an alert 3 s after it last heard of it.
#[tokio::test]
async fn an_alert_stays_for_as_long_as_somebody_sends_it_again() {
    let Some(url) = server("stays") else { return };
    let (folder, start) = (tempfile::tempdir().unwrap(), now() - 600);
    let mut sink = sink(&url, folder.path());
    sink.open(&stream()).await.unwrap();
    let row = finding_since(&format!("stays-{start}"), start);
    sink.publish(&epoch_at(1, start, vec![row.clone()])).await.unwrap();
    let end = |alert: &Value| EventTime::parse_rfc3339(alert["endsAt"].as_str().unwrap()).unwrap();
    let first = end(&await_active(&url, &row, 1).await[0]);
    let deadline = Instant::now() + PATIENCE;
    while EventTime::from_secs(now()) <= first {
        assert!(Instant::now() < deadline, "the clock stands still");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let [alert] = &active(&url, &row).await[..] else { panic!("it ended though it was sent again") };
    assert!(end(alert) > first, "{alert:?}");
    drop(sink);
    await_active(&url, &row, 0).await;
}

#[tokio::test]
async fn an_alert_that_becomes_worse_is_there_once() {
    let Some(url) = server("becomes worse") else { return };
    let (folder, start) = (tempfile::tempdir().unwrap(), now() - 600);
    let mut sink = sink(&url, folder.path());
    sink.open(&stream()).await.unwrap();
    let row = finding_since(&format!("worse-{start}"), start);
    let medium = FindingRow { severity: Severity::Medium, ..row.clone() };
    sink.publish(&epoch_at(1, start, vec![medium])).await.unwrap();
    await_active(&url, &row, 1).await;
    sink.publish(&epoch_at(2, start, vec![row.clone()])).await.unwrap();
    let [alert] = &await_active(&url, &row, 1).await[..] else { panic!("one") };
    assert_eq!(alert["labels"]["severity"], "high");
}

#[tokio::test]
async fn a_check_tells_the_version_of_the_server() {
    let Some(url) = server("check") else { return };
    let folder = tempfile::tempdir().unwrap();
    let said = sink(&url, folder.path()).check().await.unwrap();
    assert!(said.starts_with("Alertmanager 0."), "{said}");
}
