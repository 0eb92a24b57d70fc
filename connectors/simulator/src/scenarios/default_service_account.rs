//! Nobody in particular at something critical.

use catchment_schemas::goldmane::Action;
use serde_json::json;

use super::Scenario;
use super::cast::{End, Pair, Side, Talk};
use super::rules::{Policy, spec, trace};
use super::scene::{Scene, service};
use crate::draw::Port;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "default-service-account",
    kind: "trust.default-service-account",
    doc: "pods that run as `default` reach a critical namespace, a critical service or the Kubernetes API",
    plant,
    ..Scenario::NONE
};

const CRITICAL: &str = "catchment.dev/critical";

fn plant(scene: &mut Scene<'_>) {
    let talk = match scene.variant(3) {
        0 => {
            let (clients, critical) = (scene.namespace(), scene.namespace_with(&[(CRITICAL, "true")]));
            pair(scene, &clients, &critical).talk()
        }
        1 => {
            let namespace = scene.namespace();
            let pair = pair(scene, &namespace, &namespace);
            let mut critical = service(&pair.server, "api");
            critical["metadata"]["labels"] = json!({(CRITICAL): "true"});
            scene.change(scene.begin + 30, critical);
            pair.talk()
        }
        _ => to_the_api(scene),
    };
    scene.talk(&talk, scene.from, scene.stop());
    scene.plant(talk.subject());
}

fn pair(scene: &mut Scene<'_>, clients: &str, servers: &str) -> Pair {
    let (mut client, server) = (scene.workload(clients, "web"), scene.workload(servers, "api"));
    "default".clone_into(&mut client.account);
    scene.pair_of(client, server)
}

/// Where the API server listens, in the network of its node.
const API: Port = Port { service: 6443, pod: 6443, name: "https", proto: "tcp" };

fn to_the_api(scene: &mut Scene<'_>) -> Talk {
    let namespace = scene.namespace();
    let mut client = scene.workload(&namespace, "web");
    "default".clone_into(&mut client.account);
    scene.deploy(&client);
    let rule = json!({"action": "Allow", "protocol": "TCP",
        "destination": {"nets": ["172.16.0.0/12"], "ports": [API.pod]}});
    let policy = Policy::new(&namespace, "web-egress", scene.made());
    let policy = scene.policy(policy, spec("web", 100, "Egress", vec![rule]));
    let leaves = Side::new(Action::Allow, trace(vec![policy.allows(0)]), Pace::STEADY);
    let mut talk = Talk::new(&client, End::private(), API).leaving(leaves);
    talk.service = Some(("default".to_owned(), "kubernetes".to_owned()));
    talk
}
