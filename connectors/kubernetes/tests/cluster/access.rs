//! What may be read, and what may not.

use catchment_core::knowledge::{Coverage, Kind};
use serde_json::{Value, json};

use crate::support::link::Link;
use crate::support::planter::Planter;
use crate::support::server::Server;
use crate::support::shop::{NODES, Shop};
use crate::support::watched::{OF_KUBERNETES, Watched};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// Allows the reader to read some resources.
pub(crate) async fn allow(planter: &Planter, name: &str, rules: Value) {
    planter.create(ROLES, json!({"metadata": {"name": name}, "rules": rules})).await;
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let reader = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}]);
    planter.create(BINDINGS, json!({"metadata": {"name": name}, "roleRef": role, "subjects": reader})).await;
}

pub(crate) async fn forbid(planter: &Planter, name: &str) {
    planter
        .delete(&format!("{BINDINGS}/{name}"), &json!({"apiVersion": "rbac/v1", "kind": "ClusterRoleBinding"}))
        .await;
    planter.delete(&format!("{ROLES}/{name}"), &json!({"apiVersion": "rbac/v1", "kind": "ClusterRole"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_may_not_be_read_is_told_and_comes_back_while_the_others_go_on() {
    let Some(server) = Server::start("access") else { return };
    let planter = Planter::new(&server).await;
    let link = Link::to(server.port()).await;
    let rule = |group: &str, resource: &str| json!([{"apiGroups": [group], "resources": [resource], "verbs": ["list", "watch"]}]);
    allow(&planter, "nodes", rule("", "nodes")).await;
    let mut watched = Watched::start(server.kubeconfig_through("reader", link.port)).await;
    let denied = |w: &Watched, kind| matches!(w.now(kind), Some(Coverage::Denied { .. }));
    watched.until_synced(&[Kind::Node]).await;
    watched.until("the pods to be denied", |w| denied(w, Kind::Pod)).await;
    let Some(Coverage::Denied { since: None, why }) = watched.now(Kind::Pod) else { panic!("never seen") };
    assert!(why.contains("cannot") && why.contains("pods"), "{why}");

    let mut shop = Shop::open(&planter).await;
    let set = shop.revise("r1").await;
    shop.start(&set, 30, &NODES).await;
    allow(&planter, "pods", rule("", "pods")).await;
    watched.until_seen(Kind::Pod, &planter.histories("pods")).await;
    let before = watched.view(Kind::Pod);
    watched.until_synced(&[Kind::Pod]).await;

    // Watches that are open go on; the permission is missed when they are opened again.
    forbid(&planter, "pods").await;
    link.cut();
    watched.until("the way to be cut", |w| matches!(w.now(Kind::Node), Some(Coverage::Stale { .. }))).await;
    link.mend();
    watched.until("the pods to be denied again", |w| denied(w, Kind::Pod)).await;
    watched.until_synced(&[Kind::Node]).await;
    assert!(matches!(watched.now(Kind::Pod), Some(Coverage::Denied { since: Some(_), .. })));
    shop.stop(10).await;
    planter.change("/api/v1/nodes/node-1", json!({"metadata": {"labels": {"pool": "a"}}})).await;
    watched.until_seen(Kind::Node, &planter.histories("nodes")).await;
    assert_eq!(watched.view(Kind::Pod), before, "told although it may not be read");

    allow(&planter, "pods", rule("", "pods")).await;
    watched.until_seen(Kind::Pod, &planter.histories("pods")).await;
    watched.until_synced(&[Kind::Pod]).await;
    assert!(denied(&watched, Kind::Deployment));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_the_manifest_are_enough_and_all_of_them_reading() {
    let Some(server) = Server::start("manifest") else { return };
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rbac/reader.yaml");
    server.kubectl(&["apply", "-f", manifest]);
    server.kubectl(&["create", "clusterrolebinding", "reader", "--clusterrole=catchment-reader", "--user=reader"]);
    let mut watched = Watched::start(server.kubeconfig("reader")).await;
    watched.until_synced(OF_KUBERNETES).await;
    let text = std::fs::read_to_string(manifest).unwrap();
    for verb in ["create", "update", "patch", "delete", "'*'", "\"*\""] {
        assert!(!text.contains(verb), "{verb}");
    }
}
