//! Calico's own API server, as far as what it shows depends on permissions.
//!
//! It stands before the real server and does to requests for policies what Calico's does: it adds a selector of the tiers
//! that the user may read, as they are when a list or a watch begins. The permissions are the real server's.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::server::Server;

/// Carries the requests of one user.
struct Front {
    user: kube::Client,
    administrator: kube::Client,
}

/// Serves on a port of its own; the kubeconfig that leads there.
pub(crate) async fn start(server: &Server) -> std::path::PathBuf {
    let front = Front { user: server.client("reader").await, administrator: server.client("admin").await };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = axum::Router::new().fallback(carry).with_state(Arc::new(front));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "front",
        "clusters": [{"name": "front", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "users": [{"name": "front", "user": {}}],
        "contexts": [{"name": "front", "context": {"cluster": "front", "user": "front"}}],
    });
    let path = server.file("front.yaml");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

async fn carry(State(front): State<Arc<Front>>, request: Request) -> Response {
    if request.uri().path().ends_with("/apiservices/v3.projectcalico.org") {
        return axum::body::Bytes::from(json!({"spec": {"service": {"name": "calico-api"}}}).to_string())
            .into_response();
    }
    let (mut parts, body) = request.into_parts();
    let policies = parts.uri.path().strip_prefix("/apis/projectcalico.org/v3/").filter(|r| r.ends_with("policies"));
    if let Some(resource) = policies {
        let tiers = front.readable_tiers(resource).await.join("%2C");
        let selector = format!("labelSelector=projectcalico.org%2Ftier%20in%20%28none%2C{tiers}%29");
        parts.uri = format!("{}&{selector}", parts.uri).parse().unwrap();
    }
    parts.headers.remove("host");
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    match front.user.send(Request::from_parts(parts, kube::client::Body::from(body.to_vec()))).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => (axum::http::StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Front {
    async fn readable_tiers(&self, resource: &str) -> Vec<String> {
        let all = axum::http::Request::get("/apis/projectcalico.org/v3/tiers").body(vec![]).unwrap();
        let all: Value = self.administrator.request(all).await.unwrap();
        let mut readable = Vec::new();
        for tier in all["items"].as_array().unwrap() {
            let name = tier["metadata"]["name"].as_str().unwrap();
            if self.may("get", "tiers", name).await
                && self.may("list", &format!("tier.{resource}"), &format!("{name}.*")).await
            {
                readable.push(name.to_owned());
            }
        }
        readable
    }

    async fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let access = json!({"verb": verb, "group": "projectcalico.org", "resource": resource, "name": name});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": access}});
        let request = axum::http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .header("content-type", "application/json")
            .body(review.to_string().into_bytes());
        let answer: Value = self.user.request(request.unwrap()).await.unwrap();
        answer["status"]["allowed"] == true
    }
}
