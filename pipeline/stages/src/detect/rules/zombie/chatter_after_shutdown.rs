//! `zombie.chatter-after-shutdown`: a workload that was shut down still talks.
//!
//! It was scaled to zero, deleted, or its job ended; or its main containers ended and others, which the kubelet would
//! not stop by itself, run on. What is on its way at the end, the grace of its pods included, is waited for.

use std::collections::{BTreeMap, BTreeSet};

use catchment_core::knowledge::Kind;
use catchment_core::knowledge::workload::{Phase, Pod};
use catchment_core::{Endpoint, EventTime, FindingKind, FlowRow, Resolution, Subject};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::silence::Silence;
use crate::cluster::{ClusterState, DEFAULT_GRACE, StopReason};
use crate::detect::bounded::put;
use crate::detect::facts::{End, has_packets};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;
use crate::detect::view::View;

/// Windows between two looks at all sources: a shutdown that goes on is seen at the next.
const EVERY: i64 = 2;

/// Whole windows without a packet that show that it has stopped: what is quiet for a moment has not.
const STOPPED_AFTER: u32 = 10;
/// Sources that are remembered, at most.
const MOST: usize = 20_000;

/// Sources that were told.
#[derive(Default)]
pub(crate) struct ChatterAfterShutdown {
    shown: BTreeMap<Subject, Shown>,
}

/// A source that was told, by the last name that its collector gave it.
#[derive(Serialize, Deserialize)]
struct Shown {
    name: String,
    silence: Silence,
}

/// A source that should be silent.
#[derive(Clone)]
struct Shutdown {
    subject: Subject,
    owner: Option<String>,
    ended: Ended,
}

/// When a workload was shut down, the grace of its pods, why, and what of it still runs.
#[derive(Clone)]
struct Ended {
    at: EventTime,
    grace: i64,
    reason: &'static str,
    still_running: Vec<String>,
}

impl Rule for ChatterAfterShutdown {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::ChatterAfterShutdown]
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let kind = FindingKind::ChatterAfterShutdown;
        for shown in self.shown.values_mut() {
            shown.silence.pass(view);
        }
        if view.window.start.0 / view.window.micros().max(1) % EVERY != 0 {
            return;
        }
        let Some(state) = view.state.filter(|_| view.is_known()) else { return out.not_evaluable(kind) };
        let Sources { chatter, wanted } = self.sources(view, state);
        for (shutdown, row) in chatter {
            let case = Case::new(kind, shutdown.subject.clone()).owner(shutdown.owner.as_deref());
            let seen = out.holds(case).flow(row);
            seen.detail("reason", shutdown.ended.reason).detail("shut_down_at", shutdown.ended.at.to_rfc3339());
            seen.detail("still_running", json!(shutdown.ended.still_running));
            let name = row.key.key.source.raw_name.as_ref().into();
            put(&mut self.shown, shutdown.subject, Shown { name, silence: Silence::broken(view) }, MOST);
        }
        self.shown.retain(|subject, shown| {
            let over = shown.over(subject, wanted.contains(subject), view, state);
            if let Some(why) = over {
                out.over(kind, subject, why);
            }
            over.is_none()
        });
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let workload = told.workload();
        let text = |name: &str| told.details.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let running = told.details.get("still_running").and_then(|list| list.as_array()).map(Vec::as_slice);
        let running: Vec<_> = running.unwrap_or_default().iter().filter_map(|name| name.as_str()).collect();
        let (running, at) = (running.join(", "), text("shut_down_at"));
        let namespace = told.member("namespace");
        let (why, mend) = match text("reason") {
            "sidecar-outlives-main" => (
                format!("its main containers ended, and {running} run on"),
                format!(
                    "Make {running} a native sidecar (an init container with restartPolicy Always), which is stopped with \
                     the main container; until then delete the pod."
                ),
            ),
            "scaled-to-zero" => (
                "no pods of it are wanted".to_owned(),
                "See which pod does not end, and why: a finalizer, a container that ignores SIGTERM, or a node that does \
                 not answer. Delete it by force if its node is gone."
                    .to_owned(),
            ),
            "deleted" => (
                "it was deleted".to_owned(),
                "See which pod stayed behind without its owner, and delete it.".to_owned(),
            ),
            _ => (
                "its job has ended".to_owned(),
                "See which container of the job's pod goes on, and delete the pod.".to_owned(),
            ),
        };
        Story {
            title: format!("{workload} was shut down and still talks"),
            explanation: format!(
                "{workload} was shut down at {at}: {why}. Its grace is over, and it still sent in the window: \
                 {} in {}.",
                count(told.tally.packets, "packet"),
                count(told.tally.rows, "flow"),
            ),
            remediation: mend,
            verify: format!("kubectl get pods -n {namespace} -o wide | grep {}", told.member("workload")),
            ..Story::default()
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(postcard::to_allocvec(&self.shown.iter().collect::<Vec<_>>()).expect("plain values serialize"))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let shown: Vec<(Subject, Shown)> = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        self.shown = shown.into_iter().collect();
        Ok(())
    }
}

