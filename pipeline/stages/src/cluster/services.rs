//! What stands in front of pods, who answers for it, and who reaches it from outside.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use catchment_core::knowledge::workload::{EndpointSlice, LabelSet, Pod, Service};
use catchment_core::knowledge::{Key, Kind, Object, Text};

use super::objects::{Objects, Step, take};
use crate::enrich::SERVICE_NAME;
use crate::policy::{State, Surroundings, answering, map};
use crate::selector::Selector;

/// How many endpoints of a service answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answering {
    /// They answer, or nobody says that they do not.
    pub ready: usize,
    /// They are there and do not answer, or are being stopped.
    pub not_ready: usize,
    /// Whether any slice of the service is there at all.
    pub known: bool,
}

/// How a service is reached from outside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// A load balancer is asked for.
    pub load_balancer: bool,
    /// Ports of every node that lead to it.
    pub node_ports: Vec<u16>,
    /// Addresses outside the cluster that nodes answer on for it.
    pub external_ips: Vec<Text>,
    /// Names of ingresses of its namespace that lead to it.
    pub ingresses: Vec<Text>,
}

impl Exposure {
    /// Whether it is reached from outside in any way.
    pub fn is_exposed(&self) -> bool {
        self.load_balancer || !(self.node_ports.is_empty() && self.external_ips.is_empty() && self.ingresses.is_empty())
    }
}

/// A service by namespace and name.
type Name = (Text, Text);
/// Names of services under a label that their selectors ask for.
type ByLabel = HashMap<(Text, Text), BTreeSet<Text>>;

/// Services and what leads to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Services {
    /// By namespace, each service under one label of its selector.
    selecting: HashMap<Text, ByLabel>,
    slices: HashMap<Name, BTreeSet<Key>>,
    ingresses: HashMap<Name, BTreeSet<Text>>,
    addresses: HashMap<IpAddr, BTreeSet<Name>>,
    /// Services and slices that are known.
    told: usize,
    surroundings: Surroundings,
}

impl Services {
    /// `policy` has learned the step already.
    pub(super) fn learn(&mut self, step: &Step<'_>, objects: &Objects, policy: &State) {
        match step.key.kind {
            Kind::Service => self.service(step),
            Kind::EndpointSlice => self.slice(step, objects),
            Kind::Ingress => self.ingress(step),
            Kind::NetworkSet | Kind::GlobalNetworkSet => self.surroundings.sets = policy.address_sets(),
            // Sets of a namespace inherit its labels.
            Kind::Namespace if self.surroundings.sets.iter().any(|set| step.key.name == set.namespace.as_str()) => {
                self.surroundings.sets = policy.address_sets();
            }
            _ => {}
        }
    }

    pub(super) const fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    fn service(&mut self, step: &Step<'_>) {
        let name = (step.key.namespace.clone(), step.key.name.clone());
        if let Some(Object::Service(service)) = step.before {
            for address in addresses(service) {
                take(&mut self.addresses, &address, &name);
            }
            if let Some(label) = first_label(&service.spec.selector)
                && let Some(selecting) = self.selecting.get_mut(&name.0)
            {
                take(selecting, &label, &name.1);
                if selecting.is_empty() {
                    self.selecting.remove(&name.0);
                }
            }
        }
        if let Some(Object::Service(service)) = step.after {
            for address in addresses(service) {
                self.addresses.entry(address).or_default().insert(name.clone());
            }
            if let Some(label) = first_label(&service.spec.selector) {
                let selecting = self.selecting.entry(name.0.clone()).or_default();
                selecting.entry(label).or_default().insert(name.1);
            }
        }
        self.count(step);
    }

    fn slice(&mut self, step: &Step<'_>, objects: &Objects) {
        let (before, after) = (step.before.and_then(service_of), step.after.and_then(service_of));
        if let Some(service) = &before {
            take(&mut self.slices, service, step.key);
        }
        if let Some(service) = &after {
            self.slices.entry(service.clone()).or_default().insert(step.key.clone());
        }
        self.count(step);
        for service in before.iter().chain(&after) {
            self.surround(service, objects);
        }
    }

    /// Services are known once any object tells of them.
    fn count(&mut self, step: &Step<'_>) {
        self.told += usize::from(step.before.is_none());
        self.told -= usize::from(step.after.is_none());
        match self.told {
            0 => self.surroundings.services = None,
            _ => drop(self.surroundings.services.get_or_insert_default()),
        }
    }

