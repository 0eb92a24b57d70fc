//! Who talked: what the join adds to the fold of a window, and what one changed pod costs.

use std::sync::Arc;

use catchment_benches::{input, measure, stream};
use catchment_core::knowledge::{Change, Object};
use catchment_core::{
    ClosedWindow, Counters, Endpoint, Entry, Epoch, EventTime, FlowKey, FlowRow, KeyRecord, Labels, LogPosition,
    Logged, PartitionId, Service, Span, Trace,
};
use catchment_stages::enrich::{Enricher, Enrichment, LabelKeys, Timeline};
use catchment_stages::{Folder, InlineWorkers, KeyLimits, Resume, Settings, Shard};
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

/// Folds window after window of one stream.
struct Line {
    folder: Folder,
    workers: InlineWorkers,
    next: u64,
    entries: Vec<Entry>,
}

impl Line {
    fn new(enrichment: Option<Enrichment>, entries: &[Entry]) -> Self {
        let limits = KeyLimits::default();
        let partitions = vec![PartitionId(0)];
        let settings = Settings { stream: stream(), window: input::WINDOW, partitions, limits, enrichment };
        let workers = InlineWorkers(vec![Shard::new(input::WINDOW, limits)]);
        let folder = Folder::new(settings, &Resume::from_start(LogPosition(0)));
        Self { folder, workers, next: 0, entries: entries.to_vec() }
    }

    fn window(&mut self) -> Vec<Epoch> {
        let mut epochs = Vec::new();
        for entry in self.entries.clone() {
            epochs.extend(self.folder.entry(Logged { position: LogPosition(self.next), entry }, &mut self.workers));
            self.next += 1;
        }
        epochs
    }
}

/// A window that follows its like, as most do, and the first one, for which everything is learned and derived.
fn join_beside_fold() {
    let entries = input::window(KEYS, input::list);
    let timeline = Timeline::complete(objects());
    let enrichment = Enrichment { timeline, marked: false, labels: LabelKeys::default() };
    let rows = folded_rows(&entries);
    let mut enricher = Enricher::new(&enrichment);
    let mut minute = 0;
    let mut enrich = || {
        minute += 1;
        let start = EventTime::from_secs(input::START + minute * 60);
        let flows = rows.clone();
        let mut window = ClosedWindow {
            span: Span::new(start, start.plus(input::WINDOW)),
            coverage: 1.0,
            identity: None,
            flows,
            conversations: vec![],
        };
        enricher.enrich(&mut window);
        std::hint::black_box(window.flows.len());
    };
    let fold = || {
        std::hint::black_box(Line::new(None, &entries).window().len());
    };
    let (joined, folded) = measure::pair(ROUNDS, &mut enrich, fold);
    let clone = || {
        std::hint::black_box(rows.clone().len());
    };
    let (cloned, _) = measure::pair(ROUNDS, clone, || drop(std::hint::black_box(rows.clone())));
    let share = (joined.median.as_secs_f64() - cloned.median.as_secs_f64()) / folded.median.as_secs_f64();
    println!(
        "join, {KEYS} keys: {:.0} ns a row ({:.0} of them the copy that is joined), fold {:.0} ns a flow: {:.1} % of the fold, budget 5 % {}",
        joined.median.as_secs_f64() * 1e9 / KEYS as f64,
        cloned.median.as_secs_f64() * 1e9 / KEYS as f64,
        folded.median.as_secs_f64() * 1e9 / (KEYS * input::BUCKETS as usize) as f64,
        share * 100.0,
        if share < 0.05 { "met" } else { "MISSED" },
    );
    let first = || {
        let epochs = Line::new(Some(enrichment.clone()), &entries).window();
        std::hint::black_box(epochs.len());
    };
    let (with, without) = measure::pair(ROUNDS, first, || {
        std::hint::black_box(Line::new(None, &entries).window().len());
    });
    println!(
        "first window, everything learned and derived: {:.1} ms over {:.1} ms without",
        with.median.as_secs_f64() * 1e3,
        without.median.as_secs_f64() * 1e3,
    );
}

fn folded_rows(entries: &[Entry]) -> Vec<FlowRow> {
    let epochs = Line::new(None, entries).window();
    epochs.into_iter().filter_map(|epoch| epoch.window).flat_map(|window| window.flows).collect()
}

/// One pod of many workloads changes its node between two windows.
fn one_changed_pod(keys: usize) {
    let pod = |n: usize, node: i64| {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": format!("team-{}", n % 200),
            "name": format!("app-{n}-x"), "generateName": format!("app-{n}-")},
            "spec": {"nodeName": format!("node-{node}")}, "status": {"phase": "Running"}});
        Object::from_json(&value.to_string()).expect("an object").expect("of a kind that is read")
    };
    let timeline = Timeline::complete((0..keys).map(|n| Change::to(EventTime::MIN, pod(n, 0))).collect());
    let mut rows: Vec<_> = (0..keys).map(row).collect();
    rows.sort_by(|a, b| a.key.canonical.cmp(&b.key.canonical));
    let mut enricher =
        Enricher::new(&Enrichment { timeline: timeline.clone(), marked: false, labels: LabelKeys::default() });
    let window = |minute: i64, flows: Vec<FlowRow>| {
        let start = EventTime::from_secs(input::START + minute * 60);
        ClosedWindow {
            span: Span::new(start, start.plus(input::WINDOW)),
            coverage: 1.0,
            identity: None,
            flows,
            conversations: vec![],
        }
    };
    enricher.enrich(&mut window(0, rows.clone()));
    let before = enricher.effort();
    let mut minute = 0;
    let mut quiet = || {
        minute += 1;
        // Few rows, so that what the change costs is not lost among them.
        enricher.enrich(&mut window(minute, rows[..100].to_vec()));
    };
    let start = std::time::Instant::now();
    (0..9).for_each(|_| quiet());
    let quiet = start.elapsed() / 9;
    println!("a window of 100 rows at {} kept answers: {quiet:?}", before.kept);
    let mut enricher = Enricher::new(&Enrichment {
        timeline: Timeline::restored(
            timeline
                .whole()
                .0
                .into_iter()
                .chain([Change::to(EventTime::from_secs(input::START + 90), pod(7, 1))])
                .collect(),
            EventTime::MAX,
            Vec::new(),
        ),
        marked: false,
        labels: LabelKeys::default(),
    });
    enricher.enrich(&mut window(0, rows.clone()));
    let before = enricher.effort();
    let start = std::time::Instant::now();
    enricher.enrich(&mut window(1, rows[..100].to_vec()));
    let elapsed = start.elapsed();
    let after = enricher.effort();
    println!(
        "one changed pod at {} kept answers: {} invalidated, {elapsed:?} with its window of 100 rows",
        before.kept,
        after.invalidated - before.invalidated,
    );
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
    FlowRow {
        key: Arc::new(KeyRecord::new(key, true)),
        source_labels: labels.clone(),
        dest_labels: labels,
        counters: Counters::default(),
        records: 1,
        buckets: 1,
        labels_varied: false,
        trace_split: false,
        ends: None,
        services: None,
    }
}
