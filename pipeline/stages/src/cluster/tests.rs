use catchment_core::knowledge::{Change, Sight};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::PolicyKind;

const MINUTE: i64 = 60 * 1_000_000;
const DAY: i64 = 24 * 60;
const FIRST: &str = "2026-01-10T00:00:00Z";

fn minute(count: i64) -> EventTime {
    EventTime::parse_rfc3339(FIRST).unwrap().plus(count * MINUTE)
}

fn rfc(count: i64) -> String {
    minute(count).to_rfc3339()
}

fn object(value: &Value) -> Object {
    Object::from_json(&value.to_string()).unwrap().unwrap()
}

fn at(count: i64, value: &Value) -> Change {
    Change::to(minute(count), object(value))
}

fn gone(count: i64, value: &Value) -> Change {
    Change::gone(minute(count), object(value).key())
}

/// The state at a minute, after these changes.
fn state(count: i64, changes: &[Change]) -> ClusterState {
    let mut state = ClusterState::new(Timeline::complete(changes.to_vec()));
    state.advance(minute(count));
    state
}

fn owned(mut value: Value, kind: &str, name: &str) -> Value {
    let api_version = if matches!(kind, "Job" | "CronJob") { "batch/v1" } else { "apps/v1" };
    value["metadata"]["ownerReferences"] =
        json!([{"apiVersion": api_version, "kind": kind, "name": name, "controller": true}]);
    value
}

fn pod(name: &str, generate: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "generateName": generate, "uid": name, "labels": labels},
        "spec": {"nodeName": "n1", "serviceAccountName": "robot"}, "status": {"phase": "Running"}})
}

fn web(suffix: &str) -> Value {
    let labels = json!({"app": "web", "pod-template-hash": "7d4"});
    owned(pod(&format!("web-7d4-{suffix}"), "web-7d4-", &labels), "ReplicaSet", "web-7d4")
}

fn deployment(replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 60, "serviceAccountName": "robot"}}}})
}

fn replica_set(hash: &str, replicas: u32) -> Value {
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"namespace": "shop", "name": format!("web-{hash}")},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "web"}}}}});
    owned(set, "Deployment", "web")
}

fn policy(selector: &str, note: &str) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "p", "creationTimestamp": rfc(-20 * DAY), "labels": {"note": note}},
        "spec": {"selector": selector}})
}

fn edited(mut policy: Value, manager: &str, count: i64) -> Value {
    policy["metadata"]["managedFields"] = json!([{"manager": manager, "time": rfc(count)}]);
    policy
}

fn the_policy() -> PolicyId {
    PolicyId { kind: PolicyKind::CalicoNetworkPolicy, namespace: "shop".into(), name: "p".into() }
}

fn service(selector: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"clusterIPs": ["10.96.0.9"], "selector": selector, "ports": [{"port": 80}]}})
}

fn words(edits: &[&Edit]) -> Vec<String> {
    edits.iter().map(|edit| format!("{} {}", edit.key.name, edit.what.words())).collect()
}

// === moments ===

#[test]
fn a_change_is_known_from_its_moment_on_and_not_before() {
    let mut state = ClusterState::new(Timeline::complete(vec![at(5, &web("a"))]));
    state.advance(minute(5));
    assert!(state.pod("shop", "web-7d4-a").is_none());
    state.advance(minute(5).plus(1));
    assert!(state.pod("shop", "web-7d4-a").is_some());
    state.advance(minute(1));
    assert_eq!((state.moment(), state.pod("shop", "web-7d4-a").is_some()), (minute(5).plus(1), true));
}

#[test]
fn a_kind_that_is_not_seen_as_a_whole_is_named() {
    let timeline = Timeline::default();
    let see = |at, kind, coverage| timeline.see(Sight { at: minute(at), kind, coverage });
    see(0, Kind::Pod, Coverage::Synced);
    see(0, Kind::NetworkPolicy, Coverage::Partial { why: "policies of the tiers security are left out".into() });
    see(5, Kind::NetworkPolicy, Coverage::Synced);
    let mut state = ClusterState::new(timeline);
    let kinds = [Kind::Pod, Kind::NetworkPolicy, Kind::Ingress];
    state.advance(minute(1));
    assert_eq!(state.unseen(&kinds), [Kind::NetworkPolicy, Kind::Ingress]);
    assert!(matches!(state.coverage(Kind::NetworkPolicy), Coverage::Partial { .. }));
    state.advance(minute(6));
    assert_eq!(state.unseen(&kinds), [Kind::Ingress]);
}

