//! A staged policy that nobody came back to.

use catchment_schemas::goldmane::Action;

use super::Scenario;
use super::cast::Side;
use super::rules::{Policy, let_in, peer, preview, spec};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "staged-forgotten",
    kind: "policy.staged-forgotten",
    doc: "a staged policy that would change nothing, and becomes older than seven days",
    plant,
    ..Scenario::NONE
};

const FORGOTTEN_SECS: i64 = 7 * 24 * 3600;

fn plant(scene: &mut Scene<'_>) {
    scene.for_ever();
    let pair = scene.pair();
    // The day on which it is forgotten is that of the plant, however short the run.
    let staged = Policy::staged(&pair.server.namespace, "ready", scene.from - FORGOTTEN_SECS);
    let staged = scene.policy(staged, spec("api", 10, "Ingress", vec![let_in(peer(&pair.client), pair.port)]));
    let previewed = preview(vec![pair.ingress.allows(0)], vec![staged.allows(0)]);
    let talk = pair.talk().arriving(Side::new(Action::Allow, previewed, Pace::STEADY));
    scene.talk(&talk, scene.begin, scene.end);
    scene.plant(staged.subject());
}
