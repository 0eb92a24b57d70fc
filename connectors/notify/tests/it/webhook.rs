//! Findings as rows and as events.

use std::path::Path;
use std::time::Duration;

use catchment_core::{ByteSize, Domain, Epoch, LogId, Period, Retry, Sink as _, json};
use catchment_notify::{Format, Headers, WebhookConfig, WebhookSink};
use catchment_schemas::Dataset;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::receiver::{Receiver, SILENCE};
use crate::sample::{epoch, finding, resolved, stream};

fn config(receiver: &Receiver) -> WebhookConfig {
    WebhookConfig { url: format!("{}/hook", receiver.url), ..WebhookConfig::default() }
}

fn sink(config: WebhookConfig, folder: &Path) -> WebhookSink {
    WebhookSink::new(config, folder.to_owned(), &mut Registry::default()).unwrap()
}

/// The rows of findings as every other sink has them.
fn rows(epoch: &Epoch) -> Vec<Value> {
    let mut rows = Vec::new();
    json::for_each_row(epoch, |dataset, row| {
        if dataset == Dataset::Findings {
            rows.push(serde_json::from_slice(row).unwrap());
        }
    });
    rows
}

#[tokio::test]
async fn what_has_become_of_findings_is_posted_as_rows_with_the_headers_asked_for() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let headers = Headers([("Authorization".to_owned(), "Bearer abc".to_owned())].into());
    let mut sink = sink(WebhookConfig { headers, ..config(&receiver) }, folder.path());
    assert_eq!(sink.open(&stream()).await.unwrap(), None);
    let told = epoch(1, vec![finding("web"), resolved("db")]);
    assert_eq!(sink.publish(&told).await.unwrap(), Some(told.cursor()));
    let [request] = &receiver.requests()[..] else { panic!("{:?}", receiver.requests()) };
    assert_eq!((&*request.method, &*request.path), ("POST", "/hook"));
    assert_eq!(request.headers["authorization"], "Bearer abc");
    assert_eq!(request.headers["content-type"], "application/json");
    let body = serde_json::json!({ "cluster": "prod", "source": "calico", "findings": rows(&told) });
    assert_eq!(request.body, body);
}

#[tokio::test]
async fn an_epoch_without_findings_moves_the_cursor_and_posts_nothing() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let mut sink = sink(config(&receiver), folder.path());
    sink.open(&stream()).await.unwrap();
    let quiet = epoch(1, vec![]);
    assert_eq!(sink.publish(&quiet).await.unwrap(), Some(quiet.cursor()));
    let side_rows = Epoch { window: None, ..epoch(2, vec![]) };
    assert_eq!(sink.publish(&side_rows).await.unwrap(), Some(side_rows.cursor()));
    assert!(receiver.requests().is_empty());
    assert_eq!(sink.finish().await.unwrap(), Some(side_rows.cursor()));
}

#[tokio::test]
async fn a_restart_goes_on_behind_what_was_delivered() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let (first, second) = (epoch(1, vec![finding("web")]), epoch(2, vec![resolved("web")]));
    let mut before = sink(config(&receiver), folder.path());
    before.open(&stream()).await.unwrap();
    before.publish(&first).await.unwrap();
    drop(before);
    let mut after = sink(config(&receiver), folder.path());
    assert_eq!(after.open(&stream()).await.unwrap(), Some(first.cursor()));
    assert_eq!(after.publish(&first).await.unwrap(), Some(first.cursor()));
    after.publish(&second).await.unwrap();
    let told: Vec<_> = receiver.bodies().iter().map(|body| body["findings"].clone()).collect();
    assert_eq!(told, [rows(&first), rows(&second)].map(Value::from));
    assert_eq!(first.cursor().log, Some(LogId(1)));
}

