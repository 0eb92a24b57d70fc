//! Replies that never arrive.

use super::Scenario;
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no-ack",
    kind: "asymmetry.no-ack",
    doc: "replies leave the server's node and do not come to the client's",
    plant,
    ..Scenario::NONE
};

/// First packets, sent again until the connection is given up.
const UNHEARD: Pace = Pace {
    requests: 2.0,
    replies: 2.0,
    starts: 0.5,
    request_bytes: 60.0,
    reply_bytes: 60.0,
    life: Some(60.0),
    open: 0,
    ..Pace::STEADY
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let mut ill = pair.talk().at(UNHEARD);
    if let Some(side) = &mut ill.egress {
        side.pace.replies = 0.0;
    }
    scene.interrupt(&pair.talk(), &ill);
    scene.plant(ill.subject());
}
