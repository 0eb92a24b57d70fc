//! A staged policy that would let through what is denied.

use catchment_schemas::goldmane::{Action, Reporter};
use serde_json::json;

use super::Scenario;
use super::cast::{HTTP, Side, Talk};
use super::rules::{Policy, let_out, peer, preview, spec};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "staged-would-allow",
    kind: "policy.staged-would-allow",
    doc: "a staged policy that would let through what the end of the tier turns away now",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let other = scene.workload(&pair.client.namespace, "search");
    scene.deploy(&other);
    scene.talk(&pair.talk(), scene.since, scene.end);
    let staged = Policy::staged(&pair.client.namespace, "widen", scene.from);
    let staged = scene.policy(staged, spec("web", 10, "Egress", vec![let_out(peer(&other), HTTP)]));
    let denied = |trace| Side::new(Action::Deny, trace, Pace::KNOCKS);
    let ask = Talk::new(&pair.client, &other, HTTP);
    let previewed = preview(vec![pair.egress.ends_tier()], vec![staged.allows(0)]);
    scene.talk(&ask.clone().leaving(denied(previewed)), scene.from, scene.stop());
    scene.plant(staged.subject());
    scene.plant_as("policy.implicit-deny", ask.denied_subject(&pair.egress, Reporter::Src), scene.from);
    if let Some(until) = scene.until {
        let gone = staged.object(json!({}));
        scene.remove(until, gone);
    }
}
