//! What is planted shows as told, from the moment that is told, and a calm cluster shows nothing of weight.

use std::collections::{BTreeMap, BTreeSet};

use catchment_core::knowledge::{Change, Kind, Object};
use catchment_core::{EventTime, Period};
use catchment_schemas::goldmane::{Action, Flow, FlowKey, FlowListResult, PolicyHit, PolicyKind, Reporter};
use catchment_simulator::{Offline, Options, Plant, Scenario};
use prost::Message as _;
use serde_json::Value;

const HOUR: u64 = 3600;
const PLANTS: u32 = 4;
/// A row may begin this long before its first packet: nodes report from their last flush on, into the bucket of that time.
const EARLY: i64 = 32;
/// What is planted is seen two flushes later at the latest.
const SEEN_SECS: i64 = 50;

/// All that a run of a simulated cluster tells.
struct Run {
    plants: Vec<Plant>,
    changes: Vec<Change>,
    flows: Vec<Flow>,
}

fn options(scenarios: &[&str], hours: u64) -> Options {
    Options {
        flows_per_second: 4,
        late_share: 0.0,
        duration: Some(Period::secs(hours * HOUR)),
        plants: PLANTS,
        scenarios: scenarios.iter().map(ToString::to_string).collect(),
        ..Options::default()
    }
}

fn run(options: &Options) -> Run {
    let offline = Offline::new(options).expect("a simulation");
    let (plants, changes) = (offline.plants().to_vec(), offline.changes().expect("changes"));
    let list = |message: Vec<u8>| FlowListResult::decode(&*message).expect("a list").flows;
    let flows = offline.flat_map(|bucket| list(bucket.message)).filter_map(|row| row.flow).collect();
    Run { plants, changes, flows }
}

fn key(flow: &Flow) -> &FlowKey {
    flow.key.as_ref().expect("a key")
}

fn last(hits: &[PolicyHit]) -> &PolicyHit {
    hits.last().expect("every trace has a step")
}

fn enforced(flow: &Flow) -> &PolicyHit {
    last(&key(flow).policies.as_ref().expect("a trace").enforced_policies)
}

fn pending(flow: &Flow) -> &PolicyHit {
    last(&key(flow).policies.as_ref().expect("a trace").pending_policies)
}

fn requests(flow: &Flow) -> i64 {
    if key(flow).reporter() == Reporter::Src { flow.packets_out } else { flow.packets_in }
}

fn replies(flow: &Flow) -> i64 {
    if key(flow).reporter() == Reporter::Src { flow.packets_in } else { flow.packets_out }
}

fn is_allowed(flow: &Flow) -> bool {
    key(flow).action() == Action::Allow
}

/// Whether an end of a flow is what a subject names.
fn is_end(subject: &Value, namespace: &str, name: &str, (in_namespace, wire): (&str, &str)) -> bool {
    let shown = match wire {
        "pvt" => "PRIVATE NETWORK",
        "pub" => "PUBLIC NETWORK",
        wire => wire,
    };
    let wanted = subject[name].as_str().unwrap_or_default();
    let is_named = shown == wanted || shown.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-'));
    is_named && subject[namespace].as_str().unwrap_or("-") == in_namespace
}

/// Whether a flow is of what a plant is about.
fn is_about(plant: &Plant, flow: &Flow) -> bool {
    let (subject, key) = (&plant.subject, key(flow));
    let source = (key.source_namespace.as_str(), key.source_name.as_str());
    let dest = (key.dest_namespace.as_str(), key.dest_name.as_str());
    if subject["source"].is_string() {
        let is_port = subject["dest_port"] == key.dest_port && subject["protocol"] == key.proto;
        return is_port
            && is_end(subject, "source_namespace", "source", source)
            && is_end(subject, "dest_namespace", "dest", dest);
    }
    if let Some(policy) = subject["policy"].as_str() {
        let trace = key.policies.as_ref().expect("a trace");
        let hits = trace.enforced_policies.iter().chain(&trace.pending_policies);
        let hits = hits.flat_map(|hit| [Some(hit), hit.trigger.as_deref()]).flatten();
        return hits.into_iter().any(|hit| policy == format!("{}/{}", hit.namespace, hit.name) || policy == hit.name);
    }
    // Whoever answers is met where requests come in.
    let is_ingress = subject["direction"] == "ingress" || plant.kind == "trust.unexpected-destination-identity";
    let (reporter, end) = if is_ingress { (Reporter::Dst, dest) } else { (Reporter::Src, source) };
    let is_named = subject["workload"].is_null() || is_end(subject, "namespace", "workload", end);
    key.reporter() == reporter && is_named && subject["namespace"] == end.0
}

