//! Objects of a cluster as the parts an explanation is made of.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use catchment_core::knowledge::policy::{EndpointPort, Protocol};
use catchment_core::knowledge::workload::{EndpointSlice, LabelSet, Phase, Pod};
use catchment_core::knowledge::{Key, Kind, LabelMap, Object, Text};

use super::compile::{Compiled, PolicyId};
use super::endpoint::{Endpoint, Workload};
use super::index::PolicySet;
use super::surroundings::{AddressSet, ServiceEndpoint, Surroundings};

/// The newest state of the objects that decide.
#[derive(Debug, Default)]
pub struct State {
    policies: PolicySet,
    /// Objects that are no policies.
    others: BTreeMap<Key, Object>,
}

impl State {
    /// The kinds that decide or stage a decision; all others are left out.
    pub const KINDS: [Kind; 16] = [
        Kind::Namespace,
        Kind::ServiceAccount,
        Kind::Pod,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::KubernetesNetworkPolicy,
        Kind::ClusterNetworkPolicy,
        Kind::Tier,
        Kind::NetworkPolicy,
        Kind::GlobalNetworkPolicy,
        Kind::StagedNetworkPolicy,
        Kind::StagedGlobalNetworkPolicy,
        Kind::StagedKubernetesNetworkPolicy,
        Kind::NetworkSet,
        Kind::GlobalNetworkSet,
        Kind::HostEndpoint,
    ];

    /// Adds an object or replaces the one of the same key. Kinds that decide nothing are left out.
    pub fn set(&mut self, object: &Object) {
        match object {
            Object::Tier(tier) => self.policies.set_tier(tier),
            Object::KubernetesNetworkPolicy(policy) => self.policies.set_policy(Compiled::from(&**policy)),
            Object::ClusterNetworkPolicy(policy) => self.policies.set_policy(Compiled::from(&**policy)),
            Object::NetworkPolicy(policy) => self.policies.set_policy(Compiled::from(&**policy)),
            Object::GlobalNetworkPolicy(policy) => self.policies.set_policy(Compiled::from(&**policy)),
            Object::StagedNetworkPolicy(policy) => self.policies.set_policy(Compiled::from(&**policy)),
            Object::StagedGlobalNetworkPolicy(policy) => self.policies.set_policy(Compiled::from(&**policy)),
            Object::StagedKubernetesNetworkPolicy(policy) => self.policies.set_policy(Compiled::from(&**policy)),
            Object::Namespace(_)
            | Object::ServiceAccount(_)
            | Object::Pod(_)
            | Object::EndpointSlice(_)
            | Object::Service(_)
            | Object::NetworkSet(_)
            | Object::GlobalNetworkSet(_)
            | Object::HostEndpoint(_) => {
                self.others.insert(object.key(), object.clone());
            }
            _ => {}
        }
    }

    /// Removes an object, if it is there.
    pub fn remove(&mut self, key: &Key) {
        if key.kind == Kind::Tier {
            self.policies.remove_tier(&key.name);
        } else if let Some(id) = PolicyId::of(key) {
            self.policies.remove_policy(&id);
        } else {
            self.others.remove(key);
        }
    }

