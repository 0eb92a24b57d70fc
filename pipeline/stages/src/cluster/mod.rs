//! What is known of a cluster at one moment of event time: what rules over windows ask.
//!
//! [`ClusterState`] follows a [`Timeline`]. `advance(until)` takes every change before `until`, in order; all queries then
//! answer for that moment. The answers are a function of those changes alone: one long step says the same as many short
//! ones, and a state built anew says the same as one that followed.
//!
//! | question | query |
//! |---|---|
//! | is a kind seen as a whole, or must a rule say that it cannot tell | [`ClusterState::unseen`], [`ClusterState::coverage`] |
//! | policies, tiers, what selects an endpoint, computed chains | [`ClusterState::policy`], [`ClusterState::surroundings`] with [`explain`](crate::policy::explain) |
//! | since when is a policy as it is, does an operator own it | [`ClusterState::policy_facts`] |
//! | what does a selector match, what does it miss by one term | [`ClusterState::matching`], [`ClusterState::near`] |
//! | what changed just before | [`ClusterState::changes_before`] with a [`Subject`] |
//! | was a policy edited in the last day, or its tier | [`ClusterState::edit_of`], [`ClusterState::has_edits`] |
//! | who bears a name now, who did | [`ClusterState::bearers`] |
//! | does a workload still run, what ended it, which pods has it | [`ClusterState::workload`], [`ClusterState::pods_of`] |
//! | does a sidecar run on after the main containers | [`ClusterState::outlived`] |
//! | which pods a service leads to, who answers, who reaches it from outside | [`ClusterState::selected_by`], [`ClusterState::answering`], [`ClusterState::exposure`], [`ClusterState::services_of`] |
//!
//! A query looks up what it answers; only [`ClusterState::near`] and [`ClusterState::near_of_service`] go through all that
//! might be meant, so they are asked once per policy or service and not per row.

mod endpoints;
mod history;
mod names;
mod objects;
mod policies;
mod services;
#[cfg(test)]
mod tests;
mod workloads;

use std::collections::HashMap;
use std::net::IpAddr;

use catchment_core::EventTime;
use catchment_core::knowledge::workload::{Node, Pod, Service};
use catchment_core::knowledge::{Change, Coverage, Key, Kind, Object, Text};

use crate::enrich::Timeline;
use crate::policy::{Compiled, PolicyId, State, Surroundings};
use crate::selector::Selector;

use endpoints::Endpoints;
pub use endpoints::{Alike, NearMiss};
use history::History;
pub use history::{ClusterEdit, Edit, Subject};
use names::Names;
pub use names::{Bearers, GonePod};
use objects::{Objects, Step};
use policies::Policies;
pub use policies::PolicyFacts;
use services::Services;
pub use services::{Answering, Exposure};
use workloads::Workloads;
pub use workloads::{DEFAULT_GRACE, Outlived, Stop, StopReason, Workload};

/// How long what has gone and what was edited is remembered, in microseconds of event time.
pub const REMEMBERED: i64 = 24 * 3600 * 1_000_000;

/// What is known of a cluster at one moment of event time.
#[derive(Debug)]
pub struct ClusterState {
    timeline: Timeline,
    /// Everything before this has been learned.
    moment: EventTime,
    /// When a policy, a tier, a network set, a service or an ingress changed last.
    ruled: EventTime,
    coverage: HashMap<Kind, Coverage>,
    objects: Objects,
    policy: State,
    policies: Policies,
    history: History,
    names: Names,
    workloads: Workloads,
    endpoints: Endpoints,
    services: Services,
}

impl ClusterState {
    /// Knows nothing yet.
    pub fn new(timeline: Timeline) -> Self {
        Self {
            timeline,
            moment: EventTime::MIN,
            ruled: EventTime::MIN,
            coverage: HashMap::new(),
            objects: Objects::default(),
            policy: State::default(),
            policies: Policies::default(),
            history: History::default(),
            names: Names::default(),
            workloads: Workloads::default(),
            endpoints: Endpoints::default(),
            services: Services::default(),
        }
    }

