//! Connections that are refused at once.

use super::Scenario;
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "never-established",
    kind: "asymmetry.never-established",
    doc: "every connection is one packet there and a reset back",
    plant,
    ..Scenario::NONE
};

const REFUSED: Pace = Pace {
    requests: 1.0,
    replies: 1.0,
    starts: 1.0,
    request_bytes: 60.0,
    reply_bytes: 40.0,
    life: None,
    open: 0,
    ..Pace::STEADY
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let ill = pair.talk().at(REFUSED);
    scene.interrupt(&pair.talk(), &ill);
    scene.plant(ill.subject());
}
