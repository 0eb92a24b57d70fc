//! Pods that should have ended and go on talking.

use serde_json::{Value, json};

use super::Scenario;
use super::cast::Workload;
use super::scene::{Scene, deployment, pod, rfc3339};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "chatter-after-shutdown",
    kind: "zombie.chatter-after-shutdown",
    doc: "a deployment goes to zero and its pod hangs in termination, or a job is done and a sidecar of it is not",
    plant,
    ..Scenario::NONE
};

const GRACE_SECS: i64 = 30;
const WIND_UP_SECS: i64 = 90;

fn plant(scene: &mut Scene<'_>) {
    let is_job = scene.variant(2) == 1;
    let namespace = scene.namespace();
    let (client, server) = (scene.workload(&namespace, "report"), scene.workload(&namespace, "api"));
    let pair = scene.pair_of(Workload { is_job, ..client }, server);
    let (at, client) = (scene.from, &pair.client);
    if is_job {
        scene.change(at, outlived(client, at));
    } else {
        scene.change(at, deployment(client, 0));
        scene.change(at, terminating(client, at));
    }
    scene.talk(&pair.talk(), scene.since, scene.stop());
    if let Some(until) = scene.until {
        let gone = pod(client);
        scene.remove(until, gone);
    }
    scene.plant_as(SCENARIO.kind, client.subject("egress"), at + GRACE_SECS + WIND_UP_SECS);
}

/// A pod that was told to end, and does not.
fn terminating(client: &Workload, at: i64) -> Value {
    let mut pod = pod(client);
    pod["metadata"]["deletionTimestamp"] = rfc3339(at + GRACE_SECS).into();
    pod["metadata"]["deletionGracePeriodSeconds"] = GRACE_SECS.into();
    pod
}

/// A pod whose main container is done, and whose proxy runs on.
fn outlived(client: &Workload, at: i64) -> Value {
    let mut pod = pod(client);
    pod["spec"]["containers"] = json!([{"name": "main"}, {"name": "istio-proxy"}]);
    let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": rfc3339(at)}});
    pod["status"]["containerStatuses"] = json!([{"name": "main", "state": ended},
        {"name": "istio-proxy", "state": {"running": {"startedAt": rfc3339(client.made)}}}]);
    pod
}
