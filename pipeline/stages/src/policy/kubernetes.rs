//! Policies of Kubernetes as Calico converts them: one rule for every protocol (sorted by name) and peer.

use std::collections::BTreeMap;

use catchment_core::knowledge::policy::kubernetes::{
    ClusterPeer, ClusterPort, ClusterPorts, ClusterProtocol, Peer, PeerPort,
};
use catchment_core::knowledge::policy::{
    Action, ClusterPolicyAction, ClusterPolicySpec, ClusterPolicyTier, EntityRule, KubernetesPolicySpec, PolicySpec,
    PolicyType, Port, Protocol, Rule,
};

use super::compile::Direction;
use crate::selector::{Subject, calico_text};

/// Where a rule stands in the object it comes from.
pub(super) type Origin = String;

/// A policy of Kubernetes in Calico's terms.
pub(super) struct Converted {
    pub(super) spec: PolicySpec,
    /// For each ingress and each egress rule.
    pub(super) origins: [Vec<Origin>; 2],
    pub(super) problems: Vec<String>,
}

/// Order of all policies of `networking.k8s.io`.
const ORDER: f64 = 1000.0;

/// Ports of each protocol; no ports are all ports. The protocol without a name stands for all protocols.
type PortsByProtocol = BTreeMap<String, (Option<Protocol>, Vec<Port>)>;

pub(super) fn network_policy(spec: &KubernetesPolicySpec) -> Converted {
    let mut converted = Converted::empty();
    for (index, rule) in spec.ingress.iter().enumerate() {
        converted.allow(Direction::Ingress, index, &rule.from, &rule.ports);
    }
    for (index, rule) in spec.egress.iter().enumerate() {
        converted.allow(Direction::Egress, index, &rule.to, &rule.ports);
    }
    let types = &spec.policy_types;
    converted.spec.order = Some(ORDER);
    converted.spec.selector = calico_text(Some(&spec.pod_selector), Subject::Pods);
    converted.spec.types = if types.is_empty() { vec![PolicyType::Ingress] } else { types.clone() };
    converted
}

pub(super) fn cluster_policy(spec: &ClusterPolicySpec) -> Converted {
    let mut converted = Converted::empty();
    for (index, rule) in spec.ingress.iter().enumerate() {
        converted.judge(Direction::Ingress, (index, &rule.name), rule.action, &rule.from, &rule.protocols);
    }
    for (index, rule) in spec.egress.iter().enumerate() {
        converted.judge(Direction::Egress, (index, &rule.name), rule.action, &rule.to, &rule.protocols);
    }
    let tier = match spec.tier {
        ClusterPolicyTier::Admin => "kube-admin",
        ClusterPolicyTier::Baseline => "kube-baseline",
    };
    tier.clone_into(&mut converted.spec.tier);
    converted.spec.order = Some(f64::from(spec.priority));
    let pods = spec.subject.pods.as_ref();
    let namespaces = spec.subject.namespaces.as_ref().or(pods.map(|pods| &pods.namespace_selector));
    converted.spec.namespace_selector = calico_text(namespaces, Subject::Namespaces);
    let pods = pods.filter(|_| spec.subject.namespaces.is_none());
    converted.spec.selector = calico_text(pods.map(|pods| &pods.pod_selector), Subject::Pods);
    if spec.subject.pods.is_none() && spec.subject.namespaces.is_none() {
        converted.problems.push("its subject names neither namespaces nor pods: it selects nothing".to_owned());
        "!all()".clone_into(&mut converted.spec.selector);
    }
    converted.types_from_rules();
    converted
}

impl Converted {
    fn empty() -> Self {
        Self { spec: PolicySpec::default(), origins: [Vec::new(), Vec::new()], problems: Vec::new() }
    }

    /// A direction without rules is not governed.
    fn types_from_rules(&mut self) {
        let spec = &mut self.spec;
        let governed = [(PolicyType::Ingress, !spec.ingress.is_empty()), (PolicyType::Egress, !spec.egress.is_empty())];
        spec.types = governed.into_iter().filter(|(_, governed)| *governed).map(|(kind, _)| kind).collect();
    }