#[test]
fn files_with_any_policy_are_taken_to_hold_all_of_them_and_say_nothing_of_pods() {
    let state = state(1, &[at(0, &policy("all()", ""))]);
    assert_eq!(state.unseen(&[Kind::GlobalNetworkPolicy, Kind::Tier, Kind::KubernetesNetworkPolicy]), []);
    assert_eq!(state.unseen(&[Kind::Pod]), [Kind::Pod]);
}

// === what changed before ===

#[test]
fn what_changed_before_is_told_nearest_first_then_newest_first() {
    let namespace = |team: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": team}}});
    let global =
        json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "g"}});
    let elsewhere = json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"namespace": "bank", "name": "other"}});
    let state = state(
        60,
        &[
            at(0, &policy("all()", "")),
            at(0, &namespace("a")),
            at(44, &elsewhere),
            at(50, &edited(policy("app == 'web'", ""), "kubectl-edit", 50)),
            at(51, &global),
            at(52, &namespace("b")),
            at(53, &service(&json!({"app": "web"}))),
        ],
    );
    let subject = Subject::default().policy(&the_policy());
    let found = state.changes_before(minute(60), 15 * MINUTE, &subject);
    assert_eq!(words(&found), ["p changed", "shop relabelled", "g created", "web created"]);
    assert_eq!(
        found[0].to_string(),
        "networkpolicies.projectcalico.org/shop/p changed at 2026-01-10T00:50:00Z by kubectl-edit"
    );
    assert_eq!(words(&state.changes_before(minute(50), MINUTE, &subject)), ["p changed"]);
    assert!(state.changes_before(minute(49), MINUTE, &subject).is_empty());
}

#[test]
fn an_edit_that_was_observed_late_counts_from_when_it_was_made() {
    let state = state(60, &[at(0, &policy("all()", "")), at(50, &edited(policy("has(a)", ""), "argocd", 20))]);
    assert_eq!(state.policy_facts(&the_policy()).unwrap().spec_since, minute(20));
    let found = state.changes_before(minute(60), 60 * MINUTE, &Subject::default().namespace("shop"));
    assert_eq!((found[0].at, found[0].editor.as_deref()), (minute(20), Some("argocd")));
}

#[test]
fn a_second_replica_set_and_one_that_takes_over_again_are_rollouts() {
    let changes = [
        at(0, &deployment(2)),
        at(0, &replica_set("7d4", 2)),
        at(10, &replica_set("9aa", 2)),
        at(11, &replica_set("7d4", 0)),
        at(20, &replica_set("7d4", 2)),
    ];
    let state = state(30, &changes);
    let subject = Subject::default().workload("Deployment", "shop", "web");
    let found = state.changes_before(minute(30), 25 * MINUTE, &subject);
    assert_eq!(words(&found), ["web rolled out", "web rolled out"]);
    assert_eq!(found.iter().map(|edit| edit.at).collect::<Vec<_>>(), [minute(20), minute(10)]);
}

#[test]
fn pods_of_another_revision_are_a_rollout_of_their_set() {
    let db = |name: &str, revision: &str| {
        owned(pod(name, "db-", &json!({"controller-revision-hash": revision})), "StatefulSet", "db")
    };
    let changes =
        [at(0, &db("db-0", "r1")), at(1, &db("db-1", "r1")), gone(10, &db("db-1", "r1")), at(10, &db("db-1", "r2"))];
    let state = state(11, &changes);
    let subject = Subject::default().workload("StatefulSet", "shop", "db");
    assert_eq!(words(&state.changes_before(minute(11), 15 * MINUTE, &subject)), ["db rolled out"]);
}

#[test]
fn nodes_come_go_and_lose_their_readiness() {
    let node = |status: &str, since: i64| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": rfc(since)}]}})
    };
    let changes =
        [at(0, &node("True", 0)), at(10, &node("Unknown", 9)), at(12, &node("True", 12)), gone(14, &node("True", 12))];
    let state = state(15, &changes);
    let found = state.changes_before(minute(15), 10 * MINUTE, &Subject::default().node("n1"));
    assert_eq!(words(&found), ["n1 deleted", "n1 ready again", "n1 not ready"]);
    assert_eq!(found[2].at, minute(9));
}

