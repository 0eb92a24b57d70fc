//! Who talked is a function of the window and of what the cluster had told by then: judged by a naive join over the list
//! of changes, which keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catchment_core::knowledge::{Change, Object};
use catchment_core::{
    ClosedWindow, Counters, Endpoint, EventTime, FlowKey, FlowRow, IdentityFrom, IdentityState, KeyRecord, Labels,
    LateReason, LateRow, LogPosition, Service, ServicesFrom, Span, Trace, Who,
};
use catchment_stages::enrich::{Blind, Enricher, Enrichment, FORESIGHT, LabelKeys, Timeline};
use proptest::prelude::*;
use serde_json::{Value, json};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn object(value: &Value) -> Object {
    Object::from_json(&value.to_string()).expect("an object").expect("of a kind that is read")
}

fn at(minute: i64) -> EventTime {
    EventTime(minute * MINUTE)
}

fn window(minute: i64) -> Span {
    Span::new(at(minute), at(minute + 1))
}

fn enrichment(timeline: &Timeline) -> Enrichment {
    Enrichment { timeline: timeline.clone(), marked: false, labels: LabelKeys::default() }
}

fn labels(items: &[&str]) -> Arc<Labels> {
    Arc::new(Labels::new(items.iter().map(|&item| item.into()).collect()))
}

fn end(namespace: Option<&str>, name: &str, kind: i32) -> Endpoint {
    Endpoint { namespace: namespace.map(Into::into), raw_name: name.into(), kind }
}

fn row(source: Endpoint, source_labels: Arc<Labels>, dest: Endpoint, dest_port: i64, service: Service) -> FlowRow {
    let trace = Arc::new(Trace::new(vec![], vec![]));
    let key = FlowKey { source, dest, dest_port, protocol: "tcp".into(), service, reporter: 1, action: 1, trace };
    FlowRow::new(Arc::new(KeyRecord::new(key, true)), source_labels, labels(&[]), Counters::default())
}

/// A row whose source is a workload of `shop`.
fn from_pods(name: &str, carried: &[&str]) -> FlowRow {
    row(end(Some("shop"), name, 1), labels(carried), end(None, "pub", 4), 443, Service::default())
}

fn closed(minute: i64, flows: Vec<FlowRow>) -> ClosedWindow {
    ClosedWindow { span: window(minute), coverage: 1.0, identity: None, flows, conversations: vec![] }
}

/// The source of one row in one window, by an enricher that has seen nothing before.
fn source(changes: Vec<Change>, minute: i64, row: FlowRow) -> Who {
    let mut window = closed(minute, vec![row]);
    Enricher::new(&enrichment(&Timeline::complete(changes))).enrich(&mut window);
    window.flows[0].ends().source.who.clone()
}

fn pod(name: &str, more: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name},
        "spec": {"nodeName": "node-1", "serviceAccountName": "web"}, "status": {"phase": "Running"},
    });
    merge(&mut pod, more);
    pod
}

