//! A cluster at work.

use catchment_core::knowledge::Kind;
use catchment_kubernetes::Snapshot;

use crate::support::planter::Planter;
use crate::support::server::Server;
use crate::support::shop::{NODES, Shop};
use crate::support::watched::Watched;

const PODS: usize = 500;
const STEP: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_rolling_updates_and_a_lost_node_is_told_once_and_in_order() {
    let Some(server) = Server::start("rollout") else { return };
    let planter = Planter::new(&server).await;
    let mut watched = Watched::start(server.kubeconfig("admin")).await;
    watched.until_synced(&[Kind::Pod, Kind::Node, Kind::ReplicaSet]).await;
    let mut shop = Shop::open(&planter).await;

    let mut set = shop.revise("r1").await;
    shop.start(&set, PODS, &NODES).await;
    for revision in ["r2", "r3"] {
        set = shop.revise(revision).await;
        for _ in 0..PODS / STEP {
            shop.start(&set, STEP, &NODES).await;
            shop.stop(STEP).await;
        }
    }
    let lost = shop.lose(NODES[2]).await;
    shop.start(&set, lost, &NODES[..2]).await;
    assert_eq!(shop.pods(), PODS);

    let states = planter.histories("pods");
    watched.until_told(Kind::Pod, &states).await;
    watched.until_told(Kind::Node, &planter.histories("nodes")).await;
    watched.until_told(Kind::ReplicaSet, &planter.histories("replicasets.apps")).await;
    let steps: usize = states.values().map(Vec::len).sum();
    assert!(states.len() > 3 * PODS && steps > 4 * states.len(), "{} pods, {steps} changes", states.len());
    assert_eq!(watched.requests(Kind::Pod, "stream"), 1);
    assert_eq!(watched.requests(Kind::Pod, "list"), 0);
    what_kubectl_prints_is_the_same(&server, &watched);
}

fn what_kubectl_prints_is_the_same(server: &Server, watched: &Watched) {
    for (format, pattern) in [("json", "*.json"), ("yaml", "*.yaml")] {
        let printed = server.kubectl(&["get", "pods,nodes,replicasets", "--all-namespaces", "-o", format]);
        std::fs::write(server.file(&format!("printed.{format}")), printed).unwrap();
        let path = server.file(pattern.replace('*', "printed").as_str()).display().to_string();
        let snapshot = Snapshot::read(&[path]).unwrap();
        let read: std::collections::BTreeMap<_, _> = snapshot.objects.into_iter().map(|o| (o.key(), o)).collect();
        let mut seen = watched.view(Kind::Pod);
        seen.extend(watched.view(Kind::Node));
        seen.extend(watched.view(Kind::ReplicaSet));
        assert!(read == seen, "what kubectl prints as {format} differs");
    }
}
