//! A visitor in an isolated namespace.

use super::scene::Scene;
use super::{ISOLATED_NAMESPACES, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cross-namespace",
    kind: "trust.cross-namespace",
    doc: "a namespace that is declared isolated is reached from one that is not on its list",
    config: ISOLATED_NAMESPACES,
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let (outside, isolated) = (scene.namespace(), scene.namespace_called("isolated", &[]));
    let (client, server) = (scene.workload(&outside, "web"), scene.workload(&isolated, "api"));
    let pair = scene.pair_of(client, server);
    scene.talk(&pair.talk(), scene.from, scene.stop());
    scene.plant(pair.talk().subject());
}
