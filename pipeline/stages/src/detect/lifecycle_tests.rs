use catchment_core::{FindingKind, FindingRow, Resolution, Severity, Status};
use proptest::prelude::*;

use super::super::objects::policy;
use super::super::testing::{Flow, Scene, end_of_tier, flow, profile, rule};
use super::super::{MuteRule, NamePattern, Settings};

fn unpoliced() -> Flow {
    flow("shop/api", "shop/web:80").dst().trace([profile("shop")])
}

fn policed() -> Flow {
    flow("shop/api", "shop/web:80").dst().trace([rule("shop/web", "default", 0)])
}

fn statuses(rows: &[FindingRow]) -> Vec<Status> {
    rows.iter().map(|row| row.status).collect()
}

#[test]
fn what_goes_on_is_published_by_order_of_magnitude() {
    let mut scene = Scene::new();
    let rows: Vec<_> = (0..120).flat_map(|_| scene.window([unpoliced()])).collect();
    assert_eq!(statuses(&rows), [Status::Opened, Status::Ongoing, Status::Ongoing]);
    assert_eq!(rows.iter().map(|row| row.windows_seen).collect::<Vec<_>>(), [1, 10, 100]);
}

#[test]
fn a_finding_leads_to_the_page_of_its_kind() {
    let runbooks = "https://wiki.example.com/runbooks/".parse().expect("an address");
    let rows = Scene::with(Settings { runbooks, ..Settings::default() }).window([unpoliced()]);
    assert_eq!(rows[0].runbook, "https://wiki.example.com/runbooks/policy.md#policyno-policy");
}

#[test]
fn without_a_sign_it_is_stale_after_a_day_and_forgotten_after_another() {
    let mut scene = Scene::new();
    let opened = scene.window([unpoliced()]);
    scene.skip_minutes(24 * 60 - 2);
    let stale = scene.quiet(2);
    assert_eq!(statuses(&stale), [Status::Stale]);
    assert_eq!(stale[0].resolution, Some(Resolution::Quiet));
    scene.skip_minutes(24 * 60 - 1);
    let epoch = scene.epoch([]);
    assert_eq!((epoch.findings, epoch.forgotten), (Vec::new(), vec![opened[0].id]));
    let again = scene.window([unpoliced()]);
    assert_eq!((again[0].id, again[0].reopen_count), (opened[0].id, 0));
    assert!(again[0].first_seen > opened[0].first_seen);
}

#[test]
fn what_no_window_could_show_for_a_day_is_stale_because_its_source_was_lost() {
    let mut scene = Scene::new();
    scene.window([unpoliced()]);
    scene.skip_minutes(12 * 60);
    scene.coverage = 0.5;
    assert_eq!(scene.quiet(1), []);
    scene.restart();
    scene.skip_minutes(12 * 60);
    scene.coverage = 1.0;
    let stale = scene.quiet(1);
    assert_eq!((statuses(&stale), stale[0].resolution), (vec![Status::Stale], Some(Resolution::SourceLost)));
}

#[test]
fn what_comes_back_after_a_day_without_a_window_is_another_time() {
    let mut scene = Scene::new();
    let opened = scene.window([unpoliced()]);
    scene.window([policed()]);
    scene.skip_minutes(3 * 24 * 60);
    let again = scene.window([unpoliced()]);
    assert_eq!((again[0].id, again[0].reopen_count), (opened[0].id, 0));
    assert!(again[0].first_seen > opened[0].first_seen);
}

#[test]
fn what_is_no_longer_looked_for_ends_because_of_that() {
    let mut scene = Scene::new();
    let denied = || flow("shop/api", "shop/web:80").dst().deny().trace([end_of_tier("default", "shop/web")]);
    assert_eq!(scene.window([denied()])[0].kind, FindingKind::ImplicitDeny);
    scene.restart_with(Settings { disabled: [FindingKind::ImplicitDeny].into(), ..Settings::default() });
    let over = scene.window([denied()]);
    assert_eq!((statuses(&over), over[0].resolution), (vec![Status::Stale], Some(Resolution::RuleChanged)));
    assert_eq!(scene.window([denied()]), []);
}

