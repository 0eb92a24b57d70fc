//! What makes pods: whether it still wants any, and which it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use catchment_core::EventTime;
use catchment_core::knowledge::workload::{
    ContainerEnd, ContainerState, ContainerStatus, JobEnd, Owner, Pod, RestartPolicy, ShortMeta, Template,
};
use catchment_core::knowledge::{Key, Kind, Object, Text};

use super::objects::{Step, take};

/// What the API gives containers to end where nothing else is asked for, in microseconds.
pub const DEFAULT_GRACE: i64 = 30 * 1_000_000;

/// The label that pods of a replica set carry.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The label that pods of other sets carry.
const REVISION_HASH: &str = "controller-revision-hash";

/// A workload that is there, or was in the last day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// When it was made, if it says so.
    pub created: Option<EventTime>,
    /// How many pods are wanted; `None` where that is not counted: of daemon sets, jobs and cron jobs.
    pub desired: Option<u32>,
    /// How long containers of its pods are given to end, in microseconds.
    pub grace: i64,
    /// What made it: the deployment of a replica set, the cron job of a job.
    pub owner: Option<Key>,
    /// Since when it wants no pods any more, and why; `None` while it does.
    pub stopped: Option<Stop>,
    /// When it was deleted; `None` while it is there.
    pub deleted: Option<EventTime>,
}

/// Since when a workload wants no pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When that was observed, or when the job says it ended.
    pub at: EventTime,
    /// Why.
    pub why: StopReason,
}

/// Why a workload wants no pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// None are asked for.
    ScaledToZero,
    /// It was deleted while it wanted some.
    Deleted,
    /// The job did what it was for.
    Completed,
    /// The job was given up.
    Failed,
}

impl Workload {
    /// Whether it wants pods.
    pub const fn runs(&self) -> bool {
        self.stopped.is_none()
    }

    fn of(step: &Step<'_>, after: &Object, before: Option<&Self>) -> Option<Self> {
        let meta = meta(after)?;
        let before = before.filter(|before| before.deleted.is_none());
        let stopped = stop_reason(step, after).map(|stop| {
            let known = before.and_then(|before| before.stopped);
            known.filter(|known| known.why == stop.why).unwrap_or(stop)
        });
        Some(Self {
            created: meta.creation_timestamp,
            desired: counted(after),
            grace: grace(template(after).and_then(|template| template.spec.termination_grace_period_seconds)),
            owner: meta.controller().and_then(|owner| owner_key(&meta.namespace, owner)),
            stopped,
            deleted: None,
        })
    }

    fn delete(&mut self, at: EventTime) {
        self.deleted = Some(at);
        self.stopped = self.stopped.or(Some(Stop { at, why: StopReason::Deleted }));
    }
}

/// Main containers that have ended for good beside others that run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlived {
    /// When the last of them ended, if it says so.
    pub ended: Option<EventTime>,
    /// Why it ended: `Completed`, `Error` and others.
    pub reason: Text,
    /// The containers that run on, in the order they are listed.
    pub still_running: Vec<Text>,
}

/// Workloads by what they are known by, and their pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Workloads {
    known: HashMap<Key, Workload>,
    /// What a workload made that makes pods itself.
    children: HashMap<Key, BTreeSet<Key>>,
    pods: HashMap<Key, BTreeSet<Text>>,
    /// The revision of the newest pod of sets without replica sets.
    revisions: HashMap<Key, Text>,
    deleted: BTreeMap<EventTime, Vec<Key>>,
}

impl Workloads {
    pub(super) fn get(&self, key: &Key) -> Option<&Workload> {
        self.known.get(key)
    }

    pub(super) fn learn(&mut self, step: &Step<'_>) {
        if step.key.kind == Kind::Pod {
            return self.pod(step);
        }
        if !is_workload(step.key.kind) {
            return;
        }
        match step.after {
            Some(after) => {
                let Some(workload) = Workload::of(step, after, self.known.get(step.key)) else { return };
                if let Some(owner) = &workload.owner {
                    self.children.entry(owner.clone()).or_default().insert(step.key.clone());
                }
                self.known.insert(step.key.clone(), workload);
            }
            None => {
                if let Some(workload) = self.known.get_mut(step.key) {
                    workload.delete(step.at);
                    self.revisions.remove(step.key);
                    self.deleted.entry(step.at).or_default().push(step.key.clone());
                }
            }
        }
    }

