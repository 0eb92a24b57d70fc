//! `private.unpoliced-egress`: a workload reaches private networks, and no egress rule names them.
//!
//! A collector that knows no addresses calls everything private that is neither pod nor set: nodes, pods in their network
//! and services without endpoints too. What is known to be one of these is left out, and the rest is suspected; once network
//! sets name the cluster's own ranges, whatever is left lies outside of it.

use catchment_core::{Confidence, FindingKind, Severity, Subject, VerdictReason};

use crate::detect::facts::Facts;
use crate::detect::known::policy;
use crate::detect::ranges;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::story::{chain, count};
use crate::policy::Direction;

const KIND: FindingKind = FindingKind::UnpolicedEgress;
/// The kubelet and the exporter of node metrics: at these ports it is a node that answers.
const NODE_PORTS: [i64; 2] = [10250, 9100];
/// Where services of type `NodePort` are found unless the API server is told otherwise.
const SERVICE_NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

pub(crate) struct UnpolicedEgress;

impl Rule for UnpolicedEgress {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let source = key.source;
        let namespace = source.namespace().filter(|_| source.is_workload() && key.is_egress() && key.is_allowed())?;
        if !key.dest.is_private_network() || is_node(key) {
            return None;
        }
        let subject = Subject::default().with("namespace", Some(namespace)).with("workload", Some(source.name()));
        let case = Case::new(KIND, subject).owner(source.who.owner.as_deref());
        let is_outside = key.view.state.is_some_and(ranges::are_known);
        let case = if is_outside { case.confidence(Confidence::Derived).severity(Severity::Low) } else { case };
        match key.key.key.trace.verdict_reason()? {
            VerdictReason::Profile => Some(case),
            VerdictReason::Rule => match names_peer(key) {
                Some(false) => Some(case.by_rules()),
                Some(true) => Some(case.by_rules().refuted()),
                None => None,
            },
            VerdictReason::EndOfTier => None,
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (workload, namespace) = (told.workload(), told.member("namespace"));
        let mut ports: Vec<_> = told.tally.sample.iter().map(|(key, _)| key.key.dest_port).collect();
        ports.sort_unstable();
        ports.dedup();
        let ports = ports.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let trace = told.tally.sample.first().map(|(key, _)| chain(&key.key.trace.enforced)).unwrap_or_default();
        Story {
            title: format!("{workload} reaches private networks on {ports}, and no egress rule names them"),
            explanation: format!(
                "{workload} sent {} to addresses of private networks that are no pods of the cluster, on port {ports}, and \
                 nobody decided that it may: {trace}. It may reach every data center and every peered network that the \
                 nodes can route to. {}",
                count(told.tally.packets, "packet"),
                if told.view.state.is_some_and(ranges::are_known) {
                    "Network sets name nodes, API server and services of the cluster, so these are other machines."
                } else {
                    "The collector gives no addresses, so nodes, pods in their network and services without endpoints look \
                     the same; the API server, node ports, and ports 10250 and 9100 are left out."
                },
            ),
            remediation: format!(
                "Name the networks in a GlobalNetworkSet and allow egress of {workload} to it by an egress policy; stage \
                 that first. `catchment setup networksets` prints sets for nodes, API server and services, so that what \
                 stays private is not the cluster itself."
            ),
            verify: format!("catchment findings list --kind {KIND} --namespace {namespace}"),
            ..Story::default()
        }
    }
}

/// Whether the rule that decided says where to; `None` where the policy is not known. Without a view of the cluster a rule
/// is believed to mean what it allows.
fn names_peer(key: &Facts<'_>) -> Option<bool> {
    if key.view.state.is_none() {
        return Some(true);
    }
    let hit = key.key.key.trace.enforced.last()?;
    let policy = policy(key.view.policed()?, &hit.policy)?;
    let breadth = policy.breadth(Direction::Egress, usize::try_from(hit.rule_index).ok()?)?;
    Some(!breadth.anyone)
}

/// Whether it is the cluster's own machines that are reached: the API server, the kubelet, a node port, or a service whose
/// pods are in the network of their node. What stands behind a service without a selector was written by hand, and may lie
/// anywhere.
fn is_node(key: &Facts<'_>) -> bool {
    let port = key.key.key.dest_port;
    let of_pods = |(namespace, name)| {
        let service = key.view.state.and_then(|state| state.service(namespace, name));
        (namespace, name) == ("default", "kubernetes")
            || service.is_some_and(|service| !service.spec.selector.is_empty())
    };
    NODE_PORTS.contains(&port) || SERVICE_NODE_PORTS.contains(&port) || key.service_names().any(of_pods)
}

