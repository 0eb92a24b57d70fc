//! Connections that outlived the rule that let them in.

use catchment_schemas::goldmane::{Action, PolicyHit};

use super::Scenario;
use super::cast::{Pair, Side, Talk};
use super::rules::{Policy, let_in, peer, preview, spec};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const DENIED: Scenario = Scenario {
    name: "stale-verdict",
    kind: "policy.stale-verdict",
    doc: "a rule is replaced, and a connection that it let in goes on although it would now be denied",
    plant: denied,
    ..Scenario::NONE
};

pub(super) const LET_IN: Scenario = Scenario {
    name: "replaced-policy",
    kind: "policy.stale-verdict",
    doc: "a policy is replaced by another that lets the same in, and a connection goes on by the old one",
    plant: let_in_by_another,
    ..Scenario::NONE
};

/// A connection that is kept against the rules for so long serves nobody.
const KEPT_SECS: i64 = 3600;

/// Nobody begins a connection.
const KEPT: Pace = Pace { starts: 0.0, ..Pace::STEADY };

fn denied(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let other = scene.workload(&pair.client.namespace, "cart");
    scene.deploy(&other);
    let rules = vec![let_in(peer(&other), pair.port)];
    scene.edit(scene.from, &pair.ingress, spec("api", 100, "Ingress", rules));
    let ill = keep(scene, &pair, pair.ingress.ends_tier());
    scene.plant(ill.subject());
    if scene.stop() > scene.from + KEPT_SECS {
        scene.plant_as("zombie.long-lived", ill.subject(), scene.from + KEPT_SECS);
    }
}

fn let_in_by_another(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let rules = || spec("api", 100, "Ingress", vec![let_in(peer(&pair.client), pair.port)]);
    let other = Policy::new(&pair.server.namespace, "api-clients", scene.from);
    scene.policy(other.clone(), rules());
    scene.remove(scene.from, pair.ingress.object(rules()));
    let ill = keep(scene, &pair, other.allows(0));
    scene.plant(ill.subject());
}

/// The pair's connections go on by the old verdict, though this step would decide about new ones.
fn keep(scene: &mut Scene<'_>, pair: &Pair, now: PolicyHit) -> Talk {
    let stale = preview(vec![pair.ingress.allows(0)], vec![now]);
    let ill = pair.talk().arriving(Side::new(Action::Allow, stale, KEPT)).at(KEPT);
    scene.talk(&pair.talk(), scene.since, scene.from);
    scene.talk(&ill, scene.from, scene.stop());
    ill
}