    /// Puts together anew what is behind one service.
    fn surround(&mut self, service: &Name, objects: &Objects) {
        let slices = self.slices.get(service);
        let Some(services) = &mut self.surroundings.services else { return };
        let name = (service.0.to_string(), service.1.to_string());
        match slices {
            Some(slices) => {
                let slices = slices.iter().filter_map(|key| slice(objects.at(key)?));
                services.insert(name, slices.flat_map(answering).collect());
            }
            None => drop(services.remove(&name)),
        }
    }

    fn ingress(&mut self, step: &Step<'_>) {
        let (namespace, ingress) = (&step.key.namespace, &step.key.name);
        for service in step.before.map(backends).unwrap_or_default() {
            take(&mut self.ingresses, &(namespace.clone(), service.clone()), ingress);
        }
        for service in step.after.map(backends).unwrap_or_default() {
            self.ingresses.entry((namespace.clone(), service.clone())).or_default().insert(ingress.clone());
        }
    }

    pub(super) fn at(&self, address: IpAddr) -> Option<(&Text, &Text)> {
        self.addresses.get(&address)?.first().map(|(namespace, name)| (namespace, name))
    }

    /// Services that lead to pods by their labels.
    pub(super) fn by_labels(&self) -> impl Iterator<Item = (&Text, &Text)> {
        let services = self.selecting.iter();
        services.flat_map(|(namespace, names)| names.values().flatten().map(move |name| (namespace, name)))
    }

    /// Services of its namespace whose selectors may match a pod; no other does.
    pub(super) fn selecting(&self, pod: &Pod) -> BTreeSet<&Text> {
        let Some(selecting) = self.selecting.get(&pod.metadata.namespace) else { return BTreeSet::new() };
        let labels = pod.metadata.labels.iter();
        labels.filter_map(|(key, value)| selecting.get(&(key.clone(), value.clone()))).flatten().collect()
    }

    pub(super) fn answering(&self, namespace: &str, service: &str, objects: &Objects) -> Answering {
        let Some(slices) = self.slices.get(&(Text::new(namespace), Text::new(service))) else {
            return Answering::default();
        };
        let endpoints = slices.iter().filter_map(|key| slice(objects.at(key)?)).flat_map(|slice| &slice.endpoints);
        let (ready, not_ready): (Vec<_>, Vec<_>) =
            endpoints.partition(|endpoint| endpoint.conditions.ready != Some(false));
        Answering { ready: ready.len(), not_ready: not_ready.len(), known: true }
    }

    pub(super) fn exposure(&self, service: &Service) -> Exposure {
        let name = (service.metadata.namespace.clone(), service.metadata.name.clone());
        let node_ports = service.spec.ports.iter().map(|port| port.node_port).filter(|port| *port != 0);
        Exposure {
            load_balancer: service.spec.service_type == "LoadBalancer",
            node_ports: node_ports.collect(),
            external_ips: service.spec.external_ips.to_vec(),
            ingresses: self.ingresses.get(&name).into_iter().flatten().cloned().collect(),
        }
    }
}

fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.spec.cluster_ips.iter().filter_map(|address| address.parse().ok())
}

fn first_label(selector: &LabelSet) -> Option<(Text, Text)> {
    selector.iter().next().map(|(key, value)| (key.clone(), value.clone()))
}

fn backends(object: &Object) -> &[Text] {
    match object {
        Object::Ingress(ingress) => &ingress.spec.services,
        _ => &[],
    }
}

fn slice(object: &Object) -> Option<&EndpointSlice> {
    match object {
        Object::EndpointSlice(slice) => Some(slice),
        _ => None,
    }
}

/// The service whose endpoints a slice has.
fn service_of(object: &Object) -> Option<Name> {
    let slice = slice(object)?;
    let service = slice.metadata.labels.get(SERVICE_NAME)?;
    Some((slice.metadata.namespace.clone(), service.clone()))
}

/// Whether a service leads to a pod by its labels.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let mut terms = service.spec.selector.iter();
    terms.all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}

/// The selector of a service, which all its labels make; `None` without any.
pub(super) fn selector(service: &Service) -> Option<Selector> {
    map(&service.spec.selector).iter().map(|(key, value)| Selector::equal(key, value)).reduce(Selector::and)
}