#[test]
fn what_many_folded_into_is_over_with_the_last_of_them() {
    let mut scene = Scene::new();
    let job = |n: u32| flow(&format!("shop/job{n}"), "shop/db:5432").dst();
    let denied = |n| job(n).deny().trace([end_of_tier("default", "shop/db")]);
    let allowed = |n| job(n).trace([rule("shop/db", "default", 0)]);
    let parent = |rows: Vec<FindingRow>| rows.into_iter().find(|row| row.subject.get("source").is_none());
    let opened = parent(scene.window((0..20).map(denied))).expect("they fold");
    assert_eq!(parent(scene.window((0..19).map(allowed))).map(|row| row.status), None, "one is denied still");
    let over = parent(scene.window([allowed(19)])).expect("it is told");
    assert_eq!((over.id, over.status, over.resolution), (opened.id, Status::Resolved, Some(Resolution::Fixed)));
}

#[test]
fn one_that_comes_back_to_its_parent_is_counted_once() {
    let mut scene = Scene::new();
    let job = |n: u32| flow(&format!("shop/job{n}"), "shop/db:5432").dst();
    let denied = |n| job(n).deny().trace([end_of_tier("default", "shop/db")]).packets(1, 0);
    let allowed = |n| job(n).trace([rule("shop/db", "default", 0)]);
    scene.window((0..20).map(denied));
    let mut newest = Vec::new();
    for _ in 0..60 {
        scene.window([allowed(9)].into_iter().chain((0..20).filter(|n| *n != 9).map(denied)));
        newest.extend(scene.window((0..20).map(denied)));
    }
    let told = newest.iter().rev().find(|row| row.subject.get("source").is_none()).expect("it grew tenfold");
    let evidence: serde_json::Value = serde_json::from_str(&told.evidence).expect("JSON");
    assert!(evidence["child_count"].as_u64() <= Some(20), "{}", told.evidence);
    assert_eq!(told.folded().len() as u64, evidence["child_count"].as_u64().expect("a number"));
}

#[test]
fn what_concerns_others_than_the_platform_is_not_capped_and_what_operators_own_is() {
    let severities = [(FindingKind::ImplicitDeny, Severity::High)].into();
    let of_operator = policy("sys", serde_json::json!({"tier": "calico-system", "selector": "all()"}));
    let settings = Settings { severities, ..Settings::default() };
    let mut scene = Scene::with_cluster(settings, [(-60, of_operator)]);
    let denied = |source: &str, tier: &str, policy: &str| {
        flow(source, "kube-system/dns:53").dst().deny().trace([end_of_tier(tier, policy)])
    };
    let told = scene.window([
        denied("shop/api", "default", "kube-system/dns"),
        denied("kube-system/proxy", "default", "kube-system/dns"),
        denied("shop/web", "calico-system", "sys"),
    ]);
    let mut told: Vec<_> = told.iter().map(|row| (row.subject.get("source").unwrap_or(""), row.severity)).collect();
    told.sort_unstable();
    assert_eq!(told, [("api", Severity::High), ("proxy", Severity::Low), ("web", Severity::Low)]);
}

#[test]
fn what_comes_back_within_a_day_keeps_when_it_was_first_seen() {
    let mut scene = Scene::new();
    let opened = scene.window([unpoliced()]);
    let over = scene.window([policed()]);
    assert_eq!((over[0].status, over[0].resolution), (Status::Resolved, Some(Resolution::Fixed)));
    scene.skip_minutes(60);
    let back = scene.window([unpoliced()]);
    assert_eq!((back[0].reopen_count, back[0].first_seen), (1, opened[0].first_seen));
    assert_eq!(back[0].resolution, None);
}

#[test]
fn a_mute_is_a_flag_that_ends_and_nothing_is_kept_back() {
    let mute = MuteRule {
        finding_id: None,
        kind: Some(FindingKind::NoPolicy),
        namespace: Some(NamePattern("shop".to_owned())),
        reason: "known until the move".to_owned(),
        until: catchment_core::EventTime::MAX,
    };
    let mut scene = Scene::with(Settings { mutes: vec![mute], ..Settings::default() });
    let told = scene.window([unpoliced(), flow("shop/api", "pay/web:80").dst().trace([profile("pay")])]);
    let muted: Vec<_> = told.iter().map(|row| (row.namespace.as_deref(), row.mute.is_some())).collect();
    assert!(muted.contains(&(Some("shop"), true)) && muted.contains(&(Some("pay"), false)), "{muted:?}");
}

