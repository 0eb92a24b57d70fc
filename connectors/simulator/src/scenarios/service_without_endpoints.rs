//! A service that leads nowhere.

use serde_json::json;

use super::Scenario;
use super::scene::{Scene, pod, rfc3339, service, slice};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "service-without-endpoints",
    kind: "asymmetry.service-without-endpoints",
    doc: "the selector of a service slips, or its only pod is not ready any more",
    plant,
    ..Scenario::NONE
};

fn plant(scene: &mut Scene<'_>) {
    let pair = scene.pair();
    scene.talk(&pair.talk(), scene.since, scene.from);
    let server = &pair.server;
    if scene.variant(2) == 0 {
        scene.change(scene.from, service(server, "apis"));
        let mut empty = slice(server, true);
        empty["endpoints"] = json!([]);
        scene.change(scene.from, empty);
    } else {
        let mut unready = pod(server);
        unready["status"]["conditions"] =
            json!([{"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(scene.from)}]);
        scene.change(scene.from, unready);
        scene.change(scene.from, slice(server, false));
    }
    if let Some(until) = scene.until {
        for object in [service(server, "api"), pod(server), slice(server, true)] {
            scene.change(until, object);
        }
        scene.talk(&pair.talk(), until, scene.end);
    }
    scene.plant(json!({"namespace": server.namespace, "service": server.app}));
}