fn merge(value: &mut Value, more: &Value) {
    match (value, more) {
        (Value::Object(members), Value::Object(more)) => {
            for (name, more) in more {
                merge(members.entry(name.clone()).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more.clone(),
    }
}

fn owned(name: &str, api: &str, kind: &str, owner: &str, generated: &str) -> Value {
    let owner = json!([{"apiVersion": api, "kind": kind, "name": owner, "controller": true}]);
    pod(name, &json!({"metadata": {"generateName": generated, "ownerReferences": owner}}))
}

fn told(minute: i64, value: &Value) -> Change {
    Change::to(at(minute), object(value))
}

fn gone(minute: i64, value: &Value) -> Change {
    Change::gone(at(minute), object(value).key())
}

fn texts(list: Option<&Vec<Arc<str>>>) -> Vec<&str> {
    list.map(|list| list.iter().map(|text| &**text).collect()).unwrap_or_default()
}

fn workload(who: &Who) -> (&str, &str) {
    (who.workload_kind.as_deref().unwrap_or("-"), who.workload_name.as_deref().unwrap_or("-"))
}

#[test]
fn every_kind_of_owner_is_followed_to_what_people_made() {
    let controlled = |api: &str, kind: &str, name: &str, by: (&str, &str, &str)| {
        json!({"apiVersion": api, "kind": kind, "metadata": {"namespace": "shop", "name": name,
            "ownerReferences": [{"apiVersion": by.0, "kind": by.1, "name": by.2, "controller": true}]}})
    };
    let hash = json!({"metadata": {"labels": {"pod-template-hash": "77aa"}}});
    let mut orphan = owned("lone-77aa-x", "apps/v1", "ReplicaSet", "lone-77aa", "lone-77aa-");
    merge(&mut orphan, &hash);
    let objects = [
        controlled("apps/v1", "ReplicaSet", "web-5d4b", ("apps/v1", "Deployment", "web")),
        controlled("batch/v1", "Job", "clean-29", ("batch/v1", "CronJob", "clean")),
        owned("web-5d4b-abcde", "apps/v1", "ReplicaSet", "web-5d4b", "web-5d4b-"),
        owned("db-0", "apps/v1", "StatefulSet", "db", "db-"),
        owned("agent-x1", "apps/v1", "DaemonSet", "agent", "agent-"),
        owned("clean-29-q", "batch/v1", "Job", "clean-29", "clean-29-"),
        owned("once-q", "batch/v1", "Job", "once", "once-"),
        owned("prom-0", "example.org/v1", "Shard", "prom", "prom-"),
        owned("proxy-node-1", "v1", "Node", "node-1", ""),
        orphan,
        pod("toolbox", &json!({})),
    ];
    let changes: Vec<_> = objects.iter().map(|object| told(0, object)).collect();
    for (name, expected, from) in [
        ("web-5d4b-*", ("Deployment", "web"), IdentityFrom::GenerateName),
        ("db-*", ("StatefulSet", "db"), IdentityFrom::GenerateName),
        ("agent-*", ("DaemonSet", "agent"), IdentityFrom::GenerateName),
        ("clean-29-*", ("CronJob", "clean"), IdentityFrom::GenerateName),
        ("once-*", ("Job", "once"), IdentityFrom::GenerateName),
        ("prom-*", ("Shard", "prom"), IdentityFrom::GenerateName),
        ("lone-77aa-*", ("Deployment", "lone"), IdentityFrom::GenerateName),
        ("proxy-node-1", ("StaticPod", "proxy"), IdentityFrom::PodName),
        ("toolbox", ("Pod", "toolbox"), IdentityFrom::PodName),
        ("web-*", ("-", "-"), IdentityFrom::None),
    ] {
        let who = source(changes.clone(), 1, from_pods(name, &[]));
        assert_eq!((workload(&who), who.from), (expected, Some(from)), "{name}");
    }
}

#[test]
fn accounts_that_a_name_leaves_open_are_all_told_and_labels_narrow_them() {
    let revision = |name: &str, account: &str, hash: &str| {
        let mut pod = owned(name, "apps/v1", "StatefulSet", "db", "db-");
        merge(&mut pod, &json!({"metadata": {"labels": {"rev": hash}}, "spec": {"serviceAccountName": account}}));
        pod
    };
    let changes = vec![told(0, &revision("db-0", "old", "1")), told(0, &revision("db-1", "new", "2"))];
    let accounts = |carried: &[&str]| {
        let who = source(changes.clone(), 1, from_pods("db-*", carried));
        (texts(who.service_accounts.as_ref()).join(","), who.pods)
    };
    assert_eq!(accounts(&[]), ("new,old".into(), Some(2)));
    assert_eq!(accounts(&["rev=2"]), ("new".into(), Some(1)));
    assert_eq!(accounts(&["rev=3"]), ("new,old".into(), Some(2)), "labels that fit nobody narrow nothing");
    assert_eq!(accounts(&["projectcalico.org/serviceaccount=told"]).0, "told", "what the flow carries wins");
}

#[test]
fn a_name_nobody_bears_is_found_by_labels_and_else_not_at_all() {
    let mut web = owned("web-5d4b-abcde", "apps/v1", "DaemonSet", "web", "web-5d4b-");
    merge(&mut web, &json!({"metadata": {"labels": {"app": "web"}}}));
    let found = |carried: &[&str]| source(vec![told(0, &web)], 1, from_pods("front-*", carried));
    assert_eq!(workload(&found(&["app=web"])), ("DaemonSet", "web"));
    assert_eq!(found(&["app=web"]).from, Some(IdentityFrom::Labels));
    assert_eq!(found(&["app=other"]).from, Some(IdentityFrom::None));
    assert_eq!(found(&[]).from, Some(IdentityFrom::None));
}

#[test]
fn namespace_node_and_owner_labels_are_joined() {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"env": "prod", "team": "a"}}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "z1"}}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"namespace": "shop", "name": "db", "labels": {"team": "b"}}}),
        owned("db-0", "apps/v1", "StatefulSet", "db", "db-"),
    ];
    let changes: Vec<_> = objects.iter().map(|object| told(0, object)).collect();
    let who = source(changes.clone(), 1, from_pods("db-*", &[]));
    assert_eq!((texts(who.nodes.as_ref()), texts(who.zones.as_ref())), (vec!["node-1"], vec!["z1"]));
    assert_eq!(texts(who.namespace_labels.as_ref()), ["env=prod", "team=a"]);
    assert_eq!((who.environment.as_deref(), who.owner.as_deref()), (Some("prod"), Some("b")));
    let host = row(end(None, "node-1", 2), labels(&[]), end(None, "pvt", 4), 0, Service::default());
    let who = source(changes, 1, host);
    assert_eq!((who.from, texts(who.zones.as_ref())), (Some(IdentityFrom::Node), vec!["z1"]));
}