#[test]
fn severities_are_set_by_kind_and_capped_for_the_platform() {
    let severities = [(FindingKind::NoPolicy, Severity::High)].into();
    let mut scene = Scene::with(Settings { severities, ..Settings::default() });
    let platform = flow("shop/api", "kube-system/dns:53").dst().trace([profile("kube-system")]);
    let told = scene.window([unpoliced(), platform]);
    let told: Vec<_> = told.iter().map(|row| (row.namespace.as_deref(), row.severity)).collect();
    assert!(told.contains(&(Some("shop"), Severity::High)), "{told:?}");
    assert!(told.contains(&(Some("kube-system"), Severity::Low)), "{told:?}");
}

#[test]
fn no_more_findings_open_than_are_allowed() {
    let mut scene = Scene::with(Settings { max_findings: 3, ..Settings::default() });
    let many: Vec<_> =
        (0..10).map(|n| flow("shop/api", &format!("shop/w{n}:80")).dst().trace([profile("shop")])).collect();
    assert_eq!(scene.window(many.clone()).len(), 3);
    assert_eq!((scene.detector().effort().open, scene.detector().effort().refused), (3, 7));
    scene.skip_minutes(24 * 60);
    assert_eq!(statuses(&scene.window([])), [Status::Stale; 3]);
    assert_eq!(scene.window(many).len(), 3, "who went made room");
}

#[test]
fn no_more_pairs_are_remembered_than_are_allowed_and_one_that_goes_makes_room() {
    let mut scene = Scene::with(Settings { max_pairs: 3, ..Settings::default() });
    let silent = |names: std::ops::Range<u32>| {
        names.map(|n| flow("shop/api", &format!("shop/w{n}:80")).packets(8, 0).connections(2, 0, 1)).collect::<Vec<_>>()
    };
    for _ in 0..4 {
        scene.window(silent(0..5));
    }
    let effort = scene.detector().effort();
    assert_eq!((effort.pairs, effort.unheard), (3, 8));
    assert_eq!(effort.open, 3, "those that are remembered are looked at");
    // The last two stay, unheard, until a day has passed since the others were there.
    for _ in 0..25 * 60 {
        scene.window(silent(3..5));
    }
    let told = scene.detector().findings().into_iter().filter(|row| row.status.is_open()).count();
    assert_eq!(told, 2, "{:?}", scene.detector().effort());
}

#[test]
fn a_kind_that_is_disabled_is_not_told() {
    let mut scene = Scene::with(Settings { disabled: [FindingKind::NoPolicy].into(), ..Settings::default() });
    assert_eq!(scene.window([unpoliced()]), []);
}

/// What may happen in a window, by number.
fn draw(what: u8) -> Vec<Flow> {
    let denied =
        |n: u8| flow(&format!("shop/job{n}"), "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]);
    let silent = || flow("shop/web", "shop/mail:25").packets(8, 0).connections(2, 0, 1);
    match what {
        0 => vec![unpoliced()],
        1 => vec![policed()],
        2 => (0..8).map(denied).collect(),
        3 => vec![silent(), denied(1)],
        4 => vec![silent().packets(8, 8), flow("shop/job1", "shop/db:5432").dst()],
        5 => vec![silent(), unpoliced(), denied(3)],
        _ => Vec::new(),
    }
}

proptest! {
    #[test]
    fn a_restart_at_any_window_changes_nothing(days in prop::collection::vec((0u8..8, 0i64..900), 1..40), at in 0usize..40) {
        let mut without = Scene::new();
        let mut with = Scene::new();
        for (number, (what, pause)) in days.into_iter().enumerate() {
            if number == at {
                with.restart();
            }
            let (a, b) = (without.epoch(draw(what)), with.epoch(draw(what)));
            prop_assert_eq!(a.findings, b.findings);
            prop_assert_eq!(a.forgotten, b.forgotten);
            let pause = if pause > 880 { pause * 2 } else { 0 };
            without.skip_minutes(pause);
            with.skip_minutes(pause);
        }
    }
}
