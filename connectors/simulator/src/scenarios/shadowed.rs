//! A rule that nothing ever gets to.

use serde_json::json;

use super::Scenario;
use super::rules::{Policy, let_in, peer, spec};
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "shadowed",
    kind: "policy.shadowed",
    doc: "a policy behind one that decides everything, or a rule behind one that says the same",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let probe = scene.workload(&pair.client.namespace, "probe");
    scene.deploy(&probe);
    scene.talk(&pair.talk(), scene.since, scene.end);
    let well = || let_in(peer(&pair.client), pair.port);
    if scene.variant(2) == 0 {
        let all = vec![well(), json!({"action": "Deny"})];
        scene.edit(scene.begin + 30, &pair.ingress, spec("api", 100, "Ingress", all));
        let behind = Policy::new(&pair.server.namespace, "probes", scene.from);
        let behind = scene.policy(behind, spec("api", 200, "Ingress", vec![let_in(peer(&probe), pair.port)]));
        scene.plant(behind.subject());
        if let Some(until) = scene.until {
            let gone = behind.object(json!({}));
            scene.remove(until, gone);
        }
    } else {
        scene.edit(scene.from, &pair.ingress, spec("api", 100, "Ingress", vec![well(), well()]));
        scene.plant(pair.ingress.rule_subject("ingress[1]"));
        if let Some(until) = scene.until {
            scene.edit(until, &pair.ingress, spec("api", 100, "Ingress", vec![well()]));
        }
    }
}
