//! A namespace that nobody protects.

use catchment_schemas::goldmane::Action;
use serde_json::json;

use super::Scenario;
use super::cast::{HTTP, SQL, Side, Talk};
use super::rules::{PLATFORM, Policy, let_in, let_out, peer, profile, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no-policy",
    kind: "policy.no-policy",
    doc: "a namespace without policies, or whose only policy passes: nothing decides what its pods take in and send",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let (guarded, bare) = (scene.namespace(), scene.namespace());
    let (client, server) = (scene.workload(&guarded, "web"), scene.workload(&bare, "api"));
    let store = scene.workload(&guarded, "db");
    for workload in [&client, &server, &store] {
        scene.deploy(workload);
    }
    let client_out = scene.guard_egress(&client, &server, HTTP);
    let store_in = scene.guard_ingress(&server, &store, SQL);
    let passes = (scene.variant(3) == 2).then(|| {
        let policy = Policy::new(&bare, "pass-on", scene.made()).in_tier(PLATFORM);
        let pass = json!([{"action": "Pass"}]);
        scene.policy(
            policy,
            json!({"selector": "all()", "types": ["Ingress", "Egress"], "ingress": pass, "egress": pass}),
        )
    });
    let open = passes.iter().map(|policy| policy.passes(0)).chain([profile(&bare)]).collect::<Vec<_>>();
    let side = |hits| Side::new(Action::Allow, trace(hits), Pace::STEADY);
    let (from, stop) = (scene.from, scene.stop());
    let inward = Talk::new(&client, &server, HTTP).leaving(side(vec![client_out.allows(0)]));
    let outward = Talk::new(&server, &store, SQL).arriving(side(vec![store_in.allows(0)]));
    scene.talk(&inward.clone().arriving(side(open.clone())), from, stop);
    scene.talk(&outward.clone().leaving(side(open)), from, stop);
    scene.plant(server.subject("ingress"));
    scene.plant(json!({"namespace": bare, "direction": "egress"}));
    if let Some(until) = scene.until {
        let rules = |name: &str| Policy::new(&bare, name, until);
        let ingress =
            scene.policy(rules("api-ingress"), spec("api", 100, "Ingress", vec![let_in(peer(&client), HTTP)]));
        let egress = scene.policy(rules("api-egress"), spec("api", 100, "Egress", vec![let_out(peer(&store), SQL)]));
        let behind = |policy: &Policy| passes.iter().map(|pass| pass.passes(0)).chain([policy.allows(0)]).collect();
        scene.talk(&inward.arriving(side(behind(&ingress))), until, scene.end);
        scene.talk(&outward.leaving(side(behind(&egress))), until, scene.end);
    }
}