/// What sources of a window showed.
#[derive(Default)]
struct Sources<'a> {
    /// Rows with packets of those that should be silent.
    chatter: Vec<(Shutdown, &'a FlowRow)>,
    /// Those that were told and may talk again.
    wanted: BTreeSet<Subject>,
}

impl ChatterAfterShutdown {
    /// Rows of a source stand together, so each is looked up once.
    fn sources<'a>(&self, view: &View<'a>, state: &ClusterState) -> Sources<'a> {
        let sent = view.flows.iter().filter(|row| has_packets(row) && !row.key.is_overflow());
        let mut found = Sources::default();
        let mut newest: Option<(&Endpoint, Option<Shutdown>)> = None;
        for row in sent {
            let source = &row.key.key.source;
            if newest.as_ref().is_none_or(|(known, _)| *known != source) {
                let shutdown = shutdown(row, view, state);
                if shutdown.is_none() && !self.shown.is_empty() {
                    let talking = subject(End::both(row)[0]);
                    found.wanted.extend(self.shown.contains_key(&talking).then_some(talking));
                }
                newest = Some((source, shutdown));
            }
            if let Some((_, Some(shutdown))) = &newest {
                found.chatter.push((shutdown.clone(), row));
            }
        }
        found
    }
}

impl Shown {
    /// Why it is over, if it is.
    fn over(&self, of: &Subject, wanted: bool, view: &View<'_>, state: &ClusterState) -> Option<Resolution> {
        let silent = self.silence.windows();
        let sees_pods = state.unseen(&[Kind::Pod]).is_empty();
        let bearers = state.bearers(of.get("namespace").unwrap_or_default(), &self.name);
        let is_gone = sees_pods && bearers.is_some_and(|bearers| !bearers.is_borne());
        if silent >= STOPPED_AFTER || wanted && sees_pods && !self.silence.is_broken_in(view) {
            Some(Resolution::Fixed)
        } else {
            (silent > 0 && is_gone).then_some(Resolution::SubjectGone)
        }
    }
}

fn subject(source: End<'_>) -> Subject {
    let subject = Subject::default().with("namespace", source.namespace()).with("workload", Some(source.name()));
    subject.with("direction", Some("egress"))
}

fn shutdown(row: &FlowRow, view: &View<'_>, state: &ClusterState) -> Option<Shutdown> {
    let [source, _] = End::both(row);
    let namespace = source.namespace().filter(|_| source.is_workload())?;
    let ended = stopped(source, namespace, state).or_else(|| outlived(source, namespace, state))?;
    let silent_from = ended.at.plus(ended.grace).plus(view.settings.thresholds.gone_grace.micros());
    let owner = source.who.owner.as_deref().map(str::to_owned);
    let shutdown = Shutdown { subject: subject(source), owner, ended };
    (silent_from < view.window.start).then_some(shutdown)
}

