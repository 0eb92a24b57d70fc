//! A small cluster in the test's own words, and the same cluster as the API would serve it.

use std::net::IpAddr;

use catchment_core::knowledge::policy::{EndpointPort, GlobalNetworkSet, NetworkSet, Protocol, Tier};
use catchment_core::knowledge::{LabelMap, policy as api};
use catchment_stages::policy::{
    AddressSet, Compiled, Endpoint, PolicyId, PolicyKind, PolicySet, ServiceEndpoint, Surroundings, Workload,
};
use serde_json::{Value, json};

/// A selector as a tree; never parsed.
#[derive(Clone, Debug)]
pub(crate) enum Sel {
    All,
    Global,
    Has(&'static str),
    Compare(&'static str, &'static str, &'static str),
    Set(&'static str, bool, Vec<&'static str>),
    Not(Box<Sel>),
    Both(Box<Sel>, Box<Sel>),
    Either(Box<Sel>, Box<Sel>),
}

impl Sel {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::All => "all()".into(),
            Self::Global => "global()".into(),
            Self::Has(key) => format!("has({key})"),
            Self::Compare(key, op, value) => format!("{key} {op} '{value}'"),
            Self::Set(key, within, values) => {
                let values: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
                format!("{key} {} {{{}}}", if *within { "in" } else { "not in" }, values.join(","))
            }
            Self::Not(inner) => format!("!({})", inner.text()),
            Self::Both(a, b) => format!("({}) && ({})", a.text(), b.text()),
            Self::Either(a, b) => format!("({}) || ({})", a.text(), b.text()),
        }
    }
}

/// A label selector of Kubernetes: equal labels, and terms of key, operator and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) equal: Vec<(&'static str, &'static str)>,
    pub(crate) terms: Vec<(&'static str, &'static str, Vec<&'static str>)>,
}

impl Labels {
    fn json(&self) -> Value {
        let equal: serde_json::Map<_, _> = self.equal.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let terms = self
            .terms
            .iter()
            .map(|(key, operator, values)| json!({"key": key, "operator": operator, "values": values}));
        json!({"matchLabels": equal, "matchExpressions": terms.collect::<Vec<_>>()})
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Ports {
    Number(u16),
    Range(u16, u16),
    Named(&'static str),
}

impl Ports {
    fn json(&self) -> Value {
        match self {
            Self::Number(port) => json!(port),
            Self::Range(first, last) => json!(format!("{first}:{last}")),
            Self::Named(name) => json!(name),
        }
    }
}

/// One end of a rule of Calico.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entity {
    pub(crate) nets: Vec<&'static str>,
    pub(crate) not_nets: Vec<&'static str>,
    pub(crate) selector: Option<Sel>,
    pub(crate) not_selector: Option<Sel>,
    pub(crate) namespaces: Option<Sel>,
    pub(crate) accounts: Option<(Vec<&'static str>, Option<Sel>)>,
    pub(crate) ports: Vec<Ports>,
    pub(crate) not_ports: Vec<Ports>,
    pub(crate) service: Option<(&'static str, &'static str)>,
}

fn selector(sel: Option<&Sel>) -> String {
    sel.map(Sel::text).unwrap_or_default()
}

fn ports(ports: &[Ports]) -> Vec<Value> {
    ports.iter().map(Ports::json).collect()
}

impl Entity {
    fn json(&self) -> Value {
        let mut entity = json!({
            "nets": self.nets, "notNets": self.not_nets, "selector": selector(self.selector.as_ref()),
            "notSelector": selector(self.not_selector.as_ref()), "namespaceSelector": selector(self.namespaces.as_ref()),
            "ports": ports(&self.ports), "notPorts": ports(&self.not_ports),
        });
        if let Some((names, sel)) = &self.accounts {
            entity["serviceAccounts"] = json!({"names": names, "selector": selector(sel.as_ref())});
        }
        if let Some((namespace, name)) = &self.service {
            entity["services"] = json!({"namespace": namespace, "name": name});
        }
        entity
    }
}

/// A rule of Calico.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) action: &'static str,
    pub(crate) version: Option<u8>,
    pub(crate) protocol: Option<u8>,
    pub(crate) not_protocol: Option<u8>,
    pub(crate) icmp: Option<(u8, Option<u8>)>,
    pub(crate) source: Entity,
    pub(crate) destination: Entity,
    pub(crate) http: bool,
}

impl Rule {
    fn json(&self) -> Value {
        let mut rule =
            json!({"action": self.action, "source": self.source.json(), "destination": self.destination.json()});
        let numbers = [("ipVersion", self.version), ("protocol", self.protocol), ("notProtocol", self.not_protocol)];
        for (field, number) in numbers.into_iter().filter(|(_, number)| number.is_some()) {
            rule[field] = json!(number);
        }
        if let Some((kind, code)) = self.icmp {
            rule["icmp"] = json!({"type": kind, "code": code});
        }
        if self.http {
            rule["http"] = json!({"methods": ["GET"]});
        }
        rule
    }
}

/// A peer of a policy of Kubernetes.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Pods, and namespaces if not the own.
    Pods(Option<Labels>, Option<Labels>),
    /// All of such namespaces; cluster policies only.
    Namespaces(Labels),
    Block(&'static str, Vec<&'static str>),
}

/// A rule of a policy of Kubernetes: action, peers, protocols with a port.
#[derive(Clone, Debug)]
pub(crate) struct PeerRule {
    pub(crate) action: &'static str,
    pub(crate) peers: Vec<Peer>,
    pub(crate) ports: Vec<(u8, Option<Ports>)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Calico { selector: Option<Sel>, namespaces: Option<Sel>, accounts: Option<Sel>, rules: [Vec<Rule>; 2] },
    Kubernetes { pods: Labels, rules: [Vec<PeerRule>; 2] },
    Cluster { namespaces: Labels, pods: Option<Labels>, rules: [Vec<PeerRule>; 2] },
}

/// A policy. Index 0 of pairs is ingress, 1 is egress.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) namespace: &'static str,
    pub(crate) name: String,
    pub(crate) tier: &'static str,
    pub(crate) order: Option<f64>,
    pub(crate) types: Option<[bool; 2]>,
    pub(crate) staged: Option<&'static str>,
    pub(crate) body: Body,
}

