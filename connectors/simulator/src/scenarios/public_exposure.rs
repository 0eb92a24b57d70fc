//! A workload that the internet reaches.

use catchment_schemas::goldmane::Action;

use super::Scenario;
use super::cast::{End, HTTP, Side, Talk};
use super::rules::{Policy, open, spec, trace};
use super::scene::{Scene, service};
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "public-exposure",
    kind: "policy.public-exposure",
    doc: "a service becomes a load balancer, and a rule without peers lets the internet in",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    scene.talk(&pair.talk(), scene.since, scene.end);
    let namespace = pair.server.namespace.clone();
    let shop = scene.workload(&namespace, "shop");
    scene.deploy(&shop);
    let policy = Policy::new(&namespace, "shop-ingress", scene.made());
    let policy = scene.policy(policy, spec("shop", 100, "Ingress", vec![open(HTTP, HTTP.pod)]));
    let mut exposed = service(&shop, "shop");
    exposed["spec"]["type"] = "LoadBalancer".into();
    scene.change(scene.from, exposed);
    let arrives = Side::new(Action::Allow, trace(vec![policy.allows(0)]), Pace::STEADY);
    scene.talk(&Talk::new(End::public(), &shop, HTTP).arriving(arrives), scene.from, scene.stop());
    scene.plant(shop.subject("ingress"));
    if let Some(until) = scene.until {
        scene.change(until, service(&shop, "shop"));
    }
}