    /// Learns what happened before `until`, which is as a rule the end of a window, and forgets what is older than a day.
    /// A moment that has passed already changes nothing. Costs what has changed, not what is there.
    pub fn advance(&mut self, until: EventTime) {
        if until <= self.moment {
            return;
        }
        for sight in self.timeline.sights_between(self.moment, until) {
            self.coverage.insert(sight.kind, sight.coverage);
        }
        for change in self.timeline.between(self.moment, until) {
            self.learn(&change);
        }
        self.moment = until;
        self.forget(until);
    }

    /// Before every change and at the end, so that no answer depends on the steps.
    fn forget(&mut self, now: EventTime) {
        let horizon = now.plus(-REMEMBERED);
        self.history.forget_before(horizon);
        self.names.forget_before(horizon);
        self.workloads.forget_before(horizon);
    }

    fn learn(&mut self, change: &Change) {
        let Change { at, key, state } = change;
        self.forget(*at);
        let before = self.objects.put(key, state.clone());
        if before == *state {
            return;
        }
        let step = Step { at: *at, key, before: before.as_ref(), after: state.as_ref() };
        if policies::governs(key.kind) || matches!(key.kind, Kind::Service | Kind::Ingress) {
            self.ruled = *at;
        }
        match step.after {
            Some(object) => self.policy.set(object),
            None => self.policy.remove(key),
        }
        self.history.learn(&step, &self.workloads);
        self.workloads.learn(&step);
        self.names.learn(&step, &self.workloads);
        self.policies.learn(&step);
        self.endpoints.learn(&step, &self.objects);
        self.services.learn(&step, &self.objects, &self.policy);
    }

    /// Everything before this moment is known, and nothing after it.
    pub const fn moment(&self) -> EventTime {
        self.moment
    }

    /// When a policy, a tier, a network set, a service or an ingress changed last: what was judged by them before is to be
    /// judged anew.
    pub const fn ruled(&self) -> EventTime {
        self.ruled
    }

    // === how much is seen ===

    /// How much of a kind can be seen. Policies of tiers that may not be read make their kinds [`Coverage::Partial`].
    pub fn coverage(&self, kind: Kind) -> &Coverage {
        self.coverage.get(&kind).unwrap_or(&Coverage::Pending)
    }

    /// Those of `kinds` that are not seen as a whole: a rule that reasons from what is not there cannot tell.
    pub fn unseen(&self, kinds: &[Kind]) -> Vec<Kind> {
        kinds.iter().copied().filter(|kind| !self.coverage(*kind).is_complete()).collect()
    }

    // === objects ===