#[cfg(test)]
mod tests {
    use catchment_core::{Confidence, FindingKind, FindingRow, Severity, Status};
    use serde_json::json;

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, HitExt, Scene, end_of_tier, flow, profile, rule};

    fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
        told.into_iter().filter(|row| row.kind == FindingKind::UnpolicedEgress).collect()
    }

    fn sent(port: i64) -> Flow {
        flow("shop/web-7d4b9c6f5-*", &format!("pvt:{port}")).trace([profile("shop")])
    }

    #[test]
    fn private_networks_behind_a_profile_are_told_once_per_workload_and_suspected() {
        let mut scene = Scene::new();
        let told = of(scene.window([sent(5432), sent(1521), sent(5432).udp()]));
        assert_eq!((told.len(), told[0].severity, told[0].confidence), (1, Severity::Info, Confidence::Suspected));
        assert_eq!(told[0].subject.to_json(), json!({"namespace": "shop", "workload": "web"}));
        assert_eq!(told[0].title, "shop/web reaches private networks on 1521, 5432, and no egress rule names them");
    }

    #[test]
    fn what_all_policies_passed_to_the_profile_is_told_too() {
        let passed = sent(5432).trace([rule("shop/pass", "default", 0).pass(), profile("shop")]);
        assert_eq!(of(Scene::new().window([passed])).len(), 1);
    }

    #[test]
    fn the_clusters_own_machines_are_left_out() {
        let api = sent(6443).service("default/kubernetes");
        assert_eq!(of(Scene::new().window([api, sent(10250), sent(9100), sent(30080)])), []);
    }

    #[test]
    fn public_networks_pods_and_denials_are_something_else() {
        let public = flow("shop/web", "pub:443").trace([profile("shop")]);
        let pod = flow("shop/web", "shop/db:5432").trace([profile("shop")]);
        let denied = sent(5432).deny().trace([end_of_tier("default", "shop/out")]);
        let arrived = flow("pvt", "shop/web:80").dst().trace([profile("shop")]);
        assert_eq!(of(Scene::new().window([public, pod, denied, arrived])), []);
    }

    fn range(name: &str) -> (i64, serde_json::Value) {
        let set = json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
            "metadata": {"name": name, "labels": {"catchment.dev/range": name}}, "spec": {"nets": ["10.0.0.0/24"]}});
        (0, set)
    }

    #[test]
    fn once_sets_name_the_clusters_ranges_it_is_derived() {
        let judged = |ranges: &[&str]| {
            let mut scene = Scene::with_cluster(Settings::default(), ranges.iter().map(|name| range(name)));
            let told = of(scene.window([sent(5432)]));
            (told[0].severity, told[0].confidence)
        };
        assert_eq!(judged(&["nodes", "api-server", "services"]), (Severity::Low, Confidence::Derived));
        assert_eq!(judged(&["nodes", "services"]), (Severity::Info, Confidence::Suspected));
    }

    #[test]
    fn services_lead_to_nodes_unless_their_endpoints_were_written_by_hand() {
        let service = |name: &str, selector: serde_json::Value| {
            let service = json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"namespace": "shop", "name": name}, "spec": {"selector": selector}});
            (0, service)
        };
        let services = [service("agent", json!({"app": "agent"})), service("oracle", json!({}))];
        let mut scene = Scene::with_cluster(Settings::default(), services);
        assert_eq!(of(scene.window([sent(9000).service("shop/agent")])), []);
        assert_eq!(of(scene.window([sent(1521).service("shop/oracle")])).len(), 1);
    }

    fn egress(destination: &serde_json::Value) -> (i64, serde_json::Value) {
        let policy = json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
            "metadata": {"namespace": "shop", "name": "out"}, "spec": {"types": ["Egress"], "selector": "all()",
                "egress": [{"action": "Allow", "destination": destination}]}});
        (0, policy)
    }

    fn by_rule() -> Flow {
        sent(5432).trace([rule("shop/out", "default", 0)])
    }

    #[test]
    fn in_the_window_of_an_edit_it_is_not_known_which_rules_decided() {
        let mut scene = Scene::with_cluster(Settings::default(), [egress(&json!({"ports": [5432]}))]);
        let before = sent(5432).trace([rule("shop/out", "default", 1)]);
        assert_eq!(of(scene.window([by_rule().split(), before.split()])), []);
        assert_eq!(of(scene.window([by_rule()])).len(), 1);
    }

    #[test]
    fn a_rule_that_allows_any_destination_names_none() {
        for destination in [json!({}), json!({"ports": [5432]}), json!({"nets": ["0.0.0.0/0"]})] {
            let mut scene = Scene::with_cluster(Settings::default(), [egress(&destination)]);
            assert_eq!(of(scene.window([by_rule()])).len(), 1, "{destination}");
        }
    }

    #[test]
    fn a_rule_that_names_the_network_ends_it() {
        let mut scene = Scene::with_cluster(Settings::default(), [egress(&json!({"nets": ["10.20.0.0/16"]}))]);
        assert_eq!(of(scene.window([sent(5432)])).len(), 1);
        assert_eq!(of(scene.window([by_rule()]))[0].status, Status::Resolved);
    }

    #[test]
    fn a_rule_that_is_not_known_says_nothing() {
        let mut scene = Scene::new();
        assert_eq!(of(scene.window([by_rule()])), []);
        scene.window([sent(5432)]);
        assert_eq!(of(scene.window([by_rule()])), []);
    }
}
