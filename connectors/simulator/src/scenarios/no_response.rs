//! Requests that nobody answers.

use super::Scenario;
use super::cast::{DNS, Talk};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no-response",
    kind: "asymmetry.no-response",
    doc: "a server that answered, or its name server, falls silent; with or without requests that still arrive there",
    plant,
    ..Scenario::NONE
};

/// Connections are tried anew, and each sends its first packet four times in a minute and a half.
const SILENT: Pace =
    Pace { requests: 2.0, starts: 0.5, life: Some(90.0), request_bytes: 60.0, open: 0, ..Pace::KNOCKS };
/// Questions without an answer.
const QUESTIONS: Pace = Pace { requests: 4.0, starts: 2.0, request_bytes: 70.0, life: Some(30.0), ..SILENT };

fn plant(scene: &mut Scene<'_>) {
    let (well, silent): (Talk, Pace) = if scene.variant(3) == 2 {
        let namespace = scene.namespace();
        let (client, server) = (scene.workload(&namespace, "web"), scene.workload(&namespace, "resolver"));
        let pair = scene.pair_at(client, server, DNS);
        (pair.talk().at(Pace { replies: 4.0, reply_bytes: 120.0, ..QUESTIONS }), QUESTIONS)
    } else {
        (scene.pair().talk(), SILENT)
    };
    let mut ill = well.clone().at(silent);
    if scene.variant(3) == 1 {
        // Something on the way drops them.
        ill.ingress = None;
    }
    scene.interrupt(&well, &ill);
    scene.plant(ill.subject());
}