#[test]
fn a_name_taken_over_is_the_old_ones_in_old_windows_and_in_late_rows() {
    let old = owned("web-0", "apps/v1", "StatefulSet", "web", "web-");
    let new = owned("web-0", "apps/v1", "DaemonSet", "web", "web-");
    let changes = vec![told(0, &old), gone(10, &old), told(20, &new)];
    let name = |minute| source(changes.clone(), minute, from_pods("web-*", &[]));
    let right_before = source(vec![told(1, &old)], 0, from_pods("web-*", &[]));
    assert_eq!((workload(&right_before), right_before.pods), (("StatefulSet", "web"), Some(1)), "flows are dated back");
    assert_eq!((workload(&name(9)), name(9).pods), (("StatefulSet", "web"), Some(1)));
    assert_eq!((workload(&name(15)), name(15).pods), (("StatefulSet", "web"), Some(0)), "remembered");
    assert_eq!((workload(&name(20)), name(20).pods), (("DaemonSet", "web"), Some(1)));

    let mut enricher = Enricher::new(&enrichment(&Timeline::complete(changes)));
    enricher.enrich(&mut closed(30, vec![from_pods("web-*", &[])]));
    let late = |minute| LateRow {
        position: LogPosition(0),
        index: 0,
        reason: LateReason::Late,
        window: window(minute),
        bucket: window(minute),
        flow: from_pods("web-*", &[]),
        identity: None,
    };
    let mut rows = [late(5), late(15), late(25), late(-2000)];
    enricher.enrich_late(&mut rows, at(31));
    let told: Vec<_> = rows.iter().map(|row| workload(&row.flow.ends().source.who)).collect();
    assert_eq!(told, [("StatefulSet", "web"), ("StatefulSet", "web"), ("DaemonSet", "web"), ("-", "-")]);
}

