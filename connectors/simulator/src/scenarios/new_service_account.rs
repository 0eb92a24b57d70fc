//! An account that was never seen where it comes to.

use serde_json::json;

use super::Scenario;
use super::cast::{HTTP, Pair, Workload};
use super::rules::{Policy, let_in, spec};
use super::scene::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "new-service-account",
    kind: "trust.wrong-service-account",
    doc: "a client comes to a critical backend with an account that its first day never showed; clients with known ones come too",
    plant,
    ..Scenario::NONE
};

const HOUR: i64 = 3600;
/// Who comes to a backend is learned for a day.
const LEARNED_SECS: i64 = 25 * HOUR;
/// Between two plants: all of them fit into a week.
const GAP_SECS: i64 = 5400;
const STAYS_SECS: i64 = 2 * HOUR;

fn plant(scene: &mut Scene<'_>) {
    // When it begins and ends it says itself.
    scene.for_ever();
    let from = scene.from + LEARNED_SECS + GAP_SECS * scene.number as i64;
    let namespace = scene.namespace_with(&[("catchment.dev/critical", "true")]);
    let (web, mut jobs) = (scene.workload(&namespace, "web"), scene.workload(&namespace, "nightly"));
    let server = scene.workload(&namespace, "api");
    scene.deploy(&server);
    let all = json!({"selector": "app.kubernetes.io/name in {'web', 'nightly', 'reports', 'canary'}"});
    let ingress = Policy::new(&namespace, "api-clients", scene.made());
    let ingress = scene.policy(ingress, spec("api", 100, "Ingress", vec![let_in(all, HTTP)]));
    let asks = |scene: &mut Scene<'_>, client: Workload, from: i64, until: i64| {
        let egress = scene.guard_egress(&client, &server, HTTP);
        let pair = Pair { client, server: server.clone(), port: HTTP, egress, ingress: ingress.clone() };
        scene.talk(&pair.talk(), from, until.min(scene.close));
        pair
    };
    // Both accounts are learned; one of them comes again after the first day, and a rollout changes neither.
    scene.deploy(&web);
    let known = asks(scene, web.clone(), scene.begin, from);
    scene.deploy(&jobs);
    asks(scene, jobs.clone(), scene.begin + HOUR, scene.begin + 2 * HOUR);
    if from >= scene.close {
        return;
    }
    let rolled = scene.roll_out(from, &known.client);
    scene.talk(&Pair { client: rolled, ..known.clone() }.talk(), from, (from + STAYS_SECS).min(scene.close));
    jobs = scene.roll_out(from, &jobs);
    scene.talk(&Pair { client: jobs, ..known.clone() }.talk(), from, (from + STAYS_SECS).min(scene.close));
    let mut canary = Workload { made: from, ..scene.workload(&namespace, "canary") };
    canary.account.clone_from(&web.account);
    scene.deploy(&canary);
    asks(scene, canary, from, from + STAYS_SECS);
    let reports = Workload { made: from, ..scene.workload(&namespace, "reports") };
    scene.deploy(&reports);
    let new = asks(scene, reports, from, from + STAYS_SECS);
    scene.until = Some(from + STAYS_SECS).filter(|until| *until < scene.close);
    scene.plant_as(SCENARIO.kind, new.talk().subject(), from);
}
