//! Rows to record batches, one dataset a function.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow_schema::Fields;
use catchment_core::{
    Conversation, Counters, FindingRow, FlowRow, GapRow, Half, LateRow, RejectRow, Resolution, Result, Span, StreamId,
    View,
};
use catchment_schemas::goldmane::names;
use catchment_schemas::{Dataset, arrow};

use crate::columns::{
    Columns, constant, counts, free_text, item_of, lists, members_of, optional_counts, optional_text, text, times,
};
use crate::group::Windowed;
use crate::identity;
use crate::keys::{self, Distinct};

/// Rows of `flows`.
pub(crate) fn flows(stream: &StreamId, rows: &[&Windowed<FlowRow>]) -> Result<RecordBatch> {
    let schema = arrow::schema(Dataset::Flows);
    let mut out = stream_columns(stream, rows.len());
    windows(&mut out, rows.iter().map(|r| r.span));
    flow_columns(&mut out, &rows.iter().map(|r| &r.row).collect::<Vec<_>>(), schema.fields())?;
    out.add("records", counts(rows.iter().map(|r| u64::from(r.row.records))));
    out.add("buckets", counts(rows.iter().map(|r| u64::from(r.row.buckets))));
    out.add("trace_split", bools(rows.iter().map(|r| r.row.trace_split)));
    out.add("coverage", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.coverage))));
    identity::ends(&mut out, schema.fields(), rows.iter().map(|r| r.row.ends()))?;
    identity::services(&mut out, schema.fields(), rows.iter().map(|r| r.row.services()))?;
    identity::states(&mut out, rows.iter().map(|r| r.identity));
    out.into_batch(schema)
}

/// Rows of `conversations`.
pub(crate) fn conversations(stream: &StreamId, rows: &[&Windowed<Conversation>]) -> Result<RecordBatch> {
    let schema = arrow::schema(Dataset::Conversations);
    let mut out = stream_columns(stream, rows.len());
    windows(&mut out, rows.iter().map(|r| r.span));
    keys::conversation(&mut out, &Distinct::of(rows.iter().map(|r| &r.row.key)))?;
    out.add("expected_halves", optional_counts(rows.iter().map(|r| r.row.expected_halves.map(u64::from))));
    out.add("verdict_agreement", text(rows.iter().map(|r| Some(r.row.agreement.as_str()))));
    out.add("symmetry", text(rows.iter().map(|r| Some(r.row.symmetry.as_str()))));
    views(&mut out, View::SRC, &rows.iter().map(|r| r.row.source_view()).collect::<Vec<_>>());
    views(&mut out, View::DST, &rows.iter().map(|r| r.row.dest_view()).collect::<Vec<_>>());
    out.add("halves", halves(schema.fields(), rows)?);
    out.add("coverage", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.coverage))));
    identity::ends(&mut out, schema.fields(), rows.iter().map(|r| r.row.ends()))?;
    identity::states(&mut out, rows.iter().map(|r| r.identity));
    out.into_batch(schema)
}

/// Rows of `late`.
pub(crate) fn late(stream: &StreamId, rows: &[&LateRow]) -> Result<RecordBatch> {
    let schema = arrow::schema(Dataset::Late);
    let mut out = stream_columns(stream, rows.len());
    windows(&mut out, rows.iter().map(|r| r.window));
    flow_columns(&mut out, &rows.iter().map(|r| &r.flow).collect::<Vec<_>>(), schema.fields())?;
    out.add("log_position", counts(rows.iter().map(|r| r.position.0)));
    out.add("log_index", counts(rows.iter().map(|r| u64::from(r.index))));
    out.add("reason", text(rows.iter().map(|r| Some(r.reason.as_str()))));
    out.add("bucket_start", times(rows.iter().map(|r| Some(r.bucket.start))));
    out.add("bucket_end", times(rows.iter().map(|r| Some(r.bucket.end))));
    identity::ends(&mut out, schema.fields(), rows.iter().map(|r| r.flow.ends()))?;
    identity::services(&mut out, schema.fields(), rows.iter().map(|r| r.flow.services()))?;
    identity::states(&mut out, rows.iter().map(|r| r.identity));
    out.into_batch(schema)
}

