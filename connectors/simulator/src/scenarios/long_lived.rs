//! A connection that nobody uses and nobody closes.

use super::Scenario;
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "long-lived",
    kind: "zombie.long-lived",
    doc: "a connection stays open without a byte for an hour and more",
    plant,
    ..Scenario::NONE
};

const SILENT_SECS: i64 = 3600;

fn plant(scene: &mut Scene<'_>) {
    scene.for_ever();
    let pair = scene.pair();
    let idle = pair.talk().at(Pace::IDLE);
    scene.interrupt(&pair.talk(), &idle);
    scene.plant_as(SCENARIO.kind, idle.subject(), scene.from + SILENT_SECS);
}