#[test]
fn services_are_those_the_flow_names_or_those_that_lead_to_its_pods() {
    let slice = |service: &str, port: u16| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "db-0"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "db-1"}},
            ],
            "ports": [{"port": port, "protocol": "TCP"}]})
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "db"}});
    let changes = vec![
        told(0, &owned("db-0", "apps/v1", "StatefulSet", "db", "db-")),
        told(0, &slice("db", 5432)),
        told(0, &slice("metrics", 9090)),
        told(0, &service),
        gone(5, &slice("db", 5432)),
    ];
    let served = |minute, port, named: Service| {
        let to_db = row(end(None, "pub", 4), labels(&[]), end(Some("shop"), "db-*", 1), port, named);
        let mut window = closed(minute, vec![to_db]);
        Enricher::new(&enrichment(&Timeline::complete(changes.clone()))).enrich(&mut window);
        window.flows[0].services().served.clone()
    };
    let derived = served(1, 5432, Service::default());
    assert_eq!(texts(derived.services.as_ref()), ["shop/db"]);
    assert_eq!((derived.from, derived.ready_endpoints), (Some(ServicesFrom::Endpoints), Some(1)));
    let other = served(1, 80, Service::default());
    assert_eq!((other.services, other.from), (Some(vec![]), None));
    let named = Service { namespace: Some("shop".into()), name: Some("db".into()), ..Service::default() };
    let addressed = served(6, 5432, named);
    assert_eq!((texts(addressed.services.as_ref()), addressed.from), (vec!["shop/db"], Some(ServicesFrom::Flow)));
    assert_eq!(addressed.ready_endpoints, Some(0));
}

#[test]
fn windows_in_which_nobody_looked_are_marked() {
    let timeline = Timeline::default();
    timeline.seal_blind(Blind { span: Span::new(EventTime::MIN, at(2)), unread: true });
    timeline.seal(at(5));
    timeline.seal_blind(Blind { span: Span::new(at(5), at(7)), unread: false });
    timeline.tell(told(3, &pod("toolbox", &json!({}))));
    assert_eq!(timeline.between(EventTime::MIN, at(7)), [], "nothing is added before the seal");
    assert_eq!(timeline.between(at(7), at(8)).len(), 1);
    let states: Vec<_> = [1, 3, 6, 7].map(|minute| timeline.state(window(minute))).into();
    let words: Vec<_> = states.iter().map(|state: &IdentityState| state.as_str()).collect();
    assert_eq!(words, ["unknown", "fresh", "stale", "fresh"]);
}

#[test]
fn one_changed_pod_touches_only_what_was_derived_from_it() {
    let name = |n: usize| format!("app{n}-");
    let pods: Vec<_> = (0..300).map(|n| owned(&format!("app{n}-x"), "apps/v1", "DaemonSet", "d", &name(n))).collect();
    let mut changes: Vec<_> = pods.iter().map(|pod| told(0, pod)).collect();
    changes.push(Change::gone(at(2).plus(MINUTE / 2), object(&pods[7]).key()));
    let mut flows: Vec<_> = (0..300).map(|n| from_pods(&format!("{}*", name(n)), &[])).collect();
    flows.sort_by(|a, b| a.key.canonical.cmp(&b.key.canonical));
    let mut enricher = Enricher::new(&enrichment(&Timeline::complete(changes)));
    enricher.enrich(&mut closed(1, flows.clone()));
    let first = enricher.effort();
    enricher.enrich(&mut closed(2, flows.clone()));
    let second = enricher.effort();
    assert_eq!((second.invalidated - first.invalidated, second.derived - first.derived), (1, 1));
    enricher.enrich(&mut closed(3, flows));
    assert_eq!(enricher.effort().derived - second.derived, 1, "the pod has left the window");
}

// === random histories ===

/// Account, node, and whether it runs.
type Shape = (u8, u8, bool);

/// Tens of seconds since the start: finer than a window and than how far it looks behind its end.
type Tick = i64;
const TICK: i64 = 10_000_000;
const TICKS_A_WINDOW: Tick = MINUTE / TICK;

/// One step of a history: a pod of a few names appears, changes or goes.
#[derive(Clone, Debug)]
struct Step {
    tick: Tick,
    pod: u8,
    what: Option<Shape>,
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = (0i64..200, 0u8..6, prop::option::weighted(0.7, (0u8..3, 0u8..3, any::<bool>())));
    // A day lies between two halves of some histories, so that names are forgotten.
    prop::collection::vec((step, prop::bool::weighted(0.2)), 1..30).prop_map(|steps| {
        let later = |next_day: bool| i64::from(next_day) * (DAY / TICK + 60);
        let steps = steps.into_iter();
        let mut steps: Vec<_> =
            steps.map(|((tick, pod, what), next_day)| Step { tick: tick + later(next_day), pod, what }).collect();
        steps.sort_by_key(|step| step.tick);
        steps
    })
}

