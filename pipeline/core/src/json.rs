//! Rows as JSON objects, one dataset a function, members in the order of the column table.
//!
//! What belongs to a key, a trace or a label set was rendered when it was first seen; a row is
//! those fragments with freshly written numbers between them. Nothing here ends with a line break.

use std::sync::Arc;

use base64::Engine as _;
use catchment_schemas::goldmane::names;

use crate::key::{Endpoint, PolicyHit, PolicyRef, Service};
use crate::{
    ClosedWindow, Conversation, Counters, Epoch, EventTime, FindingRow, FlowKey, FlowRow, GapRow, Half, LateRow,
    RejectRow, Span, StreamId, Trace, View,
};
use crate::{IdentityState, Served, Who, identity::WHO_COLUMNS};

/// The members that all rows of one dataset and window share.
pub struct RowWriter {
    head: Vec<u8>,
    coverage: Vec<u8>,
    tail: Vec<u8>,
}

impl RowWriter {
    /// For rows of `flows` and `conversations` of one window.
    pub fn for_window(stream: &StreamId, window: &ClosedWindow) -> Self {
        let mut head = stream_members(stream);
        window_members(&mut head, window.span);
        let mut coverage = Vec::new();
        member(&mut coverage, "coverage");
        coverage.extend_from_slice(window.coverage.to_string().as_bytes());
        coverage.push(b',');
        let mut tail = Vec::new();
        state_member(&mut tail, window.identity);
        end_object(&mut tail);
        Self { head, coverage, tail }
    }

    /// For rows of `findings` alone, of one window.
    pub fn for_findings(stream: &StreamId, window: Span) -> Self {
        let mut head = stream_members(stream);
        window_members(&mut head, window);
        Self { head, coverage: Vec::new(), tail: Vec::new() }
    }

    /// For the side doors of a stream.
    pub fn for_side_doors(stream: &StreamId) -> Self {
        Self { head: stream_members(stream), coverage: Vec::new(), tail: vec![b'}'] }
    }

    /// Appends a row of `flows`.
    pub fn flow(&self, out: &mut Vec<u8>, row: &FlowRow) {
        out.extend_from_slice(&self.head);
        flow_members(out, row);
        int_member(out, "records", u64::from(row.records));
        int_member(out, "buckets", u64::from(row.buckets));
        bool_member(out, "trace_split", row.trace_split);
        out.extend_from_slice(&self.coverage);
        identity_members(out, row);
        out.extend_from_slice(&self.tail);
    }

    /// Appends a row of `conversations`.
    pub fn conversation(&self, out: &mut Vec<u8>, row: &Conversation) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(row.key.conversation_json().as_bytes());
        optional_int_member(out, "expected_halves", row.expected_halves.map(u64::from));
        text_member(out, "verdict_agreement", Some(row.agreement.as_str()));
        text_member(out, "symmetry", Some(row.symmetry.as_str()));
        for (names, view) in [(View::SRC, row.source_view()), (View::DST, row.dest_view())] {
            for (name, value) in names.into_iter().zip(view.values()) {
                optional_int_member(out, name, value);
            }
        }
        member(out, "halves");
        list(out, &row.halves, half);
        out.push(b',');
        out.extend_from_slice(&self.coverage);
        out.extend_from_slice(row.ends().source.source_json.as_bytes());
        out.extend_from_slice(row.ends().dest.dest_json.as_bytes());
        out.extend_from_slice(&self.tail);
    }

    /// Appends a row of `findings`.
    pub fn finding(&self, out: &mut Vec<u8>, row: &FindingRow) {
        out.extend_from_slice(&self.head);
        finding_members(out, row);
        end_object(out);
    }

    /// Appends a row of `late`.
    pub fn late(&self, out: &mut Vec<u8>, row: &LateRow) {
        out.extend_from_slice(&self.head);
        window_members(out, row.window);
        flow_members(out, &row.flow);
        int_member(out, "log_position", row.position.0);
        int_member(out, "log_index", u64::from(row.index));
        text_member(out, "reason", Some(row.reason.as_str()));
        time_member(out, "bucket_start", Some(row.bucket.start));
        time_member(out, "bucket_end", Some(row.bucket.end));
        identity_members(out, &row.flow);
        state_member(out, row.identity);
        self.close(out);
    }

    /// Appends a row of `rejects`.
    pub fn reject(&self, out: &mut Vec<u8>, row: &RejectRow) {
        let (original, encoding) = row.original_text();
        out.extend_from_slice(&self.head);
        int_member(out, "log_position", row.position.0);
        int_member(out, "log_index", u64::from(row.index));
        text_member(out, "reason", Some(row.reason));
        text_member(out, "detail", Some(&row.detail));
        text_member(out, "origin", Some(&row.origin));
        time_member(out, "event_time", row.event_time);
        text_member(out, "original", Some(&original));
        text_member(out, "original_encoding", Some(encoding));
        int_member(out, "original_bytes", row.original_len);
        self.close(out);
    }

    /// Appends a row of `gaps`.
    pub fn gap(&self, out: &mut Vec<u8>, row: &GapRow) {
        out.extend_from_slice(&self.head);
        int_member(out, "log_position", row.position.0);
        int_member(out, "partition", u64::from(row.partition.0));
        time_member(out, "gap_start", Some(row.span.start));
        time_member(out, "gap_end", Some(row.span.end));
        text_member(out, "reason", Some(&row.reason));
        text_member(out, "detail", Some(&row.detail));
        self.close(out);
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.pop();
        out.extend_from_slice(&self.tail);
    }
}

