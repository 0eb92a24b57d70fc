//! What comes between the connector and the server.

use catchment_core::knowledge::{Coverage, Kind};
use serde_json::json;

use crate::support::link::Link;
use crate::support::planter::Planter;
use crate::support::server::Server;
use crate::support::shop::{NODES, Shop};
use crate::support::watched::{OF_KUBERNETES, Watched, newest};

/// A connector that has seen everything, and a way to it that can be cut.
async fn through_a_link(server: &Server) -> (Planter, Link, Watched) {
    let link = Link::to(server.port()).await;
    let mut watched = Watched::start(server.kubeconfig_through("admin", link.port)).await;
    watched.until_synced(OF_KUBERNETES).await;
    (Planter::new(server).await, link, watched)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_way_was_cut_is_told_change_by_change_without_a_new_list() {
    let Some(server) = Server::start("cut") else { return };
    let (planter, link, mut watched) = through_a_link(&server).await;
    let mut shop = Shop::open(&planter).await;
    let set = shop.revise("r1").await;
    shop.start(&set, 60, &NODES).await;
    for _ in 0..3 {
        watched.until_synced(OF_KUBERNETES).await;
        link.cut();
        watched.until("the pods to be stale", |w| matches!(w.now(Kind::Pod), Some(Coverage::Stale { .. }))).await;
        shop.start(&set, 20, &NODES).await;
        shop.stop(20).await;
        link.mend();
        watched.until_told(Kind::Pod, &planter.histories("pods")).await;
    }
    watched.until_synced(OF_KUBERNETES).await;
    let stale = |coverage: &&Coverage| matches!(coverage, Coverage::Stale { since: Some(_), .. });
    assert_eq!(watched.coverage[&Kind::Pod].iter().filter(stale).count(), 3, "{:?}", watched.coverage[&Kind::Pod]);
    assert_eq!((watched.requests(Kind::Pod, "stream"), watched.requests(Kind::Pod, "list")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_is_followed_on_and_every_kind_is_up_to_date_again() {
    let Some(server) = Server::start("restart") else { return };
    let planter = Planter::new(&server).await;
    let mut watched = Watched::start(server.kubeconfig("admin")).await;
    watched.until_synced(OF_KUBERNETES).await;
    let mut shop = Shop::open(&planter).await;
    let set = shop.revise("r1").await;
    for _ in 0..2 {
        shop.start(&set, 20, &NODES).await;
        watched.until_synced(OF_KUBERNETES).await;
        server.restart();
        shop.start(&set, 20, &NODES).await;
        shop.stop(20).await;
    }
    watched.until_seen(Kind::Pod, &planter.histories("pods")).await;
    watched.until_synced(OF_KUBERNETES).await;
    for &kind in OF_KUBERNETES {
        let lists = watched.requests(kind, "stream") + watched.requests(kind, "list");
        assert!(lists <= 3, "{kind}: {lists} lists for two restarts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_server_forgot_the_past_nothing_old_stays_and_what_vanished_is_gone() {
    let Some(server) = Server::start("forget") else { return };
    let (planter, link, mut watched) = through_a_link(&server).await;
    let mut shop = Shop::open(&planter).await;
    let set = shop.revise("r1").await;
    shop.start(&set, 60, &NODES).await;
    watched.until_told(Kind::Pod, &planter.histories("pods")).await;
    watched.until_synced(OF_KUBERNETES).await;
    link.cut();
    watched.until("the pods to be stale", |w| matches!(w.now(Kind::Pod), Some(Coverage::Stale { .. }))).await;
    shop.stop(30).await;
    shop.start(&set, 10, &NODES).await;
    planter.change("/api/v1/namespaces/shop", json!({"metadata": {"labels": {"team": "b"}}})).await;
    server.forget();
    link.mend();
    watched.until_seen(Kind::Pod, &planter.histories("pods")).await;
    watched.until_synced(OF_KUBERNETES).await;
    let namespaces = newest(&planter.histories("namespaces"));
    assert_eq!(watched.view(Kind::Namespace)[namespaces.keys().next().unwrap()], *namespaces.values().next().unwrap());
    let lists = (watched.requests(Kind::Pod, "stream"), watched.requests(Kind::Pod, "list"));
    assert_eq!(lists, (2, 0), "the first list, and one when the past was forgotten");
    // Changes go on as they come.
    shop.start(&set, 5, &NODES).await;
    watched.until_seen(Kind::Pod, &planter.histories("pods")).await;
}
