//! What became of pods, containers and jobs, trimmed to how and when they ended.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rfc3339;
use crate::EventTime;
use crate::knowledge::{Text, or_default};

/// The condition `Ready`, of the list of conditions that the API keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether it holds; `None` if it is not known.
    pub ready: Option<bool>,
    /// When that last changed.
    pub since: Option<EventTime>,
}

/// One entry of `conditions`. The time of its last report, which changes all the while, is not read.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    name: Text,
    status: Text,
    #[serde(with = "rfc3339", default, skip_serializing_if = "Option::is_none")]
    last_transition_time: Option<EventTime>,
}

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let listed = self.ready.map(|ready| Condition {
            name: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            last_transition_time: self.since,
        });
        serializer.collect_seq(listed)
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let listed = Vec::<Condition>::deserialize(deserializer)?;
        let ready = listed.iter().find(|condition| condition.name == "Ready");
        Ok(ready.map_or_else(Self::default, |condition| Self {
            ready: match condition.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            since: condition.last_transition_time,
        }))
    }
}

/// How a [`Job`](super::Job) ended: its condition `Complete` or `Failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobEnd {
    /// Whether it did what it was for; `None` while it goes on.
    pub succeeded: Option<bool>,
    /// When it ended.
    pub at: Option<EventTime>,
}

impl Serialize for JobEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let listed = self.succeeded.map(|succeeded| Condition {
            name: if succeeded { "Complete" } else { "Failed" }.into(),
            status: "True".into(),
            last_transition_time: self.at,
        });
        serializer.collect_seq(listed)
    }
}

impl<'de> Deserialize<'de> for JobEnd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let listed = Vec::<Condition>::deserialize(deserializer)?;
        let holding = listed.iter().filter(|condition| condition.status == "True");
        let mut ends = holding.filter(|condition| condition.name == "Complete" || condition.name == "Failed");
        Ok(ends.next().map_or_else(Self::default, |end| Self {
            succeeded: Some(end.name == "Complete"),
            at: end.last_transition_time,
        }))
    }
}

/// Which containers are started again once they have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// All of them.
    #[default]
    Always,
    /// Those that failed.
    OnFailure,
    /// None; also a policy that is not known here.
    #[serde(other)]
    Never,
}

/// What became of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// Name, unique in the pod.
    pub name: Text,
    /// What it does now.
    #[serde(deserialize_with = "or_default")]
    pub state: ContainerState,
}

/// What a container does. Since when it runs, and why it waits, is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StateOnWire", into = "StateOnWire")]
pub enum ContainerState {
    /// It is to be started, or to be started again.
    #[default]
    Waiting,
    /// It runs.
    Running,
    /// It has ended.
    Terminated(ContainerEnd),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerEnd {
    /// When.
    #[serde(with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<EventTime>,
    /// `Completed` if it succeeded; otherwise `Error`, `OOMKilled` and others.
    #[serde(deserialize_with = "or_default")]
    pub reason: Text,
}

/// The API gives one of several fields.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StateOnWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated: Option<ContainerEnd>,
}

#[derive(Serialize, Deserialize)]
struct Running {}

impl From<StateOnWire> for ContainerState {
    fn from(wire: StateOnWire) -> Self {
        match (wire.terminated, wire.running) {
            (Some(end), _) => Self::Terminated(end),
            (None, Some(_)) => Self::Running,
            (None, None) => Self::Waiting,
        }
    }
}

impl From<ContainerState> for StateOnWire {
    fn from(state: ContainerState) -> Self {
        match state {
            ContainerState::Waiting => Self::default(),
            ContainerState::Running => Self { running: Some(Running {}), terminated: None },
            ContainerState::Terminated(end) => Self { running: None, terminated: Some(end) },
        }
    }
}
