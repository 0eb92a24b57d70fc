//! Policies of the simulated namespaces: the traces they leave on a flow, and the objects these come from.

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
    /// Open, with a staged policy that would let the app's flows through.
    StagedAllow,
    /// Open, with a staged policy that would deny everything.
    StagedDeny,
}

impl Stance {
    pub(crate) const ALL: [Self; 5] = [Self::Open, Self::Kubernetes, Self::Tiered, Self::StagedAllow, Self::StagedDeny];

    /// Whether its policies can turn a flow away.
    pub(crate) const fn denies(self) -> bool {
        matches!(self, Self::Kubernetes | Self::Tiered)
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
        Stance::Kubernetes => both(vec![rule_of(PolicyKind::NetworkPolicy, "default", 0)]),
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
    if stance == Stance::Kubernetes {
        return both(vec![end_of_tier(trigger(PolicyKind::NetworkPolicy, "default"), 0)]);
    }
    both(vec![pass_on(), end_of_tier(trigger(PolicyKind::CalicoNetworkPolicy, "application"), 1)])
}

/// What may arrive while a port is closed: a rule for each protocol, by name, over the ports that are open.
fn open_ports(closed: Option<usize>) -> Vec<(&'static str, Vec<i64>)> {
    let open = PORTS.iter().enumerate().filter(|(place, _)| Some(*place) != closed).map(|(_, port)| port);
    let of_protocol = |proto| (proto, open.clone().filter(|port| port.proto == proto).map(|port| port.pod).collect());
    ["tcp", "udp"].map(of_protocol).into_iter().filter(|(_, ports): &(_, Vec<_>)| !ports.is_empty()).collect()
}

/// Which of the rules that allow is met, behind those that edits have put in front.
pub(crate) fn rule_for(closed: Option<usize>, proto: &str) -> i64 {
    let rules = closed.map(|_| open_ports(closed)).unwrap_or_default();
    rules.iter().position(|(of, _)| *of == proto).unwrap_or(0) as i64
}

fn both(hits: Vec<PolicyHit>) -> PolicyTrace {
    PolicyTrace { enforced_policies: hits.clone(), pending_policies: hits }
}

fn policy(kind: PolicyKind, namespace: &str, name: &str, tier: &str) -> PolicyHit {
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

fn profile(namespace: &str) -> PolicyHit {
    policy(PolicyKind::Profile, "", &format!("kns.{namespace}"), "")
}

/// Only kind, namespace, name and tier are set in a trigger.
fn end_of_tier(trigger: PolicyHit, index: i64) -> PolicyHit {
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
pub(crate) fn of_workload(stance: Stance, workload: &Workload, edits: u8) -> Option<PolicyObject> {
    let kind = match stance {
        Stance::Open | Stance::StagedDeny => return None,
        Stance::Kubernetes | Stance::Tiered => "NetworkPolicy",
        Stance::StagedAllow => "StagedNetworkPolicy",
    };
    let spec = if stance == Stance::Kubernetes { kubernetes(workload, edits) } else { calico(workload, edits) };
    Some(PolicyObject { kind, name: format!("allow-{}", workload.app), spec })
}

/// Addresses that nobody has.
const NOWHERE: &str = "192.0.2.0/24";

fn kubernetes(workload: &Workload, edits: u8) -> Value {
    let of_protocol = |(proto, ports): (&str, Vec<i64>)| {
        ports.into_iter().map(|port| json!({"protocol": proto.to_uppercase(), "port": port})).collect::<Vec<_>>()
    };
    let allowing = match workload.closed {
        None => json!({}),
        closed => json!({"ports": open_ports(closed).into_iter().flat_map(of_protocol).collect::<Vec<_>>()}),
    };
    let nowhere = |peers: &str| json!({peers: [{"ipBlock": {"cidr": NOWHERE}}]});
    json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": workload.app}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": edited(edits, nowhere("from"), vec![allowing]), "egress": edited(edits, nowhere("to"), vec![json!({})])})
}

fn calico(workload: &Workload, edits: u8) -> Value {
    let of_protocol = |(proto, ports): (&str, Vec<i64>)| json!({"action": "Allow", "protocol": proto.to_uppercase(), "destination": {"ports": ports}});
    let all = || vec![json!({"action": "Allow"})];
    let allowing = match workload.closed {
        None => all(),
        closed => open_ports(closed).into_iter().map(of_protocol).collect(),
    };
    let nowhere = |end: &str| json!({"action": "Allow", end: {"nets": [NOWHERE]}});
    json!({"tier": "application", "selector": format!("app.kubernetes.io/name == '{}'", workload.app),
        "types": ["Ingress", "Egress"],
        "ingress": edited(edits, nowhere("source"), allowing), "egress": edited(edits, nowhere("destination"), all())})
}

/// `allowing` behind as many idle rules as there were edits.
fn edited(edits: u8, idle: Value, allowing: Vec<Value>) -> Vec<Value> {
    std::iter::repeat_n(idle, usize::from(edits)).chain(allowing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for stance in Stance::ALL {
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
            let rules = open_ports(Some(closed));
            let holds = |at: &crate::draw::Port| {
                let (proto, ports) = &rules[rule_for(Some(closed), at.proto) as usize];
                *proto == at.proto && ports.contains(&at.pod)
            };
            assert!(PORTS.iter().all(|other| holds(other) == (other.pod != port.pod)), "{rules:?}");
        }
    }
}
