//! Where and when one plant takes place: makes the objects and the traffic that a scenario asks for.

use catchment_core::EventTime;
use serde_json::{Value, json};

use super::Scenario;
use super::cast::{HTTP, Pair, Talk, Workload};
use super::rules::{Policy, let_in, let_out, peer, spec};
use crate::dice::Dice;
use crate::draw::{PORTS, Port};
use crate::knowledge::AGE_SECS;
use crate::objects::{CALICO, object, owned_by};
use crate::script::{Line, Plant, Script};
use crate::world::drawn;

/// Words that names begin with. None tells of an environment.
const WORDS: [&str; 16] = [
    "orders", "ledger", "basket", "stock", "invoice", "rating", "coupon", "parcel", "notice", "quote", "profile",
    "session", "catalog", "refund", "voucher", "wishlist",
];

/// The place and the time of one plant.
pub(super) struct Scene<'a> {
    pub(super) script: &'a mut Script,
    pub(super) scenario: &'static Scenario,
    /// Which plant of its scenario this is, from 0.
    pub(super) number: usize,
    /// When the nodes begin to count.
    pub(super) begin: i64,
    /// When its pods begin to talk.
    pub(super) since: i64,
    /// When what is planted begins.
    pub(super) from: i64,
    /// When it ends; never if absent.
    pub(super) until: Option<i64>,
    /// When its pods fall silent.
    pub(super) end: i64,
    /// When the run ends.
    pub(super) close: i64,
    /// How many nodes a plant may use.
    pub(super) nodes: usize,
    pub(super) dice: Dice,
    /// Tells the names of one plant from those of others.
    pub(super) tag: String,
}