    /// Tiers and policies.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The pod of a namespace and a name. One in the network of its node is only an address to policies.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Endpoint> {
        match self.get(Kind::Pod, namespace, name)? {
            Object::Pod(pod) => Some(self.endpoint_of(pod)),
            _ => None,
        }
    }

    /// All pods that have not ended, by namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        let pods = self
            .of_kind(Kind::Pod)
            .filter_map(|object| if let Object::Pod(pod) = object { Some(&**pod) } else { None });
        pods.filter(|pod| !matches!(pod.status.phase, Phase::Succeeded | Phase::Failed))
    }

    /// The host endpoint of a name.
    pub fn host_endpoint(&self, name: &str) -> Option<Endpoint> {
        match self.get(Kind::HostEndpoint, "", name)? {
            Object::HostEndpoint(host) => Some(Endpoint::from(&**host)),
            _ => None,
        }
    }

    /// All host endpoints.
    pub fn host_endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.of_kind(Kind::HostEndpoint).filter_map(|object| match object {
            Object::HostEndpoint(host) => Some(Endpoint::from(&**host)),
            _ => None,
        })
    }

    /// What owns an address: a pod with a network of its own, a host endpoint, or nothing.
    pub fn owner(&self, address: IpAddr) -> Endpoint {
        let owns = |pod: &&Pod| !pod.spec.host_network && pod.status.pod_ips.0.contains(&address);
        if let Some(pod) = self.pods().find(owns) {
            return self.endpoint_of(pod);
        }
        let host = self.host_endpoints().find(|host| host.addresses.contains(&address));
        host.unwrap_or_else(|| Endpoint::address(&address.to_string(), vec![address]))
    }

    /// Namespace and name of the service that listens on an address. Policies see what is behind it instead.
    pub fn service_at(&self, address: IpAddr) -> Option<(&str, &str)> {
        self.of_kind(Kind::Service).find_map(|object| match object {
            Object::Service(service) => {
                let listens = service.spec.cluster_ips.iter().any(|ip| ip.parse() == Ok(address));
                listens.then_some((service.metadata.namespace.as_str(), service.metadata.name.as_str()))
            }
            _ => None,
        })
    }

    /// Network sets, and services if any object tells of them. Made anew by every call.
    pub fn surroundings(&self) -> Surroundings {
        let known = self.of_kind(Kind::EndpointSlice).chain(self.of_kind(Kind::Service)).next().is_some();
        Surroundings { sets: self.address_sets(), services: known.then(|| self.services()) }
    }

    /// Network sets, those of namespaces first.
    pub(crate) fn address_sets(&self) -> Vec<AddressSet> {
        let namespaced = self.of_kind(Kind::NetworkSet).filter_map(|object| match object {
            Object::NetworkSet(set) => {
                Some(AddressSet::namespaced(set, &self.namespace_labels(&set.metadata.namespace)))
            }
            _ => None,
        });
        let global = self.of_kind(Kind::GlobalNetworkSet).filter_map(|object| match object {
            Object::GlobalNetworkSet(set) => Some(AddressSet::global(set)),
            _ => None,
        });
        namespaced.chain(global).collect()
    }

    fn services(&self) -> HashMap<(String, String), Vec<ServiceEndpoint>> {
        let mut services: HashMap<_, Vec<_>> = HashMap::new();
        for object in self.of_kind(Kind::EndpointSlice) {
            let Object::EndpointSlice(slice) = object else { continue };
            let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") else { continue };
            let key = (slice.metadata.namespace.to_string(), service.to_string());
            services.entry(key).or_default().extend(answering(slice));
        }
        services
    }

    fn endpoint_of(&self, pod: &Pod) -> Endpoint {
        let (namespace, name) = (pod.metadata.namespace.to_string(), pod.metadata.name.to_string());
        let addresses = pod.status.pod_ips.0.to_vec();
        if pod.spec.host_network {
            return Endpoint { namespace, ..Endpoint::address(&name, addresses) };
        }
        let account = pod.spec.service_account_name.to_string();
        Workload {
            labels: map(&pod.metadata.labels),
            namespace_labels: self.namespace_labels(&namespace),
            service_account_labels: self.account_labels(&namespace, &account),
            service_account: account,
            ports: ports(pod),
            namespace,
            name,
            addresses,
        }
        .into()
    }

    fn namespace_labels(&self, name: &str) -> LabelMap {
        match self.get(Kind::Namespace, "", name) {
            Some(Object::Namespace(namespace)) => map(&namespace.metadata.labels),
            _ => LabelMap::new(),
        }
    }

    fn account_labels(&self, namespace: &str, name: &str) -> LabelMap {
        match self.get(Kind::ServiceAccount, namespace, name) {
            Some(Object::ServiceAccount(account)) => map(&account.metadata.labels),
            _ => LabelMap::new(),
        }
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.others.get(&Key { kind, namespace: Text::new(namespace), name: Text::new(name) })
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        let first = Key { kind, namespace: Text::new(""), name: Text::new("") };
        self.others.range(first..).take_while(move |(key, _)| key.kind == kind).map(|(_, object)| object)
    }
}

