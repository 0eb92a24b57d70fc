//! Policies of the simulated namespaces: the traces they leave on a flow, and the objects these come from.

use std::collections::BTreeSet;

use catchment_schemas::goldmane::{Action, PolicyHit, PolicyKind, PolicyTrace};
use serde_json::{Value, json};

use crate::draw::{Namespace, PORTS, Workload};

/// How a namespace is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    /// No policy selects anything: its profile allows.
    Open,
    /// A Kubernetes policy per app.
    Kubernetes,
    /// A platform tier passes on to an application tier.
    Tiered,
    /// A Kubernetes policy per app that lets the internet in.
    Ingress,
    /// Open, with a staged policy that would let the app's flows through.
    StagedAllow,
    /// Open, with a staged policy that would deny everything.
    StagedDeny,
}

impl Stance {
    /// Whether its policies name who may come and where to go, and can turn a flow away.
    pub(crate) const fn denies(self) -> bool {
        matches!(self, Self::Kubernetes | Self::Tiered | Self::Ingress)
    }

    /// Whether its policies may keep a port closed.
    pub(crate) const fn closes(self) -> bool {
        matches!(self, Self::Kubernetes | Self::Tiered)
    }

    const fn is_of_kubernetes(self) -> bool {
        matches!(self, Self::Kubernetes | Self::Ingress)
    }

    /// Whether a port in [`PORTS`] is one that the internet is let in to.
    pub(crate) const fn is_web(port: usize) -> bool {
        port < 2
    }
}

/// The trace of an allowed flow. An edit of the policy moves `rule`.
pub(crate) fn allowed(stance: Stance, namespace: &str, app: &str, rule: i64) -> PolicyTrace {
    let profile = || profile(namespace);
    let rule_of = |kind, tier, index| PolicyHit {
        policy_index: index,
        rule_index: rule,
        ..policy(kind, namespace, &format!("allow-{app}"), tier)
    };
    match stance {
        Stance::Open => both(vec![profile()]),
        Stance::Kubernetes | Stance::Ingress => both(vec![rule_of(PolicyKind::NetworkPolicy, "default", 0)]),
        Stance::Tiered => both(vec![pass_on(), rule_of(PolicyKind::CalicoNetworkPolicy, "application", 1)]),
        Stance::StagedAllow => PolicyTrace {
            enforced_policies: vec![profile()],
            pending_policies: vec![rule_of(PolicyKind::StagedNetworkPolicy, "application", 0)],
        },
        Stance::StagedDeny => {
            let staged = policy(PolicyKind::StagedGlobalNetworkPolicy, "", "lock-down", "platform");
            PolicyTrace { enforced_policies: vec![profile()], pending_policies: vec![end_of_tier(staged, 0)] }
        }
    }
}

/// The trace of a denied flow: a policy selects the workload and no rule of it allows.
pub(crate) fn denied(stance: Stance, namespace: &str, app: &str) -> PolicyTrace {
    let trigger = |kind, tier| policy(kind, namespace, &format!("allow-{app}"), tier);
    if stance.is_of_kubernetes() {
        return both(vec![end_of_tier(trigger(PolicyKind::NetworkPolicy, "default"), 0)]);
    }
    both(vec![pass_on(), end_of_tier(trigger(PolicyKind::CalicoNetworkPolicy, "application"), 1)])
}

/// Where a rule stands in a policy that was never edited: those that name networks come first, and one for each protocol.
pub(crate) const fn rule_for(stance: Stance, port: usize, meets_network: bool) -> i64 {
    if meets_network || matches!(stance, Stance::Ingress) && Stance::is_web(port) {
        return 0;
    }
    if matches!(PORTS[port].proto.as_bytes(), b"udp") { 2 } else { 1 }
}

/// The ports of a protocol that a workload does not keep closed. What leaves may also go to a port of a service.
fn open_ports(closed: Option<usize>, proto: &str, leaving: bool) -> BTreeSet<i64> {
    let open = PORTS.iter().enumerate().filter(|(place, port)| Some(*place) != closed && port.proto == proto);
    open.flat_map(|(_, port)| [port.pod].into_iter().chain(leaving.then_some(port.service))).collect()
}