impl Scene<'_> {
    /// When everything that was not made during the run was made.
    pub(super) const fn made(&self) -> i64 {
        self.begin - AGE_SECS
    }

    /// When what is planted is over, or all is.
    pub(super) fn stop(&self) -> i64 {
        self.until.unwrap_or(self.end)
    }

    /// What is planted never ends.
    pub(super) fn for_ever(&mut self) {
        self.until = None;
        self.end = self.close;
    }

    /// What is planted lasts longer: it takes so many seconds to show.
    pub(super) fn lasts_beyond(&mut self, secs: i64) {
        self.until = self.until.map(|until| until + secs).filter(|until| *until < self.close);
        self.end = self.until.map_or(self.close, |_| self.close.min(self.end + secs));
    }

    /// One of so many variants, in turn.
    pub(super) const fn variant(&self, of: usize) -> usize {
        self.number % of
    }

    /// An object is there from `at` on.
    pub(super) fn put(&mut self, at: i64, object: Value) {
        if at <= self.begin {
            self.script.objects.push(object);
        } else {
            self.script.changes.push((at, "ADDED", object));
        }
    }

    /// An object that several plants need is there from the beginning.
    pub(super) fn put_once(&mut self, object: Value) {
        let metadata = &object["metadata"];
        let name = format!("{} {} {}", object["kind"], metadata["namespace"], metadata["name"]);
        if self.script.shared.insert(name) {
            self.script.objects.push(object);
        }
    }

    pub(super) fn change(&mut self, at: i64, object: Value) {
        self.script.changes.push((at, "MODIFIED", object));
    }

    pub(super) fn remove(&mut self, at: i64, object: Value) {
        self.script.changes.push((at, "DELETED", object));
    }

    /// A production namespace.
    pub(super) fn namespace(&mut self) -> String {
        self.namespace_with(&[])
    }

    /// A namespace with further labels, which may name another environment.
    pub(super) fn namespace_with(&mut self, labels: &[(&str, &str)]) -> String {
        let word = WORDS[self.dice.index(WORDS.len())];
        self.namespace_called(word, labels)
    }

    /// A namespace whose name begins with a word.
    pub(super) fn namespace_called(&mut self, word: &str, labels: &[(&str, &str)]) -> String {
        let name = format!("{word}-{}{}", self.tag, drawn(self.dice.clone(), 2));
        self.dice.next();
        let mut namespace = object("v1", "Namespace", "", &name, self.made());
        namespace["metadata"]["labels"] =
            json!({"kubernetes.io/metadata.name": name, "environment": "production", "team": name});
        for (key, value) in labels {
            namespace["metadata"]["labels"][key] = (*value).into();
        }
        self.put(self.begin, namespace);
        name
    }

    /// A workload that stands nowhere yet.
    pub(super) fn workload(&mut self, namespace: &str, app: &str) -> Workload {
        Workload {
            is_job: false,
            namespace: namespace.to_owned(),
            app: app.to_owned(),
            account: app.to_owned(),
            labels: Vec::new(),
            node: self.dice.index(self.nodes),
            address: self.address(),
            hash: drawn(self.dice.clone(), 10),
            suffix: drawn(Dice::of(&[self.dice.next()]), 5),
            made: self.made(),
        }
    }

    /// An address of a pod that no other pod of a scenario has.
    fn address(&mut self) -> String {
        self.script.addresses += 1;
        let number = self.script.addresses;
        format!("10.{}.{}.{}", 200 + number / 62_500 % 50, number / 250 % 250, 1 + number % 250)
    }

    /// Deployment, replica set, pod, service, endpoints and account of a workload; or job, pod and account.
    pub(super) fn deploy(&mut self, workload: &Workload) {
        let made = workload.made;
        self.put_once(account(workload));
        if workload.is_job {
            self.put(made, object("batch/v1", "Job", &workload.namespace, &workload.app, made));
            self.put(made, pod(workload));
            return;
        }
        self.put(made, deployment(workload, 1));
        self.put(made, service(workload, &workload.app));
        self.start(made, workload);
        self.put(made, slice(workload, true));
    }

    /// Its replica set and its pod come.
    pub(super) fn start(&mut self, at: i64, workload: &Workload) {
        self.put(at, replica_set(workload));
        self.put(at, pod(workload));
    }

    /// Another generation of the workload takes the place of this one.
    pub(super) fn roll_out(&mut self, at: i64, workload: &Workload) -> Workload {
        let next = Workload {
            address: self.address(),
            hash: drawn(self.dice.clone(), 10),
            suffix: drawn(Dice::of(&[self.dice.next()]), 5),
            made: at,
            ..workload.clone()
        };
        self.start(at, &next);
        self.change(at, slice(&Workload { made: workload.made, ..next.clone() }, true));
        self.remove(at, pod(workload));
        self.remove(at, replica_set(workload));
        next
    }

    /// A policy comes.
    pub(super) fn policy(&mut self, policy: Policy, spec: Value) -> Policy {
        self.put(policy.made(), policy.object(spec));
        policy
    }

    /// A policy is edited by hand.
    pub(super) fn edit(&mut self, at: i64, policy: &Policy, spec: Value) {
        let mut edited = policy.object(spec);
        let entry = json!({"manager": "kubectl-edit", "operation": "Update", "time": rfc3339(at)});
        edited["metadata"]["managedFields"] = json!([entry]);
        self.change(at, edited);
    }

    /// A policy that lets `client` in to `server` and nobody else.
    pub(super) fn guard_ingress(&mut self, client: &Workload, server: &Workload, port: Port) -> Policy {
        let policy = Policy::new(&server.namespace, &format!("{}-ingress", server.app), self.made());
        self.policy(policy, spec(&server.app, 100, "Ingress", vec![let_in(peer(client), port)]))
    }

    /// A policy that lets `client` go to `server` and nowhere else.
    pub(super) fn guard_egress(&mut self, client: &Workload, server: &Workload, port: Port) -> Policy {
        let policy = Policy::new(&client.namespace, &format!("{}-egress", client.app), self.made());
        self.policy(policy, spec(&client.app, 100, "Egress", vec![let_out(peer(server), port)]))
    }

    /// A client and a server in a namespace of their own.
    pub(super) fn pair(&mut self) -> Pair {
        let namespace = self.namespace();
        let (client, server) = (self.workload(&namespace, "web"), self.workload(&namespace, "api"));
        self.pair_of(client, server)
    }

    /// They are deployed, and their policies name each other.
    pub(super) fn pair_of(&mut self, client: Workload, server: Workload) -> Pair {
        self.pair_at(client, server, HTTP)
    }

    pub(super) fn pair_at(&mut self, client: Workload, server: Workload, port: Port) -> Pair {
        self.deploy(&client);
        self.deploy(&server);
        let ingress = self.guard_ingress(&client, &server, port);
        let egress = self.guard_egress(&client, &server, port);
        Pair { client, server, port, egress, ingress }
    }

    /// A conversation goes on for a time.
    pub(super) fn talk(&mut self, talk: &Talk, from: i64, until: i64) {
        let (source_labels, dest_labels) = talk.labels();
        for (node, key, pace) in talk.keys() {
            let (source_labels, dest_labels) = (source_labels.clone(), dest_labels.clone());
            self.script.lines[node].push(Line { from, until, key, source_labels, dest_labels, pace });
        }
    }

    /// Goes well but for the time of the plant.
    pub(super) fn interrupt(&mut self, well: &Talk, ill: &Talk) {
        self.talk(well, self.since, self.from);
        self.talk(ill, self.from, self.stop());
        self.talk(well, self.stop(), self.end);
    }

    /// A finding of the scenario's own kind should be made, while the plant lasts.
    pub(super) fn plant(&mut self, subject: Value) {
        self.plant_as(self.scenario.kind, subject, self.from);
    }

    /// A finding should be made from `from` on.
    pub(super) fn plant_as(&mut self, kind: &'static str, subject: Value, from: i64) {
        if from < self.end {
            let from = EventTime::from_secs(from);
            let until = self.until.map(EventTime::from_secs);
            self.script.plants.push(Plant { kind, subject, from, until, scenario: self.scenario.name });
        }
    }
}