/// Labels as selectors match them.
pub(crate) fn map(labels: &LabelSet) -> LabelMap {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn ports(pod: &Pod) -> Vec<EndpointPort> {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let named = containers.flat_map(|container| &container.ports).filter(|port| !port.name.is_empty());
    let ports = named.filter_map(|port| {
        let protocol: Protocol = port.protocol.parse().ok()?;
        Some(EndpointPort { name: port.name.to_string(), protocol, port: port.container_port })
    });
    ports.collect()
}

/// Addresses and ports of a slice that are not known to be out of service.
pub(crate) fn answering(slice: &EndpointSlice) -> Vec<ServiceEndpoint> {
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready != Some(false));
    let addresses = ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| address.parse().ok());
    let endpoints = addresses.flat_map(|address: IpAddr| {
        slice.ports.iter().filter_map(move |port| {
            let protocol: Protocol = port.protocol.parse().ok()?;
            Some(ServiceEndpoint { address, protocol, port: port.port? })
        })
    });
    endpoints.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Connection, Decision, EndpointKind, Verdict, explain};
    use super::*;

    fn object(value: &serde_json::Value) -> Object {
        Object::from_json(&value.to_string()).unwrap().unwrap()
    }

    fn cluster() -> State {
        let mut state = State::default();
        let pod = |name: &str, ip: &str, host: bool| {
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "shop", "name": name, "labels": {"app": name}},
                "spec": {"serviceAccountName": "robot", "hostNetwork": host,
                    "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
                "status": {"phase": "Running", "podIPs": [{"ip": ip}]}})
        };
        for value in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "store"}}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"namespace": "shop", "name": "robot", "labels": {"kind": "bot"}}}),
            pod("web", "10.0.0.1", false),
            pod("db", "10.0.0.2", false),
            pod("agent", "192.168.0.1", true),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"namespace": "shop", "name": "db-x", "labels": {"kubernetes.io/service-name": "db"}},
                "endpoints": [{"addresses": ["10.0.0.2"]}], "ports": [{"port": 8080}]}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "db"},
                "spec": {"clusterIPs": ["10.96.0.7"]}}),
            json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet",
                "metadata": {"namespace": "shop", "name": "s", "labels": {"role": "office"}}, "spec": {"nets": ["203.0.113.0/24"]}}),
            json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
                "metadata": {"name": "n1", "labels": {"role": "node"}}, "spec": {"node": "n1", "expectedIPs": ["192.168.0.1"]}}),
        ] {
            state.set(&object(&value));
        }
        state
    }

    #[test]
    fn objects_of_the_kinds_that_decide_are_kept_and_no_others() {
        for &kind in Kind::ALL {
            let mut state = State::default();
            let value = json!({"metadata": {"name": "x", "namespace": "n"}, "spec": {"tier": "kube", "priority": 1}});
            let value =
                value.to_string().replace("kube", if kind == Kind::ClusterNetworkPolicy { "Admin" } else { "t" });
            state.set(&Object::of_kind(kind, kind.group(), &value).unwrap());
            let kept = state.others.len()
                + state.policies.policies().count()
                + usize::from(state.policies.tier("x").is_some());
            assert_eq!(kept, usize::from(State::KINDS.contains(&kind)), "{kind}");
        }
    }

    #[test]
    fn a_pod_is_joined_with_its_namespace_and_its_account() {
        let state = cluster();
        let web = state.pod("shop", "web").unwrap();
        for (key, value) in [("app", "web"), ("pcns.team", "store"), ("pcsa.kind", "bot")] {
            assert_eq!(web.labels.get(key).map(String::as_str), Some(value));
        }
        assert_eq!((web.ports[0].name.as_str(), web.ports[0].port), ("http", 8080));
        assert_eq!(state.pod("shop", "agent").unwrap().kind, EndpointKind::Address);
        assert_eq!(state.pod("shop", "gone"), None);
    }

    #[test]
    fn an_address_belongs_to_a_pod_a_host_endpoint_or_nothing() {
        let state = cluster();
        let owner = |ip: &str| state.owner(ip.parse().unwrap());
        assert_eq!(owner("10.0.0.2").title(), "shop/db");
        assert_eq!((owner("192.168.0.1").title(), owner("192.168.0.1").kind), ("n1".into(), EndpointKind::Host));
        assert_eq!(owner("203.0.113.9").kind, EndpointKind::Address);
        assert_eq!(state.service_at("10.96.0.7".parse().unwrap()), Some(("shop", "db")));
        assert_eq!(state.service_at("10.0.0.2".parse().unwrap()), None);
    }

    #[test]
    fn rules_see_services_and_network_sets() {
        let mut state = cluster();
        let policy = object(&json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
            "metadata": {"namespace": "shop", "name": "p"},
            "spec": {"types": ["Egress", "Ingress"],
                "ingress": [{"action": "Allow", "source": {"selector": "role == 'office' && pcns.team == 'store'"}}],
                "egress": [{"action": "Allow", "destination": {"services": {"name": "db"}}}]}}));
        state.set(&policy);
        let explained = |state: &State, source: &str, destination: &str, port| {
            let ends = [source, destination].map(|address| state.owner(address.parse().unwrap()));
            let connection = Connection::new(Protocol::TCP, port);
            explain(state.policies(), &state.surroundings(), &ends[0], &ends[1], &connection)
        };
        assert_eq!(explained(&state, "10.0.0.1", "10.0.0.2", 8080).egress.verdict, Verdict::Allow);
        assert_eq!(explained(&state, "10.0.0.1", "10.0.0.2", 80).egress.verdict, Verdict::Deny);
        assert_eq!(explained(&state, "203.0.113.9", "10.0.0.2", 80).verdict, Verdict::Allow);
        assert_eq!(explained(&state, "198.51.100.1", "10.0.0.2", 80).verdict, Verdict::Deny);
        state.remove(&policy.key());
        let found = explained(&state, "198.51.100.1", "10.0.0.2", 80);
        assert_eq!(found.ingress.decided_by, Decision::Profile { name: "kns.shop".into() });
    }
}