fn name_of(pod: u8) -> (String, String) {
    (format!("w{}-{pod}", pod % 2), format!("w{}-", pod % 2))
}

fn change(step: &Step) -> Change {
    let (name, prefix) = name_of(step.pod);
    let moment = EventTime(step.tick * TICK);
    let Some((account, node, running)) = step.what else {
        return Change::gone(moment, object(&pod(&name, &json!({}))).key());
    };
    let mut value = owned(&name, "apps/v1", if account == 0 { "DaemonSet" } else { "StatefulSet" }, "w", &prefix);
    let phase = if running { "Running" } else { "Succeeded" };
    let more = json!({
        "metadata": {"labels": {"rev": account.to_string()}}, "status": {"phase": phase},
        "spec": {"serviceAccountName": format!("sa{account}"), "nodeName": format!("n{node}")},
    });
    merge(&mut value, &more);
    Change::to(moment, object(&value))
}

/// What the naive join says of `prefix` in a window: accounts, nodes, pods.
type Told = (BTreeSet<String>, BTreeSet<String>, usize);

/// A pod in one shape from one tick to another.
type Spell = (u8, Tick, Tick, Shape);

fn spells(steps: &[Step]) -> Vec<Spell> {
    let mut spells = Vec::new();
    let mut open: BTreeMap<u8, (Tick, Shape)> = BTreeMap::new();
    for step in steps {
        if open.get(&step.pod).map(|(_, shape)| *shape) == step.what {
            continue;
        }
        let before = open.remove(&step.pod).filter(|(since, _)| *since < step.tick);
        spells.extend(before.map(|(since, shape)| (step.pod, since, step.tick, shape)));
        open.extend(step.what.map(|shape| (step.pod, (step.tick, shape))));
    }
    spells.extend(open.into_iter().map(|(pod, (since, shape))| (pod, since, Tick::MAX, shape)));
    spells
}

/// Goes through all steps for every question.
fn naive(steps: &[Step], prefix: &str, revision: Option<u8>, minute: i64) -> Option<Told> {
    let (start, end) = (minute * TICKS_A_WINDOW, (minute + 1) * TICKS_A_WINDOW);
    let foresight = FORESIGHT / TICK;
    let known: Vec<_> = steps.iter().filter(|step| step.tick < end + foresight).cloned().collect();
    let mut spells = spells(&known);
    spells.retain(|(pod, _, to, _)| name_of(*pod).1 == prefix && *to > start - DAY / TICK);
    if spells.iter().any(|(.., shape)| Some(shape.0) == revision) {
        spells.retain(|(.., shape)| Some(shape.0) == revision);
    }
    let running = |from: Tick, until: Tick| -> Vec<Spell> {
        let meets = |spell: &&Spell| spell.1 < until && spell.2 > from && spell.3.2;
        spells.iter().filter(meets).copied().collect()
    };
    let alive = Some(running(start, end)).filter(|alive| !alive.is_empty());
    let alive = alive.unwrap_or_else(|| running(end, end + foresight));
    let names: BTreeSet<_> = alive.iter().map(|(pod, ..)| *pod).collect();
    let ended = |spell: &Spell| if spell.2 < end { spell.2 } else { Tick::MAX };
    let newest = spells.iter().map(ended).max()?;
    let meant = if alive.is_empty() { spells.into_iter().filter(|s| ended(s) == newest).collect() } else { alive };
    Some((
        meant.iter().map(|(.., shape)| format!("sa{}", shape.0)).collect(),
        meant.iter().map(|(.., shape)| format!("n{}", shape.1)).collect(),
        names.len(),
    ))
}

