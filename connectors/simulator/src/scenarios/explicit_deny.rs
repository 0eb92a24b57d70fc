//! A rule that turns somebody away.

use catchment_schemas::goldmane::{Action, Reporter};
use serde_json::json;

use super::Scenario;
use super::cast::{HTTP, Side, Talk};
use super::rules::{let_out, peer, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "explicit-deny",
    kind: "policy.explicit-deny",
    doc: "a client that asks for what a rule of its policy denies by name",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let vault = scene.workload(&pair.client.namespace, "vault");
    scene.deploy(&vault);
    let (from, since, end, stop) = (scene.from, scene.since, scene.end, scene.stop());
    let deny = json!({"action": "Deny", "destination": peer(&vault)});
    scene.edit(since + 30, &pair.egress, spec("web", 100, "Egress", vec![let_out(peer(&pair.server), HTTP), deny]));
    scene.talk(&pair.talk(), since, end);
    let denied = Side::new(Action::Deny, trace(vec![pair.egress.denies(1)]), Pace::KNOCKS);
    let talk = Talk::new(&pair.client, &vault, HTTP).leaving(denied);
    scene.talk(&talk, from, stop);
    scene.plant(talk.denied_subject(&pair.egress, Reporter::Src));
}
