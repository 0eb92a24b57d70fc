//! Findings as alerts, and which of them are open.

use std::collections::BTreeMap;

use catchment_core::{Epoch, EventTime, FindingId, FindingRow, Severity, StreamId};
use serde::{Deserialize, Serialize};

type Words = BTreeMap<String, String>;

/// An alert as Alertmanager takes it. Its labels are its identity there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    labels: Words,
    annotations: Words,
    starts_at: String,
    /// When it was over; Alertmanager waits for its `resolve_timeout` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
}

impl Alert {
    fn of(stream: &StreamId, row: &FindingRow) -> Self {
        let id = row.id.to_string();
        let labels = [
            ("alertname", Some(row.kind.name())),
            ("kind", Some(row.kind.name())),
            ("severity", Some(row.severity.name())),
            ("family", Some(row.kind.family().name())),
            ("cluster", Some(stream.cluster.as_str())),
            ("source", Some(stream.source.as_str())),
            ("namespace", row.namespace.as_deref()),
            ("owner", row.owner.as_deref()),
            ("finding_id", Some(&id)),
        ];
        let annotations = [
            ("title", Some(row.title.as_str())),
            ("explanation", Some(&row.explanation)),
            ("remediation", Some(&row.remediation)),
            ("verify", Some(&row.verify)),
            ("runbook", Some(&row.runbook)),
        ];
        Self {
            labels: words(&labels),
            annotations: words(&annotations),
            starts_at: row.first_seen.to_rfc3339(),
            ends_at: None,
        }
    }

    fn ended(self, at: EventTime) -> Self {
        Self { ends_at: Some(at.to_rfc3339()), ..self }
    }

    /// As a member of a request.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts serialize")
    }
}

/// A word that is empty is none: a label without a value is no label.
fn words(pairs: &[(&str, Option<&str>)]) -> Words {
    let some = pairs.iter().filter_map(|(name, word)| word.filter(|word| !word.is_empty()).map(|word| (*name, word)));
    some.map(|(name, word)| (name.to_owned(), word.to_owned())).collect()
}

/// Alerts that were sent and have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Open(BTreeMap<String, Alert>);

/// What an epoch comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// To be sent, in the order of the findings.
    pub(crate) alerts: Vec<Alert>,
    /// Rows that nobody is told of, for they are muted or not bad enough.
    pub(crate) held_back: u64,
}

impl Open {
    /// Takes over what has become of findings.
    pub(crate) fn follow(&mut self, epoch: &Epoch, min: Severity) -> News {
        let mut news = News::default();
        let Some(window) = &epoch.window else { return news };
        for row in &epoch.findings {
            self.row(&mut news, &epoch.stream, row, window.span.end, min);
        }
        for forgotten in &epoch.forgotten {
            news.alerts.extend(self.end(*forgotten, window.span.end));
        }
        news
    }

    fn row(&mut self, news: &mut News, stream: &StreamId, row: &FindingRow, now: EventTime, min: Severity) {
        let is_told = row.mute.is_none() && row.severity >= min;
        if !(is_told && row.status.is_open()) {
            news.held_back += u64::from(!is_told);
            news.alerts.extend(self.end(row.id, now));
            return;
        }
        let alert = Alert::of(stream, row);
        // Under other labels it is another alert, and nobody else would end this one.
        if self.0.get(&row.id.to_string()).is_some_and(|before| before.labels != alert.labels) {
            news.alerts.extend(self.end(row.id, now));
        }
        self.0.insert(row.id.to_string(), alert.clone());
        news.alerts.push(alert);
    }

    fn end(&mut self, id: FindingId, at: EventTime) -> Option<Alert> {
        self.0.remove(&id.to_string()).map(|alert| alert.ended(at))
    }

    pub(crate) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.0.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
