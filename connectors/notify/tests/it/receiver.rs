//! A server that keeps what it is sent and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Long past anything a loaded machine needs.
const PATIENCE: Duration = Duration::from_mins(1);

/// The answer that never comes.
pub(crate) const SILENCE: u16 = 0;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: usize,
    /// Null where there is none.
    pub(crate) body: Value,
}

#[derive(Default)]
struct Inner {
    requests: Mutex<Vec<Request>>,
    answers: Mutex<VecDeque<(u16, &'static str)>>,
    came: Notify,
}

/// It listens until the test ends.
#[derive(Clone)]
pub(crate) struct Receiver {
    inner: Arc<Inner>,
    pub(crate) url: String,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner::default());
        let router = Router::new().fallback(take).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inner, url }
    }

    /// Answers the next requests so, and those after them with 200.
    pub(crate) fn answer(&self, answers: &[(u16, &'static str)]) {
        self.inner.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.inner.requests.lock().unwrap().clone()
    }

    /// The bodies so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.requests().into_iter().map(|request| request.body).collect()
    }

    /// Forgets what came so far.
    pub(crate) fn clear(&self) {
        self.inner.requests.lock().unwrap().clear();
    }

    /// Waits until `count` requests have come.
    pub(crate) async fn await_requests(&self, count: usize) {
        let came = async {
            while self.requests().len() < count {
                self.inner.came.notified().await;
            }
        };
        timeout(PATIENCE, came).await.expect("the requests come");
    }
}

async fn take(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let request = Request {
        method: method.to_string(),
        path: uri.path().to_owned(),
        headers,
        bytes: body.len(),
        body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
    };
    inner.requests.lock().unwrap().push(request);
    inner.came.notify_one();
    let answer = inner.answers.lock().unwrap().pop_front();
    match answer {
        Some((SILENCE, _)) => std::future::pending().await,
        Some((status, text)) => (StatusCode::from_u16(status).unwrap(), text),
        None => (StatusCode::OK, "{}"),
    }
}
