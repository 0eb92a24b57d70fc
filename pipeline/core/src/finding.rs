//! Findings: stated problems with evidence, as the sinks receive them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::EventTime;

/// One line per kind: variant, family, stable name behind the family, how sure one is of it as a rule, its severity
/// unless the case is worse.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $family:ident, $name:literal, $confidence:ident, $severity:ident;)*) => {
        /// What kind of problem a finding states.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FindingKind {
            $($(#[$doc])* $kind,)*
        }

        impl FindingKind {
            /// Every kind, family by family.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its family.
            pub const fn family(self) -> Family {
                match self { $(Self::$kind => Family::$family,)* }
            }

            /// Its stable name, such as `policy.no-policy`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => concat!(family_name!($family), ".", $name),)* }
            }

            /// How sure one is of it unless the case says otherwise.
            pub const fn confidence(self) -> Confidence {
                match self { $(Self::$kind => Confidence::$confidence,)* }
            }

            /// How bad it is unless the case says otherwise.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity,)* }
            }
        }
    };
}

macro_rules! family_name {
    (Policy) => {
        "policy"
    };
    (Trust) => {
        "trust"
    };
    (Asymmetry) => {
        "asymmetry"
    };
    (Private) => {
        "private"
    };
    (Zombie) => {
        "zombie"
    };
    (Health) => {
        "health"
    };
}

kinds! {
    /// Traffic that no policy decided: the namespace's profile allowed it.
    NoPolicy: Policy, "no-policy", Certain, Info;
    /// A policy selected the endpoint, none of its rules matched, and the tier denied.
    ImplicitDeny: Policy, "implicit-deny", Certain, Info;
    /// A rule denied.
    ExplicitDeny: Policy, "explicit-deny", Certain, Info;
    /// A staged policy would deny what is allowed.
    StagedWouldDeny: Policy, "staged-would-deny", Certain, Low;
    /// A staged policy would allow what is denied.
    StagedWouldAllow: Policy, "staged-would-allow", Certain, Low;
    /// A connection is kept by a rule that has been replaced.
    StaleVerdict: Policy, "stale-verdict", Certain, Low;
    /// A policy was staged long ago and never committed nor withdrawn.
    StagedForgotten: Policy, "staged-forgotten", Derived, Info;
    /// A selector matches nothing, and something misses it by one term.
    LabelMismatch: Policy, "label-mismatch", Derived, Low;
    /// A rule without peer and ports allows.
    BroadAllow: Policy, "broad-allow", Certain, Low;
    /// A policy or rule that is never reached.
    Shadowed: Policy, "shadowed", Derived, Info;
    /// A policy that decided nothing for a week.
    Unused: Policy, "unused", Derived, Info;
    /// Ingress from public networks that no rule with a peer allows.
    PublicExposure: Policy, "public-exposure", Certain, Medium;
    /// The default service account reaches a critical backend.
    DefaultServiceAccount: Trust, "default-service-account", Derived, Medium;
    /// An account that a boundary does not list.
    WrongServiceAccount: Trust, "wrong-service-account", Derived, High;
    /// Pods behind a backend run under an account that is not expected there.
    UnexpectedDestinationIdentity: Trust, "unexpected-destination-identity", Derived, Medium;
    /// One environment reaches another that it must not.
    CrossEnvironment: Trust, "cross-environment", Derived, High;
    /// An isolated namespace is reached from outside its list.
    CrossNamespace: Trust, "cross-namespace", Derived, Medium;
    /// A boundary was crossed because a policy without peer allowed it.
    UnintendedPath: Trust, "unintended-path", Derived, Medium;
    /// Requests are allowed and never answered.
    NoResponse: Asymmetry, "no-response", Derived, Medium;
    /// Replies leave the destination and do not arrive.
    NoAck: Asymmetry, "no-ack", Derived, Medium;
    /// TCP connections begin and none is established.
    NeverEstablished: Asymmetry, "never-established", Derived, Medium;
    /// One of two reporters says nothing.
    OneSidedReport: Asymmetry, "one-sided-report", Suspected, Medium;
    /// The source's side allows, the destination's denies.
    DeniedAtDestination: Asymmetry, "denied-at-destination", Certain, Medium;
    /// A service without a ready endpoint.
    ServiceWithoutEndpoints: Asymmetry, "service-without-endpoints", Derived, Medium;
    /// Private networks are reached and no egress rule names them.
    UnpolicedEgress: Private, "unpoliced-egress", Suspected, Info;
    /// A cloud's metadata service is reached.
    MetadataAccess: Private, "metadata-access", Certain, High;
    /// A cloud's credentials agent is reached.
    WorkloadCredentials: Private, "workload-credentials", Certain, Info;
    /// Many destinations are tried, and most refuse or are silent.
    Scan: Private, "scan", Suspected, Medium;
    /// An address of the pods' range shows as a network.
    Misrouted: Private, "misrouted", Derived, Low;
    /// Traffic of a source whose pods are gone.
    SourceGone: Zombie, "source-gone", Derived, Low;
    /// Traffic to a destination whose pods are gone.
    DestinationGone: Zombie, "destination-gone", Derived, Low;
    /// A connection that is kept and carries nothing, or whose peer is going.
    LongLived: Zombie, "long-lived", Derived, Low;
    /// Traffic to an address that another now owns.
    StaleRoute: Zombie, "stale-route", Derived, Low;
    /// A workload that was shut down still talks.
    ChatterAfterShutdown: Zombie, "chatter-after-shutdown", Derived, Low;
    /// A little traffic, again and again, to a peer that never answers with data.
    BackgroundChatter: Zombie, "background-chatter", Suspected, Info;
    /// Name lookups fail.
    DnsErrors: Health, "dns-errors", Certain, Medium;
    /// Names are asked for that do not exist.
    Nxdomain: Health, "nxdomain", Certain, Low;
    /// The kernel drops packets.
    KernelDrops: Health, "kernel-drops", Certain, Medium;
    /// Round trips grow.
    RttTrend: Health, "rtt-trend", Suspected, Low;
    /// Requests fail at the server.
    Http5xx: Health, "http-5xx", Certain, Medium;
    /// The collector lost events.
    LostEvents: Health, "lost-events", Certain, Low;
    /// More keys than the limits: who talked was given up for some rows.
    KeyOverflow: Health, "key-overflow", Certain, Low;
}

