//! What to do about traffic that no narrow rule decides: a staged policy for what was observed.
//!
//! Peers and ports are noted of keys that show such traffic, once an hour; denied traffic and what asks for a cloud's
//! metadata shows none. The policy is staged, so applying it changes no verdict: what it would deny is
//! told as `policy.staged-would-deny`. Nobody here applies it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use catchment_core::knowledge::policy::{
    Action, EntityRule, GlobalNetworkPolicy, NetworkPolicy, PolicySpec, PolicyType, Port, Protocol, Rule, StagedAction,
    StagedGlobalNetworkPolicy, StagedNetworkPolicy, StagedPolicySpec,
};
use catchment_core::knowledge::{Kind, Meta, Object};
use catchment_core::{EventTime, FindingKind, Labels, Period, Subject};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::facts::{End, Facts};
use super::known::{Named, endpoint, named, policies_named, policy_id};
use super::ranges::{CREDENTIALS, METADATA};
use super::rule::HOURLY;
use super::view::View;
use crate::cluster::ClusterState;
use crate::policy::{Compiled, Direction, PolicyKind};

/// Kinds that a policy mends.
pub(super) const MENDED: u64 =
    bit(FindingKind::NoPolicy) | bit(FindingKind::BroadAllow) | bit(FindingKind::UnpolicedEgress);
/// Kinds whose traffic no policy is to allow.
const UNWANTED: u64 = bit(FindingKind::MetadataAccess) | bit(FindingKind::WorkloadCredentials);
/// Scopes that are remembered, and peers of each.
const MOST: usize = 5000;
const MOST_PEERS: usize = 100;
/// Ports of a rule, rules of a direction, characters of a selector and of a name: beyond these an API server refuses a policy.
const MOST_PORTS: usize = 50;
const MOST_RULES: usize = 1024;
const LONGEST_SELECTOR: usize = 1024;
const LONGEST_NAME: usize = 253;
/// How long is remembered what no window shows.
const REMEMBERED: Period = Period::secs(24 * 3600);

/// Labels that say which workload a pod belongs to, the most telling first.
const TELLING: [&str; 8] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "k8s-app",
    "app",
    "name",
    "component",
    "role",
];

const fn bit(kind: FindingKind) -> u64 {
    1 << kind as u8
}

/// What a policy would be for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Scope {
    /// What a workload receives, or sends.
    Workload { namespace: String, workload: String, sends: bool },
    /// What a rule lets through.
    Rule { policy: Named, rule: String },
}

/// Who stands at the other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Peer {
    /// Pods of a namespace, by the labels that tell their workload.
    Workload {
        namespace: String,
        workload: String,
        labels: Vec<(String, String)>,
    },
    /// A network set by its labels; of a namespace or of the cluster.
    Set {
        namespace: Option<String>,
        labels: Vec<(String, String)>,
    },
    /// A node by its addresses.
    Node(Vec<String>),
    Private,
    Public,
}

/// Workloads by namespace and name.
type Workloads = BTreeSet<(String, String)>;

fn holds(workloads: &Workloads, namespace: &str, workload: &str) -> bool {
    workloads.contains(&(namespace.to_owned(), workload.to_owned()))
}

impl Scope {
    /// Whether it is what one of these workloads sends.
    fn is_sent_by(&self, workloads: &Workloads) -> bool {
        matches!(self, Self::Workload { namespace, workload, sends: true } if holds(workloads, namespace, workload))
    }
}

impl Peer {
    fn is_among(&self, workloads: &Workloads) -> bool {
        matches!(self, Self::Workload { namespace, workload, .. } if holds(workloads, namespace, workload))
    }
}

/// A peer with a port and a protocol.
type Contact = (Peer, i64, String);

/// What was observed of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    first: EventTime,
    last: EventTime,
    /// The labels that tell the workload itself.
    labels: Vec<(String, String)>,
    contacts: BTreeSet<Contact>,
    /// Of a rule: who used it.
    users: Workloads,
    /// There are peers that no rule can name, or too many.
    incomplete: bool,
}

