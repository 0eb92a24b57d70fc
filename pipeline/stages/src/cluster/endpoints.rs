//! Pods that are alike, and templates of pods, by their labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use catchment_core::knowledge::workload::{LabelSet, Phase, Pod};
use catchment_core::knowledge::{Key, Kind, Object, Text};

use super::names::shortened;
use super::objects::{Objects, Step};
use super::workloads::{is_owned, template};
use crate::policy::{Endpoint, EndpointIndex, EndpointKind, Workload, map};
use crate::selector::{Selector, Term};

/// Pods that no selector tells apart, or the template of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alike<'a> {
    /// Labels as selectors match them, those of namespace and service account included. The name is that of the pods as
    /// collectors shorten it, or that of the workload.
    pub endpoint: &'a Endpoint,
    /// Names of the pods that run; empty for a template.
    pub pods: &'a BTreeSet<Text>,
    /// The workload that makes such pods, if this is its template.
    pub template_of: Option<&'a Key>,
}

/// What a selector misses by one term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss<'a> {
    /// The pods or the template.
    pub endpoint: &'a Endpoint,
    /// The workload, if this is its template.
    pub template_of: Option<&'a Key>,
    /// The term, and the label that was probably meant.
    pub term: Term,
}

/// All that selectors tell apart of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shape {
    namespace: Text,
    name: Text,
    template_of: Option<Key>,
    account: Text,
    host_network: bool,
    labels: LabelSet,
}

#[derive(Debug)]
struct Group {
    shape: Shape,
    pods: BTreeSet<Text>,
}

/// Groups of pods by their labels: a change costs what one group does, and only the first and last of a group cost that.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    index: EndpointIndex,
    keys: HashMap<Shape, String>,
    groups: HashMap<String, Group>,
    of_namespace: HashMap<Text, BTreeMap<Shape, String>>,
    made: u64,
}

impl Endpoints {
    pub(super) fn learn(&mut self, step: &Step<'_>, objects: &Objects) {
        match step.key.kind {
            Kind::Pod => self.pod(step, objects),
            Kind::Namespace => self.inherit(&step.key.name, |_| true, objects),
            Kind::ServiceAccount => {
                self.inherit(&step.key.namespace, |shape| shape.account == step.key.name, objects);
            }
            _ => self.template(step, objects),
        }
    }

    fn pod(&mut self, step: &Step<'_>, objects: &Objects) {
        let shape = |object: Option<&Object>| match object {
            Some(Object::Pod(pod)) if !matches!(pod.status.phase, Phase::Succeeded | Phase::Failed) => {
                Some(of_pod(pod))
            }
            _ => None,
        };
        let (before, after) = (shape(step.before), shape(step.after));
        if before == after {
            return;
        }
        if let Some(shape) = before {
            self.leave(&shape, Some(&step.key.name));
        }
        if let Some(shape) = after {
            self.join(shape, Some(&step.key.name), objects);
        }
    }

    fn template(&mut self, step: &Step<'_>, objects: &Objects) {
        let shape = |object: Option<&Object>| of_template(step.key, object.filter(|object| !is_owned(object))?);
        let (before, after) = (shape(step.before), shape(step.after));
        if before == after {
            return;
        }
        if let Some(shape) = before {
            self.leave(&shape, None);
        }
        if let Some(shape) = after {
            self.join(shape, None, objects);
        }
    }

    fn join(&mut self, shape: Shape, pod: Option<&Text>, objects: &Objects) {
        let key = self.keys.get(&shape).cloned().unwrap_or_else(|| self.make(shape, objects));
        if let Some(group) = self.groups.get_mut(&key) {
            group.pods.extend(pod.cloned());
        }
    }

    fn make(&mut self, shape: Shape, objects: &Objects) -> String {
        self.made += 1;
        let key = self.made.to_string();
        self.index.set(&key, endpoint(&shape, objects));
        self.of_namespace.entry(shape.namespace.clone()).or_default().insert(shape.clone(), key.clone());
        self.keys.insert(shape.clone(), key.clone());
        self.groups.insert(key.clone(), Group { shape, pods: BTreeSet::new() });
        key
    }

    fn leave(&mut self, shape: &Shape, pod: Option<&Text>) {
        let Some(group) = self.keys.get(shape).and_then(|key| self.groups.get_mut(key)) else { return };
        if let Some(pod) = pod {
            group.pods.remove(pod);
        }
        if group.pods.is_empty() {
            self.drop(shape);
        }
    }