    fn pod(&mut self, step: &Step<'_>) {
        if let Some(Object::Pod(pod)) = step.before
            && let Some(owner) = owner_of(&pod.metadata)
        {
            take(&mut self.pods, &owner, &pod.metadata.name);
        }
        let Some(Object::Pod(pod)) = step.after else { return };
        let Some(owner) = owner_of(&pod.metadata) else { return };
        if step.before.is_none()
            && let Some(revision) = revision(pod)
        {
            self.revisions.insert(owner.clone(), revision.clone());
        }
        self.pods.entry(owner).or_default().insert(pod.metadata.name.clone());
    }

    pub(super) fn revision(&self, key: &Key) -> Option<&Text> {
        self.revisions.get(key)
    }

    /// What a workload made that makes pods itself and is there.
    pub(super) fn children_of(&self, key: &Key) -> impl Iterator<Item = &Key> {
        let there = |child: &&Key| self.known.get(*child).is_some_and(|child| child.deleted.is_none());
        self.children.get(key).into_iter().flatten().filter(there)
    }

    /// The topmost workload of a pod. The deployment of a replica set that is not known is told by the name.
    pub(super) fn of_pod(&self, pod: &Pod) -> Key {
        let meta = &pod.metadata;
        let Some(direct) = owner_of(meta) else {
            return Key { kind: Kind::Pod, namespace: meta.namespace.clone(), name: meta.name.clone() };
        };
        match self.known.get(&direct) {
            Some(workload) => workload.owner.clone().unwrap_or(direct),
            None => deployment(pod, &direct).unwrap_or(direct),
        }
    }

    /// Names of the pods of a workload and of what it made.
    pub(super) fn pods_of(&self, key: &Key) -> BTreeSet<Text> {
        let children = self.children.get(key).into_iter().flatten();
        let owners = std::iter::once(key).chain(children);
        owners.filter_map(|owner| self.pods.get(owner)).flatten().cloned().collect()
    }

    pub(super) fn forget_before(&mut self, horizon: EventTime) {
        while let Some(oldest) = self.deleted.first_entry().filter(|oldest| *oldest.key() < horizon) {
            for key in oldest.remove() {
                self.forget(&key, horizon);
            }
        }
    }

    /// Drops a workload, unless it has been made again since.
    fn forget(&mut self, key: &Key, horizon: EventTime) {
        let due = self.known.get(key).filter(|workload| workload.deleted.is_some_and(|deleted| deleted < horizon));
        let Some(owner) = due.map(|workload| workload.owner.clone()) else { return };
        self.known.remove(key);
        if let Some(owner) = owner {
            take(&mut self.children, &owner, key);
        }
    }
}

/// The workload that manages an object directly, if it is of a kind that is read.
pub(super) fn owner_of(meta: &ShortMeta) -> Option<Key> {
    let owner = owner_key(&meta.namespace, meta.controller()?)?;
    is_workload(owner.kind).then_some(owner)
}

const WORKLOADS: [Kind; 6] =
    [Kind::Deployment, Kind::ReplicaSet, Kind::StatefulSet, Kind::DaemonSet, Kind::CronJob, Kind::Job];

fn is_workload(kind: Kind) -> bool {
    WORKLOADS.contains(&kind)
}

/// What a workload is known by, from its kind as rows have it.
pub(super) fn key(kind: &str, namespace: &str, name: &str) -> Option<Key> {
    let kind = WORKLOADS.into_iter().find(|known| known.name() == kind)?;
    Some(Key { kind, namespace: Text::new(namespace), name: Text::new(name) })
}

fn owner_key(namespace: &Text, owner: &Owner) -> Option<Key> {
    let kind = Kind::named(&owner.api_version, &owner.kind)?;
    Some(Key { kind, namespace: namespace.clone(), name: owner.name.clone() })
}

/// A replica set of a deployment is called after it and the hash that its pods carry.
fn deployment(pod: &Pod, owner: &Key) -> Option<Key> {
    let hash = pod.metadata.labels.get(TEMPLATE_HASH).filter(|_| owner.kind == Kind::ReplicaSet)?;
    let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    Some(Key { kind: Kind::Deployment, namespace: owner.namespace.clone(), name: Text::new(name) })
}

