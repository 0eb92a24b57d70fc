//! From the name at an end of a flow to who stands behind it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use catchment_core::knowledge::workload::{LabelSet, Pod};
use catchment_core::knowledge::{Key, Kind, Object, Text};
use catchment_core::{AddressClass, EventTime, IdentityFrom, Labels, Who};
use catchment_schemas::goldmane::EndpointType;

use super::address;
use super::knowledge::Handle;
use super::look::{Look, Seen, alive, first_of, meta};

/// The label keys that tell environment and owner, the first that is there wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelKeys {
    /// Keys of the environment.
    pub environment: Vec<String>,
    /// Keys of the owner or team.
    pub owner: Vec<String>,
}

impl Default for LabelKeys {
    fn default() -> Self {
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect();
        Self {
            environment: keys(&["environment", "env", "stage", "app.kubernetes.io/environment"]),
            owner: keys(&["owner", "team", "app.kubernetes.io/managed-by-team"]),
        }
    }
}

/// What is asked about one end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct End {
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Arc<str>,
    pub(super) kind: i32,
}

const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
/// Labels that the collector adds to those of the pods.
const ADDED_LABELS: &str = "projectcalico.org/";
const TEMPLATE_HASH: &str = "pod-template-hash";

/// Who stands at `end` of a row with these labels. Labels narrow what the name alone leaves open, and a value that they
/// carry themselves wins.
pub(super) fn who(look: &Look<'_>, keys: &LabelKeys, end: &End, labels: Option<&Labels>) -> Who {
    let kind = EndpointType::try_from(end.kind).unwrap_or_default();
    match (kind, &end.namespace) {
        (EndpointType::NetworkSet, _) => network_set(look, keys, end),
        (EndpointType::HostEndpoint, _) => node(look, keys, &end.name),
        (EndpointType::Network, _) => network(look, keys, &end.name),
        (EndpointType::WorkloadEndpoint, Some(namespace)) => workload(look, keys, namespace, &end.name, labels),
        (_, Some(namespace)) => {
            found(workload(look, keys, namespace, &end.name, labels)).unwrap_or_else(|| network_set(look, keys, end))
        }
        (_, None) => found(network_set(look, keys, end))
            .or_else(|| found(node(look, keys, &end.name)))
            .unwrap_or_else(|| network(look, keys, &end.name)),
    }
}

fn found(who: Who) -> Option<Who> {
    (who.from != Some(IdentityFrom::None)).then_some(who)
}

fn nobody() -> Who {
    Who { from: Some(IdentityFrom::None), ..Who::default() }
}

// === workloads ===

fn workload(look: &Look<'_>, keys: &LabelKeys, namespace: &str, name: &str, labels: Option<&Labels>) -> Who {
    let (named, mut from) = by_name(look, namespace, name);
    let mut pods = narrowed(named, labels);
    if pods.is_empty() {
        (pods, from) = (by_labels(look, namespace, labels), IdentityFrom::Labels);
    }
    let account = labels.and_then(|labels| labels.service_account.clone());
    let mut who = if pods.is_empty() { nobody() } else { of_pods(look, keys, &pods, from) };
    in_namespace(look, keys, namespace, &mut who);
    if let Some(account) = account {
        who.service_accounts = Some(vec![account]);
    }
    who
}

/// Pods that bear the name in the window or did the day before.
pub(super) fn pods_named<'a>(look: &Look<'a>, namespace: &str, name: &str) -> Vec<Seen<'a>> {
    by_name(look, namespace, name).0
}

/// The collector writes what pods of one owner have in common and a star, or the whole name of a pod without an owner.
fn by_name<'a>(look: &Look<'a>, namespace: &str, name: &str) -> (Vec<Seen<'a>>, IdentityFrom) {
    let namespace = Text::new(namespace);
    if let Some(prefix) = name.strip_suffix('*') {
        return (look.pods(Handle::Prefix(namespace, Text::new(prefix))), IdentityFrom::GenerateName);
    }
    let key = Key { kind: Kind::Pod, namespace, name: Text::new(name) };
    (look.pods(Handle::Object(key)), IdentityFrom::PodName)
}

/// Pods that carry all of the row's labels, if some do.
fn narrowed<'a>(pods: Vec<Seen<'a>>, labels: Option<&Labels>) -> Vec<Seen<'a>> {
    let Some(labels) = labels else { return pods };
    let matching: Vec<_> = pods.iter().copied().filter(|seen| carries(&seen.pod.metadata.labels, labels)).collect();
    if matching.is_empty() { pods } else { matching }
}

/// Where no pod bears the name, those of the namespace with the row's labels.
fn by_labels<'a>(look: &Look<'a>, namespace: &str, labels: Option<&Labels>) -> Vec<Seen<'a>> {
    let Some(labels) = labels.filter(|labels| own(labels).next().is_some()) else { return Vec::new() };
    let mut pods = look.pods(Handle::PodsOf(Text::new(namespace)));
    pods.retain(|seen| carries(&seen.pod.metadata.labels, labels));
    pods
}

