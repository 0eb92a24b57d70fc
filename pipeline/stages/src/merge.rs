//! Shards of one window into one sorted stream of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use catchment_core::{FlowRow, KeyRecord, Labels, LogPosition, Span};

use crate::limits::KeyLimits;
use crate::window::{LiveSlots, coincide, occupied, peak};

/// A window as one shard counted it: one row per canonical key, in canonical order.
#[derive(Debug)]
pub(crate) struct ShardWindow {
    pub(crate) span: Span,
    pub(crate) first_position: LogPosition,
    rows: Vec<FlowRow>,
    live: LiveSlots,
}

impl ShardWindow {
    /// A window without rows, with room for `rows`.
    pub(crate) fn new(span: Span, first_position: LogPosition, granularity: u32, rows: usize) -> Self {
        let mut live = LiveSlots::new((span.micros() / 1_000_000) as u32);
        live.refine(granularity);
        live.reserve(rows);
        Self { span, first_position, rows: Vec::with_capacity(rows), live }
    }

    /// Appends a row that is not before the last one; a row of the same key joins it.
    pub(crate) fn push(&mut self, row: FlowRow, live: &[u32]) {
        match self.rows.last_mut() {
            Some(last) if last.key.same_key(&row.key) => {
                join(last, &row);
                self.live.add_to_last(live);
            }
            _ => {
                self.rows.push(row);
                self.live.push(live);
            }
        }
    }

    /// Joins the shards of one window.
    pub(crate) fn merge(mut shards: Vec<Self>) -> Self {
        if shards.len() == 1 {
            return shards.swap_remove(0);
        }
        let first = &shards[0];
        let first_position = shards.iter().map(|s| s.first_position).min().unwrap_or(first.first_position);
        let rows = shards.iter().map(|shard| shard.rows.len()).sum();
        let mut merged = Self::new(first.span, first_position, first.live.granularity(), rows);
        for shard in &shards {
            merged.live.refine(shard.live.granularity());
        }
        for shard in &mut shards {
            shard.live.refine(merged.live.granularity());
        }
        let mut at = vec![0; shards.len()];
        while let Some(next) = smallest(&shards, &at) {
            let shard = &shards[next];
            merged.push(shard.rows[at[next]].clone(), shard.live.of(at[next]));
            at[next] += 1;
        }
        merged
    }

    /// Keeps the identity of the first keys in canonical order, as many as the limits allow; all
    /// others share an overflow row for each reporter and verdict.
    ///
    /// A key that is kept of many is kept of any part of them, so cutting parts, merging them and
    /// cutting again gives what one cut of the whole gives.
    pub(crate) fn cut_to(self, limits: KeyLimits) -> Self {
        let mut room = limits;
        if self.rows.iter().all(|row| room.take(&row.key)) {
            return self;
        }
        let width = self.live.granularity();
        let mut room = limits;
        let mut kept = Self::new(self.span, self.first_position, width, self.rows.len().min(limits.max_keys));
        let mut overflow: BTreeMap<(i32, i32, bool), Self> = BTreeMap::new();
        for (i, row) in self.rows.into_iter().enumerate() {
            if room.take(&row.key) {
                kept.push(row, self.live.of(i));
                continue;
            }
            let key = &row.key;
            let same = overflow.entry((key.key.reporter, key.key.action, key.has_connections));
            let same = same.or_insert_with(|| Self::new(self.span, self.first_position, width, 1));
            same.push(without_identity(&row, same.rows.first()), self.live.of(i));
        }
        Self::merge(std::iter::once(kept).chain(overflow.into_values()).collect())
    }

    /// The rows with everything that needs the whole window: peaks, buckets, split traces.
    pub(crate) fn into_rows(mut self) -> Vec<FlowRow> {
        for (i, row) in self.rows.iter_mut().enumerate() {
            let slots = self.live.of(i);
            row.counters.live = peak(slots);
            row.buckets = occupied(slots);
        }
        self.mark_split_traces();
        self.rows
    }

    /// Rows that differ by trace only are neighbours.
    fn mark_split_traces(&mut self) {
        let mut start = 0;
        while start < self.rows.len() {
            let first = &self.rows[start].key;
            let len = self.rows[start..].iter().take_while(|row| row.key.same_but_for_trace(first)).count();
            for i in start..start + len {
                let others = (start..start + len).filter(|&j| j != i);
                let split = others.into_iter().any(|j| coincide(self.live.of(i), self.live.of(j)));
                self.rows[i].trace_split = split;
            }
            start += len;
        }
    }
}

/// The row under the overflow key, which it shares with the rows before it.
fn without_identity(row: &FlowRow, before: Option<&FlowRow>) -> FlowRow {
    let key = before.map_or_else(|| Arc::new(KeyRecord::overflow(&row.key)), |before| before.key.clone());
    let labels = before.map_or_else(|| Arc::new(Labels::new(Vec::new())), |before| before.source_labels.clone());
    FlowRow {
        key,
        source_labels: labels.clone(),
        dest_labels: labels,
        labels_varied: false,
        ends: None,
        services: None,
        ..*row
    }
}

fn smallest(shards: &[ShardWindow], at: &[usize]) -> Option<usize> {
    let heads = shards.iter().zip(at).enumerate();
    let heads = heads.filter_map(|(i, (shard, &at))| shard.rows.get(at).map(|row| (&row.key.canonical, i)));
    heads.min().map(|(_, i)| i)
}

fn join(row: &mut FlowRow, other: &FlowRow) {
    row.counters = row.counters.plus(other.counters);
    row.records += other.records;
    let same = row.source_labels == other.source_labels && row.dest_labels == other.dest_labels;
    if !same {
        row.source_labels = Arc::new(row.source_labels.intersect(&other.source_labels));
        row.dest_labels = Arc::new(row.dest_labels.intersect(&other.dest_labels));
    }
    row.labels_varied |= other.labels_varied || !same;
}
