//! Policies of scenarios: what their rules say, and the steps that they leave in a trace.

use catchment_schemas::goldmane::{Action, PolicyHit, PolicyKind, PolicyTrace};
use serde_json::{Value, json};

use super::cast::Workload;
use crate::draw::Port;
use crate::objects::{CALICO, object};
use crate::policy;

/// The tier of applications.
pub(super) const APPLICATION: &str = "application";
/// The tier before it.
pub(super) const PLATFORM: &str = "platform";

/// A policy of Calico's.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    kind: PolicyKind,
    namespace: String,
    name: String,
    tier: &'static str,
    made: i64,
}

impl Policy {
    pub(super) fn new(namespace: &str, name: &str, made: i64) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { kind: PolicyKind::CalicoNetworkPolicy, namespace, name, tier: APPLICATION, made }
    }

    pub(super) fn staged(namespace: &str, name: &str, made: i64) -> Self {
        Self { kind: PolicyKind::StagedNetworkPolicy, ..Self::new(namespace, name, made) }
    }

    pub(super) fn in_tier(self, tier: &'static str) -> Self {
        Self { tier, ..self }
    }

    /// As findings name it.
    pub(super) fn text(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The subject of a finding about it.
    pub(super) fn subject(&self) -> Value {
        json!({"policy": self.text()})
    }

    /// The subject of a finding about one of its rules.
    pub(super) fn rule_subject(&self, rule: &str) -> Value {
        json!({"policy": self.text(), "rule": rule})
    }

    pub(super) fn made(&self) -> i64 {
        self.made
    }

    /// The object; the tier is added to what `spec` says.
    pub(super) fn object(&self, mut spec: Value) -> Value {
        let kind = if self.kind == PolicyKind::StagedNetworkPolicy { "StagedNetworkPolicy" } else { "NetworkPolicy" };
        let mut policy = object(CALICO, kind, &self.namespace, &self.name, self.made);
        spec["tier"] = self.tier.into();
        policy["spec"] = spec;
        policy
    }

    fn hit(&self) -> PolicyHit {
        policy::policy(self.kind, &self.namespace, &self.name, self.tier)
    }

    fn step(&self, action: Action, rule: i64) -> PolicyHit {
        PolicyHit { action: action as i32, rule_index: rule, ..self.hit() }
    }

    pub(super) fn allows(&self, rule: i64) -> PolicyHit {
        self.step(Action::Allow, rule)
    }

    pub(super) fn denies(&self, rule: i64) -> PolicyHit {
        self.step(Action::Deny, rule)
    }

    pub(super) fn passes(&self, rule: i64) -> PolicyHit {
        self.step(Action::Pass, rule)
    }

    /// It selects the endpoint, and no rule of its tier matches.
    pub(super) fn ends_tier(&self) -> PolicyHit {
        policy::end_of_tier(self.hit(), 0)
    }
}

/// No policy selects the pods of a namespace, or every one passes.
pub(super) fn profile(namespace: &str) -> PolicyHit {
    policy::profile(namespace)
}

fn numbered(hits: Vec<PolicyHit>) -> Vec<PolicyHit> {
    (0..).zip(hits).map(|(policy_index, hit)| PolicyHit { policy_index, ..hit }).collect()
}

/// The steps of a trace that staged policies would not change.
pub(super) fn trace(hits: Vec<PolicyHit>) -> PolicyTrace {
    policy::both(numbered(hits))
}

/// What is enforced, and what would be.
pub(super) fn preview(enforced: Vec<PolicyHit>, pending: Vec<PolicyHit>) -> PolicyTrace {
    PolicyTrace { enforced_policies: numbered(enforced), pending_policies: numbered(pending) }
}

/// A specification over the pods of an app.
pub(super) fn spec(app: &str, order: u32, direction: &str, rules: Vec<Value>) -> Value {
    let mut spec = json!({"selector": named(app), "order": order, "types": [direction]});
    spec[direction.to_lowercase()] = rules.into();
    spec
}

pub(super) fn named(app: &str) -> String {
    format!("app.kubernetes.io/name == '{app}'")
}

/// A workload as the peer of a rule.
pub(super) fn peer(workload: &Workload) -> Value {
    json!({"selector": named(&workload.app),
        "namespaceSelector": format!("projectcalico.org/name == '{}'", workload.namespace)})
}

/// A rule that lets a peer in to a port.
pub(super) fn let_in(peer: Value, port: Port) -> Value {
    let mut rule = open(port, port.pod);
    rule["source"] = peer;
    rule
}

/// A rule that lets go to a port of a peer.
pub(super) fn let_out(mut peer: Value, port: Port) -> Value {
    peer["ports"] = json!([port.pod]);
    let mut rule = json!({"action": "Allow", "protocol": port.proto.to_uppercase()});
    rule["destination"] = peer;
    rule
}

/// A rule that lets everybody in to a port, or go to that port of everybody.
pub(super) fn open(port: Port, number: i64) -> Value {
    json!({"action": "Allow", "protocol": port.proto.to_uppercase(), "destination": {"ports": [number]}})
}
