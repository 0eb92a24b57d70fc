//! What the API of the simulated cluster would say: its objects when the nodes begin to count, and what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use catchment_core::{Error, EventTime, Result};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::draw::{Kind, PORTS, Peer, Workload, generation, turns};
use crate::objects::{CALICO, object, owned_by};
use crate::policy::{self, PolicyObject};
use crate::script::Script;
use crate::world::{World, drawn};

/// Everything was made a day before the nodes began to count.
pub(crate) const AGE_SECS: i64 = 24 * 3600;

/// Objects at one moment, and changes after it.
pub(crate) struct Known {
    objects: Vec<Value>,
    /// In the order of time.
    changes: Vec<(i64, &'static str, Value)>,
}

impl Known {
    /// What is known of `world`, and of what scenarios add to it, from `from` to `until`.
    pub(crate) fn of(world: &World, script: &Script, from: EventTime, until: EventTime) -> Self {
        let (from, until) = (from.secs(), until.secs());
        let view = View { world, nodes: placed(world), made: from - AGE_SECS };
        let mut objects = view.surroundings();
        let mut changes = Vec::new();
        for workload in 0..world.workloads.len() {
            let rollouts = world.workloads[workload].rollouts;
            let mut before = view.workload(workload, generation(rollouts, from), view.made);
            objects.extend(view.service(workload));
            objects.extend(before.clone());
            for at in turns(rollouts, from + 1, until) {
                let after = view.workload(workload, generation(rollouts, at), at);
                changes.extend(differences(at, &before, &after));
                before = after;
            }
        }
        for namespace in 0..world.namespaces.len() {
            let edits = world.namespaces[namespace].edits;
            let mut before = view.policies(namespace, generation(edits, from));
            objects.extend(before.clone());
            for at in turns(edits, from + 1, until) {
                let after = view.policies(namespace, generation(edits, at));
                changes.extend(differences(at, &before, &after));
                before = after;
            }
        }
        objects.extend(script.objects.iter().cloned());
        changes.extend(script.changes.iter().filter(|(at, ..)| *at < until).cloned());
        changes.sort_by_key(|(at, ..)| *at);
        Self { objects, changes }
    }

    /// Writes `objects.json` and `changes.jsonl`; the folder is made.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let failed = |e| {
            let place = folder.display();
            Error::user(format!("cannot write what is known of the cluster to `{place}`; it must be writable"))
                .caused_by(e)
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let list = json!({"apiVersion": "v1", "kind": "List", "items": self.objects});
        fs::write(folder.join("objects.json"), list.to_string()).map_err(failed)?;
        let lines = self.lines().map(|line| line + "\n");
        fs::write(folder.join("changes.jsonl"), lines.collect::<String>()).map_err(failed)
    }

    /// Objects from when they were made, and changes, each as a line of JSON.
    pub(crate) fn all_lines(&self) -> impl Iterator<Item = String> {
        let made = |object: &Value| {
            json!({"at": object["metadata"]["creationTimestamp"], "type": "ADDED", "object": object}).to_string()
        };
        self.objects.iter().map(made).chain(self.lines())
    }

    /// The changes, each as a line of JSON.
    fn lines(&self) -> impl Iterator<Item = String> {
        self.changes.iter().map(|(at, event, object)| {
            let at = EventTime::from_secs(*at).to_rfc3339();
            json!({"at": at, "type": event, "object": object}).to_string()
        })
    }
}

/// Nodes that hold a pod, of every workload.
fn placed(world: &World) -> Vec<BTreeSet<usize>> {
    let mut nodes = vec![BTreeSet::new(); world.workloads.len()];
    for (node, sites) in world.sites.iter().enumerate() {
        for workload in sites.iter().filter_map(|site| world.held(*site)) {
            nodes[workload].insert(node);
        }
    }
    for (workload, nodes) in nodes.iter_mut().enumerate() {
        if nodes.is_empty() {
            nodes.insert(workload % world.sites.len());
        }
    }
    nodes
}

