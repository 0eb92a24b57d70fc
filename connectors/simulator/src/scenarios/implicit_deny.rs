//! A policy that forgot somebody.

use catchment_schemas::goldmane::{Action, Reporter};

use super::Scenario;
use super::cast::{HTTP, Side, Talk};
use super::rules::{let_out, peer, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "implicit-deny",
    kind: "policy.implicit-deny",
    doc: "a client whose policy names one server and that asks another: the end of the tier turns it away where it leaves",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let other = scene.workload(&pair.client.namespace, "search");
    scene.deploy(&other);
    let ingress = scene.guard_ingress(&pair.client, &other, HTTP);
    scene.talk(&pair.talk(), scene.since, scene.end);
    let allowed = |hit| Side::new(Action::Allow, trace(vec![hit]), Pace::STEADY);
    let denied = Side::new(Action::Deny, trace(vec![pair.egress.ends_tier()]), Pace::KNOCKS);
    let ask = Talk::new(&pair.client, &other, HTTP);
    let answered = ask.clone().leaving(allowed(pair.egress.allows(1))).arriving(allowed(ingress.allows(0)));
    let both = spec("web", 100, "Egress", vec![let_out(peer(&pair.server), HTTP), let_out(peer(&other), HTTP)]);
    let one = spec("web", 100, "Egress", vec![let_out(peer(&pair.server), HTTP)]);
    if scene.variant(2) == 1 {
        // It was let through until an edit.
        let first = scene.since + 30;
        scene.edit(first, &pair.egress, both.clone());
        scene.talk(&answered, first, scene.from);
        scene.edit(scene.from, &pair.egress, one);
    }
    scene.talk(&ask.leaving(denied), scene.from, scene.stop());
    if let Some(until) = scene.until {
        scene.edit(until, &pair.egress, both);
        scene.talk(&answered, until, scene.end);
    }
    scene.plant(Talk::new(&pair.client, &other, HTTP).denied_subject(&pair.egress, Reporter::Src));
}
