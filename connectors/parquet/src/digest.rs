//! The digest that tells whether an object already there holds the same rows.
//!
//! It covers what a row is made from rather than how it is written, so that another release of the
//! encoder still recognizes its rows: a key by its `flow_id`, which stands for all its columns,
//! everything else by its value. Who talked is left out: it is joined to a row and says nothing of what was counted. Numbers are little endian; texts follow their length.

use catchment_core::{Conversation, Counters, FindingRow, FlowRow, GapRow, LateRow, RejectRow, Resolution, Span};
use sha2::{Digest as _, Sha256};

use crate::group::Windowed;

/// The digest of rows in their order, each described by `facts`.
pub(crate) fn of<R>(rows: &[&R], facts: fn(&mut Vec<u8>, &R)) -> String {
    let mut hasher = Sha256::new();
    let mut row_facts = Vec::with_capacity(1024);
    for row in rows {
        row_facts.clear();
        facts(&mut row_facts, row);
        hasher.update((row_facts.len() as u64).to_le_bytes());
        hasher.update(&row_facts);
    }
    format!("sha256:{:x}", hasher.finalize())
}

pub(crate) fn flow(out: &mut Vec<u8>, row: &Windowed<FlowRow>) {
    span(out, row.span);
    number(out, row.coverage.to_bits());
    flow_row(out, &row.row);
}

pub(crate) fn conversation(out: &mut Vec<u8>, row: &Windowed<Conversation>) {
    span(out, row.span);
    number(out, row.coverage.to_bits());
    let row = &row.row;
    text(out, row.key.conversation());
    number(out, row.expected_halves.map_or(u64::MAX, u64::from));
    text(out, row.agreement.as_str());
    text(out, row.symmetry.as_str());
    for half in &row.halves {
        number(out, half.reporter as u64);
        number(out, half.action as u64);
        counters(out, &half.counters);
        out.extend([u8::from(half.has_connections), u8::from(half.trace_split)]);
        half.traces.iter().for_each(|trace| text(out, &trace.canonical));
    }
}

pub(crate) fn late(out: &mut Vec<u8>, row: &LateRow) {
    number(out, row.position.0);
    number(out, u64::from(row.index));
    text(out, row.reason.as_str());
    span(out, row.window);
    span(out, row.bucket);
    flow_row(out, &row.flow);
}

pub(crate) fn reject(out: &mut Vec<u8>, row: &RejectRow) {
    number(out, row.position.0);
    number(out, u64::from(row.index));
    number(out, row.event_time.map_or(u64::MAX, |time| time.0 as u64));
    number(out, row.original_len);
    text(out, row.reason);
    text(out, &row.detail);
    text(out, &row.origin);
    text(out, &row.original);
}

pub(crate) fn gap(out: &mut Vec<u8>, row: &GapRow) {
    number(out, row.position.0);
    number(out, u64::from(row.partition.0));
    span(out, row.span);
    text(out, &row.reason);
    text(out, &row.detail);
}

/// What became of which finding, and when. How it is worded and rated depends on the release and the configuration.
pub(crate) fn finding(out: &mut Vec<u8>, row: &Windowed<FindingRow>) {
    span(out, row.span);
    let row = &row.row;
    out.extend(row.id.0.to_le_bytes());
    text(out, row.status.name());
    text(out, row.resolution.map_or("", Resolution::name));
    number(out, row.first_seen.0 as u64);
    number(out, row.last_seen.0 as u64);
    number(out, row.windows_seen);
    number(out, u64::from(row.reopen_count));
}

fn flow_row(out: &mut Vec<u8>, row: &FlowRow) {
    out.extend(row.key.flow_id.to_le_bytes());
    text(out, &*row.source_labels.json);
    text(out, &*row.dest_labels.json);
    counters(out, &row.counters);
    number(out, u64::from(row.records));
    number(out, u64::from(row.buckets));
    out.extend([u8::from(row.labels_varied), u8::from(row.trace_split)]);
}

fn counters(out: &mut Vec<u8>, c: &Counters) {
    for count in [c.packets_in, c.packets_out, c.bytes_in, c.bytes_out, c.started, c.completed, c.live] {
        number(out, count);
    }
}

fn span(out: &mut Vec<u8>, span: Span) {
    number(out, span.start.0 as u64);
    number(out, span.end.0 as u64);
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    let text = text.as_ref();
    number(out, text.len() as u64);
    out.extend_from_slice(text);
}
