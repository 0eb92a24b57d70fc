//! Epochs to publish.

use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{
    Agreement, ClosedWindow, Confidence, Conversation, Counters, Endpoint, Epoch, EpochId, EventTime, FindingId,
    FindingKind, FindingRow, Floor, FlowKey, FlowRow, GapRow, KeyRecord, Labels, LogId, LogPosition, PartitionId,
    RejectRow, Service, Severity, Span, Status, StreamId, Subject, Symmetry, Trace,
};

pub(crate) fn stream() -> StreamId {
    StreamId { cluster: "prod".to_owned(), source: "calico".to_owned() }
}

/// An epoch with one window of `flows` flows, one conversation, one reject, one gap and one finding.
pub(crate) fn epoch(position: u64, flows: usize) -> Epoch {
    let start = EventTime::from_secs(60 * position as i64);
    let span = Span::new(start, start.plus(60_000_000));
    let flows: Vec<_> = (0..flows).map(|i| flow(key("web", "db", 5000 + i as i64))).collect();
    let window = ClosedWindow {
        span,
        coverage: 1.0,
        identity: None,
        flows,
        conversations: vec![conversation(key("db", "web", 80))],
    };
    Epoch {
        stream: stream(),
        log: LogId(1),
        id: EpochId { position: LogPosition(position), part: 0 },
        floor: Floor { position: LogPosition(position.saturating_sub(1)), watermarks: vec![(PartitionId(0), start)] },
        window: Some(window),
        late: vec![],
        rejects: vec![reject(position, Bytes::from_static(b"{"))],
        gaps: vec![gap(position, span)],
        findings: vec![finding("web", span)],
        forgotten: vec![],
    }
}

/// What has become with the window of the finding about a workload.
pub(crate) fn finding(workload: &str, span: Span) -> FindingRow {
    let (kind, subject) = (FindingKind::NoPolicy, Subject::default().with("workload", Some(workload)));
    FindingRow {
        id: FindingId::of(kind, "prod", &subject),
        kind,
        status: Status::Ongoing,
        severity: Severity::Medium,
        confidence: Confidence::Certain,
        mute: None,
        first_seen: EventTime::from_secs(0),
        last_seen: span.end,
        windows_seen: 7,
        reopen_count: 0,
        resolution: None,
        namespace: Some("shop".to_owned()),
        owner: None,
        subject,
        impact: r#"{"connections":3}"#.to_owned(),
        evidence: "{}".to_owned(),
        title: format!("no policy decides about {workload}"),
        explanation: "its namespace allows everything".to_owned(),
        remediation: "write a policy".to_owned(),
        verify: "catchment why".to_owned(),
        related: vec![],
        runbook: "https://runbooks.example/policy.md".to_owned(),
    }
}

pub(crate) fn reject(position: u64, original: Bytes) -> RejectRow {
    RejectRow {
        position: LogPosition(position),
        index: 0,
        reason: "unreadable",
        detail: "no JSON".to_owned(),
        origin: "flows.jsonl:1".to_owned(),
        event_time: None,
        original_len: original.len() as u64,
        original,
    }
}

fn gap(position: u64, span: Span) -> GapRow {
    GapRow {
        position: LogPosition(position),
        partition: PartitionId(0),
        span,
        reason: "collector_forgot".to_owned(),
        detail: "the ring had moved on".to_owned(),
    }
}

fn key(source: &str, dest: &str, dest_port: i64) -> Arc<KeyRecord> {
    let end = |name: &str| Endpoint { namespace: Some("shop".into()), raw_name: name.into(), kind: 1 };
    let trace = Arc::new(Trace::new(vec![], vec![]));
    let (source, dest, service) = (end(source), end(dest), Service::default());
    let key = FlowKey { source, dest, dest_port, protocol: "tcp".into(), service, reporter: 1, action: 1, trace };
    Arc::new(KeyRecord::new(key, true))
}

fn flow(key: Arc<KeyRecord>) -> FlowRow {
    let labels = Arc::new(Labels::new(vec!["app=shop".into()]));
    let counters = Counters { packets_in: 3, bytes_in: 180, ..Counters::default() };
    FlowRow::new(key, labels.clone(), labels, counters)
}

fn conversation(key: Arc<KeyRecord>) -> Conversation {
    Conversation {
        key,
        halves: vec![],
        expected_halves: Some(2),
        agreement: Agreement::OneSided,
        symmetry: Symmetry::Idle,
        ends: None,
    }
}
