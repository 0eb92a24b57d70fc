//! Let go at one end and turned away at the other.

use catchment_schemas::goldmane::{Action, Reporter};

use super::Scenario;
use super::cast::Side;
use super::rules::{let_in, peer, spec, trace};
use super::scene::Scene;
use crate::script::Pace;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "denied-at-destination",
    kind: "asymmetry.denied-at-destination",
    doc: "an edit leaves a client out: its own policy lets it go and the server's turns it away",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    let other = scene.workload(&pair.client.namespace, "cart");
    scene.deploy(&other);
    let rules = |client| spec("api", 100, "Ingress", vec![let_in(peer(client), pair.port)]);
    scene.edit(scene.from, &pair.ingress, rules(&other));
    if let Some(until) = scene.until {
        scene.edit(until, &pair.ingress, rules(&pair.client));
    }
    let denied = Side::new(Action::Deny, trace(vec![pair.ingress.ends_tier()]), Pace::KNOCKS);
    let ill = pair.talk().arriving(denied).at(Pace::KNOCKS);
    scene.interrupt(&pair.talk(), &ill);
    scene.plant(ill.subject());
    scene.plant_as("policy.implicit-deny", ill.denied_subject(&pair.ingress, Reporter::Dst), scene.from);
}
