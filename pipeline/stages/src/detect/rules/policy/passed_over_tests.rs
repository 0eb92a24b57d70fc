//! An edited policy that should decide, in a table of what follows the edit.

use catchment_core::{FindingKind, FindingRow, PolicyHit, Severity, Status};
use serde_json::{Value, json};

use crate::detect::Settings;
use crate::detect::objects::{edited, namespace, pod, policy, staged_policy, surroundings};
use crate::detect::testing::{Flow, Scene, end_of_tier, flow, profile, rule};

const EDITED: &str = "2026-01-01T00:01:00Z";

fn told(rows: &[FindingRow]) -> Vec<(Status, String)> {
    let wrong = rows.iter().filter(|row| row.kind == FindingKind::LabelMismatch);
    wrong.map(|row| (row.status, row.subject.to_json().to_string())).collect()
}

fn opened() -> Vec<(Status, String)> {
    vec![(Status::Opened, r#"{"policy":"shop/checkout"}"#.to_owned())]
}

/// Lets `web` in to what a selector selects.
fn lets_in(selector: &str, order: u32) -> Value {
    json!({"selector": selector, "order": order, "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": {"selector": "app == 'web'"}}]})
}

fn labelled(name: &str, app: &str) -> Value {
    pod(name, json!({"app": app}))
}

/// Two pods, and a policy that decides between them.
fn known() -> Vec<(i64, Value)> {
    let objects =
        [labelled("shop/web", "web"), labelled("shop/db", "db"), policy("shop/db", lets_in("app == 'db'", 100))];
    objects.into_iter().chain(surroundings()).map(|object| (-600, object)).collect()
}

/// A policy that another pod was meant by, until it is edited in the second window.
fn checkout() -> Vec<(i64, Value)> {
    let before = policy("shop/checkout", lets_in("app == 'bystander'", 50));
    vec![(-600, before), (1, edited(policy("shop/checkout", lets_in("app == 'db'", 50)), "kubectl-edit", EDITED))]
}

fn scene(changes: impl IntoIterator<Item = (i64, Value)>) -> Scene {
    Scene::with_cluster(Settings::default(), known().into_iter().chain(changes))
}

/// What the destination's node says while the policy that was there before decides.
fn by_the_old() -> Flow {
    decided_by(rule("shop/db", "default", 0))
}

fn by_the_new() -> Flow {
    decided_by(rule("shop/checkout", "default", 0))
}

fn decided_by(hit: PolicyHit) -> Flow {
    flow("shop/web", "shop/db:5432").dst().trace([hit])
}

/// What so many windows with the same flow tell.
fn windows(scene: &mut Scene, flow: &Flow, windows: usize) -> Vec<FindingRow> {
    (0..windows).flat_map(|_| scene.window([flow.clone()])).collect()
}

/// What ten windows tell, the second of which brings changes.
fn after(changes: impl IntoIterator<Item = (i64, Value)>, flow: &Flow) -> Vec<(Status, String)> {
    told(&windows(&mut scene(changes), flow, 10))
}

#[test]
fn an_edited_policy_that_another_stands_for_is_told_in_the_second_window_after_a_full_one() {
    let mut scene = scene(checkout());
    // Before the edit, that of the edit, a full one after it, and the first that counts.
    assert_eq!(told(&windows(&mut scene, &by_the_old(), 4)), []);
    scene.restart();
    let rows = windows(&mut scene, &by_the_old(), 1);
    assert_eq!(told(&rows), opened());
    let row = &rows[0];
    assert_eq!(row.severity, Severity::Low);
    for part in ["shop/checkout", "kubectl-edit", "2026-01-01T00:01:00", "shop/web -> shop/db:5432/tcp", "ingress[0]"] {
        assert!(row.explanation.contains(part), "{part}: {}", row.explanation);
    }
    assert!(row.explanation.contains("shop/db in tier default, rule 0: Allow"), "{}", row.explanation);
    assert!(row.explanation.contains("(1) calico-node on n1 is behind"), "{}", row.explanation);
    assert!(row.remediation.contains("catchment why 'shop/web' 'shop/db:5432/tcp'"), "{}", row.remediation);
    let evidence: Value = serde_json::from_str(&row.evidence).expect("evidence is JSON");
    assert!(evidence["computed"]["decided_by"].as_str().expect("a decision").contains("shop/checkout"), "{evidence}");
}