fn differences(at: i64, before: &[Value], after: &[Value]) -> Vec<(i64, &'static str, Value)> {
    let named = |objects: &[Value]| -> BTreeMap<String, Value> {
        let name = |o: &Value| format!("{} {}", o["kind"], o["metadata"]["name"]);
        objects.iter().map(|object| (name(object), object.clone())).collect()
    };
    let (before, after) = (named(before), named(after));
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    let gone = gone.map(|(_, object)| (at, "DELETED", object.clone()));
    let told = after.iter().filter_map(|(name, object)| match before.get(name) {
        None => Some((at, "ADDED", object.clone())),
        Some(old) if old != object => Some((at, "MODIFIED", object.clone())),
        Some(_) => None,
    });
    told.chain(gone).collect()
}

struct View<'a> {
    world: &'a World,
    nodes: Vec<BTreeSet<usize>>,
    /// When what does not change was made.
    made: i64,
}

impl View<'_> {
    fn namespace_of(&self, workload: usize) -> &str {
        self.world.namespaces[self.world.workloads[workload].namespace].name
    }

    fn object(&self, api: &str, kind: &str, namespace: &str, name: &str) -> Value {
        object(api, kind, namespace, name, self.made)
    }

    /// Nodes, namespaces, service accounts, network sets, tiers and their global policies: what does not change.
    fn surroundings(&self) -> Vec<Value> {
        let mut objects = Vec::new();
        for node in 0..self.world.sites.len() {
            let mut object = self.object("v1", "Node", "", &format!("node-{node}"));
            object["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": format!("zone-{}", node % 3)});
            object["status"] = json!({"addresses": [{"type": "InternalIP", "address": node_address(node)}]});
            objects.push(object);
        }
        for (number, namespace) in self.world.namespaces.iter().enumerate() {
            let mut object = self.object("v1", "Namespace", "", namespace.name);
            object["metadata"]["labels"] = json!({"kubernetes.io/metadata.name": namespace.name,
                "environment": namespace.environment, "team": namespace.name});
            if namespace.is_critical() {
                object["metadata"]["labels"]["catchment.dev/critical"] = "true".into();
            }
            objects.push(object);
            let accounts: BTreeSet<_> = self.workloads_of(number).map(Workload::account).collect();
            objects.extend(accounts.iter().map(|name| self.object("v1", "ServiceAccount", namespace.name, name)));
            objects.push(self.network_set("NetworkSet", namespace.name, "office-networks", "198.51.100.0/24"));
        }
        objects.push(self.network_set("GlobalNetworkSet", "", "partner-networks", "203.0.113.0/24"));
        objects.extend(policy::tiers().map(|(name, order)| {
            let mut tier = self.object(CALICO, "Tier", "", name);
            tier["spec"] = json!({"order": order});
            tier
        }));
        objects.extend(policy::globals(&self.world.namespaces).into_iter().map(|policy| self.policy("", policy)));
        objects
    }

    fn network_set(&self, kind: &str, namespace: &str, name: &str, net: &str) -> Value {
        let mut set = self.object(CALICO, kind, namespace, name);
        set["metadata"]["labels"] = json!({"external": "yes"});
        set["spec"] = json!({"nets": [net]});
        set
    }

    /// A workload's owner, pods and endpoints in one of its generations, which began at `since`.
    fn workload(&self, number: usize, generation: u8, since: i64) -> Vec<Value> {
        let workload = &self.world.workloads[number];
        let namespace = self.namespace_of(number);
        let mut objects = Vec::new();
        let owner = match workload.kind {
            Kind::Deployment => {
                let name = format!("{}-{}", workload.app, self.world.template_hash(number, generation));
                let mut set = self.object("apps/v1", "ReplicaSet", namespace, &name);
                set["metadata"]["ownerReferences"] = owned_by("Deployment", &workload.app);
                objects.push(self.object("apps/v1", "Deployment", namespace, &workload.app));
                objects.push(set);
                Some(("ReplicaSet", name))
            }
            Kind::DaemonSet => Some(("DaemonSet", workload.app.clone())),
            Kind::StatefulSet => Some(("StatefulSet", workload.app.clone())),
            Kind::BarePod => None,
        };
        if let Some((kind @ ("DaemonSet" | "StatefulSet"), name)) = &owner {
            objects.push(self.object("apps/v1", kind, namespace, name));
        }
        let pods: Vec<_> = self.pods(number, generation, since, owner.as_ref());
        objects.extend((workload.kind != Kind::BarePod).then(|| self.slice(number, &pods)));
        objects.extend(pods);
        objects
    }

    fn pods(&self, number: usize, generation: u8, since: i64, owner: Option<&(&str, String)>) -> Vec<Value> {
        let workload = &self.world.workloads[number];
        // A pod that nobody owns is on one node, whatever its reports say.
        let most = if workload.kind == Kind::BarePod { 1 } else { usize::MAX };
        let made = EventTime::from_secs(since).to_rfc3339();
        let pod = |&node: &usize| {
            let prefix = self.world.pod_name(number, generation);
            let (generated, name) = match prefix.strip_suffix('*') {
                Some(prefix) => (Some(prefix), format!("{prefix}{}", self.suffix(number, generation, node))),
                None => (None, prefix.clone()),
            };
            let mut pod = self.object("v1", "Pod", self.namespace_of(number), &name);
            let labels = self.world.labels_of(Peer::Workload(number), generation, node);
            let labels = labels.iter().filter_map(|label| label.split_once('='));
            let metadata = &mut pod["metadata"];
            metadata["labels"] = labels.map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
            metadata["creationTimestamp"] = made.clone().into();
            if let (Some(generated), Some((kind, owner))) = (generated, owner) {
                metadata["generateName"] = generated.into();
                metadata["ownerReferences"] = owned_by(kind, owner);
            }
            pod["spec"] = json!({"nodeName": format!("node-{node}"), "serviceAccountName": workload.account()});
            pod["status"] = json!({"phase": "Running", "podIPs": [{"ip": pod_address(number, node)}]});
            pod
        };
        self.nodes[number].iter().take(most).map(pod).collect()
    }

    /// What the pods of a set are counted by, and others are told apart by.
    fn suffix(&self, workload: usize, generation: u8, node: usize) -> String {
        if self.world.workloads[workload].kind == Kind::StatefulSet {
            return node.to_string();
        }
        drawn(Dice::of(&[self.world.seed, 6, workload as u64, u64::from(generation), node as u64]), 5)
    }

    fn service(&self, number: usize) -> Option<Value> {
        let workload = &self.world.workloads[number];
        let mut service = self.object("v1", "Service", self.namespace_of(number), &workload.app);
        let port = |port: &crate::draw::Port| {
            json!({"name": port_name(port), "port": port.service, "targetPort": port.pod,
                "protocol": port.proto.to_uppercase()})
        };
        service["spec"] = json!({"type": "ClusterIP", "selector": {"app.kubernetes.io/name": workload.app},
            "ports": PORTS.iter().map(port).collect::<Vec<_>>()});
        (workload.kind != Kind::BarePod).then_some(service)
    }

    fn slice(&self, number: usize, pods: &[Value]) -> Value {
        let app = &self.world.workloads[number].app;
        let mut slice =
            self.object("discovery.k8s.io/v1", "EndpointSlice", self.namespace_of(number), &format!("{app}-1"));
        slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": app});
        slice["addressType"] = "IPv4".into();
        let endpoint = |pod: &Value| {
            json!({"addresses": [pod["status"]["podIPs"][0]["ip"]], "conditions": {"ready": true},
                "nodeName": pod["spec"]["nodeName"], "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]}})
        };
        slice["endpoints"] = pods.iter().map(endpoint).collect();
        let port = |port: &crate::draw::Port| json!({"name": port_name(port), "port": port.pod, "protocol": port.proto.to_uppercase()});
        slice["ports"] = PORTS.iter().map(port).collect();
        slice
    }

    /// The policies of a namespace after so many edits.
    fn policies(&self, number: usize, edits: u8) -> Vec<Value> {
        let namespace = &self.world.namespaces[number];
        let policies = self.workloads_of(number).filter_map(|workload| policy::of_workload(namespace, workload, edits));
        policies.map(|policy| self.policy(namespace.name, policy)).collect()
    }

    fn workloads_of(&self, namespace: usize) -> impl Iterator<Item = &Workload> {
        self.world.workloads.iter().filter(move |workload| workload.namespace == namespace)
    }

    fn policy(&self, namespace: &str, PolicyObject { kind, name, spec }: PolicyObject) -> Value {
        let api = if kind == "NetworkPolicy" && spec["tier"].is_null() { "networking.k8s.io/v1" } else { CALICO };
        let mut policy = self.object(api, kind, namespace, &name);
        policy["spec"] = spec;
        policy
    }
}

fn port_name(port: &crate::draw::Port) -> &'static str {
    if port.name == "-" { "" } else { port.name }
}

