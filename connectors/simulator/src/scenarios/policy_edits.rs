//! Policies that change while nothing is wrong.

use catchment_schemas::goldmane::Action;

use super::Scenario;
use super::cast::Side;
use super::rules::{let_in, peer, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "policy-edits",
    doc: "a rule for somebody else is put in front of the one that lets a client in, and taken away again",
    plant,
    ..Scenario::NONE
};

const EVERY_SECS: i64 = 300;

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let other = scene.workload(&pair.client.namespace, "cart");
    scene.deploy(&other);
    let well = let_in(peer(&pair.client), pair.port);
    let rules = [vec![well.clone()], vec![let_in(peer(&other), pair.port), well]];
    let times = (scene.begin..scene.end).step_by(EVERY_SECS as usize);
    for (place, at) in (0..2).cycle().zip(times) {
        if at > scene.begin {
            scene.edit(at, &pair.ingress, spec("api", 100, "Ingress", rules[place].clone()));
        }
        let arrives = Side::new(Action::Allow, trace(vec![pair.ingress.allows(place as i64)]), Pace::STEADY);
        scene.talk(&pair.talk().arriving(arrives), at, (at + EVERY_SECS).min(scene.end));
    }
}
