//! Workloads that ask the addresses where a cloud hands out metadata and credentials.

use catchment_schemas::goldmane::Action;
use serde_json::json;

use super::Scenario;
use super::cast::{End, HTTP, Side, Talk};
use super::rules::{Policy, spec, trace};
use super::scene::{Scene, network_set};
use crate::script::Pace;

pub(super) const METADATA: Scenario = Scenario {
    name: "metadata-access",
    kind: "private.metadata-access",
    doc: "a workload asks the metadata service of the cloud, which a network set names",
    plant: |scene| ask(scene, "cloud-metadata", &["169.254.169.254/32", "100.100.100.200/32"]),
    ..Scenario::NONE
};

pub(super) const CREDENTIALS: Scenario = Scenario {
    name: "workload-credentials",
    kind: "private.workload-credentials",
    doc: "a workload asks the agent that hands out credentials of its task or pod, which a network set names",
    plant: |scene| ask(scene, "workload-credentials", &["169.254.170.2/32", "169.254.170.23/32"]),
    ..Scenario::NONE
};

fn ask(scene: &mut Scene<'_>, set: &str, nets: &[&str]) {
    scene.put_once(network_set(set, set, nets, scene.made()));
    let namespace = scene.namespace();
    let source = scene.workload(&namespace, "report");
    scene.deploy(&source);
    let rule = json!({"action": "Allow", "protocol": "TCP",
        "destination": {"selector": format!("role == '{set}'"), "namespaceSelector": "global()", "ports": [80]}});
    let policy = Policy::new(&namespace, "report-egress", scene.made());
    let policy = scene.policy(policy, spec("report", 100, "Egress", vec![rule]));
    let pace = Pace { requests: 0.5, replies: 0.5, starts: 0.1, open: 0, ..Pace::STEADY };
    let leaves = Side::new(Action::Allow, trace(vec![policy.allows(0)]), pace);
    scene.talk(&Talk::new(&source, End::set(set), HTTP).leaving(leaves), scene.from, scene.stop());
    scene.plant(source.source_subject());
}