fn node_address(node: usize) -> String {
    format!("192.168.{}.{}", node / 250, 1 + node % 250)
}

/// The next generation takes over the addresses of the last.
fn pod_address(workload: usize, node: usize) -> String {
    format!("10.{}.{}.{}", 100 + workload / 250, workload % 250, 1 + node % 250)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use catchment_core::knowledge::{Change, Key, Object};
    use catchment_schemas::goldmane::EndpointType;

    use super::*;

    const START: i64 = 1_767_225_600;

    fn read(value: &Value) -> Object {
        Object::from_json(&value.to_string()).expect("an object").expect("of a kind that is read")
    }

    /// The objects at a moment.
    fn at(known: &Known, secs: i64) -> BTreeMap<Key, Object> {
        let mut objects: BTreeMap<_, _> = known.objects.iter().map(read).map(|o| (o.key(), o)).collect();
        for (at, event, object) in known.changes.iter().filter(|(at, ..)| *at <= secs) {
            let line = json!({"at": EventTime::from_secs(*at).to_rfc3339(), "type": event, "object": object});
            let change = Change::from_line(&line.to_string()).expect("a change").expect("of a kind that is read");
            match change.state {
                Some(state) => objects.insert(change.key, state),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    #[test]
    fn whoever_a_flow_names_is_there_at_that_time() {
        let world = World::new(3, 4, 900, false);
        let (first, last) = (EventTime::from_secs(START), EventTime::from_secs(START + 2 * 3600));
        let known = Known::of(&world, &Script::default(), first, last);
        assert!(known.changes.iter().any(|(_, event, _)| *event == "DELETED"), "somebody rolls out");
        for secs in (START..START + 2 * 3600).step_by(599) {
            let objects = at(&known, secs);
            let names: BTreeSet<_> = objects.values().filter_map(aggregated).collect();
            for &site in world.sites.iter().flatten() {
                let key = world.key(site, world.version(site, secs));
                for (namespace, name, kind) in [
                    (key.source_namespace, key.source_name, key.source_type),
                    (key.dest_namespace, key.dest_name, key.dest_type),
                ] {
                    if kind == EndpointType::WorkloadEndpoint as i32 {
                        assert!(names.contains(&(namespace.clone(), name.clone())), "{namespace}/{name} at {secs}");
                    }
                }
            }
        }
    }

    fn aggregated(object: &Object) -> Option<(String, String)> {
        let Object::Pod(pod) = object else { return None };
        let (name, prefix) = (&pod.metadata.name, &pod.metadata.generate_name);
        let shown = if prefix.is_empty() { name.to_string() } else { format!("{prefix}*") };
        Some((pod.metadata.namespace.to_string(), shown))
    }

    #[test]
    fn every_policy_that_a_trace_names_is_there() {
        let world = World::new(3, 4, 900, false);
        let known =
            Known::of(&world, &Script::default(), EventTime::from_secs(START), EventTime::from_secs(START + 3600));
        let names: BTreeSet<_> = at(&known, START).into_keys().map(|key| key.name.to_string()).collect();
        for &site in world.sites.iter().flatten() {
            let key = world.key(site, world.version(site, START));
            let trace = key.policies.expect("a trace");
            let hits = trace.enforced_policies.iter().chain(&trace.pending_policies);
            let triggers = hits.clone().filter_map(|hit| hit.trigger.as_deref());
            for name in hits.chain(triggers).map(|hit| &hit.name).filter(|name| !name.is_empty()) {
                assert!(name.starts_with("kns.") || names.contains(name), "{name}");
            }
        }
    }
}