/// The row's labels without those that the collector adds.
fn own(labels: &Labels) -> impl Iterator<Item = &str> {
    labels.items.iter().map(|label| &**label).filter(|label| !label.starts_with(ADDED_LABELS))
}

fn carries(pod: &LabelSet, labels: &Labels) -> bool {
    own(labels).all(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        pod.get(key).is_some_and(|own| own.as_str() == value)
    })
}

/// What pods have in common, or all that they differ in. Where none lives in the window or right behind it, it is the last
/// that was seen.
fn of_pods<'a>(look: &Look<'a>, keys: &LabelKeys, pods: &[Seen<'a>], from: IdentityFrom) -> Who {
    let alive = alive(pods, look.window);
    let names: BTreeSet<_> = alive.iter().map(|seen| (seen.key, &seen.pod.metadata.uid)).collect();
    let count = names.len() as u64;
    let pods = if alive.is_empty() { last_seen(look, pods) } else { alive };
    let nodes: BTreeSet<&Text> =
        pods.iter().map(|seen| &seen.pod.spec.node_name).filter(|node| !node.is_empty()).collect();
    let owners: Vec<_> = pods.iter().map(|seen| owner(look, &seen.key.namespace, seen.pod)).collect();
    let top = agreed(owners.iter().map(|owner| Some((&owner.kind, &owner.name))));
    let label = |keys: &[String]| agreed(pods.iter().map(|seen| first_of(&seen.pod.metadata.labels, keys)));
    let of_owner = agreed(owners.iter().map(|owner| owner.labels.and_then(|labels| first_of(labels, &keys.owner))));
    Who {
        workload_kind: top.map(|(kind, _)| kind.as_str().into()),
        workload_name: top.map(|(_, name)| name.as_str().into()),
        service_accounts: Some(sorted(pods.iter().map(|seen| account(seen.pod)))),
        zones: Some(zones(look, nodes.iter().map(|node| node.as_str()))),
        nodes: Some(sorted(nodes.iter().map(|node| node.as_str()))),
        environment: label(&keys.environment).map(|value| value.as_str().into()),
        owner: of_owner.or_else(|| label(&keys.owner)).map(|value| value.as_str().into()),
        pods: Some(count),
        address_class: agreed(pods.iter().map(|seen| Some(class(seen.pod)))),
        from: Some(from),
        ..Who::default()
    }
}

fn last_seen<'a>(look: &Look<'a>, pods: &[Seen<'a>]) -> Vec<Seen<'a>> {
    let ended = |seen: &Seen<'a>| seen.version.ended(look.window).unwrap_or(EventTime::MAX);
    let newest = pods.iter().map(ended).max();
    pods.iter().copied().filter(|seen| Some(ended(seen)) == newest).collect()
}

/// Labels of the namespace; its environment goes before that of the pods, its owner after.
fn in_namespace(look: &Look<'_>, keys: &LabelKeys, namespace: &str, who: &mut Who) {
    let object = look.object(Kind::Namespace, "", namespace);
    let Some(labels) = object.and_then(meta).map(|meta| &meta.labels) else { return };
    who.namespace_labels = Some(labels.iter().map(|(key, value)| format!("{key}={value}").into()).collect());
    let label = |keys: &[String]| first_of(labels, keys).map(|value| Arc::from(value.as_str()));
    who.environment = label(&keys.environment).or(who.environment.take());
    who.owner = who.owner.take().or_else(|| label(&keys.owner));
}

const fn class(pod: &Pod) -> AddressClass {
    if pod.spec.host_network { AddressClass::Node } else { AddressClass::Pod }
}

/// The API fills in `default` where none is asked for.
fn account(pod: &Pod) -> &str {
    match pod.spec.service_account_name.as_str() {
        "" => "default",
        account => account,
    }
}

fn zones<'n>(look: &Look<'_>, nodes: impl Iterator<Item = &'n str>) -> Vec<Arc<str>> {
    let nodes = nodes.filter_map(|node| look.object(Kind::Node, "", node).and_then(meta));
    sorted(nodes.filter_map(|node| ZONE.iter().find_map(|key| node.labels.get(key))).map(Text::as_str))
}

fn sorted<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<Arc<str>> {
    texts.collect::<BTreeSet<_>>().into_iter().map(Arc::from).collect()
}

/// What all say, if all say the same.
fn agreed<T: PartialEq>(mut items: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = items.next()??;
    items.all(|item| item.as_ref() == Some(&first)).then_some(first)
}

/// The workload of a pod, with its labels where it is known.
struct Owner<'a> {
    kind: Text,
    name: Text,
    labels: Option<&'a LabelSet>,
}