pub(crate) fn both(hits: Vec<PolicyHit>) -> PolicyTrace {
    PolicyTrace { enforced_policies: hits.clone(), pending_policies: hits }
}

pub(crate) fn policy(kind: PolicyKind, namespace: &str, name: &str, tier: &str) -> PolicyHit {
    PolicyHit {
        kind: kind as i32,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        tier: tier.to_owned(),
        action: Action::Allow as i32,
        ..PolicyHit::default()
    }
}

fn pass_on() -> PolicyHit {
    PolicyHit { action: Action::Pass as i32, ..policy(PolicyKind::GlobalNetworkPolicy, "", "baseline", "platform") }
}

pub(crate) fn profile(namespace: &str) -> PolicyHit {
    policy(PolicyKind::Profile, "", &format!("kns.{namespace}"), "")
}

/// Only kind, namespace, name and tier are set in a trigger.
pub(crate) fn end_of_tier(trigger: PolicyHit, index: i64) -> PolicyHit {
    let tier = trigger.tier.clone();
    PolicyHit {
        action: Action::Deny as i32,
        policy_index: index,
        rule_index: -1,
        trigger: Some(Box::new(PolicyHit { action: 0, ..trigger })),
        ..policy(PolicyKind::EndOfTier, "", "", &tier)
    }
}

/// A policy as the API writes it, without its metadata.
pub(crate) struct PolicyObject {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) spec: Value,
}

/// The tiers beside the built-in ones, with their order.
pub(crate) fn tiers() -> impl Iterator<Item = (&'static str, u32)> {
    [("platform", 100), ("application", 200)].into_iter()
}

/// The policies of the whole cluster, each over all namespaces of its stance.
pub(crate) fn globals(namespaces: &[Namespace]) -> Vec<PolicyObject> {
    let global = |stance, kind, name: &str, rules: Value| {
        let names = namespaces.iter().filter(|n| n.stance == stance).map(|n| format!("'{}'", n.name));
        let selector = format!("projectcalico.org/namespace in {{{}}}", names.collect::<Vec<_>>().join(", "));
        let spec = json!({"tier": "platform", "selector": selector, "types": ["Ingress", "Egress"],
            "ingress": rules, "egress": rules});
        PolicyObject { kind, name: name.to_owned(), spec }
    };
    vec![
        global(Stance::Tiered, "GlobalNetworkPolicy", "baseline", json!([{"action": "Pass"}])),
        global(Stance::StagedDeny, "StagedGlobalNetworkPolicy", "lock-down", json!([])),
    ]
}

/// The policy of a workload, if its namespace has any. Every edit puts one more rule, which matches nothing, in front of
/// those that allow.
pub(crate) fn of_workload(namespace: &Namespace, workload: &Workload, edits: u8) -> Option<PolicyObject> {
    let kind = match namespace.stance {
        Stance::Open | Stance::StagedDeny => return None,
        Stance::Kubernetes | Stance::Tiered | Stance::Ingress => "NetworkPolicy",
        Stance::StagedAllow => "StagedNetworkPolicy",
    };
    let spec = if namespace.stance.is_of_kubernetes() {
        kubernetes(namespace, workload, edits)
    } else {
        calico(namespace, workload, edits)
    };
    Some(PolicyObject { kind, name: format!("allow-{}", workload.app), spec })
}

/// The network that flow logs call private.
const PRIVATE: &str = "172.16.0.0/12";

/// Addresses that nobody has, others for every edit.
fn nowhere(edit: u8) -> String {
    format!("192.0.2.{}/28", 16 * u32::from(edit))
}

