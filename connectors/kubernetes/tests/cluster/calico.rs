//! Calico's objects, in every form a cluster has them.

use std::path::Path;

use catchment_core::knowledge::{Coverage, Kind, Object};
use catchment_kubernetes::{Cluster, Config, Look};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::access::{allow, forbid};
use crate::support::planter::Planter;
use crate::support::server::Server;
use crate::support::watched::Watched;
use crate::support::{crds, front};

const V3: &str = "/apis/projectcalico.org/v3";
const STORED: &str = "/apis/crd.projectcalico.org/v1";
/// Kinds that are installed.
const INSTALLED: [Kind; 4] = [Kind::Tier, Kind::NetworkPolicy, Kind::GlobalNetworkPolicy, Kind::NetworkSet];

fn policy(name: &str, tier: &str, order: u32) -> Value {
    let rule = json!({"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'web'"},
        "destination": {"ports": [80, "8000:8099"]}});
    json!({
        "metadata": {"name": name, "labels": {"projectcalico.org/tier": tier}},
        "spec": {"tier": tier, "order": order, "selector": "all()", "types": ["Ingress"], "ingress": [rule]},
    })
}

/// Creates an object under `api`; what is no kind of Kubernetes has to say what it is.
async fn plant(planter: &Planter, api: &str, place: &str, kind: &str, mut object: Value) -> Value {
    object["apiVersion"] = api.trim_start_matches("/apis/").into();
    object["kind"] = kind.into();
    planter.create(&format!("{api}/{place}"), object).await
}

async fn tier(planter: &Planter, api: &str, name: &str) {
    plant(planter, api, "tiers", "Tier", json!({"metadata": {"name": name}, "spec": {"order": 100}})).await;
}

