//! A backend that runs as somebody else.

use super::scene::Scene;
use super::{EXPECTED_ACCOUNTS, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "unexpected-destination-identity",
    kind: "trust.unexpected-destination-identity",
    doc: "pods of a backend run with an account outside those expected there",
    config: EXPECTED_ACCOUNTS,
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let namespace = scene.namespace();
    let (client, mut server) = (scene.workload(&namespace, "web"), scene.workload(&namespace, "api"));
    server.labels.push(("catchment.dev/identity", "vault".to_owned()));
    "impostor".clone_into(&mut server.account);
    let pair = scene.pair_of(client, server);
    scene.talk(&pair.talk(), scene.from, scene.stop());
    scene.plant(pair.server.source_subject());
}
