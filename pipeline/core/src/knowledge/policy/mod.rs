//! Objects that decide what may talk to whom.
//!
//! [`calico`] has the kinds of `projectcalico.org/v3`, which `crd.projectcalico.org/v1` stores in the same shape;
//! [`kubernetes`] has `NetworkPolicy` and `ClusterNetworkPolicy`. Selectors are kept as they are written: the stages parse
//! them and tell where one is wrong.

pub mod calico;
pub mod kubernetes;
mod scalar;

pub use calico::{
    Action, EndpointPort, EntityRule, GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint, HostEndpointSpec, HttpMatch,
    HttpPath, IcmpMatch, NetworkPolicy, NetworkSet, NetworkSetSpec, PolicySpec, PolicyType, Rule, ServiceAccountMatch,
    ServiceMatch, StagedAction, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy,
    StagedPolicySpec, Tier, TierSpec,
};
pub use kubernetes::{
    ClusterNetworkPolicy, ClusterPolicyAction, ClusterPolicySpec, ClusterPolicyTier, KubernetesNetworkPolicy,
    KubernetesPolicySpec,
};
pub use scalar::{Port, Protocol};

/// What an object of the API looks like around `$spec`.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident: $spec:ty,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            /// Name, namespace, labels.
            pub metadata: crate::knowledge::Meta,
            /// What is asked for.
            #[serde(deserialize_with = "crate::knowledge::or_default")]
            pub spec: $spec,
        }
    )*};
}
use objects;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Reads an object and writes it again: what is read must stand where the API wrote it.
    fn rewritten<T: serde::Serialize + serde::de::DeserializeOwned>(object: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(object.clone()).unwrap()).unwrap()
    }

    #[test]
    fn a_calico_policy_keeps_all_that_decides() {
        let entity = json!({
            "nets": ["10.0.0.0/8"], "notNets": ["10.1.0.0/16"], "selector": "app == 'a'", "notSelector": "has(b)",
            "namespaceSelector": "global()", "ports": [80, "8000:8099", "http"], "notPorts": [81],
            "serviceAccounts": {"names": ["sa"], "selector": "team == 'x'"},
            "services": {"name": "db", "namespace": "shop"},
        });
        let rule = json!({
            "action": "Pass", "ipVersion": 4, "protocol": "ICMP", "notProtocol": "UDP", "icmp": {"type": 8, "code": 0},
            "notICMP": {"type": 3}, "source": entity, "destination": entity,
            "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]},
        });
        let spec = json!({
            "stagedAction": "Learn", "tier": "security", "order": 10.5, "selector": "all()", "namespaceSelector": "a == 'b'",
            "serviceAccountSelector": "c == 'd'", "types": ["Ingress", "Egress"], "ingress": [rule], "egress": [rule],
            "doNotTrack": true, "preDNAT": true, "applyOnForward": true,
        });
        let policy = json!({"metadata": {"name": "p", "namespace": "shop", "labels": {"a": "b"}}, "spec": spec});
        assert_eq!(rewritten::<StagedNetworkPolicy>(&policy), policy);
    }

    #[test]
    fn kubernetes_policies_keep_all_that_decides() {
        let selector =
            json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]});
        let peers = json!([
            {"podSelector": selector, "namespaceSelector": {}},
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
        ]);
        let ports = json!([{"protocol": "UDP", "port": 53}, {"port": 8000, "endPort": 8099}, {"port": "http"}]);
        let policy = json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {
            "podSelector": selector, "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": ports}, {}], "egress": [{"to": peers, "ports": ports}],
        }});
        assert_eq!(rewritten::<KubernetesNetworkPolicy>(&policy), policy);

        let pods = json!({"namespaceSelector": selector, "podSelector": {}});
        let protocols = json!([
            {"tcp": {"destinationPort": {"number": 80}}}, {"udp": {"destinationPort": {"range": {"start": 1, "end": 9}}}},
            {"sctp": {}}, {"destinationNamedPort": "http"},
        ]);
        let policy = json!({"metadata": {"name": "p"}, "spec": {
            "tier": "Baseline", "priority": 7, "subject": {"pods": pods},
            "ingress": [{"name": "in", "action": "Accept", "from": [{"pods": pods}, {"namespaces": {}}], "protocols": protocols}],
            "egress": [{"action": "Pass", "to": [{"networks": ["10.0.0.0/8"]}]}],
        }});
        assert_eq!(rewritten::<ClusterNetworkPolicy>(&policy), policy);
    }

    #[test]
    fn sets_tiers_and_host_endpoints_keep_all_that_decides() {
        let set =
            json!({"metadata": {"name": "s", "labels": {"role": "vpc"}}, "spec": {"nets": ["10.0.0.0/8", "fd00::1"]}});
        assert_eq!(rewritten::<GlobalNetworkSet>(&set), set);
        let tier = json!({"metadata": {"name": "t"}, "spec": {"order": 1.5, "defaultAction": "Pass"}});
        assert_eq!(rewritten::<Tier>(&tier), tier);
        let host = json!({"metadata": {"name": "h", "labels": {"a": "b"}}, "spec": {
            "node": "n", "interfaceName": "*", "expectedIPs": ["10.0.0.1"], "profiles": ["p"],
            "ports": [{"name": "ssh", "protocol": "TCP", "port": 22}],
        }});
        assert_eq!(rewritten::<HostEndpoint>(&host), host);
    }

    #[test]
    fn unknown_fields_are_ignored_and_null_is_empty() {
        let object = json!({
            "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "status": {"conditions": []},
            "metadata": {"name": "p", "creationTimestamp": null, "labels": null, "managedFields": [{}]},
            "spec": {"ingress": null, "types": null, "performanceHints": ["x"], "egress": [{"action": "Allow", "source": null}]},
        });
        let policy: NetworkPolicy = serde_json::from_value(object).unwrap();
        assert!(policy.spec.ingress.is_empty() && policy.metadata.labels.is_empty());
        assert_eq!(policy.spec.egress[0].source, EntityRule::default());
    }
}
