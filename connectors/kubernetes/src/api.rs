//! Requests to the API server.

use catchment_core::{Error, Result};
use futures::{Stream, StreamExt as _};
use http::Request;
use kube::api::WatchEvent;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Config;
use crate::fault::{Fault, chain};

/// Objects in one page of a list: some megabytes of pods.
const PAGE: usize = 250;

/// A connection to one API server; clones share it.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    address: String,
}

/// One page of a list; its items as they came.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) metadata: PageMeta,
    #[serde(default)]
    pub(crate) items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMeta {
    #[serde(default)]
    pub(crate) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(crate) next: String,
}

/// One question: may we do this?
#[derive(Serialize)]
pub(crate) struct Access<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
}

#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
struct ReviewStatus {
    allowed: bool,
}

impl Api {
    /// Reads the configuration and prepares the client; nothing is sent yet.
    pub(crate) async fn new(config: &Config) -> Result<Self> {
        let access = access(config).await?;
        let address = access.cluster_url.to_string();
        let client = kube::Client::try_from(access).map_err(|e| {
            Error::user(format!("cannot use the credentials for {address}: {}", chain(&e))).caused_by(e)
        })?;
        Ok(Self { client, address })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, Fault> {
        Ok(self.client.request(request(path_and_query)).await?)
    }

    /// The page of a list that `next` of the page before names; the first one where that is empty.
    pub(crate) async fn page(&self, path: &str, next: &str) -> Result<Page, Fault> {
        let next = if next.is_empty() { String::new() } else { format!("&continue={}", encoded(next)) };
        self.get(&format!("{path}?limit={PAGE}{next}")).await
    }

    /// The events of a watch, as they come; a status of the server among them is a fault.
    pub(crate) async fn watch(
        &self,
        path_and_query: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Box<RawValue>>, Fault>> + use<>, Fault> {
        let events = self.client.request_events::<Box<RawValue>>(request(path_and_query)).await?;
        Ok(events.map(|event: kube::Result<_>| match event? {
            WatchEvent::Error(status) => Err(Fault::of_status(&status)),
            event => Ok(event),
        }))
    }

    /// Asks the server what we may do.
    pub(crate) async fn may(&self, access: &Access<'_>) -> Result<bool, Fault> {
        let review = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": access},
        });
        let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(review.to_string().into_bytes())
            .expect("a fixed path makes a request");
        Ok(self.client.request::<Review>(request).await?.status.allowed)
    }
}

/// For a value of a query: tokens are base64 as a rule, whose signs mean something there.
fn encoded(token: &str) -> String {
    token.bytes().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text + &char::from(byte).to_string(),
        byte => text + &format!("%{byte:02X}"),
    })
}

fn request(path_and_query: &str) -> Request<Vec<u8>> {
    Request::get(path_and_query).body(Vec::new()).expect("names of resources and encoded values make a path")
}

async fn access(config: &Config) -> Result<kube::Config> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &config.kubeconfig {
        let refuse = |e: kube::config::KubeconfigError| {
            Error::user(format!("kubeconfig `{}`: {}", path.display(), chain(&e))).caused_by(e)
        };
        let file = Kubeconfig::read_from(path).map_err(refuse)?;
        return kube::Config::from_custom_kubeconfig(file, &options).await.map_err(refuse);
    }
    if config.context.is_some() {
        let refuse = |e: kube::config::KubeconfigError| Error::user(format!("kubeconfig: {}", chain(&e))).caused_by(e);
        return kube::Config::from_kubeconfig(&options).await.map_err(refuse);
    }
    kube::Config::infer().await.map_err(|e| {
        let mend = "set `kubeconfig`, or run in a pod with a service account";
        Error::user(format!("no way to the API server is configured; {mend}: {}", chain(&e))).caused_by(e)
    })
}
