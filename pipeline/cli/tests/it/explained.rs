//! The policies of a simulated cluster explain what its flows carry: for every row, the model comes to the trace that was on
//! the wire, step by step, and to the same preview.
//!
//! The rows are what the real binary publishes; the objects are the files beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;

use catchment_core::knowledge::Change;
use catchment_core::knowledge::policy::{Action, Protocol};
use catchment_core::{EventTime, Period};
use catchment_kubernetes::{Snapshot, read_changes};
use catchment_simulator::{Options, Scenario};
use catchment_stages::policy::{
    Chain, Connection, Decision, Endpoint, PolicyId, State, Surroundings, TierEnd, Verdict, explain,
};
use serde_json::{Value, json};

use crate::lab::wait_for_windows;
use crate::{Running, binary};

const WINDOWS: usize = 50;
/// A node that counts a flow names what was there when it reports, up to this long after the flow's start.
const REPORTED_WITHIN: i64 = 17;
/// A node whose clock is fast dates its flows so far ahead.
const AHEAD: i64 = 9;

#[test]
fn the_policies_of_the_cluster_explain_every_trace() {
    let (unexplained, all, seen) = compare(Options::default());
    assert_eq!(unexplained.len(), 0, "of {all} rows are not explained, first: {}", unexplained[0].value);
    assert_eq!(seen.shapes, expected_shapes(), "every stance is met, with what it lets through and turns away");
    let moved = ["CalicoNetworkPolicy", "NetworkPolicy", "StagedNetworkPolicy"];
    assert_eq!(seen.moved(), moved.map(str::to_owned).into(), "edits have moved rules of every kind");
    assert!(seen.compared > 5_000 && seen.unknown < seen.compared / 50, "{all} {} {}", seen.compared, seen.unknown);
    println!("{} rows compared, the verdict of {} depends on hidden addresses", seen.compared, seen.unknown);
}

#[test]
fn the_policies_of_the_cluster_explain_what_is_planted_but_for_what_outlived_them() {
    // An edit that has no effect is one that policies do not explain.
    let names = Scenario::all().map(|scenario| scenario.name).filter(|name| *name != "edit-without-effect");
    let scenarios = names.map(str::to_owned).collect();
    let (unexplained, all, seen) = compare(Options { scenarios, plants: 2, ..Options::default() });
    // A connection goes on by a rule that is gone, or from or to pods that are.
    let outlived = |row: &&Row| row.value["num_connections_started"] == 0;
    assert_eq!(unexplained.iter().find(|row| !outlived(row)).map(|row| row.value.to_string()), None, "of {all}");
    assert!(unexplained.iter().any(|row| outlived(&row)) && seen.compared > 5_000, "{all} {}", seen.compared);
}

/// The rows of a simulated cluster that its policies do not explain, how many there are of all, and what was seen.
fn compare(options: Options) -> (Vec<Row>, usize, Seen) {
    let folder = tempfile::tempdir().expect("a folder");
    publish(folder.path(), options);
    let snapshot = Snapshot::read(&[path(folder.path(), "knowledge/objects.json")]).expect("objects");
    let changes = read_changes(&[path(folder.path(), "knowledge/changes.jsonl")]).expect("changes");
    let mut open = rows(&folder.path().join("rows.jsonl"));
    let (all, mut seen) = (open.len(), Seen::default());
    let mut state = State::default();
    for object in &snapshot.objects {
        state.set(object);
    }
    let mut from = i64::MIN;
    for changes in changes.chunk_by(|a, b| a.at == b.at) {
        let until = changes[0].at.secs();
        explain_rows(&mut open, &state, from..until, &mut seen);
        for change in changes {
            apply(&mut state, change);
        }
        from = until;
    }
    explain_rows(&mut open, &state, from..i64::MAX, &mut seen);
    (open, all, seen)
}

