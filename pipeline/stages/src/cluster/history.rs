//! What changed in the last day, as far as it may change what flows do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use catchment_core::EventTime;
use catchment_core::knowledge::workload::{Node, Pod, ReplicaSet};
use catchment_core::knowledge::{Key, Kind, Object, Text};

use super::objects::Step;
use super::policies;
use super::workloads::{Workloads, counted, owner_of, revision, template};
use crate::policy::PolicyId;

/// More edits than this are not kept: the oldest go first.
const MOST: usize = 4096;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterEdit {
    /// It was made; a node was added.
    Created,
    /// What it asks for changed: rules of a policy, the selector of a service.
    SpecChanged,
    /// Only labels or notes changed.
    Relabelled,
    /// It is gone.
    Deleted,
    /// A workload makes pods of another revision.
    RolledOut,
    /// No pods of a workload are wanted any more.
    ScaledToZero,
    /// Pods of a workload are wanted again.
    ScaledFromZero,
    /// A node is not ready any more, or nobody knows.
    NotReady,
    /// A node is ready again.
    Ready,
}

impl ClusterEdit {
    /// Whether what the object asks for is another thing than before.
    pub const fn changes_spec(self) -> bool {
        matches!(self, Self::Created | Self::SpecChanged | Self::Deleted)
    }

    /// What happened, in words that follow the name of the object.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::SpecChanged => "changed",
            Self::Relabelled => "relabelled",
            Self::Deleted => "deleted",
            Self::RolledOut => "rolled out",
            Self::ScaledToZero => "scaled to zero",
            Self::ScaledFromZero => "scaled up from zero",
            Self::NotReady => "not ready",
            Self::Ready => "ready again",
        }
    }
}

/// One edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// When; as the object says, or else when it was observed.
    pub at: EventTime,
    /// The object.
    pub key: Key,
    /// What happened to it.
    pub what: ClusterEdit,
    /// The client that made the edit, of policies where the API says so.
    pub editor: Option<Text>,
}

impl fmt::Display for Edit {
    /// `networkpolicies.projectcalico.org/shop/allow-web changed at 2026-01-01T00:00:00Z by kubectl-edit`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.key, self.what.words(), self.at)?;
        self.editor.as_ref().map_or(Ok(()), |editor| write!(f, " by {editor}"))
    }
}

/// What a finding is about: the objects themselves, and the namespaces in which changes may bear on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    objects: BTreeSet<Key>,
    namespaces: BTreeSet<Text>,
}

impl Subject {
    /// Also about an object, and what happens in its namespace.
    #[must_use]
    pub fn object(mut self, kind: Kind, namespace: &str, name: &str) -> Self {
        self.objects.insert(Key { kind, namespace: Text::new(namespace), name: Text::new(name) });
        self.namespace(namespace)
    }

    /// Also about a policy.
    #[must_use]
    pub fn policy(self, policy: &PolicyId) -> Self {
        self.object(policy.kind.object_kind(), &policy.namespace, &policy.name)
    }

    /// Also about a workload by its kind as rows have it, `Deployment`; kinds that are not read count by their namespace.
    #[must_use]
    pub fn workload(self, kind: &str, namespace: &str, name: &str) -> Self {
        match super::workloads::key(kind, namespace, name) {
            Some(key) => self.object(key.kind, namespace, name),
            None => self.namespace(namespace),
        }
    }

    /// Also about a node.
    #[must_use]
    pub fn node(self, name: &str) -> Self {
        self.object(Kind::Node, "", name)
    }

    /// Also about what happens in a namespace.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        if !name.is_empty() {
            self.namespaces.insert(Text::new(name));
        }
        self
    }

    /// How near an edit is to the subject, nearest first; `None` if it does not concern it.
    fn distance(&self, key: &Key) -> Option<u8> {
        let governs = policies::governs(key.kind);
        let near = match key.kind {
            Kind::Namespace => self.namespaces.contains(&key.name),
            _ => self.namespaces.contains(&key.namespace),
        };
        match () {
            () if self.objects.contains(key) => Some(0),
            () if governs && (near || key.namespace.is_empty()) => Some(1),
            () if key.kind == Kind::Namespace && near => Some(1),
            () if near => Some(2),
            () => None,
        }
    }
}

/// Edits in the order of their time, those of one time in the order they were told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    edits: BTreeMap<Place, Edit>,
    /// The newest edit of each policy, tier and network set that made it another one.
    ruling: HashMap<Key, Place>,
    told: u64,
}

/// When an edit was made, and its number among all.
type Place = (EventTime, u64);

impl History {
    /// `workloads` are as they were before the step.
    pub(super) fn learn(&mut self, step: &Step<'_>, workloads: &Workloads) {
        let Some((at, key, what, editor)) = edit(step, workloads) else { return };
        self.told += 1;
        let place = (at, self.told);
        if what.changes_spec() && policies::governs(key.kind) {
            let newest = self.ruling.entry(key.clone()).or_insert(place);
            *newest = place.max(*newest);
        }
        self.edits.insert(place, Edit { at, key, what, editor });
        if self.edits.len() > MOST {
            self.forget_oldest();
        }
    }

    pub(super) fn forget_before(&mut self, horizon: EventTime) {
        while self.edits.first_key_value().is_some_and(|((at, _), _)| *at < horizon) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((place, edit)) = self.edits.pop_first() else { return };
        if self.ruling.get(&edit.key) == Some(&place) {
            self.ruling.remove(&edit.key);
        }
    }

    /// The newest edit that made a policy, a tier or a network set another one.
    pub(super) fn ruling(&self, key: &Key) -> Option<&Edit> {
        self.edits.get(self.ruling.get(key)?)
    }

    pub(super) fn has_ruling(&self) -> bool {
        !self.ruling.is_empty()
    }

