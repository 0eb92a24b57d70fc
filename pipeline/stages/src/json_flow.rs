//! Flow JSON in the three shapes that Calico's tools write: proto3 JSON, the emitter's JSON, and
//! Whisker's flat JSON.
//!
//! The hot path walks the members once: numbers are read, everything else is copied, unparsed,
//! into the identity bytes. Only an identity that is new is parsed in full.

use std::borrow::Cow;

use catchment_core::EventTime;
use catchment_schemas::goldmane::{self, Action, EndpointType, PolicyKind, Reporter};
use serde::Deserialize;

use crate::json_scan::{Broken, members};
use crate::record::{Fault, Numbers};

/// Reads one line. `identity` is cleared and receives the identity bytes.
///
/// Whether the line can be parsed in full, and to what, is a function of the identity: everything
/// that is not in it has been checked here.
pub(crate) fn scan(line: &[u8], identity: &mut Vec<u8>) -> Result<Numbers, Fault> {
    identity.clear();
    let mut numbers = Numbers::default();
    members(line, |name, value| {
        if *name == *b"flow" && value.first() == Some(&b'{') {
            // What stands inside and what stands beside it are told apart.
            identity.extend_from_slice(b"{\n");
            members(value, |name, value| scan_member(&name, value, &mut numbers, identity))?;
            identity.extend_from_slice(b"}\n");
            return Ok(());
        }
        scan_member(&name, value, &mut numbers, identity)
    })?;
    Ok(numbers)
}

fn scan_member(name: &[u8], value: &[u8], numbers: &mut Numbers, identity: &mut Vec<u8>) -> Result<(), Fault> {
    match name {
        b"id" if is_plain(value) => {}
        b"start_time" | b"startTime" => numbers.start = Some(time(value)?),
        b"end_time" | b"endTime" => numbers.end = time(value)?,
        _ => {
            if let Some(counter) = counter(name, numbers) {
                *counter = int(name, value)?;
            } else {
                // An escaped name may hold anything, so its length says where it ends.
                identity.extend_from_slice(&(name.len() as u32).to_le_bytes());
                identity.extend_from_slice(name);
                identity.extend_from_slice(value);
                identity.push(b'\n');
            }
        }
    }
    Ok(())
}

fn counter<'n>(name: &[u8], numbers: &'n mut Numbers) -> Option<&'n mut i64> {
    Some(match name {
        b"packets_in" | b"packetsIn" => &mut numbers.packets_in,
        b"packets_out" | b"packetsOut" => &mut numbers.packets_out,
        b"bytes_in" | b"bytesIn" => &mut numbers.bytes_in,
        b"bytes_out" | b"bytesOut" => &mut numbers.bytes_out,
        b"num_connections_started" | b"numConnectionsStarted" => &mut numbers.started,
        b"num_connections_completed" | b"numConnectionsCompleted" => &mut numbers.completed,
        b"num_connections_live" | b"numConnectionsLive" => &mut numbers.live,
        _ => return None,
    })
}

/// Whether `value` is a JSON number without fraction, or a JSON string without escapes.
fn is_plain(value: &[u8]) -> bool {
    match value {
        [b'"', text @ .., b'"'] => text.iter().all(|&byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte)),
        _ => is_bare_number(value),
    }
}

/// JSON has no sign but `-`, and no zeros in front.
fn is_bare_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    match digits {
        [first, rest @ ..] => first.is_ascii_digit() && (*first != b'0' || rest.is_empty()) && all_digits(rest),
        [] => false,
    }
}

