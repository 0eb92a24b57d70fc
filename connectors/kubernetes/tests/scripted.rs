//! The connector against a server that answers by a script: what a well server cannot be brought to do.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use catchment_core::Period;
use catchment_core::knowledge::{Coverage, Kind, News};
use catchment_kubernetes::{Cluster, Config};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

/// What is answered to requests for pods, in order, and what was asked for. When the script is at its end, watches go on
/// for ever without an event.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<(u16, String)>>,
    asked: Mutex<Vec<String>>,
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    match request.uri().path() {
        "/api/v1" => json!({"resources": [{"name": "pods"}]}).to_string().into_response(),
        "/api/v1/pods" => {
            script.asked.lock().unwrap().push(request.uri().query().unwrap_or_default().to_owned());
            let next = script.answers.lock().unwrap().pop_front();
            let Some((code, body)) = next else { return std::future::pending().await };
            (axum::http::StatusCode::from_u16(code).unwrap(), body).into_response()
        }
        _ => (axum::http::StatusCode::NOT_FOUND, status(404)).into_response(),
    }
}

fn status(code: u16) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "scripted", "code": code}).to_string()
}

fn pod(name: &str, version: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "resourceVersion": version}})
}

fn page(names: &[&str], next: &str) -> String {
    let items: Vec<Value> = names.iter().map(|name| pod(name, "1")).collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "continue": next}, "items": items}).to_string()
}