/// Rows of `rejects`.
pub(crate) fn rejects(stream: &StreamId, rows: &[&RejectRow]) -> Result<RecordBatch> {
    let mut out = stream_columns(stream, rows.len());
    out.add("log_position", counts(rows.iter().map(|r| r.position.0)));
    out.add("log_index", counts(rows.iter().map(|r| u64::from(r.index))));
    out.add("reason", text(rows.iter().map(|r| Some(r.reason))));
    out.add("detail", free_text(rows.iter().map(|r| &*r.detail)));
    out.add("origin", free_text(rows.iter().map(|r| &*r.origin)));
    out.add("event_time", times(rows.iter().map(|r| r.event_time)));
    out.add("original", free_text(rows.iter().map(|r| r.original_text().0)));
    out.add("original_encoding", text(rows.iter().map(|r| Some(r.original_text().1))));
    out.add("original_bytes", counts(rows.iter().map(|r| r.original_len)));
    out.into_batch(arrow::schema(Dataset::Rejects))
}

/// Rows of `gaps`.
pub(crate) fn gaps(stream: &StreamId, rows: &[&GapRow]) -> Result<RecordBatch> {
    let mut out = stream_columns(stream, rows.len());
    out.add("log_position", counts(rows.iter().map(|r| r.position.0)));
    out.add("partition", counts(rows.iter().map(|r| u64::from(r.partition.0))));
    out.add("gap_start", times(rows.iter().map(|r| Some(r.span.start))));
    out.add("gap_end", times(rows.iter().map(|r| Some(r.span.end))));
    out.add("reason", text(rows.iter().map(|r| Some(&*r.reason))));
    out.add("detail", free_text(rows.iter().map(|r| &*r.detail)));
    out.into_batch(arrow::schema(Dataset::Gaps))
}

/// Rows of `findings`.
pub(crate) fn findings(stream: &StreamId, rows: &[&Windowed<FindingRow>]) -> Result<RecordBatch> {
    let schema = arrow::schema(Dataset::Findings);
    let mut out = stream_columns(stream, rows.len());
    windows(&mut out, rows.iter().map(|r| r.span));
    let rows: Vec<_> = rows.iter().map(|r| &r.row).collect();
    finding_words(&mut out, &rows);
    finding_life(&mut out, &rows);
    finding_texts(&mut out, &rows);
    let related = text(rows.iter().flat_map(|r| r.related.iter().map(|id| Some(id.to_string()))));
    let lengths = rows.iter().map(|r| r.related.len());
    out.add("related", lists(item_of(schema.fields(), "related"), lengths, related)?);
    out.into_batch(schema)
}

// === groups of columns ===

fn finding_words(out: &mut Columns, rows: &[&FindingRow]) {
    out.add("finding_id", free_text(rows.iter().map(|r| r.id.to_string())));
    out.add("kind", text(rows.iter().map(|r| Some(r.kind.name()))));
    out.add("family", text(rows.iter().map(|r| Some(r.kind.family().name()))));
    out.add("status", text(rows.iter().map(|r| Some(r.status.name()))));
    out.add("severity", text(rows.iter().map(|r| Some(r.severity.name()))));
    out.add("confidence", text(rows.iter().map(|r| Some(r.confidence.name()))));
    out.add("namespace", text(rows.iter().map(|r| r.namespace.as_deref())));
    out.add("owner", text(rows.iter().map(|r| r.owner.as_deref())));
    out.add("runbook", text(rows.iter().map(|r| Some(r.runbook.as_str()))));
}

fn finding_life(out: &mut Columns, rows: &[&FindingRow]) {
    out.add("muted", bools(rows.iter().map(|r| r.mute.is_some())));
    out.add("mute_reason", optional_text(rows.iter().map(|r| r.mute.as_ref().map(|mute| mute.reason.as_str()))));
    out.add("mute_until", times(rows.iter().map(|r| r.mute.as_ref().map(|mute| mute.until))));
    out.add("first_seen", times(rows.iter().map(|r| Some(r.first_seen))));
    out.add("last_seen", times(rows.iter().map(|r| Some(r.last_seen))));
    out.add("windows_seen", counts(rows.iter().map(|r| r.windows_seen)));
    out.add("reopen_count", counts(rows.iter().map(|r| u64::from(r.reopen_count))));
    out.add("resolution_reason", text(rows.iter().map(|r| r.resolution.map(Resolution::name))));
}