    pub(super) fn before(&self, moment: EventTime, within: i64, subject: &Subject) -> Vec<&Edit> {
        let recent = self.edits.range((moment.plus(-within), 0)..=(moment, u64::MAX));
        // Newest first; sorting by distance keeps that order.
        let concerning = recent.rev().filter_map(|(_, edit)| Some((subject.distance(&edit.key)?, edit)));
        let mut found: Vec<_> = concerning.collect();
        found.sort_by_key(|(distance, _)| *distance);
        found.into_iter().map(|(_, edit)| edit).collect()
    }
}

type Told = (EventTime, Key, ClusterEdit, Option<Text>);

fn edit(step: &Step<'_>, workloads: &Workloads) -> Option<Told> {
    let kind = step.key.kind;
    let told = |at, what| Some((at, step.key.clone(), what, None));
    match (step.before, step.after) {
        (Some(_), None) if is_watched(kind) => told(step.at, ClusterEdit::Deleted),
        (None, Some(after)) if policies::governs(kind) => {
            Some((step.appeared(), step.key.clone(), ClusterEdit::Created, policies::editor(after)))
        }
        (None, Some(_)) if is_watched(kind) => told(step.appeared(), ClusterEdit::Created),
        (None, Some(Object::ReplicaSet(set))) => rolled_out(step, set, workloads),
        (None, Some(Object::Pod(pod))) => revised(step, pod, workloads),
        (Some(before), Some(after)) => changed(step, before, after, workloads),
        _ => None,
    }
}

/// Kinds that are told of when they come and go.
fn is_watched(kind: Kind) -> bool {
    let runs = matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::CronJob);
    runs || policies::governs(kind) || matches!(kind, Kind::Namespace | Kind::Node | Kind::Service | Kind::Ingress)
}

fn changed(step: &Step<'_>, before: &Object, after: &Object, workloads: &Workloads) -> Option<Told> {
    if policies::governs(step.key.kind) {
        return policy_edit(step, before, after);
    }
    let what = match (before, after) {
        (Object::ReplicaSet(old), Object::ReplicaSet(new)) => return rolled_back(step, old, new, workloads),
        (Object::Namespace(old), Object::Namespace(new)) if old.metadata.labels != new.metadata.labels => {
            ClusterEdit::Relabelled
        }
        (Object::Service(old), Object::Service(new)) if old.spec != new.spec => ClusterEdit::SpecChanged,
        (Object::Ingress(old), Object::Ingress(new)) if old.spec != new.spec => ClusterEdit::SpecChanged,
        (Object::Node(old), Object::Node(new)) => readiness(old, new)?,
        _ => scaled_or_rolled(before, after)?,
    };
    Some((since(step, after), step.key.clone(), what, None))
}

fn policy_edit(step: &Step<'_>, before: &Object, after: &Object) -> Option<Told> {
    let what = match policies::same_spec(before, after) {
        false => ClusterEdit::SpecChanged,
        true if policies::same_labels(before, after) => return None,
        true => ClusterEdit::Relabelled,
    };
    let at = policies::edited_at(step.at, before, after);
    Some((at, step.key.clone(), what, policies::editor(after)))
}

fn scaled_or_rolled(before: &Object, after: &Object) -> Option<ClusterEdit> {
    let wanted = |object: &Object| counted(object).map(|count| count > 0);
    match (wanted(before), wanted(after)) {
        (Some(true), Some(false)) => Some(ClusterEdit::ScaledToZero),
        (Some(false), Some(true)) => Some(ClusterEdit::ScaledFromZero),
        // A deployment rolls out by a replica set of its own, which is told of.
        _ if before.kind() == Kind::Deployment => None,
        _ => (template(before) != template(after)).then_some(ClusterEdit::RolledOut),
    }
}

fn readiness(before: &Node, after: &Node) -> Option<ClusterEdit> {
    let ready = |node: &Node| node.status.conditions.ready == Some(true);
    match (ready(before), ready(after)) {
        (true, false) => Some(ClusterEdit::NotReady),
        (false, true) => Some(ClusterEdit::Ready),
        _ => None,
    }
}

/// Nodes say when they changed.
fn since(step: &Step<'_>, after: &Object) -> EventTime {
    match after {
        Object::Node(node) => node.status.conditions.since.map_or(step.at, |since| since.min(step.at)),
        _ => step.at,
    }
}

/// A second replica set of a deployment is a rollout; the first comes with the deployment.
fn rolled_out(step: &Step<'_>, set: &ReplicaSet, workloads: &Workloads) -> Option<Told> {
    let owner = owner_of(&set.metadata)?;
    let follows = workloads.children_of(&owner).next().is_some();
    follows.then(|| (step.appeared(), owner, ClusterEdit::RolledOut, None))
}

/// A replica set that grows again beside another one takes over from it.
fn rolled_back(step: &Step<'_>, before: &ReplicaSet, set: &ReplicaSet, workloads: &Workloads) -> Option<Told> {
    if before.spec.replicas != Some(0) || set.spec.replicas == Some(0) {
        return None;
    }
    let owner = owner_of(&set.metadata)?;
    let others = workloads.children_of(&owner).filter(|key| *key != step.key);
    let takes_over = others.filter_map(|key| workloads.get(key)).any(|other| other.runs() && other.desired != Some(0));
    takes_over.then_some((step.at, owner, ClusterEdit::RolledOut, None))
}

/// Pods of sets without replica sets carry the revision they were made of.
fn revised(step: &Step<'_>, pod: &Pod, workloads: &Workloads) -> Option<Told> {
    let owner = owner_of(&pod.metadata)?;
    let known = workloads.revision(&owner)?;
    (known != revision(pod)?).then(|| (step.appeared(), owner, ClusterEdit::RolledOut, None))
}