    fn push(&mut self, direction: Direction, rule: Rule, origin: Origin) {
        match direction {
            Direction::Ingress => self.spec.ingress.push(rule),
            Direction::Egress => self.spec.egress.push(rule),
        }
        self.origins[direction as usize].push(origin);
    }

    /// A rule of a network policy. What cannot be converted allows nothing.
    fn allow(&mut self, direction: Direction, index: usize, peers: &[Peer], ports: &[PeerPort]) {
        let entities = peers.iter().map(entity).collect::<Result<Vec<_>, _>>();
        match entities.and_then(|entities| Ok((entities, ports_of_peers(ports)?))) {
            Ok((entities, ports)) => self.combine(direction, index, Action::Allow, &entities, &ports),
            Err(problem) => {
                self.problems.push(format!("{}: {problem}: the rule allows nothing", place(direction, index)));
            }
        }
    }

    /// A rule of a cluster policy. What cannot be converted accepts nothing, or else denies everything.
    fn judge(
        &mut self,
        direction: Direction,
        (index, name): (usize, &str),
        action: ClusterPolicyAction,
        peers: &[ClusterPeer],
        protocols: &[ClusterProtocol],
    ) {
        let entities = peers.iter().map(cluster_entity).collect::<Result<Vec<_>, _>>();
        let action_of_rule = match action {
            ClusterPolicyAction::Accept => Action::Allow,
            ClusterPolicyAction::Deny => Action::Deny,
            ClusterPolicyAction::Pass => Action::Pass,
        };
        let first = self.origins[direction as usize].len();
        match entities.and_then(|entities| Ok((entities, ports_of_protocols(protocols)?))) {
            // A cluster policy without a peer has no rule: it must name at least one.
            Ok((entities, _)) if entities.is_empty() => {}
            Ok((entities, ports)) => self.combine(direction, index, action_of_rule, &entities, &ports),
            Err(problem) if action == ClusterPolicyAction::Accept => {
                self.problems.push(format!("{}: {problem}: the rule accepts nothing", place(direction, index)));
            }
            Err(problem) => {
                self.problems.push(format!("{}: {problem}: the rule denies everything", place(direction, index)));
                self.push(direction, rule(Action::Deny), place(direction, index));
            }
        }
        if !name.is_empty() {
            self.origins[direction as usize][first..]
                .iter_mut()
                .for_each(|origin| *origin = format!("{origin} `{name}`"));
        }
    }

    fn combine(
        &mut self,
        direction: Direction,
        index: usize,
        action: Action,
        entities: &[EntityRule],
        ports: &PortsByProtocol,
    ) {
        let anyone = [EntityRule::default()];
        let peers = if entities.is_empty() { &anyone } else { entities };
        for (protocol, numbers) in ports.values() {
            for (peer, entity) in peers.iter().enumerate() {
                let mut rule = Rule { protocol: *protocol, ..rule(action) };
                match direction {
                    Direction::Ingress => rule.source = entity.clone(),
                    Direction::Egress => rule.destination = entity.clone(),
                }
                rule.destination.ports.clone_from(numbers);
                let peer = (!entities.is_empty()).then_some(peer);
                self.push(direction, rule, origin(direction, index, peer, *protocol));
            }
        }
    }
}

fn rule(action: Action) -> Rule {
    Rule {
        action,
        ip_version: None,
        protocol: None,
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: EntityRule::default(),
        destination: EntityRule::default(),
        http: None,
    }
}

fn place(direction: Direction, index: usize) -> String {
    match direction {
        Direction::Ingress => format!("ingress[{index}]"),
        Direction::Egress => format!("egress[{index}]"),
    }
}

fn origin(direction: Direction, index: usize, peer: Option<usize>, protocol: Option<Protocol>) -> Origin {
    let list = if direction == Direction::Ingress { "from" } else { "to" };
    let peer = peer.map(|peer| format!(".{list}[{peer}]")).unwrap_or_default();
    let protocol = protocol.map(|protocol| format!(" ({protocol})")).unwrap_or_default();
    format!("{}{peer}{protocol}", place(direction, index))
}