impl FindingKind {
    /// The page that tells what it means and what to do, in the folder of those pages.
    pub fn page(self) -> String {
        format!("{}.md#{}", self.family().name(), self.name().replace('.', ""))
    }
}

/// A word of the contract that is one of a few.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable word of the contract.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        spoken!($name, $what);
    };
}

/// Reads and writes a type by its `name`, and names those there are where a word is none.
macro_rules! spoken {
    ($name:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                let known = Self::ALL.iter().copied().find(|one| one.name() == word);
                known.ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|one| one.name()).collect();
                    format!("`{word}` is no {}; known are {}", $what, names.join(", "))
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                word.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

spoken!(FindingKind, "kind of finding");

words! {
    /// A family of kinds.
    Family, "family of findings" {
        /// Policy misconfiguration.
        Policy = "policy",
        /// Trust boundaries of service accounts.
        Trust = "trust",
        /// Asymmetric or one-sided traffic.
        Asymmetry = "asymmetry",
        /// Private networks and cloud metadata.
        Private = "private",
        /// Zombie connections and stale traffic.
        Zombie = "zombie",
        /// Health that the wire shows.
        Health = "health",
    }
}

words! {
    /// How bad it is.
    Severity, "severity" {
        /// Worth knowing.
        Info = "info",
        /// To be mended when there is time.
        Low = "low",
        /// To be mended soon.
        Medium = "medium",
        /// To be looked at now.
        High = "high",
    }
}

words! {
    /// How sure one is of it.
    Confidence, "confidence" {
        /// Statistics or a guess.
        Suspected = "suspected",
        /// Flows joined with what is known of the cluster.
        Derived = "derived",
        /// The flow itself says so.
        Certain = "certain",
    }
}

words! {
    /// Where a finding is in its life.
    Status, "status" {
        /// It was not there before, or had been resolved.
        Opened = "opened",
        /// It goes on.
        Ongoing = "ongoing",
        /// Something showed that it is over.
        Resolved = "resolved",
        /// Nothing has shown it for a day, and nothing the contrary.
        Stale = "stale",
    }
}

words! {
    /// Why a finding is over.
    Resolution, "reason of a resolution" {
        /// The same subject showed the contrary.
        Fixed = "fixed",
        /// What it is about is no more.
        SubjectGone = "subject_gone",
        /// Nothing is said of it any more.
        Quiet = "quiet",
        /// What is looked for has been configured otherwise.
        RuleChanged = "rule_changed",
        /// The source that showed it is silent.
        SourceLost = "source_lost",
    }
}

impl Status {
    /// Whether the problem is there, as far as is known.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Opened | Self::Ongoing)
    }
}

/// The stable name of a finding: a hash of kind, cluster and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FindingId(pub u128);

impl FindingId {
    /// The finding of this kind about this subject, which is what [`Subject::key`] says.
    pub fn of(kind: FindingKind, cluster: &str, subject: &Subject) -> Self {
        let name = format!("{kind}\n{cluster}\n{}", subject.key());
        Self(xxhash_rust::xxh3::xxh3_128(name.as_bytes()))
    }
}

impl FromStr for FindingId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
        id.map(Self).ok_or_else(|| format!("`{text}` is no id of a finding"))
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a finding is about: members with their values, in the order they are read aloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject(Vec<(String, Value)>);

/// A member of a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Value {
    Absent,
    Text(String),
    Number(i64),
}

impl Subject {
    /// With one more member; `None` says that it has none, as a host has no namespace.
    #[must_use]
    pub fn with(mut self, member: &str, text: Option<&str>) -> Self {
        self.0.push((member.to_owned(), text.map_or(Value::Absent, |text| Value::Text(text.to_owned()))));
        self
    }

