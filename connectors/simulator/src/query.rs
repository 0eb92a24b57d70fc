//! The questions a [`Ring`] answers: lists of flows, the flows of one bucket, and filter hints.
//!
//! Error texts are the collector's own, because clients see them.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use catchment_schemas::goldmane::{
    Filter, FilterHint, FilterHintsRequest, FilterHintsResult, FilterType, FlowKey, FlowListRequest, FlowListResult,
    FlowResult, ListMetadata, PolicyHit, PolicyKind, SortBy,
};

use crate::filter;
use crate::ring::{BUCKET_SECS, Held, Ring, bucket_of};

impl Ring {
    /// One row per key over the whole range, as the collector's `Flows.List` does it at `now`.
    pub fn list(&self, request: &FlowListRequest, now: i64) -> Result<FlowListResult, String> {
        let (start, end) = self.range(request.start_time_gte, request.start_time_lt, now)?;
        let sort = match request.sort_by.as_slice() {
            [] => SortBy::Time,
            [one] => one.sort_by(),
            _ => return Err("at most one sort order is supported".to_owned()),
        };
        let found = self.held().filter(|h| is_found(h, request.filter.as_ref(), start, end)).collect();
        match sort_key(sort)? {
            None => Ok(self.newest_first(found, start, end, request)),
            Some(by) => Ok(self.by_name(found, by, start, end, request)),
        }
    }

    /// The rows of one bucket, in id order.
    pub fn bucket(&self, start: i64, filter: Option<&Filter>) -> Vec<FlowResult> {
        let end = start + BUCKET_SECS;
        let found = self.held().filter(|h| is_found(h, filter, start, end));
        found.map(|h| FlowResult { id: h.id, flow: Some(self.aggregate(h, start, end)) }).collect()
    }

    /// The distinct values a filter field could take, sorted.
    pub fn filter_hints(&self, request: &FilterHintsRequest, now: i64) -> Result<FilterHintsResult, String> {
        let (start, end) = self.range(request.start_time_gte, request.start_time_lt, now)?;
        let kind = request.r#type();
        if kind == FilterType::Unspecified {
            return Err("unsupported filter type 'FilterTypeUnspecified'".to_owned());
        }
        let found = self.held().filter(|h| is_found(h, request.filter.as_ref(), start, end));
        let values: BTreeSet<String> = found.flat_map(|h| hint_values(kind, &h.key)).collect();
        let meta = Some(metadata(values.len(), request.page_size));
        let hints = values.into_iter().map(|value| FilterHint { value }).collect();
        Ok(FilterHintsResult { meta, hints: page(hints, request.page, request.page_size) })
    }

    /// Absolute bounds: negative times count from now, 0 is the beginning of history or now.
    fn range(&self, start: i64, end: i64, now: i64) -> Result<(i64, i64), String> {
        let start = match start {
            0 => self.beginning(),
            relative @ ..0 => now + relative,
            absolute => absolute,
        };
        let end = if end <= 0 { now + end } else { end };
        if start >= end {
            return Err(format!("startTimeGt ({start}) must be less than startTimeLt ({end})"));
        }
        Ok((start, end))
    }

    /// Here the order is known only after every key was aggregated; past the end even the totals are gone.
    fn newest_first(&self, found: Vec<&Held>, start: i64, end: i64, request: &FlowListRequest) -> FlowListResult {
        let mut rows: Vec<_> = found.into_iter().map(|h| self.row(h, start, end)).collect();
        rows.sort_by_key(|row| Reverse((row.flow.as_ref().map_or(0, |f| f.start_time), row.id)));
        let total = rows.len();
        let flows = page(rows, request.page, request.page_size);
        let past_the_end = flows.is_empty() && request.page_size > 0;
        let meta = if past_the_end { ListMetadata::default() } else { metadata(total, request.page_size) };
        FlowListResult { meta: Some(meta), flows }
    }

    /// Ties are broken by id, so pages are stable while no key comes or goes.
    fn by_name(
        &self,
        mut found: Vec<&Held>,
        by: NameOf,
        start: i64,
        end: i64,
        request: &FlowListRequest,
    ) -> FlowListResult {
        found.sort_by(|a, b| (by(&a.key), a.id).cmp(&(by(&b.key), b.id)));
        let meta = Some(metadata(found.len(), request.page_size));
        let shown = page(found, request.page, request.page_size);
        FlowListResult { meta, flows: shown.into_iter().map(|h| self.row(h, start, end)).collect() }
    }

    fn row(&self, held: &Held, start: i64, end: i64) -> FlowResult {
        FlowResult { id: held.id, flow: Some(self.aggregate(held, start, end)) }
    }
}

fn is_found(held: &Held, wanted: Option<&Filter>, start: i64, end: i64) -> bool {
    held.starts_within(start, end) && wanted.is_none_or(|f| filter::matches(f, &held.key))
}

/// The part of a key that rows are sorted by.
type NameOf = fn(&FlowKey) -> &str;

/// How the collector can sort: `None` is by time.
fn sort_key(sort: SortBy) -> Result<Option<NameOf>, String> {
    Ok(Some(match sort {
        SortBy::Time => return Ok(None),
        SortBy::DestName => |k| &k.dest_name,
        SortBy::DestNamespace => |k| &k.dest_namespace,
        SortBy::SourceName => |k| &k.source_name,
        SortBy::SourceNamespace => |k| &k.source_namespace,
        SortBy::DestType | SortBy::SourceType => {
            return Err(format!("unsupported sort order: {}", sort.as_str_name()));
        }
    }))
}

/// Pages count from 0; without a size there is one page.
fn page<T>(rows: Vec<T>, number: i64, size: i64) -> Vec<T> {
    if size <= 0 {
        return rows;
    }
    let skip = number.max(0).saturating_mul(size);
    rows.into_iter().skip(skip as usize).take(size as usize).collect()
}

fn metadata(total: usize, size: i64) -> ListMetadata {
    let pages = if size > 0 { total.div_ceil(size as usize) } else { usize::from(total > 0) };
    ListMetadata { total_pages: pages as i64, total_results: total as i64 }
}

fn hint_values(kind: FilterType, key: &FlowKey) -> Vec<String> {
    let of_policy = |part: fn(&PolicyHit) -> String| filter_hits(key).map(part).collect();
    match kind {
        FilterType::DestName => vec![key.dest_name.clone()],
        FilterType::SourceName => vec![key.source_name.clone()],
        FilterType::DestNamespace => vec![key.dest_namespace.clone()],
        FilterType::SourceNamespace => vec![key.source_namespace.clone()],
        FilterType::PolicyTier => of_policy(|h| h.tier.clone()),
        FilterType::PolicyName => of_policy(|h| h.name.clone()),
        FilterType::PolicyKind => of_policy(|h| h.kind().as_str_name().to_owned()),
        FilterType::PolicyNamespace => of_policy(|h| h.namespace.clone()),
        FilterType::Unspecified => Vec::new(),
    }
}

/// Profiles are no policies, and the end of a tier stands for the policy that triggered it.
fn filter_hits(key: &FlowKey) -> impl Iterator<Item = &PolicyHit> {
    let policies = filter::hits(key).filter(|h| h.kind != PolicyKind::Profile as i32);
    policies.map(|h| h.trigger.as_deref().unwrap_or(h))
}

/// The first bucket that a stream opened at `now` has still to send: buckets leave 15 s after they end.
pub(crate) const fn first_unsent(now: i64) -> i64 {
    bucket_of(now) - BUCKET_SECS
}
