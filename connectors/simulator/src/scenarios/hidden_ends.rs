//! Ends that flow logs show as something else than they are, although nothing is wrong.

use catchment_schemas::goldmane::Action;
use serde_json::{Value, json};

use super::Scenario;
use super::cast::{DNS, End, HTTP, Side, Talk};
use super::rules::{Policy, open, spec, trace};
use super::scene::Scene;
use crate::draw::Port;
use crate::script::Pace;

pub(super) const SNAT: Scenario = Scenario {
    name: "snat",
    doc: "a client's address is translated on the way: the server's node sees a private network in its place",
    plant: snat,
    ..Scenario::NONE
};

pub(super) const HOST_NETWORK: Scenario = Scenario {
    name: "host-network",
    doc: "agents in the network of their node: as clients and as servers they look like a private network",
    plant: host_network,
    ..Scenario::NONE
};

pub(super) const DNS_CACHE: Scenario = Scenario {
    name: "dns-cache",
    doc: "names are asked of a cache on the node, whose address 169.254.20.10 flow logs call public",
    plant: dns_cache,
    ..Scenario::NONE
};

pub(super) const DENY_REPEATS: Scenario = Scenario {
    name: "deny-repeats",
    doc: "a pair was denied before an edit let it through, and its deny is reported ever since, without a packet",
    plant: deny_repeats,
    ..Scenario::NONE
};

/// What flow logs call private.
fn private() -> Value {
    json!({"nets": ["172.16.0.0/12"]})
}

fn allowed(policy: &Policy, rule: i64) -> Side {
    Side::new(Action::Allow, trace(vec![policy.allows(rule)]), Pace::STEADY)
}

fn snat(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let rules = vec![json!({"action": "Allow", "source": private()})];
    let policy = Policy::new(&pair.server.namespace, "from-nodes", scene.made());
    let policy = scene.policy(policy, spec("api", 50, "Ingress", rules));
    let mut seen = pair.talk();
    seen.ingress = None;
    scene.talk(&seen, scene.begin, scene.end);
    let seen = Talk::new(End::private(), &pair.server, HTTP).arriving(allowed(&policy, 0));
    scene.talk(&seen, scene.begin, scene.end);
}

fn host_network(scene: &mut Scene<'_>) {
    let namespace = scene.namespace();
    let agent = scene.workload(&namespace, "collector");
    scene.deploy(&agent);
    let policy = Policy::new(&namespace, "nodes", scene.made());
    let mut rules = spec("collector", 100, "Ingress", vec![json!({"action": "Allow", "source": private()})]);
    rules["types"] = json!(["Ingress", "Egress"]);
    rules["egress"] = json!([{"action": "Allow", "destination": private()}]);
    let policy = scene.policy(policy, rules);
    for number in [9100, 10250] {
        let port = Port { service: number, pod: number, name: "-", proto: "tcp" };
        let scrape = Talk::new(&agent, End::private(), port).leaving(allowed(&policy, 0));
        scene.talk(&scrape, scene.begin, scene.end);
    }
    let push = Talk::new(End::private(), &agent, HTTP).arriving(allowed(&policy, 0));
    scene.talk(&push, scene.begin, scene.end);
}

fn dns_cache(scene: &mut Scene<'_>) {
    let namespace = scene.namespace();
    let client = scene.workload(&namespace, "web");
    scene.deploy(&client);
    let policy = Policy::new(&namespace, "names", scene.made());
    let policy = scene.policy(policy, spec("web", 100, "Egress", vec![open(DNS, DNS.service)]));
    let pace =
        Pace { requests: 4.0, replies: 4.0, starts: 4.0, request_bytes: 70.0, reply_bytes: 120.0, ..Pace::STEADY };
    let ask = Talk::new(&client, End::public(), DNS).leaving(Side { pace, ..allowed(&policy, 0) });
    scene.talk(&ask, scene.begin, scene.end);
}

fn deny_repeats(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let again = Pace { requests: 0.0, starts: 0.0, is_repeated: true, ..Pace::KNOCKS };
    let denied = Side::new(Action::Deny, trace(vec![pair.ingress.ends_tier()]), again);
    scene.talk(&pair.talk(), scene.begin, scene.end);
    let mut repeated = pair.talk().arriving(denied);
    repeated.egress = None;
    scene.talk(&repeated, scene.begin, scene.end);
}
