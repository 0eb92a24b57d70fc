//! Policies of the simulated namespaces, as the traces they leave on a flow.

use std::collections::BTreeSet;

use catchment_schemas::goldmane::{Action, PolicyHit, PolicyKind, PolicyTrace};
use serde_json::{Value, json};

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
pub(crate) fn denied(namespace: &str, app: &str) -> PolicyTrace {
    let trigger = policy(PolicyKind::CalicoNetworkPolicy, namespace, &format!("allow-{app}"), "application");
    both(vec![pass_on(), end_of_tier(trigger, 1)])
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
    pub(crate) global: bool,
    pub(crate) name: String,
    pub(crate) spec: Value,
}

/// The tiers beside the built-in ones, with their order.
pub(crate) fn tiers() -> impl Iterator<Item = (&'static str, u32)> {
    [("platform", 100), ("application", 200)].into_iter()
}

/// The policies of a namespace. Every edit puts one more rule, which matches nothing, in front of the one that allows.
pub(crate) fn objects(stance: Stance, apps: &BTreeSet<&str>, edits: u8) -> Vec<PolicyObject> {
    let namespaced = |kind, app: &&str, spec| PolicyObject { kind, global: false, name: format!("allow-{app}"), spec };
    let selector = |app: &&str| format!("app.kubernetes.io/name == '{app}'");
    let idle = |rule: Value| (0..edits).map(|_| rule.clone()).collect::<Vec<_>>();
    let calico = |kind, app: &&str| {
        let mut rules = idle(json!({"action": "Allow", "source": {"nets": ["192.0.2.0/24"]}}));
        rules.push(json!({"action": "Allow"}));
        let spec = json!({"tier": "application", "selector": selector(app), "types": ["Ingress", "Egress"],
            "ingress": rules, "egress": rules});
        namespaced(kind, app, spec)
    };
    let kubernetes = |app: &&str| {
        let mut rules = idle(json!({"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}));
        rules.push(json!({}));
        let spec = json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": app}}, "policyTypes": ["Ingress"],
            "ingress": rules});
        namespaced("NetworkPolicy", app, spec)
    };
    let global = |kind, name: &str, rules: Value| {
        let spec = json!({"tier": "platform", "selector": "all()", "types": ["Ingress", "Egress"],
            "ingress": rules, "egress": rules});
        PolicyObject { kind, global: true, name: name.to_owned(), spec }
    };
    match stance {
        Stance::Open => Vec::new(),
        Stance::Kubernetes => apps.iter().map(kubernetes).collect(),
        Stance::Tiered => {
            let baseline = global("GlobalNetworkPolicy", "baseline", json!([{"action": "Pass"}]));
            std::iter::once(baseline).chain(apps.iter().map(|app| calico("NetworkPolicy", app))).collect()
        }
        Stance::StagedAllow => apps.iter().map(|app| calico("StagedNetworkPolicy", app)).collect(),
        Stance::StagedDeny => vec![global("StagedGlobalNetworkPolicy", "lock-down", json!([]))],
    }
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
        let trace = denied("shop", "web");
        let last = trace.enforced_policies.last().expect("two hits");
        assert_eq!((last.action(), last.rule_index), (Action::Deny, -1));
        assert_eq!(last.trigger.as_ref().map(|t| t.name.as_str()), Some("allow-web"));
    }
}
