//! A connection that outlived the rule that let it in.

use catchment_schemas::goldmane::Action;

use super::Scenario;
use super::cast::Side;
use super::rules::{let_in, peer, preview, spec};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stale-verdict",
    kind: "policy.stale-verdict",
    doc: "a rule is replaced, and a connection that it let in goes on although it would now be denied",
    plant,
    ..Scenario::NONE
};

/// A connection that is kept against the rules for so long serves nobody.
const KEPT_SECS: i64 = 3600;

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let other = scene.workload(&pair.client.namespace, "cart");
    scene.deploy(&other);
    let rules = vec![let_in(peer(&other), pair.port)];
    scene.edit(scene.from, &pair.ingress, spec("api", 100, "Ingress", rules));
    let kept = Pace { starts: 0.0, ..Pace::STEADY };
    let stale = preview(vec![pair.ingress.allows(0)], vec![pair.ingress.ends_tier()]);
    let ill = pair.talk().arriving(Side::new(Action::Allow, stale, kept)).at(kept);
    scene.talk(&pair.talk(), scene.since, scene.from);
    scene.talk(&ill, scene.from, scene.stop());
    scene.plant(ill.subject());
    if scene.stop() > scene.from + KEPT_SECS {
        scene.plant_as("zombie.long-lived", ill.subject(), scene.from + KEPT_SECS);
    }
}