/// Peers and ports by what a policy would be for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Observed {
    scopes: BTreeMap<Scope, Watched>,
    /// Workloads of which a scan is open: what they reach, and that they reach it, is not to be allowed.
    scanners: Workloads,
}

impl Observed {
    /// A key that shows traffic of the kinds in `states`; `broad` is the rule that is too wide.
    pub(super) fn meet(&mut self, key: &Facts<'_>, states: u64, broad: Option<&Subject>) {
        if states & MENDED == 0 || states & UNWANTED != 0 || !key.is_allowed() {
            return;
        }
        let governed = key.governed();
        if let Some(namespace) = governed.namespace().filter(|_| states & !bit(FindingKind::BroadAllow) & MENDED != 0) {
            let (namespace, workload) = (namespace.to_owned(), governed.name().to_owned());
            self.note(Scope::Workload { namespace, workload, sends: key.is_egress() }, key);
        }
        if let Some(rule) = broad.and_then(|subject| subject.get("rule"))
            && let Some(policy) = key.key.key.trace.enforced.last().and_then(|hit| policy_id(&hit.policy))
        {
            self.note(Scope::Rule { policy: named(&policy), rule: rule.to_owned() }, key);
        }
    }

    fn note(&mut self, scope: Scope, key: &Facts<'_>) {
        if self.scopes.len() >= MOST && !self.scopes.contains_key(&scope) {
            return;
        }
        let (near, far) = if key.is_egress() { (key.source, key.dest) } else { (key.dest, key.source) };
        let (near_labels, far_labels) =
            if key.is_egress() { (key.source_labels, key.dest_labels) } else { (key.dest_labels, key.source_labels) };
        let (now, is_rule) = (key.view.end_of(HOURLY), matches!(scope, Scope::Rule { .. }));
        let watched = self.scopes.entry(scope).or_insert_with(|| Watched {
            first: key.view.window.start,
            last: now,
            labels: telling(near, near_labels, key.view.state),
            contacts: BTreeSet::new(),
            users: BTreeSet::new(),
            incomplete: false,
        });
        watched.last = now;
        if is_rule && watched.users.len() < MOST_PEERS {
            watched.users.insert((near.namespace().unwrap_or_default().to_owned(), near.name().to_owned()));
        }
        let Some(peer) = peer(far, far_labels, key.view.state) else {
            watched.incomplete = true;
            return;
        };
        let contact = (peer, key.key.key.dest_port, key.key.key.protocol.to_string());
        if watched.contacts.len() < MOST_PEERS {
            watched.contacts.insert(contact);
        } else {
            watched.incomplete |= !watched.contacts.contains(&contact);
        }
    }

    /// Forgets what no window has shown for a day; `scans` are the subjects of open scans. Where one is over, what was noted
    /// of its source goes, as what it reached cannot be told from what is wanted: then keys are to be met anew.
    #[must_use]
    pub(super) fn age(&mut self, now: EventTime, scans: &[Subject]) -> bool {
        let horizon = now.plus(-REMEMBERED.micros());
        self.scopes.retain(|_, watched| watched.last >= horizon);
        let name =
            |subject: &Subject| Some((subject.get("namespace")?.to_owned(), subject.get("workload")?.to_owned()));
        let scanners = scans.iter().filter_map(name).collect();
        let before = std::mem::replace(&mut self.scanners, scanners);
        let over: Workloads = before.difference(&self.scanners).cloned().collect();
        if !over.is_empty() {
            self.forget_all_of(&over);
        }
        !over.is_empty()
    }

    fn forget_all_of(&mut self, workloads: &Workloads) {
        // Only rules have users.
        self.scopes.retain(|scope, watched| !scope.is_sent_by(workloads) && watched.users.is_disjoint(workloads));
        for watched in self.scopes.values_mut() {
            watched.contacts.retain(|(peer, ..)| !peer.is_among(workloads));
        }
    }

