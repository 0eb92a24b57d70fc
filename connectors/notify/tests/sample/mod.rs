//! Epochs that tell of findings.

#![allow(dead_code, reason = "each test binary uses its part")]

use catchment_core::{
    ClosedWindow, Confidence, Epoch, EpochId, EventTime, FindingId, FindingKind, FindingRow, Floor, LogId, LogPosition,
    Resolution, Severity, Span, Status, StreamId, Subject,
};

/// The start of the first window unless a test says otherwise.
const START: i64 = 1_767_225_600;

pub(crate) fn stream() -> StreamId {
    StreamId { cluster: "prod".to_owned(), source: "calico".to_owned() }
}

/// The epoch of minute `n`.
pub(crate) fn epoch(n: u64, findings: Vec<FindingRow>) -> Epoch {
    epoch_at(n, START, findings)
}

/// The epoch of the minute `n` behind `start`, in seconds.
pub(crate) fn epoch_at(n: u64, start: i64, findings: Vec<FindingRow>) -> Epoch {
    let start = EventTime::from_secs(start + 60 * n as i64);
    let span = Span::new(start, start.plus(60_000_000));
    let window = ClosedWindow { span, coverage: 1.0, identity: None, flows: vec![], conversations: vec![] };
    Epoch {
        stream: stream(),
        log: LogId(1),
        id: EpochId { position: LogPosition(n), part: 0 },
        floor: Floor { position: LogPosition(n), watermarks: vec![] },
        window: Some(window),
        late: vec![],
        rejects: vec![],
        gaps: vec![],
        findings,
        forgotten: vec![],
    }
}

/// An open finding about a workload.
pub(crate) fn finding(workload: &str) -> FindingRow {
    finding_since(workload, START)
}

/// One that was first seen at `start`, in seconds.
pub(crate) fn finding_since(workload: &str, start: i64) -> FindingRow {
    let (kind, subject) = (FindingKind::MetadataAccess, Subject::default().with("workload", Some(workload)));
    FindingRow {
        id: FindingId::of(kind, "prod", &subject),
        kind,
        status: Status::Opened,
        severity: Severity::High,
        confidence: Confidence::Certain,
        mute: None,
        first_seen: EventTime::from_secs(start),
        last_seen: EventTime::from_secs(start + 60),
        windows_seen: 1,
        reopen_count: 0,
        resolution: None,
        namespace: Some("shop".to_owned()),
        owner: None,
        subject,
        impact: "{}".to_owned(),
        evidence: r#"{"windows":[1]}"#.to_owned(),
        title: format!("{workload} reads the metadata service"),
        explanation: "it may read credentials of the node".to_owned(),
        remediation: "deny it".to_owned(),
        verify: "catchment why shop/web 169.254.169.254:80".to_owned(),
        related: vec![],
        runbook: "https://runbooks.example/private.md#privatemetadata-access".to_owned(),
    }
}

pub(crate) fn resolved(workload: &str) -> FindingRow {
    FindingRow { status: Status::Resolved, resolution: Some(Resolution::Fixed), ..finding(workload) }
}
