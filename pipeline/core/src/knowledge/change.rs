//! What changed in a cluster, and how much of it can be seen.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Key, Kind, Object, ObjectError};
use crate::EventTime;

/// One object is known to be so from now on; cheap to clone.
///
/// As a line of JSON it looks like an event of a watch with a time: `{"at": "2026-01-01T00:00:00Z", "type": "MODIFIED",
/// "object": {"apiVersion": "v1", "kind": "Pod", ...}}`, and `"type": "DELETED"` for an object that is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was observed. What happened while nobody watched is observed afterwards, all at one time.
    pub at: EventTime,
    /// Which object.
    pub key: Key,
    /// What it is now; `None` if it is gone.
    pub state: Option<Object>,
}

/// How a change is written.
#[derive(Serialize)]
struct Written<'a> {
    at: String,
    #[serde(rename = "type")]
    event: &'static str,
    object: Subject<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Subject<'a> {
    Whole(&'a Object),
    #[serde(rename_all = "camelCase")]
    Gone {
        api_version: String,
        kind: &'static str,
        metadata: Name<'a>,
    },
}

#[derive(Serialize)]
struct Name<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
}

/// Why a line is no change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It is no JSON, or lacks a part.
    #[error("{0}: a change is {{\"at\": TIME, \"type\": \"ADDED\", \"MODIFIED\" or \"DELETED\", \"object\": {{...}}}}")]
    Shape(#[from] serde_json::Error),
    /// Its time cannot be read.
    #[error("`at` is no time: `{0}`; write it like 2026-01-01T00:00:00Z")]
    Time(String),
    /// Its type is none of a watch.
    #[error("`type` is `{0}`; it must be ADDED, MODIFIED or DELETED")]
    Type(String),
    /// Its object cannot be read.
    #[error("object: {0}")]
    Object(#[from] ObjectError),
}

impl Change {
    /// The object is as `state` says.
    pub fn to(at: EventTime, state: Object) -> Self {
        Self { at, key: state.key(), state: Some(state) }
    }

    /// The object is gone.
    pub const fn gone(at: EventTime, key: Key) -> Self {
        Self { at, key, state: None }
    }

    /// The change as one line of JSON, without the line feed.
    pub fn to_line(&self) -> serde_json::Result<String> {
        let object = self.state.as_ref().map_or_else(
            || Subject::Gone {
                api_version: self.key.kind.api_version(),
                kind: self.key.kind.name(),
                metadata: Name { namespace: &self.key.namespace, name: &self.key.name },
            },
            Subject::Whole,
        );
        let event = if self.state.is_some() { "MODIFIED" } else { "DELETED" };
        serde_json::to_string(&Written { at: self.at.to_rfc3339(), event, object })
    }

    /// Reads such a line; `None` if its object is of a kind that is not read.
    pub fn from_line(line: &str) -> Result<Option<Self>, ChangeError> {
        #[derive(Deserialize)]
        struct Line<'a> {
            at: String,
            #[serde(rename = "type")]
            event: String,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let line: Line<'_> = serde_json::from_str(line)?;
        let at = EventTime::parse_rfc3339(&line.at).ok_or(ChangeError::Time(line.at))?;
        let gone = match line.event.as_str() {
            "ADDED" | "MODIFIED" => false,
            "DELETED" => true,
            _ => return Err(ChangeError::Type(line.event)),
        };
        let object = Object::from_json(line.object.get())?;
        Ok(object.map(|object| if gone { Self::gone(at, object.key()) } else { Self::to(at, object) }))
    }
}

/// How much of one kind can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Coverage {
    /// Not listed yet.
    Pending,
    /// All of it: every change was told as it came.
    Synced,
    /// All of it but the objects that permissions hide, such as policies of a tier that may not be read.
    Partial {
        /// What is hidden, and the mend.
        why: Arc<str>,
    },
    /// As it was then: the server cannot be reached, or answers with errors.
    Stale {
        /// Last moment it was up to date; `None` if it never was.
        since: Option<EventTime>,
        /// The error.
        why: Arc<str>,
    },
    /// As it was then: the server refuses to show it.
    Denied {
        /// Last moment it was up to date; `None` if it never was.
        since: Option<EventTime>,
        /// What the server said.
        why: Arc<str>,
    },
    /// The cluster has no such kind: there are no objects of it.
    Absent,
}