#[test]
fn labels_that_the_flow_tells_otherwise_are_named_and_the_likeliest_cause() {
    let mut scene = scene(checkout());
    let rows = windows(&mut scene, &by_the_old().labels(&["app=web"], &["app=database"]), 10);
    assert_eq!(told(&rows), opened());
    let row = rows.iter().find(|row| row.kind == FindingKind::LabelMismatch).expect("it is told");
    let told = &row.explanation;
    assert!(told.contains("shop/db has app=db in the cluster and app=database in the flow"), "{told}");
    assert!(told.contains("(1) the data plane knows a pod by other labels"), "{told}");
}

#[test]
fn it_is_told_where_no_policy_decides_and_of_a_new_order_of_a_policy_or_of_its_tier() {
    assert_eq!(after(checkout(), &decided_by(profile("shop"))), opened());
    let ordered = |order| policy("shop/checkout", lets_in("app == 'db'", order));
    let raised = [(-600, ordered(200)), (1, edited(ordered(50), "kubectl-edit", EDITED))];
    assert_eq!(after(raised, &by_the_old()), opened());
    let tier = |order: u32| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier", "spec": {"order": order},
            "metadata": {"name": "late", "creationTimestamp": "2025-12-01T00:00:00Z"}})
    };
    let mut of_tier = lets_in("app == 'db'", 50);
    of_tier["tier"] = "late".into();
    let moved =
        [(-600, tier(2_000_000)), (-600, policy("shop/checkout", of_tier)), (1, edited(tier(10), "argocd", EDITED))];
    assert_eq!(after(moved, &by_the_old()), opened());
}

#[test]
fn it_is_over_once_the_policy_decides_and_once_it_is_gone() {
    let mut scene = scene(checkout());
    windows(&mut scene, &by_the_old(), 5);
    scene.restart();
    let over: Vec<_> = told(&windows(&mut scene, &by_the_new(), 2)).into_iter().map(|(status, _)| status).collect();
    assert_eq!(over, [Status::Resolved]);
    let mut scene = self::scene(checkout());
    scene.gone([(6, policy("shop/checkout", lets_in("app == 'db'", 50)))]);
    let rows: Vec<_> = told(&windows(&mut scene, &by_the_old(), 10)).into_iter().map(|(status, _)| status).collect();
    assert_eq!(rows, [Status::Opened, Status::Resolved]);
}

#[test]
fn looks_of_the_other_form_leave_it_open() {
    let mut scene = scene(checkout());
    let rows = windows(&mut scene, &by_the_old(), 30);
    assert_eq!(rows.iter().filter(|row| row.status == Status::Resolved).count(), 0);
    assert!(told(&rows).iter().all(|(status, _)| *status != Status::Resolved));
}

#[test]
fn an_edit_that_takes_effect_late_within_its_grace_is_none() {
    let mut scene = scene(checkout());
    assert_eq!(told(&windows(&mut scene, &by_the_old(), 4)), []);
    assert_eq!(told(&windows(&mut scene, &by_the_new(), 10)), []);
    // One that wavers shows the contrary in between.
    let both = [by_the_old(), by_the_new()];
    assert_eq!(told(&windows(&mut scene, &both[0], 1)), []);
    assert_eq!(told(&windows(&mut scene, &both[1], 1)), []);
    assert_eq!(told(&windows(&mut scene, &both[0], 1)), []);
    for _ in 0..4 {
        assert_eq!(told(&scene.window(both.clone())), []);
    }
}

#[test]
fn connections_that_were_there_before_split_traces_and_rows_without_packets_show_nothing() {
    for flow in [by_the_old().connections(0, 0, 1), by_the_old().split(), by_the_old().packets(0, 0)] {
        assert_eq!(after(checkout(), &flow), []);
    }
}