fn told_by(row: &FlowRow) -> Option<Told> {
    let who = &row.ends().source.who;
    let all = |list: &Option<Vec<Arc<str>>>| list.iter().flatten().map(ToString::to_string).collect();
    (who.from != Some(IdentityFrom::None))
        .then(|| (all(&who.service_accounts), all(&who.nodes), who.pods.unwrap_or(99) as usize))
}

proptest! {
    #[test]
    fn the_index_says_what_the_naive_join_says(
        steps in history(), minutes in prop::collection::btree_set(prop_oneof![0i64..45, 1440i64..1500], 1..20),
        restart in any::<prop::sample::Index>(), revision in prop::option::of(0u8..3),
    ) {
        let timeline = Timeline::complete(steps.iter().map(change).collect());
        let carried: Vec<String> = revision.iter().map(|revision| format!("rev={revision}")).collect();
        let carried: Vec<&str> = carried.iter().map(String::as_str).collect();
        let rows: Vec<_> = ["w0-", "w1-"].map(|prefix| from_pods(&format!("{prefix}*"), &carried)).into();
        let mut enricher = Enricher::new(&enrichment(&timeline));
        let restart = restart.index(minutes.len());
        for (n, &minute) in minutes.iter().enumerate() {
            if n == restart {
                enricher = Enricher::new(&enrichment(&timeline));
            }
            let mut window = closed(minute, rows.clone());
            enricher.enrich(&mut window);
            for (row, prefix) in window.flows.iter().zip(["w0-", "w1-"]) {
                let expected = naive(&steps, prefix, revision, minute);
                // A name that nobody bears may still be met by its labels.
                if expected.is_some() || row.ends().source.who.from != Some(IdentityFrom::Labels) {
                    prop_assert_eq!(told_by(row), expected, "{} at minute {}", prefix, minute);
                }
            }
        }
        // Late rows of any window say what the window said, whatever was learned since.
        let reached = at(minutes.last().copied().unwrap_or_default() + 1);
        let late = |minute: i64| LateRow {
            position: LogPosition(0), index: 0, reason: LateReason::Late, window: window(minute),
            bucket: window(minute), flow: rows[0].clone(), identity: None,
        };
        let mut late: Vec<_> = minutes.iter().map(|&minute| late(minute)).collect();
        enricher.enrich_late(&mut late, reached);
        for row in late.iter().filter(|row| row.window.start >= reached.plus(-DAY)) {
            let expected = naive(&steps, "w0-", revision, row.window.start.0 / MINUTE);
            if expected.is_some() || row.flow.ends().source.who.from != Some(IdentityFrom::Labels) {
                prop_assert_eq!(told_by(&row.flow), expected, "late in {:?}", row.window);
            }
        }
    }

    #[test]
    fn what_is_forgotten_changes_no_window_of_the_day_after(steps in history(), horizon in 0i64..60) {
        let whole = Timeline::complete(steps.iter().map(change).collect());
        let short = Timeline::complete(steps.iter().map(change).collect());
        short.forget_before(at(horizon));
        prop_assert!(short.len() <= whole.len());
        for minute in (horizon + 1440..horizon + 1500).step_by(7) {
            let of = |timeline: &Timeline| {
                let mut window = closed(minute, vec![from_pods("w0-*", &[]), from_pods("w1-*", &[])]);
                Enricher::new(&enrichment(timeline)).enrich(&mut window);
                window.flows.iter().map(told_by).collect::<Vec<_>>()
            };
            prop_assert_eq!(of(&short), of(&whole), "minute {}", minute);
        }
    }
}

#[test]
fn an_object_that_is_told_again_as_it_is_touches_nothing() {
    let web = pod("toolbox", &json!({}));
    let timeline = Timeline::complete(vec![told(0, &web), told(2, &web)]);
    let mut enricher = Enricher::new(&enrichment(&timeline));
    enricher.enrich(&mut closed(1, vec![from_pods("toolbox", &[])]));
    let before = enricher.effort();
    enricher.enrich(&mut closed(2, vec![from_pods("toolbox", &[])]));
    assert_eq!(enricher.effort().invalidated, before.invalidated);
}