async fn global(planter: &Planter, api: &str, policy: Value) -> Value {
    plant(planter, api, "globalnetworkpolicies", "GlobalNetworkPolicy", policy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_found_when_they_are_installed_in_their_best_form_and_gone_when_they_are_removed() {
    let Some(server) = Server::start("calico") else { return };
    let planter = Planter::new(&server).await;
    let mut watched = Watched::start(server.kubeconfig("admin")).await;
    watched.until("no Calico", |w| INSTALLED.iter().all(|&kind| w.is(kind, &Coverage::Absent))).await;

    crds::install(&planter, "crd.projectcalico.org", "v1").await;
    watched.until_synced(&INSTALLED).await;
    tier(&planter, STORED, "security").await;
    let place = "namespaces/default/networkpolicies";
    plant(&planter, STORED, place, "NetworkPolicy", policy("default.allow", "default", 1)).await;
    global(&planter, STORED, policy("security.deny", "security", 2)).await;
    let given = json!({"labels": {"role": "db"}}).to_string();
    let set = json!({"metadata": {"name": "db", "annotations": {"projectcalico.org/metadata": given}},
        "spec": {"nets": ["192.0.2.0/24"]}});
    plant(&planter, STORED, "namespaces/default/networksets", "NetworkSet", set).await;
    let order = json!({"spec": {"order": 3}});
    planter.change(&format!("{STORED}/namespaces/default/networkpolicies/default.allow"), order).await;
    for kind in INSTALLED {
        watched.until_told(kind, &planter.histories(&kind.to_string())).await;
    }
    let names: Vec<_> = watched.view(Kind::NetworkPolicy).into_keys().map(|key| key.to_string()).collect();
    assert_eq!(names, ["networkpolicies.projectcalico.org/default/allow"]);
    let sets = watched.view(Kind::NetworkSet);
    let Some(Object::NetworkSet(set)) = sets.values().next() else { panic!("no set") };
    assert_eq!(set.metadata.labels["role"], "db");

    // Calico moves to plain resources: what was stored is not read any more.
    crds::install(&planter, "projectcalico.org", "v3").await;
    let moved = global(&planter, V3, policy("moved", "security", 4)).await;
    let moved = Object::from_json(&moved.to_string()).unwrap().unwrap();
    watched.until("the best form", |w| w.view(Kind::GlobalNetworkPolicy).into_values().eq([moved.clone()])).await;
    watched.until("the stored form to be left", |w| w.view(Kind::NetworkPolicy).is_empty()).await;
    watched.until_synced(&INSTALLED).await;

    crds::remove(&planter, "crd.projectcalico.org").await;
    crds::remove(&planter, "projectcalico.org").await;
    watched.until("no Calico any more", |w| INSTALLED.iter().all(|&kind| w.is(kind, &Coverage::Absent))).await;
    assert!(INSTALLED.iter().all(|&kind| watched.view(kind).is_empty()));
}

/// What one look shows.
async fn look(kubeconfig: &Path, kinds: &[Kind]) -> Look {
    let config = Config { kubeconfig: Some(kubeconfig.to_owned()), ..Config::default() };
    Cluster::new(config, &mut Registry::default()).await.unwrap().look(kinds).await.unwrap()
}

/// Rules for the tiers of these names; for all where there is none.
fn tiers_may_be_read(names: &[&str]) -> Value {
    let every: Vec<String> = names.iter().map(|name| format!("{name}.*")).collect();
    let group = ["projectcalico.org"];
    let mut tiers = json!({"apiGroups": group, "resources": ["tiers"], "verbs": ["get"]});
    let policies = ["tier.networkpolicies", "tier.globalnetworkpolicies"];
    let mut policies = json!({"apiGroups": group, "resources": policies, "verbs": ["list", "watch"]});
    if !names.is_empty() {
        tiers["resourceNames"] = json!(names);
        policies["resourceNames"] = json!(every);
    }
    json!([tiers, policies])
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_tiers_that_may_not_be_read_are_known_to_be_missing_until_they_may() {
    let Some(server) = Server::start("tiers") else { return };
    let planter = Planter::new(&server).await;
    crds::install(&planter, "projectcalico.org", "v3").await;
    for name in ["open", "closed"] {
        tier(&planter, V3, name).await;
        global(&planter, V3, policy(&format!("in-{name}"), name, 1)).await;
    }
    let resources = ["tiers", "networkpolicies", "globalnetworkpolicies"];
    let reading = json!([{"apiGroups": ["projectcalico.org"], "resources": resources, "verbs": ["list", "watch"]}]);
    allow(&planter, "reading", reading).await;
    allow(&planter, "tiers", tiers_may_be_read(&["open"])).await;
    let front = front::start(&server).await;
    let mut watched = Watched::start(front.clone()).await;
    let kind = Kind::GlobalNetworkPolicy;
    let names = |w: &Watched| w.view(kind).into_keys().map(|key| key.name.to_string()).collect::<Vec<_>>();
    let hidden = |w: &Watched, tier: &str| matches!(w.now(kind), Some(Coverage::Partial { why }) if why.contains(tier));
    watched.until("a tier to be hidden", |w| hidden(w, "tiers closed are")).await;
    assert_eq!(names(&watched), ["in-open"]);
    let look = look(&front, &[kind, Kind::Tier]).await;
    let seen: Vec<_> = look.objects.iter().map(|object| object.key().name.to_string()).collect();
    assert_eq!(seen, ["closed", "open", "in-open"]);
    assert!(look.hidden.keys().eq([&kind]) && look.hidden[&kind].contains("tiers closed are"), "{:?}", look.hidden);

    forbid(&planter, "tiers").await;
    allow(&planter, "tiers", tiers_may_be_read(&["open", "closed"])).await;
    watched.until_synced(&[kind]).await;
    assert_eq!(names(&watched), ["in-closed", "in-open"]);

    tier(&planter, V3, "late").await;
    global(&planter, V3, policy("in-late", "late", 1)).await;
    watched.until("the new tier to be hidden", |w| hidden(w, "tiers late are")).await;
    assert_eq!(names(&watched), ["in-closed", "in-open"]);
    forbid(&planter, "tiers").await;
    allow(&planter, "tiers", tiers_may_be_read(&[])).await;
    watched.until_synced(&[kind]).await;
    assert_eq!(names(&watched), ["in-closed", "in-late", "in-open"]);

    // A tier that may be read from the start shows its policies, though the watch began before it was there.
    tier(&planter, V3, "next").await;
    global(&planter, V3, policy("in-next", "next", 1)).await;
    watched.until("the policy of the newest tier", |w| names(w).contains(&"in-next".to_owned())).await;
}