/// Runs a pipeline over the history of a simulated cluster, and leaves rows and knowledge in `folder`.
fn publish(folder: &Path, options: Options) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        seed: 4,
        flows_per_second: 25,
        backfill: Period::secs(58 * 60),
        duration: Some(Period::secs(600)),
        knowledge: Some(folder.join("knowledge")),
        ..options
    };
    let collector = runtime.block_on(catchment_simulator::serve(options)).expect("the collector starts");
    let config = format!(
        "cluster: lab\nspool: {{ dir: {0}/spool }}\nsources:\n  calico: {{ type: goldmane, address: 'http://{1}' }}\n\
         sinks:\n  lines: {{ type: jsonl, path: {0}/rows.jsonl, datasets: [flows] }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        folder.display(),
        collector.local_addr()
    );
    let file = folder.join("catchment.yaml");
    fs::write(&file, config).expect("written");
    let run = binary().args(["run", "--config"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut running = Running(run.expect("the binary starts"));
    wait_for_windows(&folder.join("rows.jsonl"), WINDOWS);
    running.stop();
    runtime.block_on(collector.shutdown()).expect("it ends");
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn apply(state: &mut State, change: &Change) {
    match &change.state {
        Some(object) => state.set(object),
        None => state.remove(&change.key),
    }
}

struct Row {
    value: Value,
    start: i64,
    end: i64,
}

impl Row {
    /// Whether it may tell of what was there at that time.
    fn is_within(&self, time: &Range<i64>) -> bool {
        self.start - AHEAD < time.end && time.start < self.end + REPORTED_WITHIN
    }

    fn text(&self, column: &str) -> &str {
        self.value[column].as_str().unwrap_or_default()
    }
}

fn rows(path: &Path) -> Vec<Row> {
    let seconds = |time: &Value| time.as_str().and_then(EventTime::parse_rfc3339).expect("a time").secs();
    let text = fs::read_to_string(path).expect("rows");
    let row = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a row");
        let (start, end) = (seconds(&value["window_start"]), seconds(&value["window_end"]));
        Row { value, start, end }
    };
    text.lines().map(row).collect()
}

/// What the comparison came across.
#[derive(Default)]
struct Seen {
    compared: usize,
    unknown: usize,
    /// What decides, its tier, and what would decide if staged policies counted.
    shapes: BTreeSet<[String; 3]>,
    /// Kind and number of the deciding rule, for every pair of ends, port and reporter.
    rules: BTreeMap<String, BTreeSet<(String, i64)>>,
}

impl Seen {
    fn note(&mut self, row: &Row, verdict: Verdict) {
        self.compared += 1;
        self.unknown += usize::from(verdict == Verdict::Unknown);
        let (enforced, pending) = (last(row, "enforced_policies"), last(row, "pending_policies"));
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.shapes.insert([part(&enforced["kind"]), part(&enforced["tier"]), part(&pending["kind"])]);
        let place = ["source_name", "dest_name", "protocol", "dest_port", "reporter"].map(|c| row.value[c].to_string());
        let rule = (part(&pending["kind"]), pending["rule_index"].as_i64().expect("a number"));
        self.rules.entry(place.concat()).or_default().insert(rule);
    }

    /// Kinds of policies whose rules have had more than one number for one and the same traffic.
    fn moved(&self) -> BTreeSet<String> {
        let of_kind = |rules: &BTreeSet<(String, i64)>, kind: &str| rules.iter().filter(|rule| rule.0 == kind).count();
        let kinds = self.rules.values().flatten().map(|(kind, _)| kind);
        kinds.filter(|kind| self.rules.values().any(|rules| of_kind(rules, kind) > 1)).cloned().collect()
    }
}

fn expected_shapes() -> BTreeSet<[String; 3]> {
    let shapes = [
        ["Profile", "", "Profile"],
        ["NetworkPolicy", "default", "NetworkPolicy"],
        ["EndOfTier", "default", "EndOfTier"],
        ["CalicoNetworkPolicy", "application", "CalicoNetworkPolicy"],
        ["EndOfTier", "application", "EndOfTier"],
        ["Profile", "", "StagedNetworkPolicy"],
        ["Profile", "", "EndOfTier"],
    ];
    shapes.map(|shape| shape.map(str::to_owned)).into()
}

fn last(row: &Row, column: &str) -> Value {
    row.value[column].as_array().and_then(|hits| hits.last()).cloned().expect("every flow carries a trace")
}

/// Takes out the rows that the cluster explains as it is in `state`, from when to when.
fn explain_rows(rows: &mut Vec<Row>, state: &State, time: Range<i64>, seen: &mut Seen) {
    let surroundings = state.surroundings();
    rows.retain(|row| !row.is_within(&time) || !is_explained(state, &surroundings, row, seen));
}

/// Whether the policies as they are in `state` say of the row's traffic what the row says.
fn is_explained(state: &State, surroundings: &Surroundings, row: &Row, seen: &mut Seen) -> bool {
    let ends = ["source", "dest"].map(|end| endpoint(state, surroundings, row, end));
    let [Some(source), Some(dest)] = ends else { return false };
    let protocol: Protocol = row.text("protocol").parse().expect("a protocol");
    let port = row.value["dest_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let told = explain(state.policies(), surroundings, &source, &dest, &Connection::new(protocol, port));
    let chain = if row.value["reporter"] == "Src" { told.egress } else { told.ingress };
    let verdict = match chain.verdict {
        Verdict::Allow => row.value["action"] == "Allow",
        Verdict::Deny => row.value["action"] == "Deny",
        Verdict::Unknown => chain.tiers.iter().flat_map(|tier| &tier.policies).any(|policy| !policy.unknown.is_empty()),
    };
    let pending = match &chain.pending {
        Some(preview) => decision(state, &preview.decided_by),
        None => decision(state, &chain.decided_by),
    };
    let enforced: Vec<_> = row.value["enforced_policies"].as_array().expect("a list").iter().map(hit).collect();
    let is_same = verdict && steps(state, &chain) == enforced && pending == hit(&last(row, "pending_policies"));
    if is_same {
        seen.note(row, chain.verdict);
    }
    is_same
}

/// The end of a row as the cluster knows it; `None` if there is no such pod now.
fn endpoint(state: &State, surroundings: &Surroundings, row: &Row, end: &str) -> Option<Endpoint> {
    let namespace = row.text(&format!("{end}_namespace"));
    let name = row.text(&format!("{end}_name_raw"));
    match row.text(&format!("{end}_type")) {
        "WorkloadEndpoint" => {
            let named = |pod: &&catchment_core::knowledge::workload::Pod| match name.strip_suffix('*') {
                Some(prefix) => pod.metadata.generate_name == *prefix,
                None => pod.metadata.name == *name,
            };
            let pod = state.pods().filter(|pod| pod.metadata.namespace == *namespace).find(named)?;
            state.pod(namespace, &pod.metadata.name)
        }
        "NetworkSet" => {
            let set = surroundings.sets.iter().find(|set| set.name == name && set.namespace == namespace);
            Some(set.expect("the set is known").endpoint())
        }
        _ => Some(Endpoint::address(name, address(name).into_iter().collect())),
    }
}

/// What a network of the simulated cluster stands for; a flow log hides it.
fn address(name: &str) -> Option<IpAddr> {
    match name {
        "pvt" => Some(IpAddr::from([172, 16, 0, 10])),
        "pub" => Some(IpAddr::from([203, 0, 114, 10])),
        _ => None,
    }
}

/// What is compared of a step of a trace.
fn hit(hit: &Value) -> Value {
    let trigger = &hit["trigger"];
    let trigger = ["kind", "namespace", "name"].map(|part| &trigger[part]);
    json!([hit["kind"], hit["namespace"], hit["name"], hit["tier"], hit["action"], hit["rule_index"], trigger])
}

/// The steps that a flow log would show: how every tier ends that is asked, and the profile where none decides.
fn steps(state: &State, chain: &Chain) -> Vec<Value> {
    let ends = chain.tiers.iter().filter(|tier| tier.reached).filter_map(|tier| match &tier.end {
        TierEnd::Rule(rule) => Some(decision(state, &Decision::Rule(rule.clone()))),
        TierEnd::EndOfTier { action, trigger } => Some(end_of_tier(&tier.tier, *action, trigger)),
        TierEnd::Open => None,
    });
    let profile = matches!(chain.decided_by, Decision::Profile { .. }).then(|| decision(state, &chain.decided_by));
    ends.chain(profile).collect()
}

fn decision(state: &State, decision: &Decision) -> Value {
    match decision {
        Decision::Rule(rule) => {
            let (PolicyId { kind, namespace, name }, policy) = (&rule.policy, state.policies().policy(&rule.policy));
            let tier = &policy.expect("who decides is there").tier;
            let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
            json!([kind, namespace, name, tier, rule.action, rule.rule_index, NOBODY])
        }
        Decision::EndOfTier { tier, trigger } => end_of_tier(tier, Action::Deny, trigger),
        Decision::Profile { name } => json!(["Profile", null, name, null, "Allow", 0, NOBODY]),
        other => panic!("no trace of a workload ends like this: {other:?}"),
    }
}

const NOBODY: [Option<&str>; 3] = [None; 3];

fn end_of_tier(tier: &str, action: Action, trigger: &PolicyId) -> Value {
    let namespace = Some(&trigger.namespace).filter(|namespace| !namespace.is_empty());
    json!(["EndOfTier", null, null, tier, action, -1, [json!(trigger.kind), json!(namespace), json!(trigger.name)]])
}