    fn drop(&mut self, shape: &Shape) {
        let Some(key) = self.keys.remove(shape) else { return };
        self.index.remove(&key);
        self.groups.remove(&key);
        if let Some(of_namespace) = self.of_namespace.get_mut(&shape.namespace) {
            of_namespace.remove(shape);
            if of_namespace.is_empty() {
                self.of_namespace.remove(&shape.namespace);
            }
        }
    }

    /// Labels of a namespace or an account changed, and with them those of its pods.
    fn inherit(&mut self, namespace: &Text, concerns: impl Fn(&Shape) -> bool, objects: &Objects) {
        for (shape, key) in self.of_namespace.get(namespace).into_iter().flatten() {
            if concerns(shape) {
                self.index.set(key, endpoint(shape, objects));
            }
        }
    }

    pub(super) fn matching(&self, selector: &Selector) -> Vec<Alike<'_>> {
        let found = self.index.entries_matching(selector).into_iter();
        let governed = found.filter(|(_, endpoint)| endpoint.kind == EndpointKind::Workload);
        self.sorted(governed.map(|(key, _)| key))
    }

    /// What `selector` matches in a namespace, pods in the network of their node included.
    pub(super) fn within(&self, namespace: &str, selector: &Selector) -> Vec<Alike<'_>> {
        let found = self.index.entries_matching(selector).into_iter();
        self.sorted(found.filter(|(_, endpoint)| endpoint.namespace == namespace).map(|(key, _)| key))
    }

    fn sorted<'a>(&'a self, keys: impl Iterator<Item = &'a str>) -> Vec<Alike<'a>> {
        let mut groups: Vec<_> = keys.filter_map(|key| Some((self.index.get(key)?, self.groups.get(key)?))).collect();
        groups.sort_unstable_by_key(|(_, group)| &group.shape);
        let alike = |(endpoint, group): (&'a Endpoint, &'a Group)| Alike {
            endpoint,
            pods: &group.pods,
            template_of: group.shape.template_of.as_ref(),
        };
        groups.into_iter().map(alike).collect()
    }

    /// What `selector` misses by one term that resembles a label; pods in the network of their node on demand.
    pub(super) fn near(&self, selector: &Selector, namespace: Option<&str>, hosts: bool) -> Vec<NearMiss<'_>> {
        let within: Vec<_> = match namespace {
            Some(namespace) => self.of_namespace.get(namespace).into_iter().collect(),
            None => self.of_namespace.values().collect(),
        };
        let mut shapes: Vec<_> = within.into_iter().flatten().collect();
        shapes.sort_unstable_by_key(|(shape, _)| *shape);
        let endpoints = shapes.into_iter().filter_map(|(shape, key)| Some((shape, self.index.get(key)?)));
        let endpoints = endpoints.filter(|(shape, _)| hosts || !shape.host_network);
        let misses = endpoints.flat_map(|(shape, endpoint)| {
            let terms = selector.missed(&endpoint.labels).into_iter().filter(|term| term.resembles.is_some());
            terms.map(move |term| NearMiss { endpoint, template_of: shape.template_of.as_ref(), term })
        });
        misses.collect()
    }
}

fn of_pod(pod: &Pod) -> Shape {
    Shape {
        namespace: pod.metadata.namespace.clone(),
        name: shortened(pod),
        template_of: None,
        account: pod.spec.service_account_name.clone(),
        host_network: pod.spec.host_network,
        labels: pod.metadata.labels.clone(),
    }
}

fn of_template(key: &Key, object: &Object) -> Option<Shape> {
    let template = template(object)?;
    Some(Shape {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        template_of: Some(key.clone()),
        account: template.spec.service_account_name.clone(),
        host_network: template.spec.host_network,
        labels: template.metadata.labels.clone(),
    })
}

/// Policies govern no pod in the network of its node, but services select it by its labels.
fn endpoint(shape: &Shape, objects: &Objects) -> Endpoint {
    let namespace = shape.namespace.as_str();
    let endpoint: Endpoint = Workload {
        namespace: namespace.to_owned(),
        name: shape.name.to_string(),
        labels: map(&shape.labels),
        namespace_labels: map(&objects.labels(Kind::Namespace, "", namespace)),
        service_account: shape.account.to_string(),
        service_account_labels: map(&objects.labels(Kind::ServiceAccount, namespace, &shape.account)),
        ..Workload::default()
    }
    .into();
    let kind = if shape.host_network { EndpointKind::Address } else { EndpointKind::Workload };
    Endpoint { kind, ..endpoint }
}
