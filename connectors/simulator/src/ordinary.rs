//! What a detector finds in the ordinary cluster: nothing of weight, and this.

use std::collections::BTreeMap;

use catchment_core::EventTime;
use catchment_schemas::goldmane::Reporter;
use serde_json::{Value, json};

use crate::draw::{Edge, PORTS, Peer};
use crate::knowledge::AGE_SECS;
use crate::policy::Stance;
use crate::script::Plant;
use crate::traffic::Habits;
use crate::world::World;

/// What stands in place of a scenario's name.
const ORDINARY: &str = "ordinary";

/// A staged policy is forgotten when it is so old.
const FORGOTTEN_SECS: i64 = 7 * 24 * 3600;

/// Findings of no weight that the ordinary cluster shows between `begin` and `end`, each once.
pub(crate) fn plants(world: &World, habits: Habits, begin: EventTime, end: EventTime) -> Vec<Plant> {
    let nodes = world.sites.len();
    let heard = world.sites.iter().enumerate().filter(|(node, _)| !habits.is_never_heard(*node, nodes));
    let sites = heard.flat_map(|(_, sites)| sites);
    let found = sites.flat_map(|site| findings(world, &world.edges[site.edge as usize], site.reporter));
    let distinct: BTreeMap<_, _> = found.map(|(kind, subject)| ((kind, subject.to_string()), subject)).collect();
    let plant = |from| move |(kind, subject)| Plant { kind, subject, from, until: None, scenario: ORDINARY };
    let forgotten = begin.plus((FORGOTTEN_SECS - AGE_SECS) * 1_000_000);
    let staged = staged(world).filter(|_| forgotten < end).map(plant(forgotten));
    distinct.into_iter().map(|((kind, _), subject)| (kind, subject)).map(plant(begin)).chain(staged).collect()
}

/// Staged policies that nobody edits.
fn staged(world: &World) -> impl Iterator<Item = (&'static str, Value)> {
    let of_workloads = world.workloads.iter().filter_map(|workload| {
        let namespace = &world.namespaces[workload.namespace];
        let is_left = namespace.stance == Stance::StagedAllow && namespace.edits.is_none();
        is_left.then(|| format!("{}/allow-{}", namespace.name, workload.app))
    });
    let all = std::iter::once("lock-down".to_owned()).chain(of_workloads);
    all.map(|policy| ("policy.staged-forgotten", json!({"policy": policy})))
}

/// What the report of one end shows.
fn findings(world: &World, edge: &Edge, reporter: Reporter) -> Vec<(&'static str, Value)> {
    let end = if reporter == Reporter::Src { edge.source } else { edge.dest };
    let Peer::Workload(number) = end else { return Vec::new() };
    let workload = &world.workloads[number];
    let namespace = &world.namespaces[workload.namespace];
    if edge.denied == Some(reporter) {
        let policy = format!("{}/allow-{}", namespace.name, workload.app);
        return vec![("policy.implicit-deny", denied(world, edge, reporter, &policy))];
    }
    let subject = if reporter == Reporter::Src {
        json!({"namespace": namespace.name, "direction": "egress"})
    } else {
        json!({"namespace": namespace.name, "workload": workload.app, "direction": "ingress"})
    };
    let is_bare = !namespace.stance.denies();
    let preview =
        (namespace.stance == Stance::StagedDeny).then(|| ("policy.staged-would-deny", json!({"policy": "lock-down"})));
    is_bare.then_some(("policy.no-policy", subject)).into_iter().chain(preview).collect()
}

fn denied(world: &World, edge: &Edge, reporter: Reporter, policy: &str) -> Value {
    let ((source_namespace, source), (dest_namespace, dest)) = (shown(world, edge.source), shown(world, edge.dest));
    let port = &PORTS[edge.port];
    let dest_port = if matches!(edge.dest, Peer::Workload(_)) { port.pod } else { port.service };
    let reporter = if reporter == Reporter::Src { "Src" } else { "Dst" };
    json!({"source_namespace": source_namespace, "source": source, "dest_namespace": dest_namespace, "dest": dest,
        "dest_port": dest_port, "protocol": port.proto, "policy": policy, "reporter": reporter})
}

/// Namespace and name of an end as findings show them.
fn shown(world: &World, peer: Peer) -> (Option<&'static str>, String) {
    let namespace = |number: usize| Some(world.namespaces[number].name);
    match peer {
        Peer::Workload(w) => (namespace(world.workloads[w].namespace), world.workloads[w].app.clone()),
        Peer::Private => (None, "PRIVATE NETWORK".to_owned()),
        Peer::Public => (None, "PUBLIC NETWORK".to_owned()),
        Peer::GlobalSet => (None, "partner-networks".to_owned()),
        Peer::NamespacedSet(n) => (namespace(n), "office-networks".to_owned()),
        Peer::Host(node) => (None, format!("node-{node}")),
    }
}
