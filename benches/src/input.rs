//! Flows of a made-up cluster, as the collector encodes them.
//!
//! A key and its labels take about 700 bytes, as measured on a real collector with long workload
//! names, a dozen labels and a trace of three hits. Both reporters see every connection.

use bytes::Bytes;
use catchment_core::{Encoding, Entry, EventTime, FlowsEntry, PartitionId, Purpose, Span};
use catchment_schemas::goldmane::{Flow, FlowKey, FlowListResult, FlowResult, PolicyHit, PolicyTrace};
use prost::Message as _;
use serde_json::json;

/// 2026-01-01T00:00:00Z, the start of a window.
pub const START: i64 = 1_767_225_600;
/// Buckets of the collector in a window.
pub const BUCKETS: i64 = 4;
/// Width of the windows in microseconds.
pub const WINDOW: i64 = 60_000_000;

const BUCKET_SECS: i64 = 15;

/// Flow number `n` in bucket `bucket` of the first window.
pub fn flow(n: usize, bucket: i64) -> Flow {
    let (pair, reporter) = (n / 2, 1 + (n % 2) as i32);
    let amount = (n as i64 * 37 + bucket * 11) % 9000 + 1;
    Flow {
        key: Some(key(pair, reporter)),
        start_time: START + bucket * BUCKET_SECS,
        end_time: START + (bucket + 1) * BUCKET_SECS,
        source_labels: labels("frontend", pair % 400),
        dest_labels: labels("backend", pair % 250),
        packets_in: amount,
        packets_out: amount + 3,
        bytes_in: amount * 812,
        bytes_out: amount * 96,
        num_connections_started: amount % 7,
        num_connections_completed: amount % 5,
        num_connections_live: amount % 11 + 1,
    }
}

fn key(pair: usize, reporter: i32) -> FlowKey {
    let (client, server) = (pair % 400, pair % 250);
    FlowKey {
        source_name: format!("checkout-frontend-{client}-7d4b9c6f5-*"),
        source_namespace: format!("team-shopping-{}", client % 40),
        source_type: 1,
        dest_name: format!("inventory-backend-{server}-5f6c8d9b7-*"),
        dest_namespace: format!("team-warehouse-{}", server % 25),
        dest_type: 1,
        // The pair's number beyond the workloads tells ports apart, so keys stay distinct at any count.
        dest_port: 8000 + (pair / 2000) as i64,
        dest_service_name: format!("inventory-backend-{server}"),
        dest_service_namespace: format!("team-warehouse-{}", server % 25),
        dest_service_port_name: "http".into(),
        dest_service_port: 80,
        proto: "tcp".into(),
        reporter,
        action: 1,
        policies: Some(trace(pair % 60)),
    }
}

fn trace(n: usize) -> PolicyTrace {
    let hit = |index, kind, tier: &str, name: String, action| PolicyHit {
        kind,
        namespace: format!("team-warehouse-{}", n % 25),
        name,
        tier: tier.into(),
        action,
        policy_index: index,
        rule_index: (n % 9) as i64,
        trigger: None,
    };
    PolicyTrace {
        enforced_policies: vec![
            hit(0, 2, "security", format!("security.pass-known-workloads-{}", n % 10), 3),
            hit(1, 1, "default", format!("allow-from-checkout-{n}"), 1),
        ],
        pending_policies: vec![hit(0, 3, "default", format!("staged-allow-from-checkout-{n}"), 1)],
    }
}

fn labels(role: &str, n: usize) -> Vec<String> {
    [
        format!("app={role}-{n}"),
        format!("app.kubernetes.io/name={role}"),
        "app.kubernetes.io/part-of=shop".to_owned(),
        "environment=production".to_owned(),
        format!("helm.sh/chart={role}-1.4.2"),
        format!("team=team-{}", n % 40),
        format!("version=v1.{}", n % 17),
    ]
    .into()
}

/// One closed bucket as the collector answers a List: `keys` flows in an order that is not sorted.
pub fn list(keys: usize, bucket: i64) -> Entry {
    let flows = shuffled(keys).map(|n| FlowResult { id: n as i64 + 1, flow: Some(flow(n, bucket)) }).collect();
    entry(Encoding::GoldmaneList, FlowListResult { meta: None, flows }.encode_to_vec().into(), bucket)
}