fn stopped(source: End<'_>, namespace: &str, state: &ClusterState) -> Option<Ended> {
    let (kind, name) = (source.who.workload_kind.as_deref()?, source.who.workload_name.as_deref()?);
    let workload = state.workload(kind, namespace, name)?;
    let stop = workload.stopped?;
    let reason = match stop.why {
        StopReason::ScaledToZero => "scaled-to-zero",
        StopReason::Deleted => "deleted",
        StopReason::Completed => "job-completed",
        StopReason::Failed => "job-failed",
    };
    let running = state.pods_of(kind, namespace, name).into_iter().map(|pod| pod.metadata.name.to_string());
    Some(Ended { at: stop.at, grace: workload.grace, reason, still_running: running.collect() })
}

/// Every pod that bears the name has ended but for containers that serve others; those that ended as a whole send nothing.
fn outlived(source: End<'_>, namespace: &str, state: &ClusterState) -> Option<Ended> {
    if !state.unseen(&[Kind::Pod]).is_empty() {
        return None;
    }
    let bearers = state.bearers(namespace, &source.endpoint.raw_name)?;
    let (mut last, mut running) = (None, BTreeSet::new());
    let has_ended = |pod: &Pod| matches!(pod.status.phase, Phase::Succeeded | Phase::Failed);
    for pod in bearers.present().iter().filter(|pod| !state.pod(namespace, pod).is_some_and(has_ended)) {
        let outlived = state.outlived(namespace, pod)?;
        last = last.max(Some(outlived.ended?));
        running.extend(outlived.still_running.iter().map(ToString::to_string));
    }
    let still_running = running.into_iter().collect();
    Some(Ended { at: last?, grace: DEFAULT_GRACE, reason: "sidecar-outlives-main", still_running })
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Resolution, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, Scene, flow};

    fn deployment(replicas: u32) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "shop", "name": "report"},
            "spec": {"replicas": replicas, "template": {"spec": {"terminationGracePeriodSeconds": 60}}}})
    }

    /// A pod of a job whose main container ended, or goes on, in minute 1; its proxy runs.
    fn job_pod(is_done: bool) -> Value {
        let main = if is_done {
            json!({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:01:00Z"}})
        } else {
            json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
        };
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "report-x",
            "generateName": "report-", "uid": "x"},
            "spec": {"nodeName": "n1", "restartPolicy": "Never"},
            "status": {"phase": "Running", "containerStatuses": [{"name": "main", "state": main},
                {"name": "istio-proxy", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}})
    }

    fn sends() -> Flow {
        flow("shop/report-*", "shop/api:8080").source_who(|who| {
            who.workload_kind = Some("Deployment".into());
            who.workload_name = Some("report".into());
        })
    }

    fn of_job() -> Flow {
        flow("shop/report-*", "shop/api:8080")
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::ChatterAfterShutdown)
    }

    fn first(scene: &mut Scene, windows: usize, row: impl Fn() -> Flow) -> Option<FindingRow> {
        (0..windows).find_map(|_| told(scene.window(row().both())))
    }

    #[test]
    fn a_workload_at_zero_that_still_sends_is_told_after_its_grace() {
        let mut scene = Scene::with_cluster(Settings::default(), [(0, deployment(2)), (1, deployment(0))]);
        // Zero in minute 1, a minute of grace and 90 seconds: nothing before 03:30.
        assert_eq!(first(&mut scene, 4, sends), None);
        scene.restart();
        let opened = first(&mut scene, 2, sends).expect("told");
        assert_eq!(opened.subject.to_json(), json!({"namespace": "shop", "workload": "report", "direction": "egress"}));
        assert!(opened.explanation.contains("shut down at 2026-01-01T00:01:00Z"), "{}", opened.explanation);
    }

    #[test]
    fn it_is_over_once_it_is_silent() {
        let mut scene = Scene::with_cluster(Settings::default(), [(0, deployment(2)), (1, deployment(0))]);
        first(&mut scene, 8, sends).expect("told");
        let idle = || sends().packets(0, 0).connections(0, 0, 1);
        assert_eq!(first(&mut scene, 8, idle), None);
        scene.restart();
        assert_eq!(first(&mut scene, 4, idle).expect("over").status, Status::Resolved);
    }

    #[test]
    fn a_moment_of_silence_ends_nothing() {
        let mut scene = Scene::with_cluster(Settings::default(), [(0, deployment(2)), (1, deployment(0))]);
        first(&mut scene, 8, sends).expect("told");
        let idle = || sends().packets(0, 0).connections(0, 0, 1);
        for _ in 0..6 {
            assert_eq!(first(&mut scene, 4, idle), None);
            let still = first(&mut scene, 2, sends);
            assert!(still.is_none_or(|row| row.status == Status::Ongoing));
        }
    }

    #[test]
    fn silence_is_counted_in_whole_windows() {
        let mut scene = Scene::with_cluster(Settings::default(), [(0, deployment(2)), (1, deployment(0))]);
        first(&mut scene, 8, sends).expect("told");
        scene.coverage = 0.5;
        assert_eq!(first(&mut scene, 20, || sends().packets(0, 0)), None);
    }

    #[test]
    fn it_is_over_once_its_last_pod_is_gone_and_silent() {
        let stays = job_pod(false);
        let cluster = [(0, deployment(2)), (0, stays.clone()), (1, deployment(0))];
        let mut scene = Scene::with_cluster(Settings::default(), cluster);
        scene.gone([(9, stays)]);
        first(&mut scene, 8, sends).expect("told");
        let over = first(&mut scene, 7, || sends().packets(0, 0)).expect("over");
        assert_eq!(over.resolution, Some(Resolution::SubjectGone));
    }

    #[test]
    fn it_is_over_once_the_workload_is_wanted_again() {
        let again = [(0, deployment(2)), (0, job_pod(false)), (1, deployment(0)), (9, deployment(1))];
        let mut scene = Scene::with_cluster(Settings::default(), again);
        first(&mut scene, 8, sends).expect("told");
        assert_eq!(first(&mut scene, 7, sends).expect("over").status, Status::Resolved);
    }

    #[test]
    fn a_workload_that_runs_or_runs_again_may_talk() {
        let mut scene = Scene::with_cluster(Settings::default(), [(0, deployment(2))]);
        assert_eq!(first(&mut scene, 8, sends), None);
        let again = [(0, deployment(2)), (1, deployment(0)), (3, deployment(1))];
        let mut scene = Scene::with_cluster(Settings::default(), again);
        assert_eq!(first(&mut scene, 8, sends), None);
    }

    #[test]
    fn a_sidecar_that_outlives_the_main_container_is_named() {
        let mut scene = Scene::with_cluster(Settings::default(), [(0, job_pod(false)), (1, job_pod(true))]);
        let opened = first(&mut scene, 8, of_job).expect("told");
        assert!(opened.explanation.contains("istio-proxy run on"), "{}", opened.explanation);
        assert!(opened.evidence.contains("sidecar-outlives-main"), "{}", opened.evidence);
        let mut scene = Scene::with_cluster(Settings::default(), [(0, job_pod(false))]);
        assert_eq!(first(&mut scene, 8, of_job), None);
    }

    #[test]
    fn a_failed_try_of_a_job_does_not_hide_the_sidecar_of_the_next() {
        let mut failed = job_pod(true);
        failed["metadata"]["name"] = "report-w".into();
        failed["metadata"]["uid"] = "w".into();
        failed["status"]["phase"] = "Failed".into();
        for container in failed["status"]["containerStatuses"].as_array_mut().expect("containers") {
            container["state"] =
                json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-01-01T00:00:30Z"}});
        }
        let tries = [(0, failed.clone()), (0, job_pod(false)), (1, job_pod(true))];
        let opened = first(&mut Scene::with_cluster(Settings::default(), tries), 8, of_job).expect("told");
        assert!(opened.explanation.contains("istio-proxy run on"), "{}", opened.explanation);
        let running = [(0, failed), (0, job_pod(false))];
        assert_eq!(first(&mut Scene::with_cluster(Settings::default(), running), 8, of_job), None);
    }

    #[test]
    fn what_others_send_to_it_is_not_its_chatter() {
        let mut scene = Scene::with_cluster(Settings::default(), [(0, deployment(2)), (1, deployment(0))]);
        let asked = || flow("shop/web", "shop/report-*:80");
        assert_eq!(first(&mut scene, 8, asked), None);
    }
}
