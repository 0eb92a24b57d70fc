//! An edit that does not take effect.

use catchment_schemas::goldmane::Action;
use serde_json::{Value, json};

use super::Scenario;
use super::cast::{HTTP, Pair, Side};
use super::rules::{Policy, let_in, named, peer, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "edit-without-effect",
    kind: "policy.label-mismatch",
    doc: "a policy is edited and should decide from then on, and new connections go by the policy behind it; beside it, one whose edit takes effect within a minute",
    plant,
    ..Scenario::NONE
};

/// Nodes take an edit in so late where all is well.
const LATE_SECS: i64 = 40;

fn plant(scene: &mut Scene<'_>) {
    let ill = guarded(scene, "api");
    let policy = edit(scene, &ill);
    takes_effect(scene, &ill, &policy, scene.stop());
    scene.plant(policy.subject());
    let well = guarded(scene, "search");
    let policy = edit(scene, &well);
    takes_effect(scene, &well, &policy, scene.from + LATE_SECS);
}

/// A client, and a server whose policy would let another client in as well, so that the edited one stands for a part of it.
fn guarded(scene: &mut Scene<'_>, app: &str) -> Pair {
    let namespace = scene.namespace();
    let (client, server) = (scene.workload(&namespace, "web"), scene.workload(&namespace, app));
    scene.deploy(&client);
    scene.deploy(&server);
    let either = json!({"selector": "app.kubernetes.io/name in {'web', 'cart'}"});
    let ingress = Policy::new(&namespace, &format!("{app}-clients"), scene.made());
    let ingress = scene.policy(ingress, spec(app, 100, "Ingress", vec![let_in(either, HTTP)]));
    let egress = scene.guard_egress(&client, &server, HTTP);
    Pair { client, server, port: HTTP, egress, ingress }
}

/// A policy that is made, or edited in its selector or its rule, to decide what the client asks of the server.
fn edit(scene: &mut Scene<'_>, pair: &Pair) -> Policy {
    let (app, well) = (&pair.server.app, let_in(peer(&pair.client), HTTP));
    let decides = spec(app, 50, "Ingress", vec![well.clone()]);
    let before: Option<Value> = match scene.variant(3) {
        0 => Some(spec(&pair.client.app, 50, "Ingress", vec![well])),
        1 => Some(spec(app, 50, "Ingress", vec![let_in(json!({"selector": named("cart")}), HTTP)])),
        _ => None,
    };
    let made = if before.is_some() { scene.made() } else { scene.from };
    let policy = Policy::new(&pair.server.namespace, "checkout", made);
    match before {
        Some(before) => {
            let policy = scene.policy(policy, before);
            scene.edit(scene.from, &policy, decides);
            policy
        }
        None => scene.policy(policy, decides),
    }
}

/// The policy behind the edited one decides until `at`.
fn takes_effect(scene: &mut Scene<'_>, pair: &Pair, policy: &Policy, at: i64) {
    let arrives = Side::new(Action::Allow, trace(vec![policy.allows(0)]), Pace::STEADY);
    scene.talk(&pair.talk(), scene.since, at);
    scene.talk(&pair.talk().arriving(arrives), at, scene.end);
}
