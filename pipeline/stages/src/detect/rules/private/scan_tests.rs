use catchment_core::{Confidence, FindingKind, FindingRow, Severity};
use serde_json::json;

use crate::detect::Settings;
use crate::detect::testing::{Flow, Scene, end_of_tier, flow, rule};

fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
    told.into_iter().filter(|row| row.kind == FindingKind::Scan).collect()
}

fn denied(ports: std::ops::Range<i64>) -> impl Iterator<Item = Flow> {
    ports.map(|port| {
        let flow = flow("shop/web-7d4b9c6f5-*", &format!("pay/ledger:{port}"));
        flow.dst().deny().trace([end_of_tier("default", "pay/ledger")]).packets(1, 0)
    })
}

fn silent(ports: std::ops::Range<i64>) -> impl Iterator<Item = Flow> {
    ports.map(|port| flow("shop/web-7d4b9c6f5-*", &format!("pay/cards:{port}")).packets(2, 0))
}

fn answered(count: i64) -> impl Iterator<Item = Flow> {
    (0..count)
        .map(|n| flow("shop/web-7d4b9c6f5-*", &format!("shop/peer{n}:80")).dst().trace([rule("shop/p", "default", 0)]))
}

#[test]
fn many_destinations_that_refuse_or_stay_silent_are_told_with_their_numbers() {
    let mut scene = Scene::new();
    let told = of(scene.window(denied(8000..8030).chain(silent(8000..8030)).chain(answered(5))));
    assert_eq!((told.len(), told[0].severity, told[0].confidence), (1, Severity::Medium, Confidence::Suspected));
    assert_eq!(told[0].subject.to_json(), json!({"namespace": "shop", "workload": "web"}));
    assert_eq!(told[0].title, "shop/web tries 65 destinations, and most refuse");
    let evidence: serde_json::Value = serde_json::from_str(&told[0].evidence).expect("evidence is JSON");
    let numbers = ["tried", "denied", "unanswered", "answered"].map(|name| evidence[name].as_u64());
    assert_eq!(numbers, [Some(65), Some(30), Some(30), Some(5)]);
    assert_eq!(evidence["examples"][0], "pay/cards:8000");
    assert_eq!((&evidence["counted"]["rows"], &evidence["counted"]["packets"]), (&json!(60), &json!(90)));
}

#[test]
fn a_slow_scan_adds_up_over_ten_minutes_and_a_restart() {
    let mut scene = Scene::new();
    assert_eq!(of(scene.window(denied(8000..8030))), []);
    scene.restart();
    assert_eq!(of(scene.window(denied(8030..8060))).len(), 1);
}

#[test]
fn what_failed_longer_ago_does_not_count() {
    let mut scene = Scene::new();
    scene.window(denied(8000..8030));
    scene.skip_minutes(10);
    assert_eq!(of(scene.window(denied(8030..8060))), []);
}

#[test]
fn the_same_destinations_again_are_not_more() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        assert_eq!(of(scene.window(denied(8000..8030))), []);
    }
}

#[test]
fn who_is_mostly_answered_does_not_scan() {
    let mut scene = Scene::new();
    assert_eq!(of(scene.window(denied(8000..8060).chain(answered(40)))), []);
}

#[test]
fn a_destination_that_answers_after_all_has_not_failed() {
    let mut scene = Scene::new();
    scene.window(silent(8000..8040));
    let late = silent(8000..8040).map(|flow| flow.packets(2, 2));
    assert_eq!(of(scene.window(late.chain(denied(8000..8013)))), []);
}

#[test]
fn late_replies_at_ephemeral_ports_are_no_tries() {
    let replies = || {
        (0..60).map(|n| {
            let flow = flow("shop/web-7d4b9c6f5-*", &format!("pay/client:{}", 40_000 + n));
            flow.packets(2, 0)
        })
    };
    let mut scene = Scene::new();
    let asked = flow("pay/client", "shop/web-7d4b9c6f5-*:80");
    assert_eq!(of(scene.window(replies().chain([asked]))), []);
    assert_eq!(of(scene.window(replies())), [], "who asked a moment ago is remembered");
    assert_eq!(of(Scene::new().window(replies())).len(), 1, "nobody asked");
}

#[test]
fn late_replies_are_no_tries_even_if_nothing_failed_when_they_were_asked_for() {
    let replies = || (0..60).map(|n| flow("shop/web-7d4b9c6f5-*", &format!("pay/client:{}", 40_000 + n)).packets(2, 0));
    let asked = || flow("pay/client", "shop/web-7d4b9c6f5-*:80");
    let mut scene = Scene::new();
    scene.window([asked()]);
    scene.restart();
    assert_eq!(of(scene.window(replies())), []);
    let mut scene = Scene::new();
    (0..15).for_each(|_| drop(scene.window([asked()])));
    assert_eq!(of(scene.window(replies())), [], "what stays is remembered");
    scene.skip_minutes(30);
    assert_eq!(of(scene.window(replies())).len(), 1, "it was too long ago");
    let mut scene = Scene::new();
    scene.window([flow("pay/client", "shop/web-7d4b9c6f5-*:40000")]);
    assert_eq!(of(scene.window(replies())).len(), 1, "that was no request of a client");
}

#[test]
fn silence_says_nothing_over_udp_and_in_windows_with_a_hole() {
    assert_eq!(of(Scene::new().window(silent(8000..8060).map(Flow::udp))), []);
    let mut scene = Scene::new();
    scene.coverage = 0.75;
    assert_eq!(of(scene.window(silent(8000..8060))), []);
    assert_eq!(of(scene.window(denied(8000..8060))).len(), 1, "a denial is a denial");
}

#[test]
fn denials_that_are_told_again_without_packets_are_no_tries() {
    assert_eq!(of(Scene::new().window(denied(8000..8060).map(|flow| flow.packets(0, 0)))), []);
}

#[test]
fn networks_are_no_distinct_destinations_but_sets_are() {
    let at = |dest: &'static str| {
        (8000..8060).map(move |port| {
            let flow = flow("shop/web", &format!("{dest}:{port}")).deny();
            flow.trace([end_of_tier("default", "shop/out")]).packets(1, 0)
        })
    };
    assert_eq!(of(Scene::new().window(at("pvt"))), []);
    assert_eq!(of(Scene::new().window(at("set:office"))).len(), 1);
}

#[test]
fn scanners_that_are_meant_to_be_are_left_out() {
    let settings = r#"{"scanners": ["app == 'audit'"]}"#;
    let settings: Settings = serde_json::from_str(settings).expect("these are settings");
    let mut scene = Scene::with(settings.clone());
    assert_eq!(of(scene.window(denied(8000..8060).map(|flow| flow.labels(&["app=audit"], &[])))), []);
    assert_eq!(of(Scene::with(settings).window(denied(8000..8060))).len(), 1);
}