fn kubernetes(namespace: &Namespace, workload: &Workload, edits: u8) -> Value {
    let block = |cidr: &str| json!([{"ipBlock": {"cidr": cidr}}]);
    let ports = |leaving| -> Vec<Value> {
        let of_protocol = |proto: &'static str| {
            let port = move |port| json!({"protocol": proto.to_uppercase(), "port": port});
            open_ports(workload.closed, proto, leaving).into_iter().map(port)
        };
        ["tcp", "udp"].into_iter().flat_map(of_protocol).collect()
    };
    let environments = json!([{"namespaceSelector": {"matchExpressions": [
        {"key": "environment", "operator": "In", "values": namespace.lets_in()}]}}]);
    let web: Vec<_> =
        PORTS.iter().enumerate().filter(|(place, _)| Stance::is_web(*place)).map(|(_, port)| port.pod).collect();
    let ingress = match namespace.stance {
        Stance::Ingress => {
            let ports: Vec<_> = web.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect();
            vec![json!({"from": block(EVERYWHERE), "ports": ports})]
        }
        _ => vec![json!({"from": block(PRIVATE)}), json!({"from": environments, "ports": ports(false)})],
    };
    let egress = vec![json!({"to": block(PRIVATE)}), json!({"ports": ports(true)})];
    json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": workload.app}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": edited(edits, |edit| json!({"from": block(&nowhere(edit))}), ingress),
        "egress": edited(edits, |edit| json!({"to": block(&nowhere(edit))}), egress)})
}

/// Every address.
const EVERYWHERE: &str = "0.0.0.0/0";

fn calico(namespace: &Namespace, workload: &Workload, edits: u8) -> Value {
    let net = |end: &str, net: &str| json!({"action": "Allow", end: {"nets": [net]}});
    let environments = namespace.lets_in().iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let of_protocol = |proto: &str, leaving| {
        let ports = open_ports(workload.closed, proto, leaving);
        json!({"action": "Allow", "protocol": proto.to_uppercase(), "destination": {"ports": ports}})
    };
    let from_environments = |mut rule: Value| {
        rule["source"] = json!({"namespaceSelector": format!("environment in {{{environments}}}")});
        rule
    };
    let ingress = ["tcp", "udp"].map(|proto| from_environments(of_protocol(proto, false)));
    let egress = ["tcp", "udp"].map(|proto| of_protocol(proto, true));
    let rules = |end: &str, rules: [Value; 2]| {
        let allowing = std::iter::once(net(end, PRIVATE)).chain(rules).collect();
        edited(edits, |edit| net(end, &nowhere(edit)), allowing)
    };
    json!({"tier": "application", "selector": format!("app.kubernetes.io/name == '{}'", workload.app),
        "types": ["Ingress", "Egress"],
        "ingress": rules("source", ingress), "egress": rules("destination", egress)})
}

/// `allowing` behind as many idle rules as there were edits.
fn edited(edits: u8, idle: impl Fn(u8) -> Value, allowing: Vec<Value>) -> Vec<Value> {
    (0..edits).map(idle).chain(allowing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Stance; 6] =
        [Stance::Open, Stance::Kubernetes, Stance::Tiered, Stance::Ingress, Stance::StagedAllow, Stance::StagedDeny];

    #[test]
    fn a_staged_policy_is_never_enforced() {
        for stance in [Stance::StagedAllow, Stance::StagedDeny] {
            let trace = allowed(stance, "shop", "web", 0);
            assert_eq!(trace.enforced_policies[0].kind(), PolicyKind::Profile);
            assert_ne!(trace.pending_policies[0].kind(), PolicyKind::Profile);
        }
    }

    #[test]
    fn an_edit_gives_another_trace_where_there_is_a_policy() {
        for stance in ALL {
            let same = allowed(stance, "shop", "web", 0) == allowed(stance, "shop", "web", 1);
            assert_eq!(same, matches!(stance, Stance::Open | Stance::StagedDeny), "{stance:?}");
        }
    }

    #[test]
    fn the_end_of_a_tier_names_its_trigger() {
        for (stance, tier) in [(Stance::Kubernetes, "default"), (Stance::Tiered, "application")] {
            let trace = denied(stance, "shop", "web");
            let last = trace.enforced_policies.last().expect("a hit");
            assert_eq!((last.action(), last.rule_index, last.tier.as_str()), (Action::Deny, -1, tier));
            assert_eq!(last.trigger.as_ref().map(|t| t.name.as_str()), Some("allow-web"));
        }
    }

    #[test]
    fn a_closed_port_is_in_no_rule_and_every_other_in_that_of_its_protocol() {
        for (closed, port) in PORTS.iter().enumerate() {
            let holds = |at: &crate::draw::Port| open_ports(Some(closed), at.proto, false).contains(&at.pod);
            assert!(PORTS.iter().all(|other| holds(other) == (other.pod != port.pod)));
        }
    }
}