#[test]
fn edits_are_forgotten_after_a_day() {
    let changes = [at(0, &policy("all()", ""))];
    let subject = Subject::default().policy(&the_policy());
    // It was made long before it was first seen.
    assert!(state(1, &changes).changes_before(minute(1), DAY * MINUTE, &subject).is_empty());
    let deleted = [changes[0].clone(), gone(5, &policy("all()", ""))];
    let found = |at: i64| state(at, &deleted).changes_before(minute(at), 2 * DAY * MINUTE, &subject).len();
    assert_eq!((found(6), found(5 + DAY), found(6 + DAY)), (1, 1, 0));
}

// === policies ===

#[test]
fn a_policy_is_as_it_is_since_its_rules_changed_and_not_its_labels() {
    let since = |changes: &[Change]| state(60, changes).policy_facts(&the_policy()).unwrap().spec_since;
    let first = at(0, &policy("all()", "x"));
    assert_eq!(since(std::slice::from_ref(&first)), minute(-20 * DAY));
    assert_eq!(since(&[first.clone(), at(10, &policy("all()", "y"))]), minute(-20 * DAY));
    assert_eq!(since(&[first.clone(), at(10, &policy("has(a)", "x"))]), minute(10));
    let touched = edited(policy("all()", "x"), "kubectl", -2 * DAY);
    assert_eq!(since(&[at(0, &touched)]), minute(-2 * DAY));
    let mut untouched = touched;
    untouched["metadata"]["generation"] = json!(1);
    assert_eq!(since(&[at(0, &untouched)]), minute(-20 * DAY));
}

#[test]
fn an_operators_policy_is_known_by_its_tier_its_owner_its_labels_or_its_editor() {
    let operator = |part: &str, value: Value| {
        let mut policy = policy("all()", "");
        policy[part] = value;
        state(1, &[at(0, &policy)]).policy_facts(&the_policy()).unwrap().operator.clone()
    };
    let meta = |key: &str, value: Value| json!({"namespace": "shop", "name": "p", key: value});
    let managed = |by: &str| json!({"app.kubernetes.io/managed-by": by});
    assert_eq!(operator("spec", json!({"tier": "calico-system"})).as_deref(), Some("calico-system"));
    assert_eq!(
        operator("metadata", meta("ownerReferences", json!([{"kind": "Installation"}]))).as_deref(),
        Some("Installation")
    );
    assert_eq!(operator("metadata", meta("labels", managed("kafka-Operator"))).as_deref(), Some("kafka-Operator"));
    assert_eq!(operator("metadata", meta("labels", managed("Helm"))), None);
    let fields = json!([{"manager": "tigera-operator", "time": rfc(0)}]);
    assert_eq!(operator("metadata", meta("managedFields", fields)).as_deref(), Some("tigera-operator"));
    assert_eq!(operator("spec", json!({"tier": "default"})), None);
}

// === names ===

#[test]
fn a_name_is_borne_until_its_last_pod_has_gone_and_remembered_for_a_day() {
    let changes = [
        at(0, &deployment(2)),
        at(0, &replica_set("7d4", 2)),
        at(1, &web("a")),
        at(1, &web("b")),
        gone(10, &web("a")),
        gone(12, &web("b")),
    ];
    let name = "web-7d4-*";
    let before = state(11, &changes);
    let bearers = before.bearers("shop", name).unwrap();
    assert!(bearers.is_borne() && bearers.last().is_none() && bearers.gone().len() == 1);
    assert!(!before.bearers("shop", "web-7d4-a").unwrap().is_borne());
    let after = state(13, &changes);
    let last = after.bearers("shop", name).unwrap().last().unwrap();
    assert_eq!((last.name.as_str(), last.node.as_str(), last.deleted), ("web-7d4-b", "n1", minute(12)));
    assert_eq!(last.workload.to_string(), "deployments.apps/shop/web");
    assert!(state(12 + DAY, &changes).bearers("shop", name).is_some());
    assert!(state(13 + DAY, &changes).bearers("shop", name).is_none());
}

#[test]
fn a_pod_that_followed_one_of_its_name_is_another_one() {
    let mut second = pod("db-0", "db-", &json!({}));
    second["metadata"]["uid"] = json!("later");
    let state = state(10, &[at(0, &pod("db-0", "db-", &json!({}))), at(5, &second)]);
    let bearers = state.bearers("shop", "db-0").unwrap();
    assert!(bearers.is_borne());
    assert_eq!((bearers.gone()[0].uid.as_str(), bearers.gone()[0].deleted), ("db-0", minute(5)));
}