/// Every row of an epoch in the order sinks publish it: flows, conversations, late, rejects, gaps, findings.
/// `emit` receives the dataset and one JSON object.
pub fn for_each_row(epoch: &Epoch, mut emit: impl FnMut(catchment_schemas::Dataset, &[u8])) {
    use catchment_schemas::Dataset;
    let mut buffer = Vec::with_capacity(2048);
    let mut row = |dataset, write: &dyn Fn(&mut Vec<u8>)| {
        buffer.clear();
        write(&mut buffer);
        emit(dataset, &buffer);
    };
    if let Some(window) = &epoch.window {
        let writer = RowWriter::for_window(&epoch.stream, window);
        window.flows.iter().for_each(|r| row(Dataset::Flows, &|out| writer.flow(out, r)));
        window.conversations.iter().for_each(|r| row(Dataset::Conversations, &|out| writer.conversation(out, r)));
    }
    let writer = RowWriter::for_side_doors(&epoch.stream);
    epoch.late.iter().for_each(|r| row(Dataset::Late, &|out| writer.late(out, r)));
    epoch.rejects.iter().for_each(|r| row(Dataset::Rejects, &|out| writer.reject(out, r)));
    epoch.gaps.iter().for_each(|r| row(Dataset::Gaps, &|out| writer.gap(out, r)));
    if let Some(window) = &epoch.window {
        let writer = RowWriter::for_window(&epoch.stream, window);
        epoch.findings.iter().for_each(|r| row(Dataset::Findings, &|out| writer.finding(out, r)));
    }
}

/// The members of a key: `"source_namespace":...,"flow_id":"...",` and the length of the part that
/// identifies the conversation.
pub fn key_members(key: &FlowKey, flow_id: u128) -> (Box<str>, usize) {
    let mut out = Vec::with_capacity(512);
    endpoint_members(&mut out, ["source_namespace", "source_name", "source_name_raw", "source_type"], &key.source);
    endpoint_members(&mut out, ["dest_namespace", "dest_name", "dest_name_raw", "dest_type"], &key.dest);
    int_member(&mut out, "dest_port", key.dest_port);
    text_member(&mut out, "protocol", Some(&key.protocol));
    let conversation = out.len();
    text_member(&mut out, "reporter", names::reporter(key.reporter).as_deref());
    text_member(&mut out, "action", names::action(key.action).as_deref());
    service_members(&mut out, &key.service);
    text_member(&mut out, "flow_id", Some(&format!("{flow_id:032x}")));
    (into_json(out), conversation)
}

/// The members of a trace: `"enforced_policy":...,"pending_policies":[...],` and where the two lists
/// of hits begin.
pub fn trace_members(trace: &Trace) -> (Box<str>, usize) {
    let mut out = Vec::with_capacity(512);
    text_member(&mut out, "enforced_policy", trace.enforced_policy().as_deref());
    text_member(&mut out, "enforced_tier", trace.enforced_tier().map(|t| &**t));
    text_member(&mut out, "verdict_reason", trace.verdict_reason().map(crate::VerdictReason::as_str));
    text_member(&mut out, "pending_action", trace.pending_action().and_then(names::action).as_deref());
    let hits = out.len();
    hits_members(&mut out, trace);
    (into_json(out), hits)
}

