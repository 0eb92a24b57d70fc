//! Epochs with every kind of row, as functions of a few numbers.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{
    Agreement, ClosedWindow, Confidence, Conversation, Counters, Endpoint, Epoch, EpochId, EventTime, FindingId,
    FindingKind, FindingRow, Floor, FlowKey, FlowRow, GapRow, Half, IdentityState, KeyRecord, Labels, LateReason,
    LateRow, LogId, LogPosition, Mute, PartitionId, PolicyHit, PolicyRef, RejectRow, Resolution, Service, Severity,
    Span, Status, StreamId, Subject, Symmetry, Trace,
};

/// 2026-01-01T00:00:00Z, the start of a slot of any usual length.
pub(crate) const START: i64 = 1_767_225_600;

/// The stream all samples belong to.
pub(crate) fn stream() -> StreamId {
    StreamId { cluster: "prod-eu".into(), source: "goldmane".into() }
}

/// Epoch `n`: the window of minute `n` with `rows` flows and conversations, two findings, and one row at every side door.
pub(crate) fn epoch(n: u64, rows: u64) -> Epoch {
    let span = minute(n);
    let window = ClosedWindow {
        span,
        coverage: 0.75,
        identity: Some(IdentityState::Fresh),
        flows: (0..rows).map(|i| flow(i, n)).collect(),
        conversations: (0..rows).map(|i| conversation(i, n)).collect(),
    };
    let (rejects, gaps, findings) = (rejects(n), vec![gap(n)], vec![resolved(n), muted(n)]);
    Epoch { window: Some(window), late: vec![late(n)], rejects, gaps, findings, ..empty(n) }
}

/// Epoch `n` without a row.
pub(crate) fn empty(n: u64) -> Epoch {
    Epoch {
        stream: stream(),
        log: LogId(1),
        id: EpochId { position: LogPosition(n * 10), part: 0 },
        floor: Floor { position: LogPosition(n), watermarks: vec![(PartitionId(0), minute(n).end)] },
        window: None,
        late: Vec::new(),
        rejects: Vec::new(),
        gaps: Vec::new(),
        findings: Vec::new(),
        forgotten: Vec::new(),
    }
}

/// A stored cursor object as it was before the first slot was through.
pub(crate) fn before_the_cursor_moved(object: &[u8]) -> Vec<u8> {
    let mut state: serde_json::Value = serde_json::from_slice(object).expect("a cursor object");
    state["cursor"] = serde_json::Value::Null;
    serde_json::to_vec(&state).expect("plain values")
}

fn minute(n: u64) -> Span {
    let start = EventTime::from_secs(START + 60 * n as i64);
    Span::new(start, start.plus(60_000_000))
}

fn flow(i: u64, n: u64) -> FlowRow {
    let row = FlowRow::new(Arc::new(key(i)), labels(i), labels(0), counters(i + n));
    FlowRow { records: 4, buckets: 2, labels_varied: i % 2 == 1, trace_split: i % 3 == 1, ..row }
}

fn counters(n: u64) -> Counters {
    Counters { packets_in: n, packets_out: 2, bytes_in: 300 * n, bytes_out: 400, started: 5, completed: 6, live: 7 }
}

fn labels(i: u64) -> Arc<Labels> {
    Arc::new(Labels::new((0..i % 3).map(|l| format!("app=a{l}").into()).collect()))
}

/// Sources go down as `i` goes up, so that rows come unsorted; every third is a network.
fn key(i: u64) -> KeyRecord {
    let source =
        if i % 3 == 2 { endpoint(None, "pvt", 4) } else { endpoint(Some("shop"), &format!("web-{}", 99 - i), 1) };
    let key = FlowKey {
        source,
        dest: endpoint(Some("db"), "pg-*", 1),
        dest_port: 5432,
        protocol: "tcp".into(),
        service: if i.is_multiple_of(2) { service() } else { Service::default() },
        reporter: 1 + (i % 2) as i32,
        action: [1, 2, 42][i as usize % 3],
        trace: Arc::new(trace(i)),
    };
    KeyRecord::new(key, i % 4 != 3)
}

fn endpoint(namespace: Option<&str>, name: &str, kind: i32) -> Endpoint {
    Endpoint { namespace: namespace.map(Into::into), raw_name: name.into(), kind }
}