#[test]
fn a_pod_whose_end_was_set_and_that_was_missed_went_then() {
    let mut ending = web("a");
    ending["metadata"]["deletionTimestamp"] = json!(rfc(3));
    let state = state(60, &[at(1, &web("a")), at(2, &ending), gone(50, &ending)]);
    let last = state.bearers("shop", "web-7d4-*").unwrap().last().unwrap();
    assert_eq!(last.deleted, minute(3).plus(DEFAULT_GRACE));
    assert_eq!(last.workload.to_string(), "deployments.apps/shop/web");
}

// === workloads ===

#[test]
fn a_workload_stops_at_zero_and_the_first_reason_stays() {
    let mut changes = vec![at(0, &deployment(2)), at(0, &replica_set("7d4", 2)), at(1, &web("a"))];
    let running = state(5, &changes);
    let workload = running.workload("Deployment", "shop", "web").unwrap();
    assert!(workload.runs() && workload.grace == 60 * 1_000_000);
    assert_eq!(running.pods_of("Deployment", "shop", "web")[0].metadata.name, "web-7d4-a");
    changes.push(at(10, &deployment(0)));
    changes.push(gone(20, &deployment(0)));
    let stopped = state(30, &changes);
    let workload = stopped.workload("Deployment", "shop", "web").unwrap();
    assert_eq!(workload.stopped, Some(Stop { at: minute(10), why: StopReason::ScaledToZero }));
    assert_eq!(workload.deleted, Some(minute(20)));
    assert!(state(21 + DAY, &changes).workload("Deployment", "shop", "web").is_none());
    changes.push(at(25, &deployment(1)));
    assert!(state(30, &changes).workload("Deployment", "shop", "web").unwrap().runs());
}

#[test]
fn a_job_stops_when_it_says_so() {
    let job = |conditions: Value| {
        owned(
            json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"namespace": "shop", "name": "report-1"}, "status": {"conditions": conditions}}),
            "CronJob",
            "report",
        )
    };
    let failed = json!([{"type": "Failed", "status": "True", "lastTransitionTime": rfc(3)}]);
    let state = state(
        10,
        &[
            at(0, &job(json!([]))),
            at(4, &job(failed)),
            at(0, &owned(pod("report-1-x", "report-1-", &json!({})), "Job", "report-1")),
        ],
    );
    let stop = Stop { at: minute(3), why: StopReason::Failed };
    assert_eq!(state.workload("Job", "shop", "report-1").unwrap().stopped, Some(stop));
    let of_cron = state.pods_of("CronJob", "shop", "report");
    assert_eq!(state.workload_of(of_cron[0]).to_string(), "cronjobs.batch/shop/report");
}

#[test]
fn a_sidecar_that_runs_on_outlives_containers_that_ended_for_good() {
    let ended = |reason: &str| json!({"terminated": {"reason": reason, "finishedAt": rfc(7)}});
    let running = || json!({"running": {}});
    let outlived = |restart: &str, main: Value, other: (&str, Value)| {
        let mut pod = pod("p", "", &json!({}));
        pod["spec"]["restartPolicy"] = json!(restart);
        pod["status"]["containerStatuses"] =
            json!([{"name": other.0, "state": other.1}, {"name": "main", "state": main}]);
        state(9, &[at(8, &pod)]).outlived("shop", "p")
    };
    let found = outlived("Never", ended("Error"), ("istio-proxy", running())).unwrap();
    assert_eq!(
        (found.ended, found.reason.as_str(), &*found.still_running),
        (Some(minute(7)), "Error", &["istio-proxy".into()][..])
    );
    assert!(outlived("OnFailure", ended("Completed"), ("istio-proxy", running())).is_some());
    assert!(outlived("OnFailure", ended("Error"), ("istio-proxy", running())).is_none());
    assert!(outlived("Always", ended("Completed"), ("istio-proxy", running())).is_none());
    assert!(outlived("Never", running(), ("istio-proxy", running())).is_none());
    assert!(outlived("Never", ended("Completed"), ("worker", running())).is_none());
    assert!(outlived("Never", ended("Completed"), ("istio-proxy", ended("Completed"))).is_none());
}

// === selectors and services ===