    /// With one more member that is a number.
    #[must_use]
    pub fn number(mut self, member: &str, value: i64) -> Self {
        self.0.push((member.to_owned(), Value::Number(value)));
        self
    }

    /// The text of a member, if it has one.
    pub fn get(&self, member: &str) -> Option<&str> {
        self.0.iter().find_map(|(name, value)| match value {
            Value::Text(text) if name == member => Some(text.as_str()),
            _ => None,
        })
    }

    /// The number of a member, if it has one.
    pub fn get_number(&self, member: &str) -> Option<i64> {
        self.0.iter().find_map(|(name, value)| match value {
            Value::Number(number) if name == member => Some(*number),
            _ => None,
        })
    }

    /// Whether it has all members of `other` with the same values.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|member| self.0.contains(member))
    }

    /// The subject as one text: equal texts, equal subjects.
    pub fn key(&self) -> String {
        let mut members: Vec<_> = self.0.iter().collect();
        members.sort_unstable();
        serde_json::to_string(&members).expect("texts and numbers serialize")
    }

    /// The subject as a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let members = self.0.iter().map(|(name, value)| {
            let value = match value {
                Value::Absent => serde_json::Value::Null,
                Value::Text(text) => text.as_str().into(),
                Value::Number(number) => (*number).into(),
            };
            (name.clone(), value)
        });
        members.collect::<serde_json::Map<_, _>>().into()
    }
}

/// A finding that someone has asked not to be told about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: EventTime,
}

/// A row of `findings`: what has become of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRow {
    /// Its stable name.
    pub id: FindingId,
    /// What kind of problem.
    pub kind: FindingKind,
    /// Where it is in its life.
    pub status: Status,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// Whether someone has asked not to be told.
    pub mute: Option<Mute>,
    /// Start of the first window that showed it.
    pub first_seen: EventTime,
    /// End of the last window that showed it.
    pub last_seen: EventTime,
    /// Windows that showed it.
    pub windows_seen: u64,
    /// How often it came back within a day after it had been resolved.
    pub reopen_count: u32,
    /// Why it is over; `None` while it is open.
    pub resolution: Option<Resolution>,
    /// Namespace of the subject; `None` where that is of the whole cluster.
    pub namespace: Option<String>,
    /// Owner or team of the subject, from labels.
    pub owner: Option<String>,
    /// What it is about.
    pub subject: Subject,
    /// JSON object: pods, connections, packets and bytes so far, share of the destination's traffic in the newest window.
    pub impact: String,
    /// JSON object: windows, counters, chains, what changed just before, what could not be evaluated.
    pub evidence: String,
    /// One line.
    pub title: String,
    /// One paragraph that a person on call understands.
    pub explanation: String,
    /// What to do.
    pub remediation: String,
    /// A command that shows whether it is fixed.
    pub verify: String,
    /// Open findings about the same pair, policy or workload.
    pub related: Vec<FindingId>,
    /// Where the page is that explains its kind.
    pub runbook: String,
}

impl FindingRow {
    /// The first of the findings that folded into it, as its evidence lists them. They have no rows of their own.
    pub fn folded(&self) -> Vec<FindingId> {
        #[derive(Deserialize)]
        struct Evidence {
            #[serde(default)]
            children: Vec<Child>,
        }
        #[derive(Deserialize)]
        struct Child {
            finding_id: String,
        }
        let children =
            serde_json::from_str(&self.evidence).map_or_else(|_| Vec::new(), |Evidence { children }| children);
        children.iter().filter_map(|child| child.finding_id.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_that_is_read_back() {
        let names: std::collections::BTreeSet<_> = FindingKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), FindingKind::ALL.len());
        for kind in FindingKind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            assert!(kind.name().starts_with(kind.family().name()));
        }
        assert!(FindingKind::ALL.len() <= 64, "kinds are kept in sets of 64 bits");
    }

    #[test]
    fn a_subject_is_the_same_whatever_the_order_of_its_members() {
        let subject = Subject::default().with("namespace", Some("shop")).with("node", None).number("dest_port", 80);
        let other = Subject::default().number("dest_port", 80).with("node", None).with("namespace", Some("shop"));
        let id = |subject: &Subject| FindingId::of(FindingKind::NoPolicy, "c", subject);
        assert_eq!(id(&subject), id(&other));
        let more = other.with("x", Some("y"));
        assert_ne!(id(&subject), id(&more));
        assert_ne!(id(&subject), FindingId::of(FindingKind::NoPolicy, "d", &subject));
        assert_eq!(subject.to_json().to_string(), r#"{"dest_port":80,"namespace":"shop","node":null}"#);
    }

    #[test]
    fn an_unknown_word_names_the_known_ones() {
        let error = "severe".parse::<Severity>().expect_err("no severity");
        assert_eq!(error, "`severe` is no severity; known are info, low, medium, high");
    }
}