impl Coverage {
    /// Whether an object that is not known does not exist.
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Synced | Self::Absent)
    }
}

/// How much of a kind can be seen from some moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// From when on.
    pub at: EventTime,
    /// The kind.
    pub kind: Kind,
    /// How much.
    pub coverage: Coverage,
}

/// How a sight is written: `{"at": "2026-01-01T00:00:00Z", "sight": "pods", "coverage": {"state": "synced"}}`.
#[derive(Serialize, Deserialize)]
struct SightLine {
    at: String,
    sight: String,
    coverage: Coverage,
}

impl Sight {
    /// The sight as one line of JSON, without the line feed.
    pub fn to_line(&self) -> serde_json::Result<String> {
        let (at, sight) = (self.at.to_rfc3339(), self.kind.to_string());
        serde_json::to_string(&SightLine { at, sight, coverage: self.coverage.clone() })
    }

    /// Reads such a line; `None` if it is none, or of a kind that is not read.
    pub fn from_line(line: &str) -> Option<Self> {
        let line: SightLine = serde_json::from_str(line).ok()?;
        let kind = Kind::ALL.iter().copied().find(|kind| kind.to_string() == line.sight)?;
        Some(Self { at: EventTime::parse_rfc3339(&line.at)?, kind, coverage: line.coverage })
    }
}

/// What a cluster tells, in the order it is learned.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// An object changed.
    Change(Change),
    /// From here on, this is how much of a kind can be seen.
    Coverage {
        /// The kind.
        kind: Kind,
        /// When that was found.
        at: EventTime,
        /// How much.
        coverage: Coverage,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n"}}"#;

    fn line(at: &str, event: &str, object: &str) -> String {
        format!(r#"{{"at": "{at}", "type": "{event}", "object": {object}}}"#)
    }

    #[test]
    fn a_written_change_is_read_again() {
        let at = EventTime::from_secs(1_767_225_675);
        let pod = Object::from_json(POD).unwrap().unwrap();
        for change in [Change::gone(at, pod.key()), Change::to(at, pod)] {
            assert_eq!(Change::from_line(&change.to_line().unwrap()).unwrap(), Some(change));
        }
    }

    #[test]
    fn a_written_sight_is_read_again_and_is_no_change() {
        let (at, since) = (EventTime::from_secs(1_767_225_675), Some(EventTime::from_secs(1)));
        for coverage in [
            Coverage::Synced,
            Coverage::Partial { why: "tiers".into() },
            Coverage::Stale { since, why: "no route".into() },
            Coverage::Denied { since: None, why: "forbidden".into() },
        ] {
            let sight = Sight { at, kind: Kind::KubernetesNetworkPolicy, coverage };
            let line = sight.to_line().unwrap();
            assert!(Change::from_line(&line).is_err());
            assert_eq!(Sight::from_line(&line), Some(sight));
        }
        assert_eq!(Sight::from_line(&line("2026-01-01T00:00:00Z", "ADDED", POD)), None);
    }

    #[test]
    fn an_event_of_a_watch_is_read_whatever_the_object_still_shows() {
        let read = |event: &str| Change::from_line(&line("2026-01-01T00:00:00Z", event, POD)).unwrap().unwrap();
        assert!(read("ADDED").state.is_some() && read("MODIFIED").state.is_some());
        assert_eq!(read("DELETED").state, None);
        let foreign = r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}"#;
        assert_eq!(Change::from_line(&line("2026-01-01T00:00:00Z", "ADDED", foreign)).unwrap(), None);
    }

    #[test]
    fn what_is_no_change_is_told_with_its_mend() {
        let fault = |line: &str| Change::from_line(line).unwrap_err().to_string();
        assert!(fault("{}").contains("missing field `at`"));
        assert!(fault(&line("now", "ADDED", POD)).contains("2026-01-01T00:00:00Z"));
        assert!(fault(&line("2026-01-01T00:00:00Z", "BOOKMARK", POD)).contains("must be ADDED"));
        assert!(fault(&line("2026-01-01T00:00:00Z", "ADDED", "{}")).contains("`kind`"));
    }
}
