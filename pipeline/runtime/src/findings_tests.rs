use std::sync::Arc;

use catchment_core::{ClosedWindow, Confidence, EventTime, FindingKind, Floor, Severity, Status, Subject};

use super::*;

fn stream() -> StreamId {
    StreamId { cluster: "lab".to_owned(), source: "calico".to_owned() }
}

fn row(status: Status) -> FindingRow {
    let (kind, subject) = (FindingKind::NoPolicy, Subject::default().with("workload", Some("web")));
    FindingRow {
        id: FindingId::of(kind, "lab", &subject),
        kind,
        status,
        severity: Severity::Medium,
        confidence: Confidence::Certain,
        mute: None,
        first_seen: EventTime::from_secs(0),
        last_seen: EventTime::from_secs(60),
        windows_seen: 1,
        reopen_count: 0,
        resolution: None,
        namespace: Some("shop".to_owned()),
        owner: None,
        subject,
        impact: "{}".to_owned(),
        evidence: "{}".to_owned(),
        title: "no policy decides".to_owned(),
        explanation: String::new(),
        remediation: String::new(),
        verify: String::new(),
        related: Vec::new(),
        runbook: String::new(),
    }
}

/// The epoch of a minute, in which this became of the finding.
fn epoch(minute: u64, status: Status) -> Epoch {
    let start = EventTime::from_secs(60 * minute as i64);
    let span = Span::new(start, start.plus(60_000_000));
    let window = ClosedWindow { span, coverage: 1.0, identity: None, flows: Vec::new(), conversations: Vec::new() };
    Epoch {
        stream: stream(),
        log: LogId(1),
        id: EpochId { position: LogPosition(minute), part: 0 },
        floor: Floor { position: LogPosition(minute), watermarks: Vec::new() },
        window: Some(window),
        late: Vec::new(),
        rejects: Vec::new(),
        gaps: Vec::new(),
        findings: vec![row(status)],
        forgotten: Vec::new(),
    }
}

/// A board, what it is shown on, and what counts it.
fn board() -> (Board, FindingsBoard, Registry) {
    let (all, mut registry) = (FindingsBoard::default(), Registry::default());
    (Board::register(all.clone(), stream(), 60_000_000, &mut registry), all, registry)
}

fn detector() -> Detector {
    Detector::new(Arc::default(), "lab", None)
}

fn counted_open(registry: &Registry) -> bool {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let sample = r#"findings_open{kind="policy.no-policy",severity="medium",namespace="shop"} "#;
    let value = text.lines().find_map(|line| line.strip_prefix(sample)).expect("it was open once");
    value == "1"
}

#[test]
fn a_line_that_is_behind_takes_nothing_back() {
    let (board, all, registry) = board();
    board.post(&epoch(1, Status::Opened), &detector());
    assert!(all.lines().contains("opened") && counted_open(&registry));
    board.post(&epoch(2, Status::Resolved), &detector());
    board.post(&epoch(1, Status::Opened), &detector());
    assert!(all.lines().contains("resolved") && !counted_open(&registry), "{}", all.lines());
}

#[test]
fn what_is_remembered_of_an_earlier_epoch_is_not_posted_and_that_of_a_later_one_stands_alone() {
    let (board, all, registry) = board();
    board.post(&epoch(2, Status::Opened), &detector());
    let at = |minute| EpochId { position: LogPosition(minute), part: 0 };
    board.begin(at(1), &detector());
    board.begin(at(2), &detector());
    assert!(all.lines().contains("opened") && counted_open(&registry));
    board.begin(at(3), &detector());
    assert!(all.lines().is_empty() && !counted_open(&registry), "{}", all.lines());
}