/// The members of one end's identity, `"<end>_workload_kind":...,"<end>_identity_from":...,`.
pub fn who_members(end: &str, who: &Who) -> Box<str> {
    let mut out = Vec::with_capacity(512);
    let [kind, name, accounts, nodes, zones, labels, environment, owner, pods, class, from] =
        WHO_COLUMNS.map(|column| format!("{end}_{column}"));
    text_member(&mut out, &kind, who.workload_kind.as_deref());
    text_member(&mut out, &name, who.workload_name.as_deref());
    texts_member(&mut out, &accounts, who.service_accounts.as_deref());
    texts_member(&mut out, &nodes, who.nodes.as_deref());
    texts_member(&mut out, &zones, who.zones.as_deref());
    texts_member(&mut out, &labels, who.namespace_labels.as_deref());
    text_member(&mut out, &environment, who.environment.as_deref());
    text_member(&mut out, &owner, who.owner.as_deref());
    optional_int_member(&mut out, &pods, who.pods);
    text_member(&mut out, &class, who.address_class.map(crate::AddressClass::as_str));
    text_member(&mut out, &from, who.from.map(crate::IdentityFrom::as_str));
    into_json(out)
}

/// The members of the services in front of a destination.
pub fn served_members(served: &Served) -> Box<str> {
    let mut out = Vec::with_capacity(128);
    texts_member(&mut out, "dest_services", served.services.as_deref());
    text_member(&mut out, "dest_services_from", served.from.map(crate::ServicesFrom::as_str));
    optional_int_member(&mut out, "dest_ready_endpoints", served.ready_endpoints);
    into_json(out)
}

fn finding_members(out: &mut Vec<u8>, row: &FindingRow) {
    text_member(out, "finding_id", Some(&row.id.to_string()));
    text_member(out, "kind", Some(row.kind.name()));
    text_member(out, "family", Some(row.kind.family().name()));
    text_member(out, "status", Some(row.status.name()));
    text_member(out, "severity", Some(row.severity.name()));
    text_member(out, "confidence", Some(row.confidence.name()));
    bool_member(out, "muted", row.mute.is_some());
    text_member(out, "mute_reason", row.mute.as_ref().map(|mute| mute.reason.as_str()));
    time_member(out, "mute_until", row.mute.as_ref().map(|mute| mute.until));
    time_member(out, "first_seen", Some(row.first_seen));
    time_member(out, "last_seen", Some(row.last_seen));
    int_member(out, "windows_seen", row.windows_seen);
    int_member(out, "reopen_count", row.reopen_count);
    text_member(out, "resolution_reason", row.resolution.map(crate::Resolution::name));
    text_member(out, "namespace", row.namespace.as_deref());
    text_member(out, "owner", row.owner.as_deref());
    for (name, object) in
        [("subject", &row.subject.to_json().to_string()), ("impact", &row.impact), ("evidence", &row.evidence)]
    {
        member(out, name);
        out.extend_from_slice(object.as_bytes());
        out.push(b',');
    }
    text_member(out, "title", Some(&row.title));
    text_member(out, "explanation", Some(&row.explanation));
    text_member(out, "remediation", Some(&row.remediation));
    text_member(out, "verify", Some(&row.verify));
    member(out, "related");
    list(out, &row.related, |out, id| serde_json::to_writer(out, &id.to_string()).expect("text serializes"));
    out.push(b',');
    text_member(out, "runbook", Some(&row.runbook));
}

fn identity_members(out: &mut Vec<u8>, row: &FlowRow) {
    let ends = row.ends();
    out.extend_from_slice(ends.source.source_json.as_bytes());
    out.extend_from_slice(ends.dest.dest_json.as_bytes());
    out.extend_from_slice(row.services().json.as_bytes());
}

fn state_member(out: &mut Vec<u8>, state: Option<IdentityState>) {
    text_member(out, "identity_state", state.map(IdentityState::as_str));
}

fn into_json(bytes: Vec<u8>) -> Box<str> {
    String::from_utf8(bytes).expect("JSON is written from text").into_boxed_str()
}

fn stream_members(stream: &StreamId) -> Vec<u8> {
    let mut out = vec![b'{'];
    text_member(&mut out, "cluster", Some(&stream.cluster));
    text_member(&mut out, "source", Some(&stream.source));
    out
}

fn window_members(out: &mut Vec<u8>, window: Span) {
    time_member(out, "window_start", Some(window.start));
    time_member(out, "window_end", Some(window.end));
}

fn endpoint_members(out: &mut Vec<u8>, [namespace, name, raw_name, kind]: [&str; 4], end: &Endpoint) {
    text_member(out, namespace, end.namespace.as_deref());
    text_member(out, name, Some(end.name()));
    text_member(out, raw_name, Some(&end.raw_name));
    text_member(out, kind, end.type_name().as_deref());
}

fn service_members(out: &mut Vec<u8>, service: &Service) {
    text_member(out, "dest_service_namespace", service.namespace.as_deref());
    text_member(out, "dest_service_name", service.name.as_deref());
    text_member(out, "dest_service_port_name", service.port_name.as_deref());
    optional_int_member(out, "dest_service_port", service.port);
}