impl Policy {
    pub(crate) fn kind(&self) -> PolicyKind {
        match (&self.body, self.namespace, self.staged) {
            (Body::Cluster { .. }, ..) => PolicyKind::ClusterNetworkPolicy,
            (Body::Kubernetes { .. }, _, None) => PolicyKind::NetworkPolicy,
            (Body::Kubernetes { .. }, _, Some(_)) => PolicyKind::StagedKubernetesNetworkPolicy,
            (Body::Calico { .. }, "", None) => PolicyKind::GlobalNetworkPolicy,
            (Body::Calico { .. }, "", Some(_)) => PolicyKind::StagedGlobalNetworkPolicy,
            (Body::Calico { .. }, _, None) => PolicyKind::CalicoNetworkPolicy,
            (Body::Calico { .. }, _, Some(_)) => PolicyKind::StagedNetworkPolicy,
        }
    }

    pub(crate) fn id(&self) -> PolicyId {
        PolicyId { kind: self.kind(), namespace: self.namespace.to_owned(), name: self.name.clone() }
    }

    pub(crate) fn pending(&self) -> bool {
        self.staged != Some("Delete")
    }

    fn json(&self) -> Value {
        let directions = |types: [bool; 2]| -> Vec<&str> {
            ["Ingress", "Egress"]
                .into_iter()
                .zip(types)
                .filter(|(_, governed)| *governed)
                .map(|(name, _)| name)
                .collect()
        };
        let mut spec = match &self.body {
            Body::Calico { selector: sel, namespaces, accounts, rules } => json!({
                "tier": self.tier, "selector": selector(sel.as_ref()),
                "namespaceSelector": selector(namespaces.as_ref()), "serviceAccountSelector": selector(accounts.as_ref()),
                "ingress": rules[0].iter().map(Rule::json).collect::<Vec<_>>(),
                "egress": rules[1].iter().map(Rule::json).collect::<Vec<_>>(),
                "types": self.types.map(directions),
            }),
            Body::Kubernetes { pods, rules } => json!({
                "podSelector": pods.json(), "policyTypes": self.types.map(directions),
                "ingress": rules[0].iter().map(|rule| rule.json("from")).collect::<Vec<_>>(),
                "egress": rules[1].iter().map(|rule| rule.json("to")).collect::<Vec<_>>(),
            }),
            Body::Cluster { namespaces, pods, rules } => json!({
                "tier": if self.tier == "kube-admin" { "Admin" } else { "Baseline" }, "priority": self.order,
                "subject": match pods {
                    Some(pods) => json!({"pods": {"namespaceSelector": namespaces.json(), "podSelector": pods.json()}}),
                    None => json!({"namespaces": namespaces.json()}),
                },
                "ingress": rules[0].iter().map(|rule| rule.cluster_json("from")).collect::<Vec<_>>(),
                "egress": rules[1].iter().map(|rule| rule.cluster_json("to")).collect::<Vec<_>>(),
            }),
        };
        if let (Some(order), Body::Calico { .. }) = (self.order, &self.body) {
            spec["order"] = json!(order);
        }
        if let (Some(order), Body::Cluster { .. }) = (self.order, &self.body) {
            spec["priority"] = json!(order as i32);
        }
        if let Some(action) = self.staged {
            spec["stagedAction"] = json!(action);
        }
        json!({"metadata": {"name": self.name, "namespace": self.namespace}, "spec": spec})
    }