/// What a flow that shows a plant looks like; `None` for kinds that objects show.
fn shows(kind: &str) -> Option<fn(&Flow) -> bool> {
    let shows: fn(&Flow) -> bool = match kind {
        "policy.no-policy" => |f| is_allowed(f) && enforced(f).kind() == PolicyKind::Profile,
        "policy.implicit-deny" => |f| !is_allowed(f) && enforced(f).kind() == PolicyKind::EndOfTier && requests(f) > 0,
        "policy.explicit-deny" => |f| !is_allowed(f) && enforced(f).rule_index == 1 && requests(f) > 0,
        "policy.staged-would-deny" => |f| is_allowed(f) && pending(f).action() == Action::Deny,
        "policy.staged-would-allow" => |f| !is_allowed(f) && pending(f).kind() == PolicyKind::StagedNetworkPolicy,
        "policy.stale-verdict" => |f| is_allowed(f) && pending(f) != enforced(f) && f.num_connections_started == 0,
        "policy.public-exposure" => |f| is_allowed(f) && key(f).source_name == "pub",
        "trust.default-service-account" | "trust.wrong-service-account" | "trust.unexpected-destination-identity" => {
            |f| is_allowed(f) && replies(f) > 0
        }
        "trust.cross-environment" | "trust.cross-namespace" | "trust.unintended-path" => {
            |f| is_allowed(f) && key(f).source_namespace != key(f).dest_namespace
        }
        "asymmetry.no-response" => |f| {
            is_allowed(f)
                && replies(f) == 0
                && f.num_connections_started > 0
                && requests(f) >= 2 * f.num_connections_started
        },
        "asymmetry.no-ack" => |f| key(f).reporter() == Reporter::Src && replies(f) == 0 && requests(f) > 0,
        "asymmetry.never-established" => |f| {
            let only_in_it = f.num_connections_live == f.num_connections_started;
            only_in_it
                && f.num_connections_started > 0
                && f.num_connections_completed == 0
                && f.bytes_in + f.bytes_out <= 100 * f.num_connections_started
        },
        "asymmetry.denied-at-destination" => |f| !is_allowed(f) && key(f).reporter() == Reporter::Dst,
        "private.unpoliced-egress" => |f| is_allowed(f) && key(f).dest_name == "pvt",
        "private.metadata-access" => |f| key(f).dest_name == "cloud-metadata" && key(f).dest_port == 80,
        "private.workload-credentials" => |f| key(f).dest_name == "workload-credentials" && key(f).dest_port == 80,
        "private.scan" => |f| replies(f) == 0 && requests(f) == 1 && f.num_connections_started == 1,
        "zombie.source-gone" | "zombie.destination-gone" => {
            |f| f.num_connections_started == 0 && f.num_connections_live > 0 && requests(f).min(replies(f)) == 0
        }
        "zombie.long-lived" => |f| f.num_connections_live > 0 && f.num_connections_started == 0,
        "zombie.background-chatter" => |f| f.bytes_out <= 300 && f.num_connections_live == 1 && requests(f) > 0,
        _ => return None,
    };
    Some(shows)
}

#[test]
fn every_scenario_plants_what_it_says_as_often_as_asked_one_after_the_other() {
    for scenario in Scenario::all().filter(|scenario| !scenario.kind.is_empty()) {
        let hours = if ["unused", "new-service-account"].contains(&scenario.name) { 24 * 8 } else { 3 };
        let offline = Offline::new(&options(&[scenario.name], hours)).expect("a simulation");
        let planted = offline.plants().iter().filter(|plant| plant.scenario == scenario.name);
        let own: Vec<_> = planted.filter(|plant| plant.kind == scenario.kind).collect();
        assert!(own.len() >= PLANTS as usize, "{}: {own:?}", scenario.name);
        let subjects: BTreeSet<_> = own.iter().map(|plant| plant.subject.to_string()).collect();
        assert_eq!(subjects.len(), own.len(), "{}", scenario.name);
        if scenario.name != "unused" {
            let moments: BTreeSet<_> = own.iter().map(|plant| plant.from).collect();
            assert_eq!(moments.len(), PLANTS as usize, "{}", scenario.name);
        }
        assert!(own.iter().all(|plant| plant.until.is_none_or(|until| until > plant.from)));
    }
}

