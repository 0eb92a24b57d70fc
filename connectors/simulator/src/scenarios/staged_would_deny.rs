//! A staged policy that would break what works.

use catchment_schemas::goldmane::Action;
use serde_json::json;

use super::Scenario;
use super::cast::Side;
use super::rules::{PLATFORM, Policy, named, preview, spec};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "staged-would-deny",
    kind: "policy.staged-would-deny",
    doc: "a staged policy that would deny what is let through, by a rule or for want of one",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let namespace = &pair.server.namespace;
    let staged = Policy::staged(namespace, "tighten", scene.from);
    let (staged, hit) = if scene.variant(2) == 0 {
        let deny = json!({"action": "Deny", "source": {"selector": named("web")}});
        let staged = scene.policy(staged, spec("api", 10, "Ingress", vec![deny]));
        let hit = staged.denies(0);
        (staged, hit)
    } else {
        let staged = scene.policy(staged.in_tier(PLATFORM), spec("api", 10, "Ingress", vec![]));
        let hit = staged.ends_tier();
        (staged, hit)
    };
    let trace = preview(vec![pair.ingress.allows(0)], vec![hit]);
    let ill = pair.talk().arriving(Side::new(Action::Allow, trace, Pace::STEADY));
    scene.interrupt(&pair.talk(), &ill);
    if let Some(until) = scene.until {
        let gone = staged.object(json!({}));
        scene.remove(until, gone);
    }
    scene.plant(staged.subject());
}
