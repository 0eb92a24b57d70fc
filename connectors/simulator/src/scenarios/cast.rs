//! Who plays a part in a scenario, and who talks to whom.

use catchment_schemas::goldmane::{Action, EndpointType, FlowKey, PolicyTrace, Reporter};
use serde_json::{Value, json};

use super::rules::{Policy, trace};
use crate::draw::{PORTS, Port};
use crate::script::Pace;

/// A port of the web.
pub(super) const HTTP: Port = PORTS[0];
/// A port of a data base.
pub(super) const SQL: Port = PORTS[2];
/// Names are asked for here.
pub(super) const DNS: Port = PORTS[5];

/// A deployment or a job of one pod.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) is_job: bool,
    pub(super) namespace: String,
    pub(super) app: String,
    pub(super) account: String,
    /// Beside the name of the app.
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) node: usize,
    pub(super) address: String,
    /// What tells its replica set from others.
    pub(super) hash: String,
    /// What the pod's name ends in.
    pub(super) suffix: String,
    pub(super) made: i64,
}

impl Workload {
    pub(super) fn labels(&self) -> Vec<String> {
        let further = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let own = [format!("app.kubernetes.io/name={}", self.app)];
        let template = (!self.is_job).then(|| format!("pod-template-hash={}", self.hash));
        own.into_iter().chain(template).chain(further).collect()
    }

    /// What the names of its pods begin with.
    pub(super) fn prefix(&self) -> String {
        if self.is_job { format!("{}-", self.app) } else { format!("{}-{}-", self.app, self.hash) }
    }

    /// The subject of a finding about what arrives here, or leaves.
    pub(super) fn subject(&self, direction: &str) -> Value {
        json!({"namespace": self.namespace, "workload": self.app, "direction": direction})
    }

    /// The subject of a finding about where it goes, or who it is.
    pub(super) fn source_subject(&self) -> Value {
        json!({"namespace": self.namespace, "workload": self.app})
    }
}

/// One end of a conversation.
#[derive(Clone, Debug)]
pub(super) struct End {
    namespace: Option<String>,
    /// As on the wire.
    name: String,
    /// As in a finding.
    shown: String,
    kind: EndpointType,
    labels: Vec<String>,
    /// Where it reports; networks do not.
    pub(super) node: usize,
}

impl From<&Workload> for End {
    fn from(workload: &Workload) -> Self {
        Self {
            namespace: Some(workload.namespace.clone()),
            name: workload.prefix() + "*",
            shown: workload.app.clone(),
            kind: EndpointType::WorkloadEndpoint,
            labels: workload.labels(),
            node: workload.node,
        }
    }
}

impl End {
    fn nowhere(name: &str, shown: &str, kind: EndpointType) -> Self {
        Self { namespace: None, name: name.to_owned(), shown: shown.to_owned(), kind, labels: Vec::new(), node: 0 }
    }

    pub(super) fn private() -> Self {
        Self::nowhere("pvt", "PRIVATE NETWORK", EndpointType::Network)
    }

    pub(super) fn public() -> Self {
        Self::nowhere("pub", "PUBLIC NETWORK", EndpointType::Network)
    }

    /// A network set of the whole cluster.
    pub(super) fn set(name: &str) -> Self {
        Self::nowhere(name, name, EndpointType::NetworkSet)
    }

    fn wire(&self) -> (String, String, i32) {
        (self.namespace.clone().unwrap_or_else(|| "-".to_owned()), self.name.clone(), self.kind as i32)
    }
}

/// What one end says of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) action: Action,
    pub(super) trace: PolicyTrace,
    pub(super) pace: Pace,
}

impl Side {
    pub(super) const fn new(action: Action, trace: PolicyTrace, pace: Pace) -> Self {
        Self { action, trace, pace }
    }
}

/// Who talks to whom, and what either end says of it.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    pub(super) source: End,
    pub(super) dest: End,
    pub(super) port: Port,
    /// Namespace and name of the service that is asked for.
    pub(super) service: Option<(String, String)>,
    pub(super) egress: Option<Side>,
    pub(super) ingress: Option<Side>,
}

