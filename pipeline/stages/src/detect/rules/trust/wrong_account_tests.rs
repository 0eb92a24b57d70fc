use catchment_core::{Confidence, FindingKind, FindingRow, Severity, Status};

use crate::detect::Settings;
use crate::detect::testing::{Flow, Scene, end_of_tier, flow, rule};

const DAY: i64 = 24 * 60;

fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
    told.into_iter().filter(|row| row.kind == FindingKind::WrongServiceAccount).collect()
}

fn bounded() -> Scene {
    let settings = r#"{"boundaries": [
        {"name": "ledger", "destination": "app == 'ledger'", "accounts": ["pay/api", "audit/*"]},
        {"name": "pay", "destination": "projectcalico.org/namespace == 'pay'", "accounts": ["shop/checkout"]}
    ]}"#;
    Scene::with(serde_json::from_str::<Settings>(settings).expect("these are settings"))
}

fn reach(source: &str, accounts: &[&str]) -> Flow {
    let accounts = accounts.iter().map(|&name| name.into()).collect();
    let flow = flow(source, "pay/ledger:5432").dst().trace([rule("pay/open", "default", 0)]);
    flow.source_who(|who| who.service_accounts = Some(accounts))
        .labels(&[], &["app=ledger", "catchment.dev/critical=true"])
}

fn of_kind(scene: &Scene) -> u64 {
    let mut counted = scene.detector().not_evaluable();
    counted.find(|(kind, _)| *kind == FindingKind::WrongServiceAccount).expect("every kind is counted").1
}

// === declared ===

#[test]
fn an_account_that_no_boundary_of_the_backend_lists_is_told_with_those_that_are() {
    let told = of(bounded().window([reach("shop/web", &["web"])]));
    assert_eq!((told.len(), told[0].severity, told[0].confidence), (1, Severity::High, Confidence::Derived));
    assert_eq!(told[0].title, "shop/web reaches pay/ledger on 5432/tcp as shop/web, which is not meant to");
    for part in ["ledger, pay", "pay/api, audit/*, shop/checkout"] {
        assert!(told[0].explanation.contains(part), "{}", told[0].explanation);
    }
}

#[test]
fn an_account_that_one_of_them_lists_may() {
    let may = [reach("pay/api", &["api"]), reach("audit/job", &["reader"]), reach("shop/checkout", &["checkout"])];
    assert_eq!(of(bounded().window(may)), []);
}

#[test]
fn one_listed_account_among_several_behind_a_name_leaves_it_open() {
    assert_eq!(of(bounded().window([reach("shop/checkout", &["checkout", "default"])])), []);
}

#[test]
fn all_accounts_behind_a_name_stand_in_the_evidence_where_all_are_wrong() {
    let told = of(bounded().window([reach("shop/web", &["default", "web"])]));
    assert!(told[0].evidence.contains(r#""source_accounts":["shop/default","shop/web"]"#), "{}", told[0].evidence);
}

#[test]
fn an_account_that_the_flow_carries_is_certain() {
    let carried = reach("shop/web", &["web"]).labels(&["projectcalico.org/serviceaccount=web"], &["app=ledger"]);
    assert_eq!(of(bounded().window([carried]))[0].confidence, Confidence::Certain);
}

#[test]
fn the_platform_may_and_networks_have_no_account() {
    let network = flow("pvt", "pay/ledger:5432").dst().labels(&[], &["app=ledger"]);
    assert_eq!(of(bounded().window([reach("monitoring/prometheus", &["prometheus"]), network])), []);
}

#[test]
fn the_right_account_or_a_denial_ends_it() {
    for end in [
        reach("shop/web", &["checkout"]),
        reach("shop/web", &["web"]).deny().trace([end_of_tier("default", "pay/ledger")]),
    ] {
        let mut scene = bounded();
        scene.window([reach("shop/web", &["web"])]);
        assert_eq!(of(scene.window([end]))[0].status, Status::Resolved);
    }
}

// === learned ===

fn learned() -> Scene {
    let mut scene = Scene::new();
    assert_eq!(of(scene.window([reach("shop/checkout", &["checkout"])])), []);
    scene.skip_minutes(DAY);
    scene
}

#[test]
fn nothing_is_told_while_learning_and_that_is_counted() {
    let mut scene = Scene::new();
    assert_eq!(of(scene.window([reach("shop/checkout", &["checkout"])])), []);
    assert_eq!(of(scene.window([reach("shop/web", &["web"])])), []);
    assert_eq!(of_kind(&scene), 2);
}

#[test]
fn an_account_that_was_never_seen_on_a_critical_backend_is_suspected() {
    let mut scene = learned();
    assert_eq!(of(scene.window([reach("shop/checkout", &["checkout"])])), []);
    let told = of(scene.window([reach("shop/web", &["web"])]));
    assert_eq!((told.len(), told[0].severity, told[0].confidence), (1, Severity::Medium, Confidence::Suspected));
    assert!(told[0].explanation.contains("watched since 2026-01-01T00:00:00"), "{}", told[0].explanation);
}

#[test]
fn a_backend_that_is_not_critical_is_not_learned() {
    let mut scene = learned();
    let other = reach("shop/web", &["web"]).labels(&[], &["app=ledger"]);
    assert_eq!(of(scene.window([other])), []);
}

#[test]
fn a_new_backend_is_learned_anew() {
    let mut scene = learned();
    let other = flow("shop/web", "pay/cards:5432").dst().labels(&[], &["catchment.dev/critical=true"]);
    assert_eq!(of(scene.window([other.source_who(|who| who.service_accounts = Some(vec!["web".into()]))])), []);
}

#[test]
fn an_account_that_stays_becomes_usual() {
    let mut scene = learned();
    assert_eq!(of(scene.window([reach("shop/web", &["web"])])).len(), 1);
    scene.skip_minutes(DAY);
    let stale = of(scene.window([reach("shop/web", &["web"])]));
    assert_eq!(stale[0].status, Status::Stale);
    scene.skip_minutes(DAY);
    assert_eq!(of(scene.window([reach("shop/web", &["web"])])), []);
}

#[test]
fn what_was_learned_outlives_a_restart() {
    let mut scene = learned();
    scene.restart();
    assert_eq!(of(scene.window([reach("shop/checkout", &["checkout"])])), []);
    assert_eq!(of(scene.window([reach("shop/web", &["web"])])).len(), 1);
}
