//! Pods that come and go while nothing is wrong.

use super::Scenario;
use super::cast::Pair;
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-deployments",
    doc: "a client and a server are rolled out every few minutes, each in its turn",
    plant,
    ..Scenario::NONE
};

const EVERY_SECS: i64 = 240;

fn plant(scene: &mut Scene<'_>) {
    let mut pair = scene.pair();
    let (mut since, mut is_client) = (scene.begin, false);
    while since < scene.end {
        let until = (since + EVERY_SECS).min(scene.end);
        scene.talk(&pair.talk(), since, until);
        if until < scene.end {
            is_client = !is_client;
            pair = if is_client {
                Pair { client: scene.roll_out(until, &pair.client), ..pair }
            } else {
                Pair { server: scene.roll_out(until, &pair.server), ..pair }
            };
        }
        since = until;
    }
}