impl Talk {
    /// A conversation that nobody reports yet.
    pub(super) fn new(source: impl Into<End>, dest: impl Into<End>, port: Port) -> Self {
        let (source, dest) = (source.into(), dest.into());
        let is_served = dest.kind == EndpointType::WorkloadEndpoint && source.kind == EndpointType::WorkloadEndpoint;
        let service = dest.namespace.clone().filter(|_| is_served).map(|namespace| (namespace, dest.shown.clone()));
        Self { source, dest, port, service, egress: None, ingress: None }
    }

    /// What the source's node says.
    pub(super) fn leaving(self, side: Side) -> Self {
        Self { egress: Some(side), ..self }
    }

    /// What the destination's node says.
    pub(super) fn arriving(self, side: Side) -> Self {
        Self { ingress: Some(side), ..self }
    }

    /// Both ends count alike.
    pub(super) fn at(mut self, pace: Pace) -> Self {
        self.egress.iter_mut().chain(&mut self.ingress).for_each(|side| side.pace = pace);
        self
    }

    fn dest_port(&self) -> i64 {
        if self.dest.kind == EndpointType::WorkloadEndpoint { self.port.pod } else { self.port.service }
    }

    /// The subject of a finding about the pair.
    pub(super) fn subject(&self) -> Value {
        json!({"source_namespace": self.source.namespace, "source": self.source.shown,
            "dest_namespace": self.dest.namespace, "dest": self.dest.shown,
            "dest_port": self.dest_port(), "protocol": self.port.proto})
    }

    /// The subject of a finding about what a policy turns away.
    pub(super) fn denied_subject(&self, policy: &Policy, reporter: Reporter) -> Value {
        let mut subject = self.subject();
        subject["policy"] = policy.text().into();
        subject["reporter"] = if reporter == Reporter::Src { "Src" } else { "Dst" }.into();
        subject
    }

    /// What each node that reports writes, with its number.
    pub(super) fn keys(&self) -> impl Iterator<Item = (usize, FlowKey, Pace)> {
        let key = |side: &Side, reporter: Reporter| {
            let (source_namespace, source_name, source_type) = self.source.wire();
            let (dest_namespace, dest_name, dest_type) = self.dest.wire();
            let (service_namespace, service, port_name, service_port) = match &self.service {
                Some((namespace, name)) => (namespace.as_str(), name.as_str(), self.port.name, self.port.service),
                None => ("-", "-", "-", 0),
            };
            FlowKey {
                source_name,
                source_namespace,
                source_type,
                dest_name,
                dest_namespace,
                dest_type,
                dest_port: self.dest_port(),
                dest_service_name: service.to_owned(),
                dest_service_namespace: service_namespace.to_owned(),
                dest_service_port_name: port_name.to_owned(),
                dest_service_port: service_port,
                proto: self.port.proto.to_owned(),
                reporter: reporter as i32,
                action: side.action as i32,
                policies: Some(side.trace.clone()),
            }
        };
        let source = self.egress.as_ref().map(|side| (self.source.node, key(side, Reporter::Src), side.pace));
        let dest = self.ingress.as_ref().map(|side| (self.dest.node, key(side, Reporter::Dst), side.pace));
        source.into_iter().chain(dest)
    }

    pub(super) fn labels(&self) -> (Vec<String>, Vec<String>) {
        (self.source.labels.clone(), self.dest.labels.clone())
    }
}

/// A client and a server whose policies name each other and nobody else.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) client: Workload,
    pub(super) server: Workload,
    pub(super) port: Port,
    /// Of the client; its first rule lets it go to the server.
    pub(super) egress: Policy,
    /// Of the server; its first rule lets the client in.
    pub(super) ingress: Policy,
}

impl Pair {
    /// They talk as they should.
    pub(super) fn talk(&self) -> Talk {
        Talk::new(&self.client, &self.server, self.port).leaving(self.leaves()).arriving(self.arrives())
    }

    /// What the client's node says while all is well.
    pub(super) fn leaves(&self) -> Side {
        Side::new(Action::Allow, trace(vec![self.egress.allows(0)]), Pace::STEADY)
    }

    /// What the server's node says while all is well.
    pub(super) fn arrives(&self) -> Side {
        Side::new(Action::Allow, trace(vec![self.ingress.allows(0)]), Pace::STEADY)
    }
}