#[test]
fn what_flows_show_they_show_from_the_moment_that_is_told_and_not_before() {
    let run = run(&Options { plants: 2, ..options(&["all"], 2) });
    let mut met = BTreeSet::new();
    for plant in &run.plants {
        let Some(shows) = shows(plant.kind) else { continue };
        let is_shown = |flow: &&Flow| is_about(plant, flow) && shows(flow);
        let (from, flows) = (plant.from.secs(), run.flows.iter());
        let seen: Vec<_> = flows.filter(is_shown).map(|flow| flow.start_time).collect();
        // Of some kinds the moment is that at which it has lasted long enough.
        let waits = matches!(plant.kind, "zombie.source-gone" | "zombie.destination-gone" | "zombie.long-lived");
        let waits_until = from + if plant.kind == "zombie.background-chatter" { 75 } else { SEEN_SECS };
        assert!(seen.iter().any(|at| (from - EARLY..waits_until).contains(at)), "{plant:?} is not seen: {seen:?}");
        let before = seen.iter().find(|at| **at < from - EARLY);
        assert!(waits || plant.scenario == "ordinary" || before.is_none(), "{plant:?} is seen at {before:?}");
        let after = plant.until.and_then(|until| seen.iter().find(|at| **at > until.secs()));
        assert_eq!(after, None, "{plant:?} goes on");
        met.insert(plant.kind);
    }
    assert_eq!(met.len(), 25, "{met:?}");
}

#[test]
fn a_silent_pair_was_answered_before_and_is_again_when_it_ends() {
    let run = run(&options(&["no-response"], 3));
    let plant = run.plants.iter().find(|plant| plant.kind == "asymmetry.no-response" && plant.until.is_some());
    let plant = plant.expect("one that ends");
    let answered: BTreeSet<_> =
        run.flows.iter().filter(|f| is_about(plant, f) && replies(f) > 0).map(|f| f.start_time).collect();
    let (from, until) = (plant.from.secs(), plant.until.expect("an end").secs());
    assert!(answered.iter().any(|at| *at < from - EARLY) && answered.iter().any(|at| *at > until));
    assert!(!answered.iter().any(|at| (from..until - EARLY).contains(at)));
}

#[test]
fn what_leaves_the_server_of_a_pair_without_ack_is_counted_there() {
    let run = run(&options(&["no-ack"], 1));
    let plant = run.plants.iter().find(|plant| plant.kind == "asymmetry.no-ack").expect("a plant");
    let at_server = run.flows.iter().filter(|f| is_about(plant, f) && key(f).reporter() == Reporter::Dst);
    let ill: Vec<_> = at_server.filter(|f| f.start_time > plant.from.secs()).collect();
    assert!(ill.len() > 20 && ill.iter().all(|f| replies(f) > 0));
}

#[test]
fn one_end_alone_reports_a_pair_that_is_one_sided() {
    let run = run(&options(&["one-sided-report"], 1));
    let plant = run.plants.iter().find(|plant| plant.kind == "asymmetry.one-sided-report").expect("a plant");
    let after = |f: &&Flow| is_about(plant, f) && f.start_time > plant.from.secs();
    let reporters: BTreeSet<_> =
        run.flows.iter().filter(after).map(|f| (key(f).reporter() as i32, replies(f) > 0)).collect();
    assert_eq!(reporters, BTreeSet::from([(Reporter::Src as i32, true)]));
}

#[test]
fn pods_of_a_zombie_are_gone_a_minute_and_a_half_before_it_counts() {
    for (name, end) in [("source-gone", "source"), ("destination-gone", "dest")] {
        let run = run(&options(&[name], 1));
        for plant in run.plants.iter().filter(|plant| plant.scenario == name) {
            let (namespace, app) = (&plant.subject[format!("{end}_namespace")], &plant.subject[end]);
            let is_old = |change: &&Change| {
                change.key.kind == Kind::Pod
                    && *namespace == *change.key.namespace
                    && change.key.name.starts_with(app.as_str().expect("a name"))
            };
            let gone = run.changes.iter().filter(is_old).find(|change| change.state.is_none()).expect("it goes");
            assert_eq!(gone.at.plus(90_000_000), plant.from);
        }
    }
}