/// Events as a server writes them: the type first.
fn events(events: &[(&str, Value)]) -> String {
    events.iter().map(|(event, object)| format!(r#"{{"type":"{event}","object":{object}}}"#) + "\n").collect()
}

fn added(name: &str, version: &str) -> (&'static str, Value) {
    ("ADDED", pod(name, version))
}

fn list_end(version: &str) -> (&'static str, Value) {
    let metadata = json!({"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}});
    ("BOOKMARK", json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata}))
}

/// The connector before a server that answers so.
async fn scripted(answers: impl IntoIterator<Item = (u16, String)>) -> (Arc<Script>, Cluster) {
    let script = Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "s", "users": [{"name": "s", "user": {}}],
        "clusters": [{"name": "s", "cluster": {"server": server}}],
        "contexts": [{"name": "s", "context": {"cluster": "s", "user": "s"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let config = Config { kubeconfig: Some(kubeconfig), look_again: Period::secs(1), ..Config::default() };
    let cluster = Cluster::new(config, &mut Registry::default()).await.unwrap();
    (script, cluster)
}

/// A run of the connector against a script.
struct Run {
    script: Arc<Script>,
    news: tokio::sync::mpsc::Receiver<News>,
    told: Vec<String>,
}

impl Run {
    async fn of(answers: impl IntoIterator<Item = (u16, String)>) -> Self {
        let (script, cluster) = scripted(answers).await;
        let (sender, news) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move { cluster.run(sender).await });
        Self { script, news, told: Vec::new() }
    }

    /// Takes news of pods until they are covered like this, for the first time from now.
    async fn until(&mut self, what: impl Fn(&Coverage) -> bool) {
        self.take(|_, coverage| coverage.is_some_and(&what)).await;
    }

    /// Takes news of pods until this was told last.
    async fn until_told(&mut self, what: &str) {
        self.take(|told, _| told.last().is_some_and(|last| last == what)).await;
    }

    async fn take(&mut self, done: impl Fn(&[String], Option<&Coverage>) -> bool) {
        let wait = async {
            while !done(&self.told, None) {
                match self.news.recv().await.unwrap() {
                    News::Change(change) => {
                        let sign = if change.state.is_some() { "+" } else { "-" };
                        self.told.push(format!("{sign}{}", change.key.name));
                    }
                    News::Coverage { kind: Kind::Pod, coverage, .. } if done(&self.told, Some(&coverage)) => return,
                    News::Coverage { .. } => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it comes");
    }

    fn asked(&self) -> Vec<String> {
        self.script.asked.lock().unwrap().clone()
    }
}

fn synced(coverage: &Coverage) -> bool {
    *coverage == Coverage::Synced
}

#[tokio::test]
async fn one_look_reads_every_page_and_begins_again_when_a_page_has_expired() {
    let pages = || [(200, page(&["a", "b"], "token+/="))];
    let expired = (410, status(410));
    let answers = pages().into_iter().chain([expired.clone()]).chain(pages()).chain([(200, page(&["c"], ""))]);
    let (script, cluster) = scripted(answers).await;
    let look = cluster.look(&[Kind::Pod, Kind::Tier]).await.unwrap();
    let names: Vec<_> = look.objects.iter().map(|object| object.key().name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(look.hidden.is_empty(), "what the cluster does not have hides nothing: {:?}", look.hidden);
    let (first, next) = ("limit=250", "limit=250&continue=token%2B%2F%3D");
    assert_eq!(*script.asked.lock().unwrap(), [first, next, first, next]);

    let forgetful = (0..3).flat_map(|_| pages().into_iter().chain([expired.clone()]));
    let refused = scripted(forgetful).await.1.look(&[Kind::Pod]).await.unwrap_err();
    assert!(refused.message.starts_with("API server at http://"), "{}", refused.message);
}

#[tokio::test]
async fn one_look_names_what_may_not_be_read_and_what_cannot_be() {
    let (_, cluster) = scripted([(403, status(403))]).await;
    let look = cluster.look(&[Kind::Pod]).await.unwrap();
    assert!(look.objects.is_empty() && look.hidden[&Kind::Pod].contains("(403)"), "{:?}", look.hidden);
    let broken =
        json!({"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "n"}, "spec": 1}, pod("a", "1")]});
    let (_, cluster) = scripted([(200, broken.to_string())]).await;
    let look = cluster.look(&[Kind::Pod]).await.unwrap();
    assert_eq!(look.objects.len(), 1);
    assert!(look.hidden[&Kind::Pod].contains("an object is left out"), "{:?}", look.hidden);
}

#[tokio::test]
async fn a_server_that_gives_no_list_as_a_stream_is_read_page_by_page_and_again_when_a_page_has_expired() {
    let answers = [
        (422, status(422)),
        (200, page(&["a", "gone"], "token+/=")),
        (410, status(410)),
        (200, page(&["a"], "next")),
        (200, page(&["b"], "")),
    ];
    let mut run = Run::of(answers).await;
    run.until(synced).await;
    assert_eq!(run.told, ["+a", "+gone", "+b", "-gone"]);
    let asked = run.asked();
    assert!(asked[0].contains("sendInitialEvents=true"), "{asked:?}");
    assert_eq!(asked[1..5], ["limit=250", "limit=250&continue=token%2B%2F%3D", "limit=250", "limit=250&continue=next"]);
}

#[tokio::test]
async fn a_watch_that_is_refused_as_too_old_by_an_event_is_followed_by_one_new_list() {
    let too_old = ("ERROR", serde_json::from_str(&status(410)).unwrap());
    let answers = [
        (200, events(&[added("a", "1"), added("gone", "2"), list_end("5"), added("b", "6")])),
        (200, events(&[too_old])),
        (200, events(&[added("a", "1"), added("c", "8"), list_end("9")])),
    ];
    let mut run = Run::of(answers).await;
    run.until(synced).await;
    run.until_told("-gone").await;
    let asked = run.asked();
    assert!(asked[1].contains("resourceVersion=6") && !asked[1].contains("sendInitialEvents"), "{asked:?}");
    assert!(asked[2].contains("sendInitialEvents"), "{asked:?}");
    assert!(
        run.told.contains(&"+c".to_owned()) && run.told.iter().filter(|told| *told == "+a").count() == 1,
        "{:?}",
        run.told
    );
}

#[tokio::test]
async fn a_list_that_breaks_off_makes_nothing_vanish_and_is_made_again() {
    let whole = events(&[added("a", "1"), added("b", "2"), list_end("5")]);
    let answers = [(200, events(&[added("a", "1")])), (200, whole)];
    let mut run = Run::of(answers).await;
    run.until(|coverage| matches!(coverage, Coverage::Stale { since: None, why } if why.contains("broke off"))).await;
    run.until(synced).await;
    assert_eq!(run.told, ["+a", "+b"]);
}

#[tokio::test]
async fn a_server_that_ends_every_watch_at_once_is_not_well() {
    let list = (200, events(&[list_end("5")]));
    let mut run = Run::of([list, (200, String::new()), (200, String::new())]).await;
    run.until(synced).await;
    run.until(|coverage| matches!(coverage, Coverage::Stale { since: Some(_), why } if why.contains("at once"))).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_left_out_and_what_was_known_of_it_is_gone() {
    let metadata = json!({"name": "a", "namespace": "n", "resourceVersion": "6"});
    let broken = ("MODIFIED", json!({"metadata": metadata, "spec": {"nodeName": 1}}));
    let answers = [(200, events(&[added("a", "1"), added("b", "2"), list_end("5"), broken, added("c", "7")]))];
    let mut run = Run::of(answers).await;
    run.until(synced).await;
    run.until_told("+c").await;
    assert_eq!(run.told, ["+a", "+b", "-a", "+c"]);
}