#[tokio::test]
async fn what_was_not_taken_is_posted_again_and_no_cursor_moves_meanwhile() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    receiver.answer(&[(503, "busy"), (429, "slower")]);
    let mut sink = sink(config(&receiver), folder.path());
    let told = epoch(1, vec![finding("web")]);
    for answer in ["503", "429"] {
        assert_eq!(sink.open(&stream()).await.unwrap(), None);
        let error = sink.publish(&told).await.unwrap_err();
        assert_eq!((error.domain, error.retry), (Domain::External, Retry::Backoff));
        assert!(error.message.contains(answer), "{error}");
    }
    sink.open(&stream()).await.unwrap();
    assert_eq!(sink.publish(&told).await.unwrap(), Some(told.cursor()));
    let bodies = receiver.bodies();
    assert!(bodies.len() == 3 && bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

#[tokio::test]
async fn a_refusal_stops_the_sink_and_tells_what_the_receiver_said() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    receiver.answer(&[(400, "no such\n  field `cluster`")]);
    let mut sink = sink(config(&receiver), folder.path());
    sink.open(&stream()).await.unwrap();
    let error = sink.publish(&epoch(1, vec![finding("web")])).await.unwrap_err();
    assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never));
    assert!(error.message.ends_with("check `url` and `format`: no such field `cluster`"), "{error}");
    assert!(error.message.contains(&receiver.url) && !error.message.contains("/hook"), "{error}");
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_or_is_not_there_is_tried_again() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    receiver.answer(&[(SILENCE, "")]);
    let timeout = Period(Duration::from_millis(200));
    let told = epoch(1, vec![finding("web")]);
    for url in [format!("{}/hook", receiver.url), "http://127.0.0.1:9/hook".to_owned()] {
        let mut sink = sink(WebhookConfig { url, timeout, ..WebhookConfig::default() }, folder.path());
        sink.open(&stream()).await.unwrap();
        let error = sink.publish(&told).await.unwrap_err();
        assert_eq!((error.domain, error.retry), (Domain::External, Retry::Backoff));
        assert!(error.chain().contains("no answer") && !error.chain().contains("/hook"), "{}", error.chain());
    }
}

#[tokio::test]
async fn many_findings_are_cut_into_requests_that_are_not_too_large() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let mut registry = Registry::default();
    let config = WebhookConfig { max_body: ByteSize(4000), ..config(&receiver) };
    let mut sink = WebhookSink::new(config, folder.path().to_owned(), &mut registry).unwrap();
    sink.open(&stream()).await.unwrap();
    let told = epoch(1, (0..20).map(|i| finding(&format!("web-{i}"))).collect());
    sink.publish(&told).await.unwrap();
    let requests = receiver.requests();
    assert!(requests.len() > 1 && requests.iter().all(|request| request.bytes <= 4000), "{}", requests.len());
    let posted = requests.iter().flat_map(|request| request.body["findings"].as_array().unwrap().clone());
    assert_eq!(posted.collect::<Vec<_>>(), rows(&told));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("webhook_findings_total 20"), "{text}");
}

#[tokio::test]
async fn as_ocsf_a_request_is_a_list_of_events() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let mut sink = sink(WebhookConfig { format: Format::Ocsf, ..config(&receiver) }, folder.path());
    sink.open(&stream()).await.unwrap();
    sink.publish(&epoch(1, vec![finding("web"), resolved("db")])).await.unwrap();
    let [events] = &receiver.bodies()[..] else { panic!("one request") };
    let told: Vec<_> = events.as_array().unwrap().iter().map(|e| (&e["class_uid"], &e["activity_id"])).collect();
    assert_eq!(told, [(&2004.into(), &1.into()), (&2004.into(), &3.into())]);
    assert_eq!(events[0]["finding_info"]["uid"], finding("web").id.to_string());
}

#[tokio::test]
async fn a_check_posts_nothing() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let said = sink(config(&receiver), folder.path()).check().await.unwrap();
    assert!(said.contains("200") && said.ends_with("nothing was posted"), "{said}");
    assert_eq!(receiver.requests()[0].method, "HEAD");
    let nobody = WebhookConfig { url: "http://127.0.0.1:9".to_owned(), ..WebhookConfig::default() };
    assert_eq!(sink(nobody, folder.path()).check().await.unwrap_err().domain, Domain::External);
}

#[tokio::test]
async fn a_file_that_holds_no_cursor_is_named() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    std::fs::write(folder.path().join("calico.json"), "half a").unwrap();
    let error = sink(config(&receiver), folder.path()).open(&stream()).await.unwrap_err();
    assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never));
    assert!(error.message.contains("calico.json"), "{error}");
}
