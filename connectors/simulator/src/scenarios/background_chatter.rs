//! A whisper every minute that leads to nothing.

use super::Scenario;
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "background-chatter",
    kind: "zombie.background-chatter",
    doc: "a client sends a packet or two every minute over one connection, and gets acknowledgements without data",
    plant,
    ..Scenario::NONE
};

/// 52 bytes are the headers of a packet.
const WHISPER: Pace = Pace {
    requests: 2.0 / 60.0,
    replies: 2.0 / 60.0,
    request_bytes: 54.0,
    reply_bytes: 52.0,
    starts: 0.0,
    open: 1,
    every: 60.0,
    ..Pace::STEADY
};

/// Once or twice is not again and again.
const AGAIN_SECS: i64 = 1800;

fn plant(scene: &mut Scene<'_>) {
    scene.lasts_beyond(AGAIN_SECS);
    let pair = scene.pair();
    let talk = pair.talk().at(WHISPER);
    scene.talk(&talk, scene.from, scene.stop());
    scene.plant(talk.subject());
}
