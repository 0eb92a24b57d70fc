//! A policy for somebody who never came.

use super::Scenario;
use super::rules::{Policy, let_in, peer, spec};
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "unused",
    kind: "policy.unused",
    doc: "a policy that meets nothing for seven days while its pods have traffic; shows in runs that are longer",
    plant,
    ..Scenario::NONE
};

const UNUSED_SECS: i64 = 7 * 24 * 3600;

fn plant(scene: &mut Scene<'_>) {
    scene.for_ever();
    let pair = scene.pair();
    let spare = scene.workload(&pair.client.namespace, "spare");
    scene.deploy(&spare);
    scene.talk(&pair.talk(), scene.begin, scene.end);
    let policy = Policy::new(&pair.server.namespace, "spares", scene.made());
    let policy = scene.policy(policy, spec("api", 200, "Ingress", vec![let_in(peer(&spare), pair.port)]));
    scene.plant_as(SCENARIO.kind, policy.subject(), scene.begin + UNUSED_SECS);
}