    pub(crate) fn compiled(&self) -> Compiled {
        fn read<T: serde::de::DeserializeOwned>(json: Value) -> T {
            serde_json::from_value(json).expect("the API would serve it")
        }
        match self.kind() {
            PolicyKind::CalicoNetworkPolicy => Compiled::from(&read::<api::NetworkPolicy>(self.json())),
            PolicyKind::GlobalNetworkPolicy => Compiled::from(&read::<api::GlobalNetworkPolicy>(self.json())),
            PolicyKind::StagedNetworkPolicy => Compiled::from(&read::<api::StagedNetworkPolicy>(self.json())),
            PolicyKind::StagedGlobalNetworkPolicy => {
                Compiled::from(&read::<api::StagedGlobalNetworkPolicy>(self.json()))
            }
            PolicyKind::StagedKubernetesNetworkPolicy => {
                Compiled::from(&read::<api::StagedKubernetesNetworkPolicy>(self.json()))
            }
            PolicyKind::NetworkPolicy => Compiled::from(&read::<api::KubernetesNetworkPolicy>(self.json())),
            PolicyKind::ClusterNetworkPolicy => Compiled::from(&read::<api::ClusterNetworkPolicy>(self.json())),
        }
    }
}

impl PeerRule {
    fn json(&self, peers_under: &str) -> Value {
        let peers = self.peers.iter().map(|peer| match peer {
            Peer::Pods(pods, namespaces) => {
                let mut peer = json!({});
                if let Some(pods) = pods {
                    peer["podSelector"] = pods.json();
                }
                if let Some(namespaces) = namespaces {
                    peer["namespaceSelector"] = namespaces.json();
                }
                peer
            }
            Peer::Block(cidr, except) => json!({"ipBlock": {"cidr": cidr, "except": except}}),
            Peer::Namespaces(_) => unreachable!("cluster policies only"),
        });
        let peers = peers.collect::<Vec<_>>();
        let ports = self.ports.iter().map(|(protocol, port)| {
            let mut json = json!({"protocol": Protocol(*protocol).to_string()});
            match port {
                Some(Ports::Range(first, last)) => {
                    json["port"] = json!(first);
                    json["endPort"] = json!(last);
                }
                Some(port) => json["port"] = port.json(),
                None => {}
            }
            json
        });
        json!({peers_under: peers, "ports": ports.collect::<Vec<_>>()})
    }

    fn cluster_json(&self, list: &str) -> Value {
        let peers = self.peers.iter().map(|peer| match peer {
            Peer::Pods(pods, namespaces) => {
                let of = |labels: &Option<Labels>| labels.clone().unwrap_or_default().json();
                json!({"pods": {"podSelector": of(pods), "namespaceSelector": of(namespaces)}})
            }
            Peer::Block(cidr, _) => json!({"networks": [cidr]}),
            Peer::Namespaces(namespaces) => json!({"namespaces": namespaces.json()}),
        });
        let peers = peers.collect::<Vec<_>>();
        let ports = self.ports.iter().map(|(protocol, port)| {
            let port = match port {
                Some(Ports::Number(port)) => json!({"destinationPort": {"number": port}}),
                Some(Ports::Range(start, end)) => json!({"destinationPort": {"range": {"start": start, "end": end}}}),
                _ => json!({}),
            };
            json!({Protocol(*protocol).to_string().to_lowercase(): port})
        });
        json!({"action": self.action, list: peers, "protocols": ports.collect::<Vec<_>>()})
    }
}

/// Namespace, name, and pods behind it with a port.
pub(crate) type Service = (&'static str, &'static str, Vec<(usize, u16)>);

pub(crate) type Pairs = Vec<(&'static str, &'static str)>;

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: &'static str,
    pub(crate) labels: Pairs,
    pub(crate) account: &'static str,
    pub(crate) addresses: Vec<IpAddr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) namespace: &'static str,
    pub(crate) labels: Pairs,
    pub(crate) nets: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) labels: Pairs,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) allows: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Pod(usize),
    Host,
    Outside(IpAddr),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) namespaces: Vec<(&'static str, Pairs)>,
    pub(crate) accounts: Vec<(&'static str, &'static str, Pairs)>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) host: Host,
    pub(crate) sets: Vec<Set>,
    pub(crate) services: Vec<Service>,
    /// Name, order, default action.
    pub(crate) tiers: Vec<(&'static str, Option<f64>, &'static str)>,
    pub(crate) policies: Vec<Policy>,
}

/// Every pod declares these ports.
pub(crate) const NAMED: [(&str, u8, u16); 3] = [("http", 6, 80), ("dns", 17, 53), ("alt", 6, 8080)];