#[test]
fn what_was_not_edited_or_long_ago_is_none() {
    let decided = policy("shop/checkout", lets_in("app == 'db'", 50));
    assert_eq!(after([(-600, decided.clone())], &by_the_old()), []);
    let long_ago = edited(decided, "kubectl-edit", "2025-12-20T00:00:00Z");
    assert_eq!(
        after([(-2000, policy("shop/checkout", lets_in("app == 'x'", 50))), (-1900, long_ago)], &by_the_old()),
        []
    );
}

#[test]
fn the_same_policy_by_another_rule_or_the_end_of_its_tier_is_none() {
    assert_eq!(after(checkout(), &decided_by(rule("shop/checkout", "default", 3))), []);
    assert_eq!(after(checkout(), &decided_by(end_of_tier("default", "shop/db")).deny()), []);
}

#[test]
fn a_policy_that_was_asked_before_and_decides_is_not_the_edited_ones_fault() {
    let first = (
        -600,
        policy(
            "shop/first",
            json!({"selector": "app == 'db'", "order": 10, "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": {"selector": "app == 'other'"}}]}),
        ),
    );
    let decided = decided_by(rule("shop/first", "default", 0));
    assert_eq!(after(checkout().into_iter().chain([first]), &decided), []);
}

#[test]
fn staged_policies_and_those_for_forwarded_traffic_of_hosts_are_none() {
    let name = "shop/checkout";
    let staged = edited(staged_policy(name, lets_in("app == 'db'", 50)), "kubectl-edit", EDITED);
    assert_eq!(after([(1, staged)], &by_the_old()), []);
    for stage in ["doNotTrack", "preDNAT", "applyOnForward"] {
        let mut spec = lets_in("app == 'db'", 50);
        (spec[stage], spec["applyOnForward"]) = (true.into(), true.into());
        let of_hosts = edited(policy("checkout", spec), "kubectl-edit", EDITED);
        assert_eq!(after([(1, of_hosts)], &by_the_old()), [], "{stage}");
    }
}

#[test]
fn ends_that_may_be_several_or_are_no_pods_are_none() {
    let twins = |labels: [Value; 2]| {
        let mut number = 0;
        labels.map(|labels| {
            number += 1;
            let mut twin = pod(&format!("shop/db-{number}"), labels);
            twin["metadata"]["generateName"] = "db-".into();
            (-600, twin)
        })
    };
    let asked = flow("shop/web", "shop/db-*:5432").dst().trace([rule("shop/db", "default", 0)]);
    let alike = twins([json!({"app": "db"}), json!({"app": "db"})]);
    assert_eq!(after(checkout().into_iter().chain(alike), &asked), opened());
    let unlike = twins([json!({"app": "db"}), json!({"app": "db", "canary": "true"})]);
    assert_eq!(after(checkout().into_iter().chain(unlike), &asked), []);
    assert_eq!(after(checkout(), &by_the_old().named("pvt")), []);
}

#[test]
fn changes_beside_the_pair_put_it_off() {
    let busy = (2..9).map(|minute| (minute, namespace("shop", json!({"edit": minute.to_string()}))));
    let busy: Vec<_> = [(-600, namespace("shop", json!({})))].into_iter().chain(busy).collect();
    assert_eq!(after(checkout().into_iter().chain(busy.clone()), &by_the_old()), []);
    let mut scene = scene(checkout().into_iter().chain(busy));
    assert_eq!(told(&windows(&mut scene, &by_the_old(), 14)), opened());
}

#[test]
fn what_is_not_known_for_sure_is_none() {
    // A rule that asks for a path says nothing for sure.
    let mut by_path = lets_in("app == 'db'", 50);
    by_path["ingress"][0]["http"] = json!({"methods": ["GET"]});
    let by_path = edited(policy("shop/checkout", by_path), "kubectl-edit", EDITED);
    assert_eq!(after([(1, by_path)], &by_the_old()), []);
    let mut scene = scene(checkout());
    scene.identity = catchment_core::IdentityState::Stale;
    assert_eq!(told(&windows(&mut scene, &by_the_old(), 10)), []);
    assert!(scene.detector().not_evaluable().any(|(kind, count)| kind == FindingKind::LabelMismatch && count > 0));
}
