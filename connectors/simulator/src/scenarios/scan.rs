//! Somebody who tries every door.

use catchment_schemas::goldmane::Action;
use serde_json::json;

use super::Scenario;
use super::cast::{End, Side, Talk};
use super::rules::{Policy, spec, trace};
use super::scene::{Scene, network_set};
use crate::draw::Port;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "scan",
    kind: "private.scan",
    doc: "a workload sends one packet to each of many ports of a network, nobody answers, and it begins again",
    plant,
    ..Scenario::NONE
};

const PORTS: i64 = 80;
/// Ports are tried from 20 on, one after the other in ten seconds.
const FIRST: i64 = 20;
const AGAIN_SECS: i64 = 300;
const ROUNDS: i64 = 5;

fn plant(scene: &mut Scene<'_>) {
    scene.put_once(network_set("branch-offices", "branch-offices", &["198.18.0.0/16"], scene.made()));
    let namespace = scene.namespace();
    let source = scene.workload(&namespace, "report");
    scene.deploy(&source);
    let rule = json!({"action": "Allow",
        "destination": {"selector": "role == 'branch-offices'", "namespaceSelector": "global()"}});
    let policy = Policy::new(&namespace, "report-egress", scene.made());
    let policy = scene.policy(policy, spec("report", 100, "Egress", vec![rule]));
    let once = Pace { requests: 1.0, starts: 1.0, ..Pace::KNOCKS };
    let leaves = Side::new(Action::Allow, trace(vec![policy.allows(0)]), once);
    for round in 0..ROUNDS {
        for number in 0..PORTS {
            let port = Port { service: FIRST + number, pod: FIRST + number, name: "-", proto: "tcp" };
            let talk = Talk::new(&source, End::set("branch-offices"), port).leaving(leaves.clone());
            let at = scene.from + round * AGAIN_SECS + number / 8;
            scene.talk(&talk, at, at + 1);
        }
    }
    scene.until = Some(scene.from + (ROUNDS - 1) * AGAIN_SECS + 10).filter(|until| *until < scene.end);
    scene.plant(source.source_subject());
}
