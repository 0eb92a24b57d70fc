//! What a detector remembers of very many keys, of which every one is evidence.

use std::fs;
use std::sync::Arc;

use catchment_core::{
    Agreement, ClosedWindow, Conversation, Counters, Endpoint, Epoch, EpochId, EventTime, Floor, FlowKey, FlowRow,
    Half, KeyRecord, Labels, LogId, LogPosition, PolicyHit, PolicyRef, Service, Span, StreamId, Symmetry, Trace,
};
use catchment_schemas::goldmane::{Action, EndpointType, PolicyKind};
use catchment_stages::detect::{Detector, Settings};

use crate::run::{CLUSTER, WINDOW_MICROS};

/// Flow keys of a window.
pub const KEYS: usize = 1_000_000;
/// The bound: bytes that a key adds to what is remembered.
pub const MOST_BYTES: u64 = 300;
/// Enough to forget and to learn anew.
const WINDOWS: i64 = 12;

/// Bytes that a detector remembers for each of [`KEYS`] keys of a cluster without policies, as the memory of this process
/// grows: for a process that has done nothing else.
pub fn bytes_a_key() -> u64 {
    let mut epoch = epoch();
    let before = resident();
    let mut detector = Detector::new(Arc::new(Settings::default()), CLUSTER, None);
    for minute in 0..WINDOWS {
        epoch.window.as_mut().expect("it has one").span = span(minute);
        detector.observe(&mut epoch);
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(detector.effort().pairs, KEYS / 2, "all pairs are remembered");
    grown / KEYS as u64
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux says how much memory a process has");
    let resident: u64 = pages.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("the second is resident");
    resident * 4096
}

fn span(minute: i64) -> Span {
    let start = EventTime::from_secs(0).plus(minute * WINDOW_MICROS);
    Span::new(start, start.plus(WINDOW_MICROS))
}

/// A window of pairs that both nodes report.
fn epoch() -> Epoch {
    let labels = Arc::new(Labels::new(Vec::new()));
    let trace = Arc::new(Trace::new(vec![profile()], Vec::new()));
    let keys = (0..KEYS).map(|n| Arc::new(KeyRecord::new(key(n / 2, 1 + (n % 2) as i32, &trace), true)));
    let mut keys: Vec<_> = keys.collect();
    keys.sort_by(|a, b| a.canonical.cmp(&b.canonical));
    let flows: Vec<_> =
        keys.into_iter().map(|key| FlowRow::new(key, labels.clone(), labels.clone(), counters())).collect();
    let conversations = flows.chunks(2).map(conversation).collect();
    Epoch {
        stream: StreamId { cluster: CLUSTER.to_owned(), source: CLUSTER.to_owned() },
        log: LogId(1),
        id: EpochId { position: LogPosition(0), part: 0 },
        floor: Floor { position: LogPosition(0), watermarks: Vec::new() },
        window: Some(ClosedWindow { span: span(0), coverage: 1.0, identity: None, flows, conversations }),
        late: Vec::new(),
        rejects: Vec::new(),
        gaps: Vec::new(),
        findings: Vec::new(),
        forgotten: Vec::new(),
    }
}

fn profile() -> PolicyHit {
    let policy =
        PolicyRef { kind: PolicyKind::Profile as i32, namespace: None, name: Some("kns.team".into()), tier: None };
    PolicyHit { policy, action: Action::Allow as i32, policy_index: 0, rule_index: 0, trigger: None }
}

fn key(pair: usize, reporter: i32, trace: &Arc<Trace>) -> FlowKey {
    let end = |role: &str, n: usize| Endpoint {
        namespace: Some(format!("team-{}", n % 100).into()),
        raw_name: format!("{role}-{n}-7d4b9c6f5-*").into(),
        kind: EndpointType::WorkloadEndpoint as i32,
    };
    FlowKey {
        source: end("client", pair % 10_000),
        dest: end("server", pair / 10_000),
        dest_port: 8080,
        protocol: "tcp".into(),
        service: Service::default(),
        reporter,
        action: Action::Allow as i32,
        trace: trace.clone(),
    }
}

const fn counters() -> Counters {
    Counters { packets_in: 9, packets_out: 9, bytes_in: 900, bytes_out: 9000, started: 1, completed: 1, live: 1 }
}

fn conversation(rows: &[FlowRow]) -> Conversation {
    let half = |row: &FlowRow| Half {
        reporter: row.key.key.reporter,
        action: row.key.key.action,
        counters: row.counters,
        traces: vec![row.key.key.trace.clone()],
        trace_split: false,
        has_connections: true,
    };
    Conversation {
        key: rows[0].key.clone(),
        halves: rows.iter().map(half).collect(),
        expected_halves: Some(2),
        agreement: Agreement::Agree,
        symmetry: Symmetry::Symmetric,
        ends: None,
    }
}