#[test]
fn pods_that_are_alike_are_found_together_with_labels_they_inherit() {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "store"}}});
    let changes = [at(0, &web("a")), at(0, &web("b")), at(1, &namespace), at(2, &deployment(2))];
    let state = state(5, &changes);
    let found = state.matching(&"app == 'web' && pcns.team == 'store'".parse().unwrap());
    let found: Vec<_> = found
        .iter()
        .map(|alike| (alike.endpoint.name.as_str(), alike.pods.len(), alike.template_of.is_some()))
        .collect();
    assert_eq!(found, [("web", 0, true), ("web-7d4-*", 2, false)]);
    assert!(state.matching(&"app == 'wbe'".parse().unwrap()).is_empty());
    let near = state.near(&"app == 'Web'".parse().unwrap(), Some("shop"));
    assert_eq!(near[1].term.resembles.as_deref(), Some("app=web"));
    assert!(state.near(&"app == 'Web'".parse().unwrap(), Some("bank")).is_empty());
}

#[test]
fn a_pod_that_has_ended_is_matched_no_longer() {
    let mut ended = web("a");
    ended["status"]["phase"] = json!("Succeeded");
    let selector: Selector = "app == 'web'".parse().unwrap();
    assert_eq!(state(5, &[at(0, &web("a"))]).matching(&selector).len(), 1);
    assert_eq!(state(5, &[at(0, &web("a")), at(1, &ended)]).matching(&selector), []);
}

#[test]
fn a_service_knows_its_pods_who_answers_and_what_it_nearly_selects() {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "shop", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}],
        "ports": [{"port": 8080}]});
    let mut node = web("host");
    node["spec"]["hostNetwork"] = json!(true);
    let mut changes = vec![at(0, &web("a")), at(0, &node), at(0, &service(&json!({"app": "web"}))), at(1, &slice)];
    let right = state(5, &changes);
    let service_of = |state: &ClusterState| state.service("shop", "web").unwrap().clone();
    assert_eq!(right.selected_by(&service_of(&right)).iter().map(|alike| alike.pods.len()).sum::<usize>(), 2);
    assert_eq!(right.answering("shop", "web"), Answering { ready: 1, not_ready: 1, known: true });
    assert_eq!(right.services_of(right.pod("shop", "web-7d4-a").unwrap()).len(), 1);
    assert_eq!(right.service_at("10.96.0.9".parse().unwrap()), Some((&"shop".into(), &"web".into())));
    assert_eq!(right.surroundings(), &right.policy().surroundings());

    changes.push(at(2, &service(&json!({"app": "webb"}))));
    changes.push(gone(2, &slice));
    let wrong = state(5, &changes);
    assert!(wrong.selected_by(&service_of(&wrong)).is_empty());
    assert_eq!(wrong.answering("shop", "web"), Answering::default());
    assert!(wrong.services_of(wrong.pod("shop", "web-7d4-a").unwrap()).is_empty());
    assert_eq!(wrong.near_of_service(&service_of(&wrong))[0].term.resembles.as_deref(), Some("app=web"));
}

#[test]
fn a_service_is_exposed_by_its_type_its_ports_or_an_ingress() {
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"namespace": "shop", "name": "front"},
        "spec": {"defaultBackend": {"service": {"name": "web"}}}});
    let inside = service(&json!({}));
    let mut outside = inside.clone();
    outside["spec"]["type"] = json!("LoadBalancer");
    outside["spec"]["ports"][0]["nodePort"] = json!(30080);
    let exposure = |changes: &[Change]| {
        let state = state(5, changes);
        state.exposure(state.service("shop", "web").unwrap())
    };
    assert!(!exposure(&[at(0, &inside)]).is_exposed());
    let open = exposure(&[at(0, &outside), at(0, &ingress)]);
    assert_eq!((open.load_balancer, &*open.node_ports, &*open.ingresses), (true, &[30080][..], &["front".into()][..]));
    assert!(exposure(&[at(0, &inside), at(0, &ingress)]).is_exposed());
    assert!(!exposure(&[at(0, &inside), at(0, &ingress), gone(1, &ingress)]).is_exposed());
}

// === whatever the steps ===