#[test]
fn objects_of_what_only_they_show_are_there_when_that_is_told() {
    let run = run(&options(&["broad-allow", "shadowed", "staged-forgotten", "service-without-endpoints"], 2));
    let objects = |secs: i64| -> BTreeMap<_, &Object> {
        let mut objects = BTreeMap::new();
        for change in run.changes.iter().filter(|change| change.at.secs() <= secs) {
            match &change.state {
                Some(object) => objects.insert(change.key.clone(), object),
                None => objects.remove(&change.key),
            };
        }
        objects
    };
    for plant in run.plants.iter().filter(|plant| plant.scenario != "ordinary") {
        let (before, then) = (objects(plant.from.secs() - 1), objects(plant.from.secs()));
        let name = plant.subject["policy"].as_str().map_or_else(
            || (plant.subject["namespace"].as_str(), plant.subject["service"].as_str()),
            |policy| policy.split_once('/').map_or((None, None), |(namespace, name)| (Some(namespace), Some(name))),
        );
        let is_named = |key: &catchment_core::knowledge::Key| {
            Some(&*key.namespace) == name.0 && Some(key.name.trim_end_matches("-1")) == name.1
        };
        let named = |objects: &BTreeMap<_, &Object>| -> Vec<String> {
            objects.iter().filter(|(key, _)| is_named(key)).map(|(_, object)| format!("{object:?}")).collect()
        };
        assert!(!named(&then).is_empty(), "{plant:?}");
        assert!(plant.kind == "policy.staged-forgotten" || named(&before) != named(&then), "{plant:?}");
    }
}

#[test]
fn a_staged_policy_is_forgotten_seven_days_after_it_was_made() {
    let run = run(&options(&["staged-forgotten"], 1));
    let week = Period::secs(7 * 24 * HOUR).micros();
    let made: BTreeSet<_> = run
        .changes
        .iter()
        .filter(|c| c.key.kind == Kind::StagedNetworkPolicy && &*c.key.name == "ready")
        .map(|c| c.at.plus(week))
        .collect();
    let told: BTreeSet<_> = run.plants.iter().filter(|p| p.kind == "policy.staged-forgotten").map(|p| p.from).collect();
    assert_eq!((told.len(), told), (PLANTS as usize, made));
}

#[test]
fn a_selector_that_slips_is_told_an_hour_after_it_was_written() {
    let run = run(&options(&["label-mismatch"], 3));
    let mut rules = 0;
    for plant in run.plants.iter().filter(|plant| plant.kind == "policy.label-mismatch") {
        let policy = plant.subject["policy"].as_str().expect("a policy");
        let made = run.changes.iter().find(|c| format!("{}/{}", c.key.namespace, c.key.name) == policy);
        assert_eq!(made.expect("it is made").at.plus(3_600_000_000), plant.from);
        rules += usize::from(plant.subject["rule"] == "ingress[0]");
    }
    assert_eq!(rules, 1, "one of three variants is a rule");
}

#[test]
fn a_scan_tries_many_ports_within_a_minute() {
    let run = run(&options(&["scan"], 1));
    for plant in run.plants.iter().filter(|plant| plant.kind == "private.scan") {
        let from = plant.from.secs();
        let first =
            run.flows.iter().filter(|f| is_about(plant, f) && (from - EARLY..from + 45).contains(&f.start_time));
        let ports: BTreeSet<_> = first.map(|f| key(f).dest_port).collect();
        assert!(ports.len() >= 50, "{plant:?} {ports:?}");
    }
}

#[test]
fn a_calm_cluster_shows_nothing_of_weight() {
    for seed in [1, 2, 3] {
        let run = run(&Options { flows_per_second: 40, seed, ..options(&["calm"], 1) });
        let kinds: BTreeSet<_> = run.plants.iter().map(|plant| plant.kind).collect();
        let light = ["policy.implicit-deny", "policy.no-policy", "policy.staged-would-deny"];
        assert!(kinds.is_subset(&light.into()), "{kinds:?}");
        let mut ends: BTreeMap<String, [bool; 2]> = BTreeMap::new();
        for flow in &run.flows {
            let (key, is_used) = (key(flow), requests(flow) > 0);
            assert!(!is_allowed(flow) || !is_used || replies(flow) > 0, "{flow:?}");
            assert!(key.source_name != "pub" || key.dest_namespace == "ingress" || !is_allowed(flow), "{flow:?}");
            let is_pair = key.source_namespace != "-" && key.dest_namespace != "-" && is_allowed(flow);
            if is_pair && key.dest_type() == catchment_schemas::goldmane::EndpointType::WorkloadEndpoint {
                let pair = format!("{} {} {} {}", key.source_name, key.dest_name, key.dest_port, key.proto);
                ends.entry(pair).or_default()[usize::from(key.reporter() == Reporter::Dst)] = true;
            }
        }
        let one_sided: Vec<_> = ends.iter().filter(|(_, seen)| **seen != [true, true]).collect();
        assert!(ends.len() > 50 && one_sided.is_empty(), "{one_sided:?}");
    }
}