    /// A staged policy, as YAML, that would allow what was observed of the subject of a finding and nothing else. `None` for
    /// what an operator owns, where too little is known, and where no rule can name a peer.
    pub(super) fn staged_policy(&self, kind: FindingKind, subject: &Subject, view: &View<'_>) -> Option<String> {
        let object = match kind {
            FindingKind::BroadAllow => self.narrowed(subject, view)?,
            FindingKind::NoPolicy | FindingKind::UnpolicedEgress => self.new_policy(kind, subject, view)?,
            _ => return None,
        };
        serde_saphyr::to_string(&object).ok()
    }

    /// A policy for a workload, or for what a namespace sends.
    fn new_policy(&self, kind: FindingKind, subject: &Subject, view: &View<'_>) -> Option<Value> {
        let namespace = subject.get("namespace").filter(|namespace| !view.settings.is_capped(namespace))?;
        let sends = kind == FindingKind::UnpolicedEgress || subject.get("direction") == Some("egress");
        let wanted = subject.get("workload");
        let scopes = self.scopes.iter().filter(|(scope, _)| match scope {
            Scope::Workload { namespace: of, workload, sends: out } => {
                of == namespace && *out == sends && wanted.is_none_or(|wanted| wanted == workload)
            }
            Scope::Rule { .. } => false,
        });
        let scopes = scopes.filter(|(scope, _)| !scope.is_sent_by(&self.scanners));
        let watched: Vec<_> = scopes.map(|(_, watched)| watched).collect();
        let selector = match wanted {
            Some(_) => selector(&watched.first()?.labels)?,
            None => "all()".to_owned(),
        };
        let direction = if sends { Direction::Egress } else { Direction::Ingress };
        let tier = view.state.map_or_else(|| DEFAULT_TIER.to_owned(), |state| tier_of(state, namespace));
        let name = [Some("catchment"), wanted, Some(if sends { "egress" } else { "ingress" })];
        let name = name.into_iter().flatten().collect::<Vec<_>>().join("-");
        let name = if tier == DEFAULT_TIER { name } else { format!("{tier}.{name}") };
        if name.len() > LONGEST_NAME {
            return None;
        }
        let mut spec = PolicySpec { tier, selector, types: vec![policy_type(direction)], ..PolicySpec::default() };
        *rules_of(&mut spec, direction) = self.rules(&watched, direction, &Own::new(namespace, direction, view))?;
        let metadata = Meta {
            namespace: namespace.to_owned(),
            name,
            annotations: notes(view),
            labels: hours(&watched, view),
            ..Meta::default()
        };
        Some(staged(Kind::StagedNetworkPolicy, &StagedNetworkPolicy { metadata, spec: to_stage(spec) }))
    }

