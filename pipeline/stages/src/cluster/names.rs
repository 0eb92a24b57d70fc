//! Who bears a name that collectors give, and who did.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use catchment_core::EventTime;
use catchment_core::knowledge::workload::{ContainerStatus, Phase, Pod};
use catchment_core::knowledge::{Key, Object, Text};

use super::objects::Step;
use super::workloads::{Workloads, grace};

/// A pod that has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GonePod {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// Its name as collectors shorten it; the same if it was not generated.
    pub shortened: Text,
    /// Its unique id.
    pub uid: Text,
    /// The workload it belonged to; the pod itself if nothing owned it.
    pub workload: Key,
    /// The node it was on; empty if it was on none.
    pub node: Text,
    /// The service account it ran under.
    pub service_account: Text,
    /// When it went: when that was observed, or the end of its grace where that had been set before.
    pub deleted: EventTime,
    /// How long its containers were given to end, in microseconds.
    pub grace: i64,
    /// How far it had come at the end.
    pub phase: Phase,
    /// What its containers did at the end.
    pub containers: Box<[ContainerStatus]>,
}

/// Pods of one name, as collectors shorten names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bearers {
    present: BTreeSet<Text>,
    gone: Vec<Arc<GonePod>>,
}

impl Bearers {
    /// Names of the pods that bear it now, ended ones included.
    pub const fn present(&self) -> &BTreeSet<Text> {
        &self.present
    }

    /// Whether any pod bears it now.
    pub fn is_borne(&self) -> bool {
        !self.present.is_empty()
    }

    /// Pods that bore it and went in the last day, in the order they went.
    pub fn gone(&self) -> &[Arc<GonePod>] {
        &self.gone
    }

    /// The last pod that bore it, if nobody does any more.
    pub fn last(&self) -> Option<&GonePod> {
        self.gone.last().filter(|_| !self.is_borne()).map(|pod| &**pod)
    }
}

/// Bearers by namespace and name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    names: HashMap<Text, HashMap<Text, Bearers>>,
    /// When pods went, and what they bore.
    gone: BTreeMap<EventTime, Vec<Arc<GonePod>>>,
}

impl Names {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Bearers> {
        self.names.get(namespace)?.get(name)
    }

    /// `workloads` still know who owned a pod that goes.
    pub(super) fn learn(&mut self, step: &Step<'_>, workloads: &Workloads) {
        let (before, after) = (step.before.and_then(pod), step.after.and_then(pod));
        if let (Some(before), Some(after)) = (before, after)
            && before.metadata.uid == after.metadata.uid
        {
            return;
        }
        if let Some(pod) = before {
            self.leave(pod, Arc::new(gone(step.at, pod, workloads)));
        }
        if let Some(pod) = after {
            for name in names(pod) {
                self.bearers(&pod.metadata.namespace, name).present.insert(pod.metadata.name.clone());
            }
        }
    }

    fn bearers(&mut self, namespace: &Text, name: Text) -> &mut Bearers {
        self.names.entry(namespace.clone()).or_default().entry(name).or_default()
    }

    fn leave(&mut self, pod: &Pod, gone: Arc<GonePod>) {
        for name in names(pod) {
            let bearers = self.bearers(&gone.namespace, name);
            bearers.present.remove(&pod.metadata.name);
            let order = |other: &Arc<GonePod>| (other.deleted, &other.name) <= (gone.deleted, &gone.name);
            let place = bearers.gone.partition_point(order);
            bearers.gone.insert(place, gone.clone());
        }
        self.gone.entry(gone.deleted).or_default().push(gone);
    }

    pub(super) fn forget_before(&mut self, horizon: EventTime) {
        while let Some(oldest) = self.gone.first_entry().filter(|oldest| *oldest.key() < horizon) {
            for gone in oldest.remove() {
                self.forget(&gone, horizon);
            }
        }
    }

    /// Drops what a pod left behind, under the names it may have borne.
    fn forget(&mut self, gone: &GonePod, horizon: EventTime) {
        let Some(names) = self.names.get_mut(&gone.namespace) else { return };
        for name in [&gone.name, &gone.shortened] {
            let Some(bearers) = names.get_mut(name) else { continue };
            bearers.gone.retain(|pod| pod.deleted >= horizon);
            if bearers.present.is_empty() && bearers.gone.is_empty() {
                names.remove(name);
            }
        }
        if names.is_empty() {
            self.names.remove(&gone.namespace);
        }
    }
}

fn pod(object: &Object) -> Option<&Pod> {
    match object {
        Object::Pod(pod) => Some(pod),
        _ => None,
    }
}

/// The name as collectors shorten it: what it was generated from, and a star.
pub(super) fn shortened(pod: &Pod) -> Text {
    match pod.metadata.generate_name.as_str() {
        "" => pod.metadata.name.clone(),
        prefix => Text::new(&format!("{prefix}*")),
    }
}

/// All names a pod bears, each once.
fn names(pod: &Pod) -> impl Iterator<Item = Text> + use<> {
    let (own, shortened) = (pod.metadata.name.clone(), shortened(pod));
    let other = (shortened != own).then_some(shortened);
    std::iter::once(own).chain(other)
}

fn gone(at: EventTime, pod: &Pod, workloads: &Workloads) -> GonePod {
    let grace = grace(pod.spec.termination_grace_period_seconds);
    let asked = pod.metadata.deletion_timestamp;
    GonePod {
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        shortened: shortened(pod),
        uid: pod.metadata.uid.clone(),
        workload: workloads.of_pod(pod),
        node: pod.spec.node_name.clone(),
        service_account: pod.spec.service_account_name.clone(),
        deleted: asked.map_or(at, |asked| asked.plus(grace).min(at)),
        grace,
        phase: pod.status.phase,
        containers: pod.status.container_statuses.clone(),
    }
}