fn map(pairs: &Pairs) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl World {
    pub(crate) fn namespace(&self, name: &str) -> &Pairs {
        self.namespaces.iter().find(|(namespace, _)| *namespace == name).map(|(_, labels)| labels).expect("it is there")
    }

    pub(crate) fn account(&self, namespace: &str, name: &str) -> &Pairs {
        let found = self.accounts.iter().find(|account| account.0 == namespace && account.1 == name);
        found.map(|(_, _, labels)| labels).expect("it is there")
    }

    pub(crate) fn addresses(&self, end: &End) -> Vec<IpAddr> {
        match end {
            End::Pod(pod) => self.pods[*pod].addresses.clone(),
            End::Host => self.host.addresses.clone(),
            End::Outside(address) => vec![*address],
        }
    }

    pub(crate) fn endpoint(&self, end: &End) -> Endpoint {
        let ports =
            NAMED.map(|(name, protocol, port)| EndpointPort { name: name.into(), protocol: Protocol(protocol), port });
        match end {
            End::Pod(index) => {
                let pod = &self.pods[*index];
                Workload {
                    namespace: pod.namespace.to_owned(),
                    name: format!("pod-{index}"),
                    labels: map(&pod.labels),
                    namespace_labels: map(self.namespace(pod.namespace)),
                    service_account: pod.account.to_owned(),
                    service_account_labels: map(self.account(pod.namespace, pod.account)),
                    ports: ports.to_vec(),
                    addresses: pod.addresses.clone(),
                }
                .into()
            }
            End::Host => {
                let profiles: &[&str] = if self.host.allows { &["projectcalico-default-allow"] } else { &[] };
                let host: api::HostEndpoint = serde_json::from_value(json!({
                    "metadata": {"name": "host", "labels": map(&self.host.labels)},
                    "spec": {"node": "n", "expectedIPs": self.host.addresses, "profiles": profiles, "ports": ports},
                }))
                .expect("the API would serve it");
                Endpoint::from(&host)
            }
            End::Outside(address) => Endpoint::address("outside", vec![*address]),
        }
    }

    pub(crate) fn surroundings(&self) -> Surroundings {
        let sets = self.sets.iter().map(|set| {
            let json = json!({"metadata": {"name": "set", "namespace": set.namespace, "labels": map(&set.labels)}, "spec": {"nets": set.nets}});
            if set.namespace.is_empty() {
                AddressSet::global(&serde_json::from_value::<GlobalNetworkSet>(json).unwrap())
            } else {
                let set: NetworkSet = serde_json::from_value(json).unwrap();
                AddressSet::namespaced(&set, &map(self.namespace(&set.metadata.namespace)))
            }
        });
        let services = self.services.iter().map(|(namespace, name, pods)| {
            let behind = pods.iter().flat_map(|(pod, port)| {
                let endpoint = |address| ServiceEndpoint { address, protocol: Protocol::TCP, port: *port };
                self.pods[*pod].addresses.iter().copied().map(endpoint)
            });
            (((*namespace).to_owned(), (*name).to_owned()), behind.collect())
        });
        Surroundings { sets: sets.collect(), services: Some(services.collect()) }
    }

    pub(crate) fn policy_set(&self) -> PolicySet {
        let mut set = PolicySet::default();
        for (name, order, action) in &self.tiers {
            let tier: Tier = serde_json::from_value(json!({
                "metadata": {"name": name}, "spec": {"order": order, "defaultAction": action},
            }))
            .unwrap();
            set.set_tier(&tier);
        }
        self.policies.iter().for_each(|policy| set.set_policy(policy.compiled()));
        assert!(self.policies.iter().all(|policy| set.policy(&policy.id()).unwrap().problems.is_empty()));
        set
    }

    /// The enforced policies once one staged policy is committed.
    pub(crate) fn committed(&self, staged: &PolicyId) -> Vec<&Policy> {
        let staged = self.policies.iter().find(|policy| policy.id() == *staged).expect("it is there");
        let acts = ["Set", "Delete"].contains(&staged.staged.expect("it is staged"));
        let mut enforced: Vec<_> = self.policies.iter().filter(|policy| policy.staged.is_none()).collect();
        if acts {
            enforced.retain(|policy| !staged.previews(policy));
        }
        if staged.staged == Some("Set") {
            enforced.push(staged);
        }
        enforced
    }
}

impl Policy {
    /// Whether this staged policy stands for that enforced one.
    pub(crate) fn previews(&self, enforced: &Self) -> bool {
        let same_kind = std::mem::discriminant(&self.body) == std::mem::discriminant(&enforced.body);
        self.staged.is_some()
            && enforced.staged.is_none()
            && same_kind
            && (self.namespace, &self.name) == (enforced.namespace, &enforced.name)
    }
}