    /// The policy of a rule that is too wide with rules for what was observed in its place.
    fn narrowed(&self, subject: &Subject, view: &View<'_>) -> Option<Value> {
        let (state, policy, rule) = (view.policed()?, subject.get("policy")?, subject.get("rule")?);
        let used =
            |policy: &Compiled| self.scopes.get(&Scope::Rule { policy: named(&policy.id), rule: rule.to_owned() });
        let (id, watched) = policies_named(state, policy).find_map(|policy| Some((&policy.id, used(policy)?)))?;
        let direction = if rule.starts_with("egress") { Direction::Egress } else { Direction::Ingress };
        // What a scan reached through the rule cannot be told from what others did; nor can it be told that none did, where
        // not all are remembered.
        let may_scan = watched.users.len() >= MOST_PEERS || !watched.users.is_disjoint(&self.scanners);
        if direction == Direction::Egress && may_scan {
            return None;
        }
        let place: usize = rule.split(['[', ']']).nth(1)?.parse().ok()?;
        let rules = self.rules(&[watched], direction, &Own::new(&id.namespace, direction, view))?;
        let metadata = |meta: &Meta| Meta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            labels: meta.labels.iter().map(|(k, v)| (k.clone(), v.clone())).chain(hours(&[watched], view)).collect(),
            annotations: notes(view),
            ..Meta::default()
        };
        let spec = |spec: &PolicySpec| {
            let mut spec = spec.clone();
            let list = rules_of(&mut spec, direction);
            (place < list.len()).then(|| drop(list.splice(place..=place, rules.clone())))?;
            if list.len() > MOST_RULES {
                return None;
            }
            Some(to_stage(spec))
        };
        match state.object(id.kind.object_kind(), &id.namespace, &id.name)? {
            Object::NetworkPolicy(policy) => {
                let NetworkPolicy { metadata: meta, spec: old } = &**policy;
                let object = StagedNetworkPolicy { metadata: metadata(meta), spec: spec(old)? };
                Some(staged(Kind::StagedNetworkPolicy, &object))
            }
            Object::GlobalNetworkPolicy(policy) => {
                let GlobalNetworkPolicy { metadata: meta, spec: old } = &**policy;
                let object = StagedGlobalNetworkPolicy { metadata: metadata(meta), spec: spec(old)? };
                Some(staged(Kind::StagedGlobalNetworkPolicy, &object))
            }
            _ => None,
        }
    }

    /// A rule for each peer with its ports; for what is sent, lookups of names too. `None` if some peer cannot be named.
    fn rules(&self, watched: &[&Watched], direction: Direction, own: &Own<'_>) -> Option<Vec<Rule>> {
        if watched.is_empty() || watched.iter().any(|watched| watched.incomplete) {
            return None;
        }
        let mut ports: BTreeMap<(&Peer, &str), BTreeSet<i64>> = BTreeMap::new();
        for (peer, port, protocol) in watched.iter().flat_map(|watched| &watched.contacts) {
            if !peer.is_among(&self.scanners) {
                ports.entry((peer, protocol)).or_default().insert(*port);
            }
        }
        let rules = ports.iter().map(|((peer, protocol), ports)| allow(peer, protocol, ports, direction, own));
        let mut rules = rules.collect::<Option<Vec<_>>>()?.concat();
        if direction == Direction::Egress {
            rules.extend(lookups());
        }
        (rules.len() <= MOST_RULES).then_some(rules)
    }
}

const DEFAULT_TIER: &str = "default";
const DNS: u16 = 53;

fn peer(end: End<'_>, labels: &Labels, state: Option<&ClusterState>) -> Option<Peer> {
    match () {
        () if end.is_workload() => {
            let (namespace, workload) = (end.namespace()?.to_owned(), end.name().to_owned());
            let labels = telling(end, labels, state);
            (!labels.is_empty()).then_some(Peer::Workload { namespace, workload, labels })
        }
        () if end.is_network_set() => {
            let labels: Vec<_> = pairs(labels).map(owned).collect();
            (!labels.is_empty()).then(|| Peer::Set { namespace: end.namespace().map(str::to_owned), labels })
        }
        () if end.is_host() => {
            let addresses = state.map(|state| addresses(state, end.name())).unwrap_or_default();
            (!addresses.is_empty()).then_some(Peer::Node(addresses))
        }
        () if end.is_private_network() => Some(Peer::Private),
        () if end.is_public_network() => Some(Peer::Public),
        () => None,
    }
}

/// Addresses of a node as networks of one address. One that is internal and external stands in its status twice.
fn addresses(state: &ClusterState, node: &str) -> Vec<String> {
    let addresses = state.node(node).into_iter().flat_map(|node| &node.status.addresses);
    let parsed: BTreeSet<IpAddr> = addresses.filter_map(|address| address.address.parse().ok()).collect();
    parsed.into_iter().map(network).collect()
}

