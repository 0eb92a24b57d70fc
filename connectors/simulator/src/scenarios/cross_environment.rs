//! Development in production.

use super::Scenario;
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cross-environment",
    kind: "trust.cross-environment",
    doc: "a workload of development or staging calls one of production, and policies on both sides name the other",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let environment = ["development", "staging"][scene.variant(2)];
    let (outside, inside) = (scene.namespace_with(&[("environment", environment)]), scene.namespace());
    let (client, server) = (scene.workload(&outside, "web"), scene.workload(&inside, "api"));
    let pair = scene.pair_of(client, server);
    scene.talk(&pair.talk(), scene.from, scene.stop());
    scene.plant(pair.talk().subject());
}