fn entity(peer: &Peer) -> Result<EntityRule, String> {
    if let Some(block) = &peer.ip_block {
        for cidr in std::iter::once(&block.cidr).chain(&block.except) {
            cidr.parse::<ipnet::IpNet>().map_err(|_| format!("`{cidr}` is no network like 10.0.0.0/8"))?;
        }
        return Ok(EntityRule {
            nets: vec![block.cidr.clone()],
            not_nets: block.except.clone(),
            ..EntityRule::default()
        });
    }
    Ok(EntityRule {
        selector: calico_text(peer.pod_selector.as_ref(), Subject::Pods),
        namespace_selector: calico_text(peer.namespace_selector.as_ref(), Subject::Namespaces),
        ..EntityRule::default()
    })
}

fn cluster_entity(peer: &ClusterPeer) -> Result<EntityRule, String> {
    if let Some(pods) = &peer.pods {
        return Ok(EntityRule {
            selector: calico_text(Some(&pods.pod_selector), Subject::Pods),
            namespace_selector: calico_text(Some(&pods.namespace_selector), Subject::Namespaces),
            ..EntityRule::default()
        });
    }
    if peer.namespaces.is_some() {
        let namespace_selector = calico_text(peer.namespaces.as_ref(), Subject::Namespaces);
        return Ok(EntityRule { namespace_selector, ..EntityRule::default() });
    }
    if peer.networks.is_empty() {
        return Err("a peer is of a kind that Calico does not know".to_owned());
    }
    match peer.networks.iter().find(|cidr| cidr.parse::<ipnet::IpNet>().is_err()) {
        Some(cidr) => Err(format!("`{cidr}` is no network like 10.0.0.0/8")),
        None => Ok(EntityRule { nets: peer.networks.clone(), ..EntityRule::default() }),
    }
}

fn ports_of_peers(ports: &[PeerPort]) -> Result<PortsByProtocol, String> {
    let mut found = PortsByProtocol::new();
    for PeerPort { protocol, port, end_port } in ports {
        let port = match (port, end_port) {
            (Some(Port::Range(first, _)), Some(last)) if first > last => {
                return Err(format!("{first} to {last} is no range of ports"));
            }
            (Some(Port::Range(first, _)), Some(last)) => Some(Port::Range(*first, *last)),
            (port, _) => port.clone(),
        };
        add(&mut found, protocol.unwrap_or(Protocol::TCP), port);
    }
    Ok(finished(found))
}

fn ports_of_protocols(protocols: &[ClusterProtocol]) -> Result<PortsByProtocol, String> {
    let mut found = PortsByProtocol::new();
    for given in protocols {
        let known = [(Protocol::TCP, &given.tcp), (Protocol::UDP, &given.udp), (Protocol::SCTP, &given.sctp)];
        let Some((protocol, ports)) = known.into_iter().find_map(|(protocol, ports)| Some((protocol, ports.as_ref()?)))
        else {
            if given.destination_named_port.is_empty() {
                // As in Calico, a protocol of no known kind is any protocol.
                return Ok(finished(PortsByProtocol::new()));
            }
            return Err("Calico does not know named ports of cluster policies".to_owned());
        };
        add(&mut found, protocol, cluster_port(ports)?);
    }
    Ok(finished(found))
}

fn cluster_port(ports: &ClusterPorts) -> Result<Option<Port>, String> {
    match ports.destination_port {
        None => Ok(None),
        Some(ClusterPort::Number(port)) => Ok(Some(Port::Range(port, port))),
        Some(ClusterPort::Range { start, end }) if start <= end => Ok(Some(Port::Range(start, end))),
        Some(ClusterPort::Range { start, end }) => Err(format!("{start} to {end} is no range of ports")),
    }
}

/// A protocol once given without a port keeps all ports.
fn add(found: &mut PortsByProtocol, protocol: Protocol, port: Option<Port>) {
    let known = found.contains_key(&protocol.to_string());
    let (_, ports) = found.entry(protocol.to_string()).or_insert((Some(protocol), Vec::new()));
    match port {
        None => ports.clear(),
        Some(port) if !known || !ports.is_empty() => ports.push(port),
        Some(_) => {}
    }
}

/// No protocol is any protocol.
fn finished(mut found: PortsByProtocol) -> PortsByProtocol {
    if found.is_empty() {
        found.insert(String::new(), (None, Vec::new()));
    }
    found
}
