//! An account that a boundary does not name.

use super::scene::Scene;
use super::{BOUNDARIES, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "wrong-service-account",
    kind: "trust.wrong-service-account",
    doc: "a client crosses a declared boundary with an account that is not among those allowed",
    config: BOUNDARIES,
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let namespace = scene.namespace();
    let (client, mut server) = (scene.workload(&namespace, "web"), scene.workload(&namespace, "api"));
    server.labels.push(("catchment.dev/boundary", "ledger".to_owned()));
    let pair = scene.pair_of(client, server);
    scene.talk(&pair.talk(), scene.from, scene.stop());
    scene.plant(pair.talk().subject());
}
