//! A rule that lets everybody in everywhere.

use serde_json::json;

use super::Scenario;
use super::rules::{let_in, peer, spec};
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "broad-allow",
    kind: "policy.broad-allow",
    doc: "a policy is edited to allow without peers and ports, and traffic comes in by that rule",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    scene.edit(scene.from, &pair.ingress, spec("api", 100, "Ingress", vec![json!({"action": "Allow"})]));
    if let Some(until) = scene.until {
        let narrow = vec![let_in(peer(&pair.client), pair.port)];
        scene.edit(until, &pair.ingress, spec("api", 100, "Ingress", narrow));
    }
    scene.talk(&pair.talk(), scene.since, scene.end);
    scene.plant(pair.ingress.rule_subject("ingress[0]"));
}