fn all_digits(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

/// Numbers stand bare, or quoted as proto3 JSON writes 64-bit integers.
fn int(name: &[u8], value: &[u8]) -> Result<i64, Fault> {
    number(value).ok_or_else(|| {
        let (name, text) = (String::from_utf8_lossy(name), String::from_utf8_lossy(unquoted(value)));
        Fault::new("bad_number", format!("`{name}` is `{text}`; write a whole number below 2^63"))
    })
}

/// Seconds, or RFC 3339.
fn time(value: &[u8]) -> Result<EventTime, Fault> {
    if let Some(seconds) = number(value) {
        return Ok(EventTime::from_secs(seconds));
    }
    let text = String::from_utf8_lossy(unquoted(value));
    let quoted = value.first() == Some(&b'"');
    EventTime::parse_rfc3339(&text).filter(|_| quoted).ok_or_else(|| {
        Fault::new(
            "bad_time",
            format!("`{text}` is no time; write Unix seconds or RFC 3339, like 2026-01-01T00:00:00Z"),
        )
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

fn number(value: &[u8]) -> Option<i64> {
    let text = unquoted(value);
    if text.len() == value.len() && !is_bare_number(value) { None } else { whole_number(text) }
}

/// Digits that any 64-bit number has room for.
const SHORT: usize = 18;

fn whole_number(text: &[u8]) -> Option<i64> {
    if (1..=SHORT).contains(&text.len()) && all_digits(text) {
        return Some(text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')));
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl From<Broken> for Fault {
    fn from(Broken { at, expected }: Broken) -> Self {
        malformed(&format!("byte {at}: {expected} is missing"))
    }
}

fn malformed(error: &str) -> Fault {
    let first_line = error.lines().next().unwrap_or_default();
    Fault::new("malformed_json", format!("the line is no JSON object: {first_line}"))
}

/// What a new identity says, in the terms of the wire.
pub(crate) struct Parsed {
    pub(crate) key: goldmane::FlowKey,
    pub(crate) source_labels: Vec<String>,
    pub(crate) dest_labels: Vec<String>,
    pub(crate) has_connections: bool,
}

/// Parses a line in full.
pub(crate) fn parse(line: &[u8]) -> Result<Parsed, Fault> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|e| malformed(&e.to_string()))?;
    let flow = match line.flow {
        Some(flow) => *flow,
        None => line.flat,
    };
    let has_connections = flow.key.is_some();
    let key = flow.key.unwrap_or(flow.flat_key);
    if key.source_name.is_empty() && key.dest_name.is_empty() {
        return Err(Fault::new("no_flow_key", "the object names neither source nor destination, so it is no flow"));
    }
    Ok(Parsed {
        key: key.into_wire()?,
        source_labels: flow.source_labels.into_items(),
        dest_labels: flow.dest_labels.into_items(),
        has_connections,
    })
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    flow: Option<Box<JsonFlow<'a>>>,
    #[serde(flatten, borrow)]
    flat: JsonFlow<'a>,
}

#[derive(Deserialize)]
struct JsonFlow<'a> {
    #[serde(rename = "Key", borrow)]
    key: Option<JsonKey<'a>>,
    #[serde(flatten, borrow)]
    flat_key: JsonKey<'a>,
    #[serde(default, alias = "sourceLabels")]
    source_labels: JsonLabels,
    #[serde(default, alias = "destLabels")]
    dest_labels: JsonLabels,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonKey<'a> {
    #[serde(alias = "sourceName")]
    source_name: Cow<'a, str>,
    #[serde(alias = "sourceNamespace")]
    source_namespace: Cow<'a, str>,
    #[serde(alias = "sourceType")]
    source_type: Number,
    #[serde(alias = "destName")]
    dest_name: Cow<'a, str>,
    #[serde(alias = "destNamespace")]
    dest_namespace: Cow<'a, str>,
    #[serde(alias = "destType")]
    dest_type: Number,
    #[serde(alias = "destPort")]
    dest_port: Number,
    #[serde(alias = "destServiceName")]
    dest_service_name: Cow<'a, str>,
    #[serde(alias = "destServiceNamespace")]
    dest_service_namespace: Cow<'a, str>,
    #[serde(alias = "destServicePortName")]
    dest_service_port_name: Cow<'a, str>,
    #[serde(alias = "destServicePort")]
    dest_service_port: Number,
    #[serde(alias = "protocol")]
    proto: Cow<'a, str>,
    reporter: Number,
    action: Number,
    policies: Option<JsonTrace>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonTrace {
    #[serde(alias = "enforcedPolicies", alias = "enforced")]
    enforced_policies: Option<Vec<JsonHit>>,
    #[serde(alias = "pendingPolicies", alias = "pending")]
    pending_policies: Option<Vec<JsonHit>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonHit {
    kind: Number,
    namespace: String,
    name: String,
    tier: String,
    action: Number,
    #[serde(alias = "policyIndex")]
    policy_index: Number,
    #[serde(alias = "ruleIndex")]
    rule_index: Number,
    trigger: Option<Box<JsonHit>>,
}

/// A number, a quoted number, or the name of an enum value.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Int(i64),
    Text(String),
}

impl Default for Number {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl Number {
    fn int(&self) -> Result<i64, Fault> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Text(text) => {
                text.parse().map_err(|_| Fault::new("bad_number", format!("`{text}` is no whole number")))
            }
        }
    }

    /// `by_name` knows the names of this release; proto3 JSON writes newer values as numbers.
    fn enum_value(&self, by_name: impl Fn(&str) -> Option<i32>) -> Result<i32, Fault> {
        if let Self::Text(text) = self
            && let Some(number) = by_name(text)
        {
            return Ok(number);
        }
        let number = self.int().ok().and_then(|n| i32::try_from(n).ok());
        number.ok_or_else(|| {
            Fault::new("unknown_enum", format!("`{self}` is no value this release knows; write its number"))
        })
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// An array, or Whisker's one string joined by ` | `.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonLabels {
    List(Option<Vec<String>>),
    Joined(String),
}

impl Default for JsonLabels {
    fn default() -> Self {
        Self::List(None)
    }
}

impl JsonLabels {
    fn into_items(self) -> Vec<String> {
        match self {
            Self::List(items) => items.unwrap_or_default(),
            Self::Joined(text) => text.split(" | ").filter(|label| !label.is_empty()).map(str::to_owned).collect(),
        }
    }
}

fn endpoint_type(name: &str) -> Option<i32> {
    EndpointType::from_str_name(name).map(|v| v as i32)
}

fn action(name: &str) -> Option<i32> {
    Action::from_str_name(name).map(|v| v as i32)
}

fn reporter(name: &str) -> Option<i32> {
    Reporter::from_str_name(name).map(|v| v as i32)
}

fn policy_kind(name: &str) -> Option<i32> {
    PolicyKind::from_str_name(name).map(|v| v as i32)
}

impl JsonKey<'_> {
    fn into_wire(self) -> Result<goldmane::FlowKey, Fault> {
        Ok(goldmane::FlowKey {
            source_name: self.source_name.into(),
            source_namespace: self.source_namespace.into(),
            source_type: self.source_type.enum_value(endpoint_type)?,
            dest_name: self.dest_name.into(),
            dest_namespace: self.dest_namespace.into(),
            dest_type: self.dest_type.enum_value(endpoint_type)?,
            dest_port: self.dest_port.int()?,
            dest_service_name: self.dest_service_name.into(),
            dest_service_namespace: self.dest_service_namespace.into(),
            dest_service_port_name: self.dest_service_port_name.into(),
            dest_service_port: self.dest_service_port.int()?,
            proto: self.proto.into(),
            reporter: self.reporter.enum_value(reporter)?,
            action: self.action.enum_value(action)?,
            policies: self.policies.map(JsonTrace::into_wire).transpose()?,
        })
    }
}

impl JsonTrace {
    fn into_wire(self) -> Result<goldmane::PolicyTrace, Fault> {
        Ok(goldmane::PolicyTrace {
            enforced_policies: wire_hits(self.enforced_policies)?,
            pending_policies: wire_hits(self.pending_policies)?,
        })
    }
}

fn wire_hits(hits: Option<Vec<JsonHit>>) -> Result<Vec<goldmane::PolicyHit>, Fault> {
    hits.unwrap_or_default().iter().map(JsonHit::to_wire).collect()
}

impl JsonHit {
    fn to_wire(&self) -> Result<goldmane::PolicyHit, Fault> {
        Ok(goldmane::PolicyHit {
            kind: self.kind.enum_value(policy_kind)?,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            tier: self.tier.clone(),
            action: self.action.enum_value(action)?,
            policy_index: self.policy_index.int()?,
            rule_index: self.rule_index.int()?,
            trigger: self.trigger.as_ref().map(|trigger| trigger.to_wire()).transpose()?.map(Box::new),
        })
    }
}
