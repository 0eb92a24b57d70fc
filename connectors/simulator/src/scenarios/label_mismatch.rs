//! A selector that misses what it was written for by one term.

use serde_json::{Value, json};

use super::Scenario;
use super::rules::{Policy, let_in, named, peer, spec};
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "label-mismatch",
    kind: "policy.label-mismatch",
    doc: "a policy, or the peer of a rule, whose selector differs from a label by case, by its key or by a slip",
    plant,
    ..Scenario::NONE
};

/// A selector is wrong once it has matched nothing for so long.
const EMPTY_SECS: i64 = 3600;

fn plant(scene: &mut Scene<'_>) {
    scene.lasts_beyond(EMPTY_SECS);
    let pair = scene.pair();
    scene.talk(&pair.talk(), scene.since, scene.end);
    let policy = Policy::new(&pair.server.namespace, "checkout", scene.from);
    let well = let_in(peer(&pair.client), pair.port);
    let selecting = |selector: &str| {
        let mut wrong = spec("api", 50, "Ingress", vec![well.clone()]);
        wrong["selector"] = selector.into();
        wrong
    };
    let (wrong, subject): (Value, Value) = match scene.variant(3) {
        0 => (selecting(&named("Api")), policy.subject()),
        1 => (selecting("app == 'api'"), policy.subject()),
        _ => {
            // Behind the policy that decides, so that a slip in a peer changes nothing.
            let slip = let_in(json!({"selector": named("webb")}), pair.port);
            (spec("api", 200, "Ingress", vec![slip]), policy.rule_subject("ingress[0]"))
        }
    };
    let policy = scene.policy(policy, wrong);
    scene.plant_as(SCENARIO.kind, subject, scene.from + EMPTY_SECS);
    if let Some(until) = scene.until {
        let gone = policy.object(json!({}));
        scene.remove(until, gone);
    }
}
