//! A private network that no policy names.

use catchment_schemas::goldmane::Action;
use serde_json::json;

use super::Scenario;
use super::cast::{End, SQL, Side, Talk};
use super::rules::{Policy, open, profile, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "unpoliced-egress",
    kind: "private.unpoliced-egress",
    doc: "a workload reaches a private network by a rule without peers, or because nothing selects it",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let namespace = scene.namespace();
    let source = scene.workload(&namespace, "report");
    scene.deploy(&source);
    let hit = if scene.variant(2) == 0 {
        let policy = Policy::new(&namespace, "report-egress", scene.made());
        scene.policy(policy, spec("report", 100, "Egress", vec![open(SQL, SQL.pod)])).allows(0)
    } else {
        scene.plant_as("policy.no-policy", json!({"namespace": namespace, "direction": "egress"}), scene.from);
        profile(&namespace)
    };
    let leaves = Side::new(Action::Allow, trace(vec![hit]), Pace::STEADY);
    scene.talk(&Talk::new(&source, End::private(), SQL).leaving(leaves), scene.from, scene.stop());
    scene.plant(source.source_subject());
}