#[test]
fn what_the_ordinary_cluster_shows_is_told() {
    let run = run(&Options { flows_per_second: 40, ..options(&[], 1) });
    for plant in &run.plants {
        let shows = shows(plant.kind).expect("a kind that flows show");
        assert!(run.flows.iter().any(|flow| is_about(plant, flow) && shows(flow)), "{plant:?}");
    }
    let is_told = |kind, flow: &Flow| run.plants.iter().any(|plant| plant.kind == kind && is_about(plant, flow));
    for flow in run.flows.iter().filter(|flow| !is_allowed(flow)) {
        assert!(is_told("policy.implicit-deny", flow), "{flow:?}");
    }
    for flow in run.flows.iter().filter(|flow| enforced(flow).kind() == PolicyKind::Profile) {
        assert!(is_told("policy.no-policy", flow), "{flow:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_and_another_one_names_others() {
    let bytes = |seed| -> Vec<Vec<u8>> {
        let offline = Offline::new(&Options { seed, ..options(&["all"], 1) }).expect("a simulation");
        offline.map(|bucket| bucket.message).collect()
    };
    let plants = |seed| {
        let offline = Offline::new(&Options { seed, ..options(&["all"], 1) }).expect("a simulation");
        let plants: Vec<_> = offline.plants().iter().map(Plant::to_line).collect();
        (plants, offline.changes().expect("changes").len())
    };
    assert_eq!(bytes(1), bytes(1));
    assert_eq!(plants(1), plants(1));
    let subjects = |seed| -> BTreeSet<String> {
        let offline = Offline::new(&Options { seed, ..options(&["no-ack"], 1) }).expect("a simulation");
        offline.plants().iter().filter(|p| p.scenario == "no-ack").map(|p| p.subject.to_string()).collect()
    };
    assert!(subjects(1).is_disjoint(&subjects(2)));
}

#[test]
fn habits_show_and_plant_nothing() {
    let names = [
        "snat",
        "host-network",
        "dns-cache",
        "deny-repeats",
        "missing-reporter",
        "ebpf",
        "clock-skew",
        "node-restarts",
    ];
    let run = run(&options(&names, 1));
    assert!(run.plants.iter().all(|plant| plant.scenario == "ordinary"));
    let any = |test: &dyn Fn(&Flow) -> bool| run.flows.iter().any(test);
    assert!(any(&|f| !is_allowed(f) && requests(f) == 0 && f.num_connections_live == 0));
    assert!(any(&|f| key(f).source_name == "pvt" && key(f).dest_name.starts_with("api-")));
    assert!(any(&|f| key(f).dest_name == "pvt" && key(f).dest_port == 10250));
    assert!(any(&|f| key(f).dest_name == "pub" && key(f).dest_port == 53));
}

#[test]
fn an_unknown_scenario_is_refused_with_the_way_to_the_list() {
    let told = Offline::new(&options(&["no-pollicy"], 1)).err().expect("refused").message;
    assert!(told.contains("no-pollicy") && told.contains("--scenario list"), "{told}");
    assert_eq!(Scenario::named(["policy.no-policy"]).expect("a kind")[0].name, "no-policy");
    assert!(Scenario::named(["calm"]).expect("a name").is_empty());
}

#[test]
fn a_plant_is_a_line_that_says_what_when_and_why() {
    let run = run(&options(&["no-ack"], 1));
    let plant = run.plants.iter().find(|plant| plant.scenario == "no-ack").expect("a plant");
    let line: Value = serde_json::from_str(&plant.to_line()).expect("JSON");
    let told = line["from"].as_str().and_then(EventTime::parse_rfc3339);
    assert_eq!((&line["kind"], told, &line["until"]), (&"asymmetry.no-ack".into(), Some(plant.from), &Value::Null));
    assert_eq!(line["subject"], plant.subject);
}

#[test]
fn the_page_lists_every_scenario() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulator.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let listed: BTreeSet<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |s: &Scenario| match s.kind {
        "" => format!("| `{}` | {} |", s.name, s.doc),
        kind => format!("| `{}` | `{kind}` | {} |", s.name, s.doc),
    };
    let rows: BTreeSet<String> = Scenario::all().map(row).collect();
    assert_eq!(listed, rows.iter().map(String::as_str).collect());
    for config in Scenario::all().flat_map(|scenario| scenario.config.lines()) {
        assert!(page.contains(&format!("    {config}\n")), "{config}");
    }
}