fn meta(object: &Object) -> Option<&ShortMeta> {
    match object {
        Object::Deployment(object) => Some(&object.metadata),
        Object::ReplicaSet(object) => Some(&object.metadata),
        Object::StatefulSet(object) => Some(&object.metadata),
        Object::DaemonSet(object) => Some(&object.metadata),
        Object::CronJob(object) => Some(&object.metadata),
        Object::Job(object) => Some(&object.metadata),
        _ => None,
    }
}

/// What the pods of a workload look like.
pub(super) fn template(object: &Object) -> Option<&Template> {
    match object {
        Object::Deployment(object) => Some(&object.spec.template),
        Object::ReplicaSet(object) => Some(&object.spec.template),
        Object::StatefulSet(object) => Some(&object.spec.template),
        Object::DaemonSet(object) => Some(&object.spec.template),
        Object::CronJob(object) => Some(&object.spec.job_template.spec.template),
        Object::Job(object) => Some(&object.spec.template),
        _ => None,
    }
}

/// How many pods are wanted, where that is counted.
pub(super) fn counted(object: &Object) -> Option<u32> {
    match object {
        Object::Deployment(object) => Some(object.spec.replicas.unwrap_or(1)),
        Object::ReplicaSet(object) => Some(object.spec.replicas.unwrap_or(1)),
        Object::StatefulSet(object) => Some(object.spec.replicas.unwrap_or(1)),
        _ => None,
    }
}

/// The owner of an object that makes pods.
pub(super) fn is_owned(object: &Object) -> bool {
    meta(object).is_some_and(|meta| meta.controller().is_some())
}

/// The revision that pods of sets without replica sets carry.
pub(super) fn revision(pod: &Pod) -> Option<&Text> {
    pod.metadata.labels.get(REVISION_HASH)
}

/// A grace in microseconds.
pub(super) fn grace(seconds: Option<u32>) -> i64 {
    seconds.map_or(DEFAULT_GRACE, |seconds| i64::from(seconds) * 1_000_000)
}

fn stop_reason(step: &Step<'_>, after: &Object) -> Option<Stop> {
    if let Object::Job(job) = after {
        let JobEnd { succeeded, at } = job.status.conditions;
        let why = if succeeded? { StopReason::Completed } else { StopReason::Failed };
        return Some(Stop { at: at.map_or(step.at, |at| at.min(step.at)), why });
    }
    (counted(after) == Some(0)).then_some(Stop { at: step.at, why: StopReason::ScaledToZero })
}

/// Words in the names of containers that serve the others.
const SIDECARS: [&str; 9] =
    ["proxy", "sidecar", "envoy", "istio", "linkerd", "agent", "exporter", "fluent", "collector"];

pub(super) fn outlived(pod: &Pod) -> Option<Outlived> {
    let statuses = &pod.status.container_statuses;
    let ended: Vec<_> =
        main(statuses).map(|status| ended(&status.state, pod.spec.restart_policy)).collect::<Option<_>>()?;
    let last = ended.into_iter().max_by_key(|end| end.finished_at)?;
    let running = statuses.iter().filter(|status| status.state == ContainerState::Running);
    let still_running: Vec<_> = running.map(|status| status.name.clone()).collect();
    let outlives = !still_running.is_empty();
    outlives.then(|| Outlived { ended: last.finished_at, reason: last.reason.clone(), still_running })
}

/// Containers whose names are none of a sidecar; if all are, the first.
fn main(statuses: &[ContainerStatus]) -> impl Iterator<Item = &ContainerStatus> {
    let serves = |status: &ContainerStatus| SIDECARS.iter().any(|word| status.name.contains(word));
    let all_serve = statuses.iter().all(serves);
    statuses
        .iter()
        .enumerate()
        .filter(move |(place, status)| if all_serve { *place == 0 } else { !serves(status) })
        .map(|(_, s)| s)
}

/// How a container ended, if it is not started again.
fn ended(state: &ContainerState, restart: RestartPolicy) -> Option<&ContainerEnd> {
    let ContainerState::Terminated(end) = state else { return None };
    let for_good = match restart {
        RestartPolicy::Always => false,
        RestartPolicy::OnFailure => end.reason == "Completed",
        RestartPolicy::Never => true,
    };
    for_good.then_some(end)
}