fn flow_members(out: &mut Vec<u8>, row: &FlowRow) {
    out.extend_from_slice(row.key.json.as_bytes());
    out.extend_from_slice(row.key.key.trace.json.as_bytes());
    member(out, "source_labels");
    out.extend_from_slice(row.source_labels.json.as_bytes());
    out.push(b',');
    member(out, "dest_labels");
    out.extend_from_slice(row.dest_labels.json.as_bytes());
    out.push(b',');
    bool_member(out, "labels_varied", row.labels_varied);
    counter_members(out, &row.counters, row.key.has_connections);
}

fn counter_members(out: &mut Vec<u8>, counters: &Counters, has_connections: bool) {
    int_member(out, "packets_in", counters.packets_in);
    int_member(out, "packets_out", counters.packets_out);
    int_member(out, "bytes_in", counters.bytes_in);
    int_member(out, "bytes_out", counters.bytes_out);
    let connections = |count| has_connections.then_some(count);
    optional_int_member(out, "num_connections_started", connections(counters.started));
    optional_int_member(out, "num_connections_completed", connections(counters.completed));
    optional_int_member(out, "num_connections_live", connections(counters.live));
}

fn half(out: &mut Vec<u8>, half: &Half) {
    out.push(b'{');
    text_member(out, "reporter", names::reporter(half.reporter).as_deref());
    text_member(out, "action", names::action(half.action).as_deref());
    counter_members(out, &half.counters, half.has_connections);
    bool_member(out, "trace_split", half.trace_split);
    member(out, "traces");
    list(out, &half.traces, traces);
    out.push(b'}');
}

fn traces(out: &mut Vec<u8>, trace: &Arc<Trace>) {
    out.push(b'{');
    out.extend_from_slice(trace.hits_json().as_bytes());
    end_object(out);
}

fn hits_members(out: &mut Vec<u8>, trace: &Trace) {
    member(out, "enforced_policies");
    list(out, &trace.enforced, hit);
    out.push(b',');
    member(out, "pending_policies");
    list(out, &trace.pending, hit);
    out.push(b',');
}

fn hit(out: &mut Vec<u8>, hit: &PolicyHit) {
    out.push(b'{');
    policy_members(out, &hit.policy);
    text_member(out, "action", names::action(hit.action).as_deref());
    int_member(out, "policy_index", hit.policy_index);
    int_member(out, "rule_index", hit.rule_index);
    member(out, "trigger");
    match &hit.trigger {
        None => out.extend_from_slice(b"null"),
        Some(trigger) => {
            out.push(b'{');
            policy_members(out, trigger);
            end_object(out);
        }
    }
    out.push(b'}');
}

fn policy_members(out: &mut Vec<u8>, policy: &PolicyRef) {
    text_member(out, "kind", names::policy_kind(policy.kind).as_deref());
    text_member(out, "namespace", policy.namespace.as_deref());
    text_member(out, "name", policy.name.as_deref());
    text_member(out, "tier", policy.tier.as_deref());
}

// === members: each ends with a comma, which the object's end replaces ===

fn member(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn end_object(out: &mut Vec<u8>) {
    out.pop();
    out.push(b'}');
}

fn text_member(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    member(out, name);
    serde_json::to_writer(&mut *out, &text).expect("text serializes");
    out.push(b',');
}

fn texts_member(out: &mut Vec<u8>, name: &str, texts: Option<&[Arc<str>]>) {
    member(out, name);
    match texts {
        None => out.extend_from_slice(b"null"),
        Some(texts) => list(out, texts, |out, text| serde_json::to_writer(out, &**text).expect("text serializes")),
    }
    out.push(b',');
}

fn time_member(out: &mut Vec<u8>, name: &str, time: Option<EventTime>) {
    text_member(out, name, time.map(EventTime::to_rfc3339).as_deref());
}

fn int_member(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    member(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.push(b',');
}

fn optional_int_member(out: &mut Vec<u8>, name: &str, value: Option<impl itoa::Integer>) {
    match value {
        Some(value) => int_member(out, name, value),
        None => text_member(out, name, None),
    }
}

fn bool_member(out: &mut Vec<u8>, name: &str, value: bool) {
    member(out, name);
    out.extend_from_slice(if value { b"true," } else { b"false," });
}

fn list<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

impl RejectRow {
    /// The original as text and the word for how it is written.
    pub fn original_text(&self) -> (std::borrow::Cow<'_, str>, &'static str) {
        match std::str::from_utf8(&self.original) {
            Ok(text) => (text.into(), "utf8"),
            Err(_) => (base64::engine::general_purpose::STANDARD.encode(&self.original).into(), "base64"),
        }
    }
}
