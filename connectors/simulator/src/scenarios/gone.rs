//! Connections to or from pods that a rollout has replaced.

use super::Scenario;
use super::cast::Pair;
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SOURCE: Scenario = Scenario {
    name: "source-gone",
    kind: "zombie.source-gone",
    doc: "a rollout replaces the clients, and the server still sends to one of the old",
    plant: |scene| plant(scene, true),
    ..Scenario::NONE
};

pub(super) const DESTINATION: Scenario = Scenario {
    name: "destination-gone",
    kind: "zombie.destination-gone",
    doc: "a rollout replaces the servers, and a client still sends to one of the old",
    plant: |scene| plant(scene, false),
    ..Scenario::NONE
};

/// How long after the last pod of a name its connections may still be wound up.
const WIND_UP_SECS: i64 = 90;

/// What one end sends into the void.
const SENDS: Pace = Pace { requests: 0.4, replies: 0.0, request_bytes: 1200.0, reply_bytes: 1200.0, ..Pace::IDLE };

fn plant(scene: &mut Scene<'_>, is_source: bool) {
    let pair = scene.pair();
    scene.talk(&pair.talk(), scene.since, scene.from);
    let mut left = pair.talk();
    let next = if is_source {
        left = left.at(Pace { requests: 0.0, replies: 0.4, ..SENDS });
        left.egress = None;
        Pair { client: scene.roll_out(scene.from, &pair.client), ..pair }
    } else {
        left = left.at(SENDS);
        left.ingress = None;
        Pair { server: scene.roll_out(scene.from, &pair.server), ..pair }
    };
    scene.talk(&left, scene.from, scene.stop());
    scene.talk(&next.talk(), scene.from, scene.end);
    scene.plant_as(scene.scenario.kind, left.subject(), scene.from + WIND_UP_SECS);
}