/// As [`list`], of a cluster without a policy: the profile of a namespace allows everything.
pub fn unpoliced(keys: usize, bucket: i64) -> Entry {
    let flows = shuffled(keys).map(|n| {
        let mut flow = flow(n, bucket);
        let key = flow.key.as_mut().expect("every made-up flow has a key");
        let governed = if key.reporter == 1 { &key.source_namespace } else { &key.dest_namespace };
        let profile = PolicyHit { kind: 9, name: format!("kns.{governed}"), action: 1, ..PolicyHit::default() };
        key.policies = Some(PolicyTrace { enforced_policies: vec![profile.clone()], pending_policies: vec![profile] });
        FlowResult { id: n as i64 + 1, flow: Some(flow) }
    });
    let flows = flows.collect();
    entry(Encoding::GoldmaneList, FlowListResult { meta: None, flows }.encode_to_vec().into(), bucket)
}

/// The same flows as JSON lines, in the shape of the emitter.
pub fn lines(keys: usize, bucket: i64) -> Entry {
    let mut text = Vec::with_capacity(keys * 900);
    for n in shuffled(keys) {
        text.extend_from_slice(line(&flow(n, bucket)).as_bytes());
        text.push(b'\n');
    }
    entry(Encoding::JsonLines, text.into(), bucket)
}

fn line(flow: &Flow) -> String {
    let key = flow.key.as_ref().expect("every made-up flow has a key");
    let hits = |hits: &[PolicyHit]| -> Vec<_> {
        let hit = |h: &PolicyHit| {
            json!({"kind": h.kind, "namespace": h.namespace, "name": h.name, "tier": h.tier, "action": h.action,
                   "policy_index": h.policy_index, "rule_index": h.rule_index})
        };
        hits.iter().map(hit).collect()
    };
    let trace = key.policies.as_ref().expect("every made-up flow has a trace");
    json!({
        "Key": {
            "source_name": key.source_name, "source_namespace": key.source_namespace, "source_type": key.source_type,
            "dest_name": key.dest_name, "dest_namespace": key.dest_namespace, "dest_type": key.dest_type,
            "dest_port": key.dest_port, "dest_service_name": key.dest_service_name,
            "dest_service_namespace": key.dest_service_namespace,
            "dest_service_port_name": key.dest_service_port_name, "dest_service_port": key.dest_service_port,
            "proto": key.proto, "reporter": key.reporter, "action": key.action,
            "policies": {"enforced_policies": hits(&trace.enforced_policies[1..])},
        },
        "start_time": flow.start_time, "end_time": flow.end_time,
        "source_labels": flow.source_labels[..2], "dest_labels": flow.dest_labels[..2],
        "packets_in": flow.packets_in, "packets_out": flow.packets_out,
        "bytes_in": flow.bytes_in, "bytes_out": flow.bytes_out,
        "num_connections_started": flow.num_connections_started,
        "num_connections_completed": flow.num_connections_completed,
        "num_connections_live": flow.num_connections_live,
    })
    .to_string()
}

/// 0 to `count`, each once, neighbours far apart.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    // A step without a common factor visits every number once.
    let from = count * 5 / 8 + 1;
    let step = (from..from + count).find(|step| gcd(*step, count) == 1).expect("one of `count` neighbours is");
    (0..count).map(move |i| i * step % count)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn entry(encoding: Encoding, payload: Bytes, bucket: i64) -> Entry {
    let start = EventTime::from_secs(START + bucket * BUCKET_SECS);
    Entry::Flows(FlowsEntry {
        partition: PartitionId(0),
        encoding,
        purpose: Purpose::Report,
        span: Span::new(start, start.plus(BUCKET_SECS * 1_000_000)),
        origin: "bench".into(),
        first_record: 0,
        payload,
    })
}

/// The buckets of the first window, and the mark that closes it.
pub fn window(keys: usize, make: fn(usize, i64) -> Entry) -> Vec<Entry> {
    let end = EventTime::from_secs(START).plus(WINDOW);
    let close = Entry::Progress { partition: PartitionId(0), up_to: end };
    (0..BUCKETS).map(|bucket| make(keys, bucket)).chain([close]).collect()
}

/// Bytes of the payloads, for the average size of a flow.
pub fn payload_bytes(entries: &[Entry]) -> usize {
    let size = |entry: &Entry| if let Entry::Flows(flows) = entry { flows.payload.len() } else { 0 };
    entries.iter().map(size).sum()
}