fn finding_texts(out: &mut Columns, rows: &[&FindingRow]) {
    out.add("subject", free_text(rows.iter().map(|r| r.subject.to_json().to_string())));
    out.add("impact", free_text(rows.iter().map(|r| &r.impact)));
    out.add("evidence", free_text(rows.iter().map(|r| &r.evidence)));
    out.add("title", free_text(rows.iter().map(|r| &r.title)));
    out.add("explanation", free_text(rows.iter().map(|r| &r.explanation)));
    out.add("remediation", free_text(rows.iter().map(|r| &r.remediation)));
    out.add("verify", free_text(rows.iter().map(|r| &r.verify)));
}

fn stream_columns(stream: &StreamId, rows: usize) -> Columns {
    let mut out = Columns::default();
    out.add("cluster", constant(&stream.cluster, rows));
    out.add("source", constant(&stream.source, rows));
    out
}

fn windows(out: &mut Columns, spans: impl Iterator<Item = Span> + Clone) {
    out.add("window_start", times(spans.clone().map(|s| Some(s.start))));
    out.add("window_end", times(spans.map(|s| Some(s.end))));
}

/// What rows of `flows` and `late` share: key, trace, labels and counters.
fn flow_columns(out: &mut Columns, rows: &[&FlowRow], fields: &Fields) -> Result<()> {
    let keys = Distinct::of(rows.iter().map(|r| &r.key));
    keys::conversation(out, &keys)?;
    keys::rest_of_flow_key(out, &keys, fields)?;
    let labels_of =
        |name, pick: fn(&FlowRow) -> &Arc<_>| keys::labels(item_of(fields, name), rows.iter().map(|r| pick(r)));
    out.add("source_labels", labels_of("source_labels", |r| &r.source_labels)?);
    out.add("dest_labels", labels_of("dest_labels", |r| &r.dest_labels)?);
    out.add("labels_varied", bools(rows.iter().map(|r| r.labels_varied)));
    counters(out, rows.iter().map(|r| (&r.counters, r.key.has_connections)));
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "an iterator is cheap to clone and made for this call")]
fn counters<'a>(out: &mut Columns, rows: impl Iterator<Item = (&'a Counters, bool)> + Clone) {
    out.add("packets_in", counts(rows.clone().map(|(c, _)| c.packets_in)));
    out.add("packets_out", counts(rows.clone().map(|(c, _)| c.packets_out)));
    out.add("bytes_in", counts(rows.clone().map(|(c, _)| c.bytes_in)));
    out.add("bytes_out", counts(rows.clone().map(|(c, _)| c.bytes_out)));
    let connections = |pick: fn(&Counters) -> u64| optional_counts(rows.clone().map(|(c, has)| has.then(|| pick(c))));
    out.add("num_connections_started", connections(|c| c.started));
    out.add("num_connections_completed", connections(|c| c.completed));
    out.add("num_connections_live", connections(|c| c.live));
}

fn views(out: &mut Columns, names: [&'static str; 4], views: &[View]) {
    for (i, name) in names.into_iter().enumerate() {
        out.add(name, optional_counts(views.iter().map(|v| v.values()[i])));
    }
}

fn halves(fields: &Fields, rows: &[&Windowed<Conversation>]) -> Result<ArrayRef> {
    let item = item_of(fields, "halves");
    let members = members_of(item);
    let all: Vec<&Half> = rows.iter().flat_map(|r| &r.row.halves).collect();
    let mut out = Columns::default();
    out.add("reporter", text(all.iter().map(|h| names::reporter(h.reporter))));
    out.add("action", text(all.iter().map(|h| names::action(h.action))));
    counters(&mut out, all.iter().map(|h| (&h.counters, h.has_connections)));
    out.add("trace_split", bools(all.iter().map(|h| h.trace_split)));
    out.add("traces", traces(members, &all)?);
    lists(item, rows.iter().map(|r| r.row.halves.len()), out.into_records(members, None)?)
}

fn traces(fields: &Fields, halves: &[&Half]) -> Result<ArrayRef> {
    let item = item_of(fields, "traces");
    let members = members_of(item);
    let distinct = Distinct::of(halves.iter().flat_map(|h| &h.traces));
    let mut out = Columns::default();
    out.add("enforced_policies", keys::enforced(&distinct.items, members)?);
    out.add("pending_policies", keys::pending(&distinct.items, members)?);
    let records = distinct.spread(&out.into_records(members, None)?)?;
    lists(item, halves.iter().map(|h| h.traces.len()), records)
}

fn bools(items: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(items.map(Some).collect::<BooleanArray>())
}