fn pairs(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.items.iter().filter_map(|label| label.split_once('='))
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// The labels that tell a workload from others, from the flow or else from its pods.
fn telling(end: End<'_>, labels: &Labels, state: Option<&ClusterState>) -> Vec<(String, String)> {
    let is_telling = |key: &str| TELLING.contains(&key);
    if pairs(labels).next().is_some() {
        return pairs(labels).filter(|(key, _)| is_telling(key)).map(owned).collect();
    }
    let endpoint = state.and_then(|state| endpoint(state, end.endpoint));
    let labels = endpoint.into_iter().flat_map(|endpoint| endpoint.labels);
    labels.filter(|(key, _)| is_telling(key)).collect()
}

/// A selector for all of these labels; `None` if there is none, or if it were too long.
fn selector(labels: &[(String, String)]) -> Option<String> {
    let terms: Vec<_> = labels.iter().map(|(key, value)| format!("{key} == '{value}'")).collect();
    let selector = terms.join(" && ");
    (1..=LONGEST_SELECTOR).contains(&selector.len()).then_some(selector)
}

/// As few rules for a peer as an API server takes.
fn allow(peer: &Peer, protocol: &str, ports: &BTreeSet<i64>, direction: Direction, own: &Own<'_>) -> Option<Vec<Rule>> {
    let protocol: Protocol = protocol.parse().ok()?;
    let ports = ports.iter().filter_map(|port| u16::try_from(*port).ok()).map(|port| Port::Range(port, port));
    let ports: Vec<_> = ports.collect();
    let lists = if protocol.has_ports() { ports.chunks(MOST_PORTS).map(<[_]>::to_vec).collect() } else { vec![vec![]] };
    let entities = entities(peer, own)?;
    let pairs = entities.iter().flat_map(|entity| lists.iter().map(move |ports| (entity.clone(), ports.clone())));
    Some(pairs.map(|(entity, ports)| rule(protocol, entity, ports, direction)).collect())
}

fn rule(protocol: Protocol, peer: EntityRule, ports: Vec<Port>, direction: Direction) -> Rule {
    let at_ports = EntityRule { ports: ports.clone(), ..EntityRule::default() };
    let (source, destination) = match direction {
        Direction::Ingress => (peer, at_ports),
        Direction::Egress => (EntityRule::default(), EntityRule { ports, ..peer }),
    };
    // What is left out is of version 4: of the other version it would be let in.
    let is_all_but = !destination.not_nets.is_empty();
    Rule {
        action: Action::Allow,
        ip_version: is_all_but.then_some(4),
        protocol: Some(protocol),
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source,
        destination,
        http: None,
    }
}

/// What a policy is of, and what public networks do not stand for in it.
struct Own<'a> {
    namespace: &'a str,
    /// Addresses of metadata services.
    excluded: Vec<Ipv4Addr>,
}

impl<'a> Own<'a> {
    /// Some collectors tell requests for metadata from those for the public only with a network set.
    fn new(namespace: &'a str, direction: Direction, view: &View<'_>) -> Self {
        let metadata = METADATA.iter().map(|(address, _)| address).chain(&CREDENTIALS);
        let all = metadata.chain(&view.settings.metadata_addresses).filter_map(|address| match address {
            IpAddr::V4(address) if direction == Direction::Egress => Some(*address),
            _ => None,
        });
        let all: BTreeSet<_> = all.collect();
        Self { namespace, excluded: all.into_iter().collect() }
    }
}

/// Networks that collectors call private.
const PRIVATE: [&str; 3] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

/// What a rule says of a peer. No rule has networks of both versions of IP.
fn entities(peer: &Peer, own: &Own<'_>) -> Option<Vec<EntityRule>> {
    let private = || PRIVATE.map(str::to_owned).to_vec();
    Some(vec![match peer {
        Peer::Workload { namespace, labels, .. } => {
            let elsewhere = namespace != own.namespace;
            let namespace_selector = if elsewhere { in_namespace(namespace) } else { String::new() };
            EntityRule { selector: selector(labels)?, namespace_selector, ..EntityRule::default() }
        }
        Peer::Set { namespace, labels } => {
            let namespace_selector = match namespace {
                Some(namespace) if namespace == own.namespace => String::new(),
                Some(namespace) => in_namespace(namespace),
                None => "global()".to_owned(),
            };
            EntityRule { selector: selector(labels)?, namespace_selector, ..EntityRule::default() }
        }
        Peer::Node(addresses) => {
            let (v6, v4): (Vec<_>, Vec<_>) = addresses.iter().cloned().partition(|address| address.contains(':'));
            let versions = [v4, v6].into_iter().filter(|nets| !nets.is_empty());
            return Some(versions.map(|nets| EntityRule { nets, ..EntityRule::default() }).collect());
        }
        Peer::Private => {
            let private_ones = own.excluded.iter().filter(|address| address.is_private());
            let not_nets = private_ones.map(|address| network((*address).into())).collect();
            EntityRule { nets: private(), not_nets, ..EntityRule::default() }
        }
        Peer::Public => {
            let excluded = own.excluded.iter().map(|address| network((*address).into()));
            let not_nets = private().into_iter().chain(excluded).collect();
            EntityRule { not_nets, ..EntityRule::default() }
        }
    }])
}