    /// An object of a kind; the namespace is empty for objects of the cluster.
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.objects.get(kind, namespace, name)
    }

    /// The pod of exactly this name, ended ones included.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.objects.pod(namespace, name)
    }

    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        match self.object(Kind::Node, "", name)? {
            Object::Node(node) => Some(node),
            _ => None,
        }
    }

    // === policies ===

    /// Policies, tiers and the endpoints they govern, for [`explain`](crate::policy::explain).
    pub const fn policy(&self) -> &State {
        &self.policy
    }

    /// Network sets, and what is behind services; kept up to date and not made anew.
    pub const fn surroundings(&self) -> &Surroundings {
        self.services.surroundings()
    }

    /// Since when a policy is as it is, who edited it, and whether an operator owns it.
    pub fn policy_facts(&self, policy: &PolicyId) -> Option<&PolicyFacts> {
        self.policies.get(policy)
    }

    /// What changed in the time before and at `moment`, `within` microseconds of it, as far as it concerns `subject`; most
    /// relevant first: the subject itself, then policies that may govern it, then what happened beside it; newest first
    /// within each. Edits older than a day, and all but the newest thousands, are forgotten.
    pub fn changes_before(&self, moment: EventTime, within: i64, subject: &Subject) -> Vec<&Edit> {
        self.history.before(moment, within, subject)
    }

    /// Whether any policy, tier or network set became another one in the last day.
    pub fn has_edits(&self) -> bool {
        self.history.has_ruling()
    }

    /// The newest edit of the last day that made a policy, or the tier it is in, another one.
    pub fn edit_of(&self, policy: &Compiled) -> Option<&Edit> {
        let key =
            |kind, namespace: &str, name: &str| Key { kind, namespace: Text::new(namespace), name: Text::new(name) };
        let own = self.history.ruling(&key(policy.id.kind.object_kind(), &policy.id.namespace, &policy.id.name));
        let of_tier = self.history.ruling(&key(Kind::Tier, "", &policy.tier));
        own.into_iter().chain(of_tier).max_by_key(|edit| edit.at)
    }

    /// Pods alike, and templates of pods to be made, whose labels `selector` matches: those that policies can govern, so
    /// none in the network of its node.
    pub fn matching(&self, selector: &Selector) -> Vec<Alike<'_>> {
        self.endpoints.matching(selector)
    }

    /// Pods and templates that `selector` misses by one term which resembles one of their labels; of one namespace, or of
    /// all. Goes through all of them: for selectors that match nothing.
    pub fn near(&self, selector: &Selector, namespace: Option<&str>) -> Vec<NearMiss<'_>> {
        self.endpoints.near(selector, namespace, false)
    }

    // === names ===

    /// Who bears a name as collectors give it, `web-7d4b9c6f5-*` or a bare pod name, and who did in the last day; `None` if
    /// nobody is known to have.
    pub fn bearers(&self, namespace: &str, name: &str) -> Option<&Bearers> {
        self.names.get(namespace, name)
    }

    // === workloads ===

    /// The workload that a pod belongs to, through its owners; the pod itself if nothing owns it.
    pub fn workload_of(&self, pod: &Pod) -> Key {
        self.workloads.of_pod(pod)
    }

    /// A workload that is there, or was in the last day, by its kind (`Deployment`, `StatefulSet`, `DaemonSet`,
    /// `ReplicaSet`, `CronJob`, `Job`), namespace and name.
    pub fn workload(&self, kind: &str, namespace: &str, name: &str) -> Option<&Workload> {
        self.workloads.get(&workloads::key(kind, namespace, name)?)
    }

    /// The pods of a workload, those of its replica sets and jobs included, ended ones too; by name.
    pub fn pods_of(&self, kind: &str, namespace: &str, name: &str) -> Vec<&Pod> {
        let names = workloads::key(kind, namespace, name).map(|key| self.workloads.pods_of(&key)).unwrap_or_default();
        names.iter().filter_map(|pod| self.objects.pod(namespace, pod)).collect()
    }

    /// Whether the main containers of a pod have ended for good while others, none of which the kubelet would stop by
    /// itself, still run.
    pub fn outlived(&self, namespace: &str, pod: &str) -> Option<Outlived> {
        workloads::outlived(self.pod(namespace, pod)?)
    }

    // === services ===

    /// The service of a name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.objects.service(namespace, name)
    }

    /// The service that has an address, by namespace and name.
    pub fn service_at(&self, address: IpAddr) -> Option<(&Text, &Text)> {
        self.services.at(address)
    }

    /// All services that lead to pods by their labels, by namespace and name.
    pub fn services_by_labels(&self) -> Vec<&Service> {
        let mut names: Vec<_> = self.services.by_labels().collect();
        names.sort_unstable();
        names.into_iter().filter_map(|(namespace, name)| self.objects.service(namespace, name)).collect()
    }

    /// Services whose selectors match a pod, by name.
    pub fn services_of(&self, pod: &Pod) -> Vec<&Service> {
        let names = self.services.selecting(pod);
        let namespace = &pod.metadata.namespace;
        let services = names.into_iter().filter_map(|name| self.objects.service(namespace, name));
        services.filter(|service| services::selects(service, pod)).collect()
    }

    /// Pods alike, and templates, that a service's selector matches, pods in the network of their node included. Empty for
    /// a service without selector, whose endpoints others write.
    pub fn selected_by(&self, service: &Service) -> Vec<Alike<'_>> {
        let namespace = &service.metadata.namespace;
        services::selector(service).map(|selector| self.endpoints.within(namespace, &selector)).unwrap_or_default()
    }

    /// Pods and templates of its namespace that a service's selector misses by one term.
    pub fn near_of_service(&self, service: &Service) -> Vec<NearMiss<'_>> {
        let namespace = service.metadata.namespace.as_str();
        let selector = services::selector(service);
        selector.map(|selector| self.endpoints.near(&selector, Some(namespace), true)).unwrap_or_default()
    }

    /// How many endpoints answer for a service.
    pub fn answering(&self, namespace: &str, service: &str) -> Answering {
        self.services.answering(namespace, service, &self.objects)
    }

    /// How a service is reached from outside the cluster.
    pub fn exposure(&self, service: &Service) -> Exposure {
        self.services.exposure(service)
    }
}
