//! Who changes the cluster, and remembers every state that it gave an object.

use std::collections::BTreeMap;
use std::sync::Mutex;

use catchment_core::knowledge::{Key, Object};
use futures::StreamExt as _;
use http::{Method, Request};
use serde_json::{Value, json};

use super::server::Server;

/// The states of every object, in order; `None` where it was gone.
pub(crate) type Histories = BTreeMap<Key, Vec<Option<Object>>>;

/// What the server answers to a change is what the object is from then on.
pub(crate) struct Planter {
    client: kube::Client,
    planted: Mutex<Histories>,
}

impl Server {
    /// A client of a user.
    pub(crate) async fn client(&self, user: &str) -> kube::Client {
        let file = kube::config::Kubeconfig::read_from(self.kubeconfig(user)).unwrap();
        let access =
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.unwrap();
        kube::Client::try_from(access).unwrap()
    }
}

impl Planter {
    pub(crate) async fn new(server: &Server) -> Self {
        Self { client: server.client("admin").await, planted: Mutex::default() }
    }

    /// Every state of the objects of one resource, by its name as kubectl knows it.
    pub(crate) fn histories(&self, resource: &str) -> Histories {
        let planted = self.planted.lock().unwrap();
        planted
            .iter()
            .filter(|(key, _)| key.kind.to_string() == resource)
            .map(|(k, h)| (k.clone(), h.clone()))
            .collect()
    }

    /// Creates an object under `path`, such as `/api/v1/nodes`.
    pub(crate) async fn create(&self, path: &str, object: Value) -> Value {
        self.record(self.send(Method::POST, path, "application/json", &object).await)
    }

    /// Merges `change` into the object at `path`, which may end in `/status`.
    pub(crate) async fn change(&self, path: &str, change: Value) -> Value {
        self.record(self.send(Method::PATCH, path, "application/merge-patch+json", &change).await)
    }

    /// Deletes the object at `path`, which goes at once. A pod is marked with that time first, and the server tells.
    pub(crate) async fn delete(&self, path: &str, object: &Value) {
        let options = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        let answer = self.send(Method::DELETE, path, "application/json", &options).await;
        if answer["kind"] == "Pod" {
            self.record(answer);
        }
        if let Some(object) = read(object) {
            self.planted.lock().unwrap().entry(object.key()).or_default().push(None);
        }
    }

    /// Asks for the end of a pod: it stays until it is deleted.
    pub(crate) async fn end(&self, path: &str) {
        self.record(self.send(Method::DELETE, path, "application/json", &json!({})).await);
    }

    /// A resource that was just defined is served a moment later: what is not there is asked for again.
    async fn send(&self, method: Method, path: &str, content: &str, body: &Value) -> Value {
        for _ in 0..100 {
            let request = Request::builder().method(method.clone()).uri(path).header("content-type", content);
            match self.client.request(request.body(body.to_string().into_bytes()).unwrap()).await {
                Ok(answer) => return answer,
                Err(kube::Error::Api(status)) if status.code == 404 && method == Method::POST => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                Err(error) => panic!("{method} {path}: {error}"),
            }
        }
        panic!("{method} {path}: not served");
    }

    fn record(&self, answer: Value) -> Value {
        if let Some(object) = read(&answer) {
            let mut planted = self.planted.lock().unwrap();
            let history = planted.entry(object.key()).or_default();
            if history.last() != Some(&Some(object.clone())) {
                history.push(Some(object));
            }
        }
        answer
    }
}

/// `None` for kinds that are not read.
fn read(value: &Value) -> Option<Object> {
    Object::from_json(&value.to_string()).unwrap()
}

/// Runs a few of the futures at a time.
pub(crate) async fn together<F: Future<Output = ()>>(all: impl IntoIterator<Item = F>) {
    futures::stream::iter(all).for_each_concurrent(12, |one| one).await;
}
