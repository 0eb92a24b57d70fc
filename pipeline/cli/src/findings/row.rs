//! A row of findings as it was published.

use catchment_core::{
    Confidence, EventTime, FindingId, FindingKind, FindingRow, Mute, Resolution, Severity, Span, Status, StreamId,
    Subject,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// A row with what it was read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) stream: StreamId,
    /// The window that made it.
    pub(crate) window: Span,
    pub(crate) finding: FindingRow,
    /// The row as it is published.
    pub(crate) json: Value,
}

impl Row {
    /// The row in a line of JSON; `None` where it is of another dataset.
    pub(crate) fn read(line: &str) -> Result<Option<Self>, serde_json::Error> {
        let Probe { dataset, finding_id } = serde_json::from_str(line)?;
        if finding_id.is_none() || dataset.is_some_and(|dataset| dataset != "findings") {
            return Ok(None);
        }
        let wire: Wire = serde_json::from_str(line)?;
        let mut json: Map<String, Value> = serde_json::from_str(line)?;
        json.remove("dataset");
        Ok(Some(wire.into_row(json.into())))
    }

    /// A member of the evidence.
    pub(crate) fn evidence(&self, name: &str) -> &Value {
        &self.json["evidence"][name]
    }
}

/// Enough to know the dataset by.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, default)]
    dataset: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    finding_id: Option<de::IgnoredAny>,
}

/// A row as it is written.
#[derive(Deserialize)]
struct Wire {
    cluster: String,
    source: String,
    window_start: Time,
    window_end: Time,
    #[serde(deserialize_with = "id")]
    finding_id: FindingId,
    kind: FindingKind,
    status: Status,
    severity: Severity,
    confidence: Confidence,
    muted: bool,
    mute_reason: Option<String>,
    mute_until: Option<Time>,
    first_seen: Time,
    last_seen: Time,
    windows_seen: u64,
    reopen_count: u32,
    resolution_reason: Option<Resolution>,
    namespace: Option<String>,
    owner: Option<String>,
    subject: Map<String, Value>,
    impact: Value,
    evidence: Value,
    title: String,
    explanation: String,
    remediation: String,
    verify: String,
    related: Vec<Id>,
    runbook: String,
}

impl Wire {
    fn into_row(self, json: Value) -> Row {
        let until = self.mute_until.map_or(EventTime::MAX, |until| until.0);
        let finding = FindingRow {
            id: self.finding_id,
            kind: self.kind,
            status: self.status,
            severity: self.severity,
            confidence: self.confidence,
            mute: self.muted.then(|| Mute { reason: self.mute_reason.unwrap_or_default(), until }),
            first_seen: self.first_seen.0,
            last_seen: self.last_seen.0,
            windows_seen: self.windows_seen,
            reopen_count: self.reopen_count,
            resolution: self.resolution_reason,
            namespace: self.namespace,
            owner: self.owner,
            subject: subject_of(&self.subject),
            impact: self.impact.to_string(),
            evidence: self.evidence.to_string(),
            title: self.title,
            explanation: self.explanation,
            remediation: self.remediation,
            verify: self.verify,
            related: self.related.into_iter().map(|id| id.0).collect(),
            runbook: self.runbook,
        };
        let stream = StreamId { cluster: self.cluster, source: self.source };
        Row { stream, window: Span::new(self.window_start.0, self.window_end.0), finding, json }
    }
}

/// A subject of its members.
pub(crate) fn subject_of(members: &Map<String, Value>) -> Subject {
    members.iter().fold(Subject::default(), |subject, (name, value)| match value.as_i64() {
        Some(number) => subject.number(name, number),
        None => subject.with(name, value.as_str()),
    })
}

/// A time as it is written.
pub(crate) struct Time(pub(crate) EventTime);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = EventTime::parse_rfc3339(&text);
        time.map(Self).ok_or_else(|| de::Error::custom(format!("`{text}` is no RFC 3339 time")))
    }
}

#[derive(Deserialize)]
struct Id(#[serde(deserialize_with = "id")] FindingId);

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FindingId, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use catchment_core::json::RowWriter;

    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let stream = StreamId { cluster: "lab".to_owned(), source: "calico".to_owned() };
        let window = Span::new(EventTime::from_secs(60), EventTime::from_secs(120));
        let finding = FindingRow {
            id: FindingId(7),
            kind: FindingKind::ImplicitDeny,
            status: Status::Resolved,
            severity: Severity::High,
            confidence: Confidence::Certain,
            mute: Some(Mute { reason: "known".to_owned(), until: EventTime::from_secs(9_000) }),
            first_seen: EventTime::from_secs(60),
            last_seen: EventTime::from_secs(120),
            windows_seen: 3,
            reopen_count: 1,
            resolution: Some(Resolution::Fixed),
            namespace: Some("shop".to_owned()),
            owner: None,
            // Members in the order of their names, as a reader of JSON has them.
            subject: Subject::default().number("dest_port", 80).with("node", None).with("source", Some("web")),
            impact: r#"{"bytes":1}"#.to_owned(),
            evidence: r#"{"flows":[]}"#.to_owned(),
            title: "t".to_owned(),
            explanation: "e".to_owned(),
            remediation: "r".to_owned(),
            verify: "v".to_owned(),
            related: vec![FindingId(8)],
            runbook: "https://runbooks.example/policy.md".to_owned(),
        };
        let mut line = Vec::new();
        RowWriter::for_findings(&stream, window).finding(&mut line, &finding);
        let line = String::from_utf8(line).expect("text");
        let row = Row::read(&line).expect("a row").expect("of findings");
        assert_eq!((row.stream, row.window, row.finding), (stream, window, finding));
        let with_dataset = line.replacen('{', r#"{"dataset":"findings","#, 1);
        assert_eq!(Row::read(&with_dataset).expect("a row").expect("of findings").json, row.json);
    }

    #[test]
    fn rows_of_other_datasets_are_passed_over_and_broken_ones_are_not() {
        assert!(Row::read(r#"{"dataset":"flows","source_name":"web"}"#).expect("a row").is_none());
        assert!(Row::read(r#"{"source_name":"web"}"#).expect("a row").is_none());
        assert!(Row::read(r#"{"finding_id":"7"}"#).is_err());
        assert!(Row::read("{").is_err());
    }
}