pub(super) fn rfc3339(secs: i64) -> String {
    EventTime::from_secs(secs).to_rfc3339()
}

/// A set of networks of the whole cluster, with a label that rules select it by.
pub(super) fn network_set(name: &str, role: &str, nets: &[&str], made: i64) -> Value {
    let mut set = object(CALICO, "GlobalNetworkSet", "", name, made);
    set["metadata"]["labels"] = json!({"role": role});
    set["spec"] = json!({"nets": nets});
    set
}

fn account(workload: &Workload) -> Value {
    object("v1", "ServiceAccount", &workload.namespace, &workload.account, workload.made)
}

fn selector(workload: &Workload) -> Value {
    json!({"app.kubernetes.io/name": workload.app})
}

fn pod_labels(workload: &Workload) -> Value {
    workload
        .labels()
        .iter()
        .filter_map(|label| label.split_once('='))
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect()
}

pub(super) fn deployment(workload: &Workload, replicas: u32) -> Value {
    let mut deployment = object("apps/v1", "Deployment", &workload.namespace, &workload.app, workload.made);
    let mut labels = pod_labels(workload);
    if let Some(labels) = labels.as_object_mut() {
        labels.remove("pod-template-hash");
    }
    deployment["spec"] = json!({"replicas": replicas, "selector": {"matchLabels": selector(workload)},
        "template": {"metadata": {"labels": labels}, "spec": {"serviceAccountName": workload.account}}});
    deployment
}

pub(super) fn replica_set(workload: &Workload) -> Value {
    let name = format!("{}-{}", workload.app, workload.hash);
    let mut set = object("apps/v1", "ReplicaSet", &workload.namespace, &name, workload.made);
    set["metadata"]["ownerReferences"] = owned_by("Deployment", &workload.app);
    set["spec"] = json!({"replicas": 1});
    set
}

pub(super) fn pod(workload: &Workload) -> Value {
    let prefix = workload.prefix();
    let mut pod = object("v1", "Pod", &workload.namespace, &format!("{prefix}{}", workload.suffix), workload.made);
    let owner = if workload.is_job { "Job" } else { "ReplicaSet" };
    let metadata = &mut pod["metadata"];
    metadata["labels"] = pod_labels(workload);
    metadata["ownerReferences"] = owned_by(owner, prefix.trim_end_matches('-'));
    metadata["generateName"] = prefix.into();
    pod["spec"] = json!({"nodeName": format!("node-{}", workload.node), "serviceAccountName": workload.account,
        "restartPolicy": if workload.is_job { "Never" } else { "Always" }});
    pod["status"] = json!({"phase": "Running", "podIPs": [{"ip": workload.address}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(workload.made)}]});
    pod
}

/// A service named after the workload that selects the pods of `app`.
pub(super) fn service(workload: &Workload, app: &str) -> Value {
    let mut service = object("v1", "Service", &workload.namespace, &workload.app, workload.made);
    let port = |port: &Port| {
        json!({"name": port.name.trim_matches('-'), "port": port.service, "targetPort": port.pod,
            "protocol": port.proto.to_uppercase()})
    };
    service["spec"] = json!({"type": "ClusterIP", "selector": {"app.kubernetes.io/name": app},
        "ports": PORTS.iter().map(port).collect::<Vec<_>>()});
    service
}

pub(super) fn slice(workload: &Workload, is_ready: bool) -> Value {
    let app = &workload.app;
    let mut slice =
        object("discovery.k8s.io/v1", "EndpointSlice", &workload.namespace, &format!("{app}-1"), workload.made);
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": app});
    slice["addressType"] = "IPv4".into();
    slice["endpoints"] = json!([{"addresses": [workload.address], "conditions": {"ready": is_ready},
        "nodeName": format!("node-{}", workload.node),
        "targetRef": {"kind": "Pod", "name": pod(workload)["metadata"]["name"]}}]);
    let port = |port: &Port| json!({"name": port.name.trim_matches('-'), "port": port.pod, "protocol": port.proto.to_uppercase()});
    slice["ports"] = PORTS.iter().map(port).collect();
    slice
}