/// A network of one address.
fn network(address: IpAddr) -> String {
    IpNet::from(address).to_string()
}

fn in_namespace(name: &str) -> String {
    format!("projectcalico.org/name == '{name}'")
}

/// Lookups of names at the cluster's resolver, by either protocol.
fn lookups() -> [Rule; 2] {
    [Protocol::UDP, Protocol::TCP].map(|protocol| {
        let resolver = EntityRule {
            selector: "k8s-app == 'kube-dns'".to_owned(),
            namespace_selector: in_namespace("kube-system"),
            ..EntityRule::default()
        };
        rule(protocol, resolver, vec![Port::Range(DNS, DNS)], Direction::Egress)
    })
}

const fn policy_type(direction: Direction) -> PolicyType {
    match direction {
        Direction::Ingress => PolicyType::Ingress,
        Direction::Egress => PolicyType::Egress,
    }
}

const fn rules_of(spec: &mut PolicySpec, direction: Direction) -> &mut Vec<Rule> {
    match direction {
        Direction::Ingress => &mut spec.ingress,
        Direction::Egress => &mut spec.egress,
    }
}

/// The tier in which the owner of a namespace has put most of its policies.
fn tier_of(state: &ClusterState, namespace: &str) -> String {
    let is_own = |policy: &&Compiled| {
        let owned = state.policy_facts(&policy.id).is_some_and(|facts| facts.operator.is_some());
        policy.id.namespace == namespace && policy.id.kind == PolicyKind::CalicoNetworkPolicy && !owned
    };
    let mut tiers: BTreeMap<&str, usize> = BTreeMap::new();
    for policy in state.policy().policies().policies().filter(is_own) {
        *tiers.entry(&policy.tier).or_default() += 1;
    }
    let most = tiers.into_iter().max_by_key(|(_, policies)| *policies);
    most.map_or_else(|| DEFAULT_TIER.to_owned(), |(tier, _)| tier.to_owned())
}

/// How many hours the traffic was watched that the policy allows, as a label.
fn hours(watched: &[&Watched], view: &View<'_>) -> BTreeMap<String, String> {
    let first = watched.iter().map(|watched| watched.first).min().unwrap_or(view.window.start);
    let hours = (view.window.end.0 - first.0) as f64 / 3_600_000_000.0;
    BTreeMap::from([("catchment.dev/observed-hours".to_owned(), format!("{hours:.1}"))])
}

/// Until when it was.
fn notes(view: &View<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([("catchment.dev/observed-until".to_owned(), view.window.end.to_rfc3339())])
}

const fn to_stage(policy: PolicySpec) -> StagedPolicySpec {
    StagedPolicySpec { staged_action: StagedAction::Set, policy }
}

/// An object as an API server takes it.
fn staged(kind: Kind, object: &impl Serialize) -> Value {
    let mut value = json!({"apiVersion": kind.api_version(), "kind": kind.name()});
    let Ok(Value::Object(members)) = serde_json::to_value(object) else { return value };
    for (name, mut member) in members {
        without_empty(&mut member);
        value[name] = member;
    }
    value
}

/// What asks for nothing is left out.
fn without_empty(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(without_empty);
            members.retain(|_, member| !member.as_object().is_some_and(serde_json::Map::is_empty));
        }
        Value::Array(items) => items.iter_mut().for_each(without_empty),
        _ => {}
    }
}

#[cfg(test)]
#[path = "remedy_tests.rs"]
mod tests;
