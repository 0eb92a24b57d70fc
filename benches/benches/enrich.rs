//! Who talked: what the join adds to the fold of a window, and what one changed pod costs.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use std::sync::Arc;

use catchment_benches::{fold, input, measure};
use catchment_core::knowledge::{Change, Object};
use catchment_core::{
    ClosedWindow, Counters, Endpoint, EventTime, FlowKey, FlowRow, KeyRecord, Labels, Service, Span, Trace,
};
use catchment_stages::enrich::{Enricher, Enrichment, LabelKeys, Timeline};
use catchment_stages::{InlineWorkers, KeyLimits, Shard};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
const KEYS: usize = 20_000;

fn main() {
    join_beside_fold();
    one_changed_pod(200_000);
}

/// Every workload of the made-up flows: a replica set of three pods on three of fifty nodes.
fn objects() -> Vec<Change> {
    let mut objects = Vec::new();
    let mut add = |value: serde_json::Value| {
        let object = Object::from_json(&value.to_string()).expect("an object").expect("of a kind that is read");
        objects.push(Change::to(EventTime::MIN, object));
    };
    for node in 0..50 {
        add(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{node}"),
            "labels": {"topology.kubernetes.io/zone": format!("zone-{}", node % 3)}}}));
    }
    let workloads = (0..400).map(|n| ("shopping", 40, format!("checkout-frontend-{n}"), "7d4b9c6f5", n));
    let workloads =
        workloads.chain((0..250).map(|n| ("warehouse", 25, format!("inventory-backend-{n}"), "5f6c8d9b7", n)));
    for (team, teams, app, hash, n) in workloads {
        let namespace = format!("team-{team}-{}", n % teams);
        let set = format!("{app}-{hash}");
        add(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"env": "prod"}}}),
        );
        add(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"namespace": namespace, "name": set,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": app, "controller": true}]}}));
        for pod in 0..3 {
            add(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace,
                "name": format!("{set}-{pod}"), "generateName": format!("{set}-"),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "controller": true}]},
                "spec": {"nodeName": format!("node-{}", (n + pod) % 50), "serviceAccountName": app},
                "status": {"phase": "Running"}}));
        }
    }
    objects
}

/// A window that follows its like, as most do, beside the fold that made it; keys and identities are known to both.
fn join_beside_fold() {
    let entries = input::window(KEYS, input::list);
    let mut workers = InlineWorkers(vec![Shard::new(input::WINDOW, KeyLimits::default())]);
    let window = fold(&entries, &mut workers).into_iter().find_map(|epoch| epoch.window).expect("a window closes");
    let enrichment =
        Enrichment { timeline: Timeline::complete(objects()), marked: false, labels: LabelKeys::default() };
    let mut enricher = Enricher::new(&enrichment);
    let mut minute = 0;
    let join = || {
        minute += 1;
        let mut next = ClosedWindow { span: span(minute), ..window.clone() };
        enricher.enrich(&mut next);
        std::hint::black_box(next.flows.len());
    };
    let copy = || {
        std::hint::black_box(window.clone().flows.len());
    };
    let (joined, copied) = measure::pair(ROUNDS, join, copy);
    let fold_again = || {
        std::hint::black_box(fold(&entries, &mut workers).len());
    };
    let (folded, _) = measure::pair(ROUNDS, fold_again, || {
        std::hint::black_box(window.clone().flows.len());
    });
    let join = joined.median.saturating_sub(copied.median).as_secs_f64();
    let share = join / folded.median.as_secs_f64();
    println!(
        "join, {KEYS} keys: {:.0} ns a row with its share of conversations, fold {:.0} ns a flow: {:.1} % of the fold, budget 5 % {}",
        join * 1e9 / KEYS as f64,
        folded.median.as_secs_f64() * 1e9 / (KEYS * input::BUCKETS as usize) as f64,
        share * 100.0,
        if share < 0.05 { "met" } else { "MISSED" },
    );
    let start = std::time::Instant::now();
    Enricher::new(&enrichment).enrich(&mut ClosedWindow { span: span(0), ..window.clone() });
    println!("first window, everything learned and derived: {:?}", start.elapsed());
}

fn span(minute: i64) -> Span {
    let start = EventTime::from_secs(input::START + minute * 60);
    Span::new(start, start.plus(input::WINDOW))
}

/// One pod of many workloads changes its node between two windows of a few rows.
fn one_changed_pod(keys: usize) {
    let pod = |n: usize, node: i64| {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": format!("team-{}", n % 200),
            "name": format!("app-{n}-x"), "generateName": format!("app-{n}-")},
            "spec": {"nodeName": format!("node-{node}")}, "status": {"phase": "Running"}});
        Object::from_json(&value.to_string()).expect("an object").expect("of a kind that is read")
    };
    let changes = (0..keys).map(|n| Change::to(EventTime::MIN, pod(n, 0)));
    let changes = changes.chain([Change::to(span(5).start.plus(input::WINDOW / 2), pod(7, 1))]).collect();
    let mut rows: Vec<_> = (0..keys).map(row).collect();
    rows.sort_by(|a, b| a.key.canonical.cmp(&b.key.canonical));
    let enrichment = Enrichment { timeline: Timeline::complete(changes), marked: false, labels: LabelKeys::default() };
    let mut enricher = Enricher::new(&enrichment);
    for minute in 0..8 {
        let flows = if minute == 0 { rows.clone() } else { rows[..100].to_vec() };
        let span = span(minute);
        let mut window = ClosedWindow { span, coverage: 1.0, identity: None, flows, conversations: vec![] };
        let (before, start) = (enricher.effort(), std::time::Instant::now());
        enricher.enrich(&mut window);
        let (after, took) = (enricher.effort(), start.elapsed());
        println!(
            "minute {minute}: {} rows, {} answers kept, {} invalidated, {took:?}",
            window.flows.len(),
            after.kept,
            after.invalidated - before.invalidated,
        );
    }
}

fn row(n: usize) -> FlowRow {
    let end = |namespace: Option<String>, name: String, kind| Endpoint {
        namespace: namespace.map(Into::into),
        raw_name: name.into(),
        kind,
    };
    let key = FlowKey {
        source: end(Some(format!("team-{}", n % 200)), format!("app-{n}-*"), 1),
        dest: end(None, "pub".into(), 4),
        dest_port: 443,
        protocol: "tcp".into(),
        service: Service::default(),
        reporter: 1,
        action: 1,
        trace: Arc::new(Trace::new(vec![], vec![])),
    };
    let labels = Arc::new(Labels::new(vec![]));
    FlowRow::new(Arc::new(KeyRecord::new(key, true)), labels.clone(), labels, Counters::default())
}