/// Follows the owners up to the one that people made: from a replica set to its deployment, from a job to its cron job.
fn owner<'a>(look: &Look<'a>, namespace: &Text, pod: &'a Pod) -> Owner<'a> {
    let meta_of = &pod.metadata;
    let Some(first) = meta_of.controller() else {
        return Owner { kind: Kind::Pod.name().into(), name: meta_of.name.clone(), labels: Some(&meta_of.labels) };
    };
    if first.kind == Kind::Node.name() {
        return static_pod(pod, &first.name);
    }
    let kind = Kind::named(&first.api_version, &first.kind);
    let object = kind.and_then(|kind| look.object(kind, namespace, &first.name)).and_then(meta);
    let between = matches!(kind, Some(Kind::ReplicaSet | Kind::Job));
    if let Some(above) = object.filter(|_| between).and_then(|object| object.controller()) {
        let kind = Kind::named(&above.api_version, &above.kind);
        let object = kind.and_then(|kind| look.object(kind, namespace, &above.name)).and_then(meta);
        return Owner { kind: above.kind.clone(), name: above.name.clone(), labels: object.map(|o| &o.labels) };
    }
    if object.is_none()
        && kind == Some(Kind::ReplicaSet)
        && let Some(name) = deployment(pod, &first.name)
    {
        return Owner { kind: Kind::Deployment.name().into(), name, labels: None };
    }
    Owner { kind: first.kind.clone(), name: first.name.clone(), labels: object.map(|o| &o.labels) }
}

/// The pod that a node makes of a file is called after the file and the node.
fn static_pod<'a>(pod: &'a Pod, node: &str) -> Owner<'a> {
    let whole = pod.metadata.name.as_str();
    let name = whole.strip_suffix(node).and_then(|name| name.strip_suffix('-')).unwrap_or(whole);
    Owner { kind: "StaticPod".into(), name: name.into(), labels: Some(&pod.metadata.labels) }
}

/// A replica set of a deployment is called after it and the hash that its pods carry.
fn deployment(pod: &Pod, replica_set: &str) -> Option<Text> {
    let hash = pod.metadata.labels.get(TEMPLATE_HASH)?;
    Some(replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')?.into())
}

// === everything else ===

fn node(look: &Look<'_>, keys: &LabelKeys, name: &str) -> Who {
    let Some(node) = look.object(Kind::Node, "", name).and_then(meta) else {
        return Who { address_class: Some(AddressClass::Node), ..nobody() };
    };
    let label = |keys: &[String]| first_of(&node.labels, keys).map(|value| value.as_str().into());
    Who {
        nodes: Some(vec![name.into()]),
        zones: Some(zones(look, std::iter::once(name))),
        environment: label(&keys.environment),
        owner: label(&keys.owner),
        address_class: Some(AddressClass::Node),
        from: Some(IdentityFrom::Node),
        ..Who::default()
    }
}

fn network(look: &Look<'_>, keys: &LabelKeys, name: &str) -> Who {
    let outside = |class| Who { address_class: Some(class), ..nobody() };
    match (name, name.parse::<IpAddr>()) {
        ("pvt" | "PRIVATE NETWORK", _) => outside(AddressClass::Private),
        ("pub" | "PUBLIC NETWORK", _) => outside(AddressClass::Public),
        (_, Ok(ip)) => at_address(look, keys, ip).unwrap_or_else(|| outside(address::class(ip))),
        _ => nobody(),
    }
}

/// The pod that owns an address, else the node.
fn at_address(look: &Look<'_>, keys: &LabelKeys, ip: IpAddr) -> Option<Who> {
    let pods = alive(&look.pods(Handle::Address(ip)), look.window);
    if let Some(newest) = pods.iter().max_by_key(|seen| (seen.version.from, seen.key)) {
        let namespace = newest.key.namespace.clone();
        let mut who = of_pods(look, keys, &[*newest], IdentityFrom::Ip);
        in_namespace(look, keys, &namespace, &mut who);
        return Some(who);
    }
    let name = look.node_at(Handle::Address(ip))?.metadata.name.clone();
    Some(Who { from: Some(IdentityFrom::Ip), ..node(look, keys, &name) })
}

fn network_set(look: &Look<'_>, keys: &LabelKeys, end: &End) -> Who {
    let namespace = end.namespace.as_deref().unwrap_or_default();
    let kind = if namespace.is_empty() { Kind::GlobalNetworkSet } else { Kind::NetworkSet };
    let (labels, nets) = match look.object(kind, namespace, &end.name) {
        Some(Object::NetworkSet(set)) => (&set.metadata.labels, &set.spec.nets),
        Some(Object::GlobalNetworkSet(set)) => (&set.metadata.labels, &set.spec.nets),
        _ => return nobody(),
    };
    let label = |keys: &[String]| keys.iter().find_map(|key| labels.get(key)).map(|value| value.as_str().into());
    let mut who = Who {
        environment: label(&keys.environment),
        owner: label(&keys.owner),
        address_class: address::class_of_nets(nets),
        from: Some(IdentityFrom::NetworkSet),
        ..Who::default()
    };
    if !namespace.is_empty() {
        in_namespace(look, keys, namespace, &mut who);
    }
    who
}