fn service() -> Service {
    Service { namespace: Some("db".into()), name: Some("pg".into()), port_name: None, port: Some(5432) }
}

fn trace(i: u64) -> Trace {
    let policy = |kind| PolicyRef {
        kind,
        namespace: Some("db".into()),
        name: Some(format!("default.allow-{i}").into()),
        tier: Some("default".into()),
    };
    let hit = |kind, policy_index, trigger| PolicyHit {
        policy: policy(kind),
        action: 1,
        policy_index,
        rule_index: -1,
        trigger,
    };
    let pending = if i.is_multiple_of(2) { Vec::new() } else { vec![hit(99, 0, None)] };
    Trace::new(vec![hit(1, 0, None), hit(6, 1, Some(policy(1)))], pending)
}

fn conversation(i: u64, n: u64) -> Conversation {
    let half = |reporter| Half {
        reporter,
        action: 1,
        counters: counters(n),
        traces: vec![Arc::new(trace(i)), Arc::new(trace(i + 1))],
        trace_split: true,
        has_connections: i.is_multiple_of(2),
    };
    Conversation {
        key: Arc::new(key(i)),
        halves: (1..=2).take((i % 3) as usize).map(half).collect(),
        expected_halves: (i.is_multiple_of(2)).then_some(2),
        agreement: Agreement::OneSided,
        symmetry: Symmetry::Symmetric,
        ends: None,
    }
}

fn late(n: u64) -> LateRow {
    let position = LogPosition(n * 10);
    LateRow {
        position,
        index: 3,
        reason: LateReason::Late,
        window: minute(0),
        bucket: minute(0),
        flow: flow(1, n),
        identity: None,
    }
}

fn rejects(n: u64) -> Vec<RejectRow> {
    let row = |index, event_time, original: &'static [u8]| RejectRow {
        position: LogPosition(n * 10),
        index,
        reason: "not_json",
        detail: "expected an object".into(),
        origin: "flows.jsonl:7".into(),
        event_time,
        original: Bytes::from_static(original),
        original_len: original.len() as u64,
    };
    vec![row(1, None, b"\xff\x00"), row(0, Some(minute(n).start), b"{\"half\":")]
}

fn gap(n: u64) -> GapRow {
    let detail = "the ring had moved on".to_owned();
    let position = LogPosition(n * 10 + 1);
    GapRow { position, partition: PartitionId(2), span: minute(n), reason: "collector_forgot".into(), detail }
}

fn finding(n: u64, kind: FindingKind, subject: Subject) -> FindingRow {
    FindingRow {
        id: FindingId::of(kind, "prod-eu", &subject),
        kind,
        status: Status::Opened,
        severity: Severity::High,
        confidence: kind.confidence(),
        mute: None,
        first_seen: minute(0).start,
        last_seen: minute(n).end,
        windows_seen: n + 1,
        reopen_count: 0,
        resolution: None,
        namespace: None,
        owner: None,
        subject,
        impact: "{}".into(),
        evidence: r#"{"chain":{"tier":"default"},"windows":[1,2]}"#.into(),
        title: "metadata is read".into(),
        explanation: "a pod \"web\" reads it".into(),
        remediation: "deny it".into(),
        verify: "catchment why shop/web 169.254.169.254:80".into(),
        related: Vec::new(),
        runbook: format!("https://runbooks.example/{}", kind.page()),
    }
}

/// Every column of it has a value.
fn resolved(n: u64) -> FindingRow {
    let subject = Subject::default().with("namespace", Some("shop")).number("dest_port", 80);
    FindingRow {
        status: Status::Resolved,
        confidence: Confidence::Suspected,
        reopen_count: 2,
        resolution: Some(Resolution::SubjectGone),
        namespace: Some("shop".into()),
        owner: Some("payments".into()),
        related: vec![FindingId(5), FindingId(u128::MAX)],
        ..finding(n, FindingKind::Unused, subject)
    }
}

fn muted(n: u64) -> FindingRow {
    let mute = Some(Mute { reason: "known".into(), until: minute(99).start });
    FindingRow { mute, ..finding(n, FindingKind::MetadataAccess, Subject::default().with("node", None)) }
}