/// One of a few objects in one of a few states.
fn drawn(which: usize, variant: usize) -> Value {
    let odd = variant % 2 == 1;
    match which {
        0 => {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"v": variant.to_string()}}})
        }
        1 => deployment(u32::from(odd)),
        2 => replica_set("7d4", u32::from(odd)),
        3 => replica_set("9aa", u32::from(odd)),
        4 => policy(if odd { "all()" } else { "app == 'web'" }, &variant.to_string()),
        5 => service(&json!({"app": if odd { "web" } else { "webb" }})),
        6 => json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "s", "labels": {"kubernetes.io/service-name": format!("web{variant}")}},
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": odd}}], "ports": [{"port": 80}]}),
        7 => json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet",
            "metadata": {"namespace": "shop", "name": "s"}, "spec": {"nets": [format!("10.{variant}.0.0/16")]}}),
        // Nothing but the job says which cron job its pod belongs to, and the pod may outlive it by days.
        9 => owned(
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "shop", "name": "report-1"},
                "status": {"conditions": [{"type": "Complete", "status": if odd { "True" } else { "False" }}]}}),
            "CronJob",
            "report",
        ),
        10 => owned(pod("report-1-x", "report-1-", &json!({"v": variant.to_string()})), "Job", "report-1"),
        8 => owned(pod("db-0", "db-", &json!({"controller-revision-hash": variant.to_string()})), "StatefulSet", "db"),
        _ => {
            let mut pod = web(&which.to_string());
            pod["metadata"]["uid"] = json!(format!("{which}-{odd}"));
            pod["status"]["phase"] = json!(if variant == 3 { "Failed" } else { "Running" });
            pod
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change =
        (0..3 * DAY, 0..14_usize, 0..4_usize, prop::bool::weighted(0.3)).prop_map(|(time, which, variant, goes)| {
            let value = drawn(which, variant);
            if goes { gone(time, &value) } else { at(time, &value) }
        });
    prop::collection::vec(change, 0..90)
}

/// Everything that is known, without what only says where it is kept.
fn assert_same(one: &ClusterState, other: &ClusterState) {
    assert_eq!(one.history, other.history);
    assert_eq!(one.names, other.names);
    assert_eq!(one.workloads, other.workloads);
    assert_eq!(one.policies, other.policies);
    assert_eq!(one.services, other.services);
    let everything = Selector::all();
    assert_eq!(one.matching(&everything), other.matching(&everything));
    let ids = |state: &ClusterState| {
        let mut ids: Vec<_> = state
            .policy()
            .policies()
            .policies()
            .map(|policy| (policy.id.clone(), policy.selector.clone().to_string()))
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(one), ids(other));
}

#[test]
fn what_would_have_been_forgotten_on_the_way_is_forgotten_in_one_step_too() {
    let (job, pod) = (drawn(9, 0), drawn(10, 0));
    let timeline = Timeline::complete(vec![at(0, &job), at(0, &pod), gone(1, &job), gone(3 + DAY, &pod)]);
    let (mut long, mut short) = (ClusterState::new(timeline.clone()), ClusterState::new(timeline));
    short.advance(minute(2 + DAY));
    short.advance(minute(4 + DAY));
    long.advance(minute(4 + DAY));
    assert_same(&long, &short);
}

proptest! {
    #[test]
    fn one_long_step_says_the_same_as_many_short_ones(changes in changes(), steps in prop::collection::vec(0..4 * DAY, 0..20), end in 0..4 * DAY) {
        let timeline = Timeline::complete(changes);
        let (mut long, mut short) = (ClusterState::new(timeline.clone()), ClusterState::new(timeline));
        let mut steps: Vec<_> = steps.into_iter().filter(|step| *step < end).collect();
        steps.sort_unstable();
        for step in steps.into_iter().chain([end]) {
            short.advance(minute(step));
            prop_assert_eq!(short.surroundings(), &short.policy().surroundings());
        }
        long.advance(minute(end));
        assert_same(&long, &short);
    }

    #[test]
    fn pods_that_are_alike_are_exactly_those_that_run(changes in changes(), end in 0..4 * DAY) {
        let mut state = ClusterState::new(Timeline::complete(changes));
        state.advance(minute(end));
        let mut running: Vec<_> = state.policy().pods().map(|pod| pod.metadata.name.clone()).collect();
        let mut found: Vec<_> = state.matching(&Selector::all()).into_iter().flat_map(|alike| alike.pods.iter().cloned()).collect();
        running.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(&found, &running);
        for pod in running {
            let labels = state.policy().pod("shop", &pod).unwrap().labels;
            let alike = state.matching(&Selector::all()).into_iter().find(|alike| alike.pods.contains(&pod)).unwrap();
            prop_assert_eq!(&labels, &alike.endpoint.labels);
            prop_assert!(state.bearers("shop", &pod).is_some_and(Bearers::is_borne));
        }
    }
}
