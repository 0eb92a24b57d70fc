//! A destination whose node says nothing of it.

use super::Scenario;
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "one-sided-report",
    kind: "asymmetry.one-sided-report",
    doc: "a client's node counts replies, and the server's node, which reports others, does not know of them",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let mut ill = pair.talk();
    ill.ingress = None;
    scene.interrupt(&pair.talk(), &ill);
    scene.plant(ill.subject());
}
