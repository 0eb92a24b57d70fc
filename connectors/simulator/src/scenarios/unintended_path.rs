//! A policy that opens a door to whoever comes.

use catchment_schemas::goldmane::Action;

use super::Scenario;
use super::cast::{HTTP, Side, Talk};
use super::rules::{Policy, open, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "unintended-path",
    kind: "trust.unintended-path",
    doc: "a boundary between environments is crossed by a rule that names ports and no peer",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let (outside, inside) = (scene.namespace_with(&[("environment", "development")]), scene.namespace());
    let (client, server) = (scene.workload(&outside, "web"), scene.workload(&inside, "api"));
    scene.deploy(&client);
    scene.deploy(&server);
    let egress = scene.guard_egress(&client, &server, HTTP);
    let ingress = Policy::new(&inside, "api-ingress", scene.made());
    let ingress = scene.policy(ingress, spec("api", 100, "Ingress", vec![open(HTTP, HTTP.pod)]));
    let side = |hit| Side::new(Action::Allow, trace(vec![hit]), Pace::STEADY);
    let talk = Talk::new(&client, &server, HTTP).leaving(side(egress.allows(0))).arriving(side(ingress.allows(0)));
    scene.talk(&talk, scene.from, scene.stop());
    scene.plant(ingress.rule_subject("ingress[0]"));
    scene.plant_as("trust.cross-environment", talk.subject(), scene.from);
}
