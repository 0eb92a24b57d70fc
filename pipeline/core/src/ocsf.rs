//! Rows as events of the Open Cybersecurity Schema Framework: findings as Detection Finding, flows as Network Activity.
//!
//! The mapping says nothing that the row does not say, and keeps what has no place of its own under `unmapped`.

use catchment_schemas::goldmane::names;
use serde_json::{Value, json};

use crate::key::Endpoint;
use crate::{Confidence, Counters, EventTime, FindingRow, FlowRow, Resolution, Severity, Span, Status, StreamId};

/// The release of the schema that events say they are of. They use only what it and every later 1.x has.
pub const VERSION: &str = "1.3.0";

/// The class Detection Finding, with its caption.
const DETECTION_FINDING: (u64, &str) = (2004, "Detection Finding");
/// The class Network Activity, with its caption.
const NETWORK_ACTIVITY: (u64, &str) = (4001, "Network Activity");

/// A number of an enumeration of the schema, with its caption.
type Word = (u64, &'static str);

/// Endpoint that is no workload, and outside of the cluster as far as the source can tell.
const NETWORK: &str = "Network";

/// A row of `findings` as an event of class 2004.
pub fn finding(stream: &StreamId, window: Span, row: &FindingRow) -> Value {
    let activity = finding_activity(row.status);
    let uid = format!("{}-{}", row.id, millis(window.end));
    let mut event = event(DETECTION_FINDING, (2, "Findings"), activity, severity(row.severity), window.end);
    let (status, confidence) = (finding_status(row), confidence(row.confidence));
    add(
        &mut event,
        json!({
            "message": row.title,
            "metadata": metadata(&uid, &[]),
            "status_id": status.0,
            "status": status.1,
            "confidence_id": confidence.0,
            "confidence": confidence.1,
            "start_time": millis(row.first_seen),
            "end_time": millis(row.last_seen),
            "finding_info": {
                "uid": row.id.to_string(),
                "title": row.title,
                "desc": row.explanation,
                "types": [row.kind.name(), row.kind.family().name()],
                "first_seen_time": millis(row.first_seen),
                "last_seen_time": millis(row.last_seen),
                "modified_time": millis(window.end),
            },
            "evidences": [{ "data": parsed(&row.evidence) }],
            "remediation": { "desc": row.remediation, "references": [row.runbook] },
            "resources": [resource(stream, row)],
            "unmapped": unmapped(stream, row),
        }),
    );
    if let Some(reason) = row.resolution {
        event["status_detail"] = Resolution::name(reason).into();
    }
    event
}

/// A row of `flows` as an event of class 4001, with the profile `security_control`.
pub fn flow(stream: &StreamId, window: Span, row: &FlowRow) -> Value {
    let key = &row.key.key;
    let action = names::action(key.action);
    let (activity, verdict, disposition) = verdict(action.as_deref());
    let uid = format!("{:032x}-{}", row.key.flow_id, millis(window.start));
    let mut event = event(NETWORK_ACTIVITY, (4, "Network Activity"), activity, (1, "Informational"), window.start);
    let direction = direction(&key.source, &key.dest);
    let from_source = names::reporter(key.reporter).as_deref() == Some("Src");
    add(
        &mut event,
        json!({
            "metadata": metadata(&uid, &["security_control"]),
            "start_time": millis(window.start),
            "end_time": millis(window.end),
            "duration": millis(window.end) - millis(window.start),
            "count": row.records,
            "action_id": verdict.0,
            "action": verdict.1,
            "disposition_id": disposition.0,
            "disposition": disposition.1,
            "src_endpoint": endpoint(&key.source),
            "dst_endpoint": destination(row),
            "connection_info": {
                "direction_id": direction.0,
                "direction": direction.1,
                "protocol_name": key.protocol.to_lowercase(),
            },
            "traffic": traffic(&row.counters, from_source),
            "unmapped": {
                "cluster": stream.cluster,
                "source": stream.source,
                "flow_id": format!("{:032x}", row.key.flow_id),
                "reporter": names::reporter(key.reporter),
                "action": action,
                "trace_split": row.trace_split,
            },
        }),
    );
    if let Some(policy) = key.trace.enforced_policy() {
        event["policy"] = json!({ "name": policy });
    }
    event
}

/// What every event has.
fn event(class: Word, category: Word, activity: Word, severity: Word, time: EventTime) -> Value {
    json!({
        "class_uid": class.0,
        "class_name": class.1,
        "category_uid": category.0,
        "category_name": category.1,
        "activity_id": activity.0,
        "activity_name": activity.1,
        "type_uid": class.0 * 100 + activity.0,
        "type_name": format!("{}: {}", class.1, activity.1),
        "severity_id": severity.0,
        "severity": severity.1,
        "time": millis(time),
    })
}

fn add(event: &mut Value, members: Value) {
    if let (Value::Object(event), Value::Object(members)) = (event, members) {
        event.extend(members);
    }
}

/// `uid` is the same whenever the event is sent again: receivers tell by it what they have.
fn metadata(uid: &str, profiles: &[&str]) -> Value {
    json!({
        "version": VERSION,
        "uid": uid,
        "profiles": profiles,
        "product": {
            "name": "Catchment",
            "vendor_name": "Catchment",
            "version": env!("CARGO_PKG_VERSION"),
        },
    })
}

fn millis(time: EventTime) -> i64 {
    time.0.div_euclid(1000)
}

// === findings ===

const fn finding_activity(status: Status) -> Word {
    match status {
        Status::Opened => (1, "Create"),
        Status::Ongoing => (2, "Update"),
        Status::Resolved | Status::Stale => (3, "Close"),
    }
}

/// That nobody has looked at an open one yet is all that is known. The schema has no word for stale.
const fn finding_status(row: &FindingRow) -> Word {
    match (row.status, row.mute.is_some()) {
        (Status::Resolved, _) => (4, "Resolved"),
        (Status::Stale, _) => (99, "stale"),
        (Status::Opened | Status::Ongoing, true) => (3, "Suppressed"),
        (Status::Opened | Status::Ongoing, false) => (1, "New"),
    }
}

const fn severity(severity: Severity) -> Word {
    match severity {
        Severity::Info => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
    }
}

const fn confidence(confidence: Confidence) -> Word {
    match confidence {
        Confidence::Suspected => (1, "Low"),
        Confidence::Derived => (2, "Medium"),
        Confidence::Certain => (3, "High"),
    }
}

/// The subject as the affected resource; a resource must have a name.
fn resource(stream: &StreamId, row: &FindingRow) -> Value {
    let subject = row.subject.to_json();
    let labels = [format!("cluster={}", stream.cluster)];
    let mut resource = json!({ "name": subject.to_string(), "type": "subject", "data": subject, "labels": labels });
    if let Some(namespace) = &row.namespace {
        resource["namespace"] = namespace.as_str().into();
    }
    if let Some(owner) = &row.owner {
        resource["owner"] = json!({ "name": owner });
    }
    resource
}

fn unmapped(stream: &StreamId, row: &FindingRow) -> Value {
    json!({
        "cluster": stream.cluster,
        "source": stream.source,
        "status": row.status.name(),
        "confidence": row.confidence.name(),
        "windows_seen": row.windows_seen,
        "reopen_count": row.reopen_count,
        "muted": row.mute.is_some(),
        "mute_reason": row.mute.as_ref().map(|mute| &mute.reason),
        "impact": parsed(&row.impact),
        "verify": row.verify,
        "related": row.related.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// The object in a text, or the text where it holds none.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

// === flows ===

/// Activity, action and disposition of a verdict.
fn verdict(action: Option<&str>) -> (Word, Word, Word) {
    match action {
        Some("Allow") => ((6, "Traffic"), (1, "Allowed"), (1, "Allowed")),
        Some("Deny") => ((5, "Refuse"), (2, "Denied"), (2, "Blocked")),
        _ => ((6, "Traffic"), (0, "Unknown"), (0, "Unknown")),
    }
}

fn direction(source: &Endpoint, dest: &Endpoint) -> Word {
    let outside = |end: &Endpoint| end.type_name().map(|name| name == NETWORK);
    match (outside(source), outside(dest)) {
        (Some(true), Some(false)) => (1, "Inbound"),
        (Some(false), Some(true)) => (2, "Outbound"),
        (Some(false), Some(false)) => (3, "Lateral"),
        _ => (0, "Unknown"),
    }
}

fn endpoint(end: &Endpoint) -> Value {
    let name = end.namespace.as_ref().map_or_else(|| end.name().to_owned(), |ns| format!("{ns}/{}", end.name()));
    let kind = end.type_name();
    json!({ "name": name, "type_id": if kind.is_some() { 99 } else { 0 }, "type": kind })
}

fn destination(row: &FlowRow) -> Value {
    let key = &row.key.key;
    let mut destination = endpoint(&key.dest);
    destination["port"] = key.dest_port.into();
    if let Some(name) = &key.service.name {
        let namespace = key.service.namespace.as_deref().unwrap_or("-");
        destination["svc_name"] = format!("{namespace}/{name}").into();
    }
    destination
}

/// The schema counts from the source, a row from its reporter.
fn traffic(counters: &Counters, from_source: bool) -> Value {
    let turn = |to_reporter: u64, from_reporter: u64| {
        if from_source { (to_reporter, from_reporter) } else { (from_reporter, to_reporter) }
    };
    let (bytes_in, bytes_out) = turn(counters.bytes_in, counters.bytes_out);
    let (packets_in, packets_out) = turn(counters.packets_in, counters.packets_out);
    json!({
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "bytes": bytes_in.saturating_add(bytes_out),
        "packets_in": packets_in,
        "packets_out": packets_out,
        "packets": packets_in.saturating_add(packets_out),
    })
}

#[cfg(test)]
#[path = "ocsf_tests.rs"]
mod tests;
