//! A dataset of a group as Parquet files: sorted, split, described in their footers.

use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use catchment_core::{Error, KeyRecord, Result};
use catchment_schemas::{Dataset, SCHEMA_VERSION};
use foldhash::HashMap;
use object_store::path::Path;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, ParquetMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::group::{Group, Windowed};
use crate::keys::Distinct;
use crate::{digest, encode, name};

/// Rejected records carry up to 4 KiB of text each, and findings their evidence: this many keep a column within 32-bit
/// offsets.
const MAX_ROWS_OF_TEXT: usize = 100_000;

/// Sorted rows compress so well that higher levels cost time and save next to nothing.
const ZSTD_LEVEL: i32 = 3;

/// Footer member that holds the digest of the rows.
const ROW_DIGEST: &str = "catchment.row_digest";

/// A file ready to be put.
pub(crate) struct File {
    pub(crate) path: Path,
    pub(crate) bytes: Bytes,
    pub(crate) rows: usize,
    pub(crate) digest: String,
}

/// What makes names and splits, beside the rows.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) prefix: Path,
    pub(crate) roll: i64,
    pub(crate) max_rows: usize,
}

/// All files of one dataset, in order; none where it has no rows.
pub(crate) fn files(layout: &Layout, group: &Group, dataset: Dataset) -> Result<Vec<File>> {
    let pages = Pages { layout, group, dataset };
    let stream = &group.stream;
    match dataset {
        Dataset::Flows => pages.write(&by_names(&group.flows, |r| &r.key), |p| encode::flows(stream, p), digest::flow),
        Dataset::Conversations => {
            let rows = by_names(&group.conversations, |r| &r.key);
            pages.write(&rows, |p| encode::conversations(stream, p), digest::conversation)
        }
        Dataset::Late => {
            let mut rows: Vec<_> = group.late.iter().collect();
            rows.sort_by_key(|r| (r.flow.key.names(), r.window.start, &r.flow.key.canonical, r.position, r.index));
            pages.write(&rows, |p| encode::late(stream, p), digest::late)
        }
        Dataset::Rejects => {
            let mut rows: Vec<_> = group.rejects.iter().collect();
            rows.sort_by_key(|r| (r.position, r.index));
            pages.write(&rows, |p| encode::rejects(stream, p), digest::reject)
        }
        Dataset::Gaps => {
            let mut rows: Vec<_> = group.gaps.iter().collect();
            rows.sort_by_key(|r| r.position);
            pages.write(&rows, |p| encode::gaps(stream, p), digest::gap)
        }
        Dataset::Findings => {
            let mut rows: Vec<_> = group.findings.iter().collect();
            rows.sort_by_key(|r| (r.row.id, r.span.start));
            pages.write(&rows, |p| encode::findings(stream, p), digest::finding)
        }
    }
}

/// The contract's order: both ends' names, then time, then whatever else tells keys apart.
fn by_names<R>(rows: &[Windowed<R>], key: fn(&R) -> &Arc<KeyRecord>) -> Vec<&Windowed<R>> {
    let ranks = ranks(rows.iter().map(|r| key(&r.row)));
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_cached_key(|r| {
        let [names, whole] = ranks[&Arc::as_ptr(key(&r.row))];
        (names, r.span.start, whole)
    });
    rows
}

/// The places of each key among all, by names and as a whole. A key has a row in every window, so
/// its bytes are compared once a file instead of once a row.
fn ranks<'a>(keys: impl Iterator<Item = &'a Arc<KeyRecord>>) -> HashMap<*const KeyRecord, [u32; 2]> {
    let distinct = Distinct::of(keys);
    let mut sorted = distinct.items;
    sorted.sort_unstable_by(|a, b| a.canonical.cmp(&b.canonical));
    let mut rank = [0, 0];
    let mut before: Option<&KeyRecord> = None;
    let ranked = sorted.into_iter().map(|key| {
        if let Some(before) = before.replace(key) {
            rank[0] += u32::from(before.names() != key.names());
            rank[1] += u32::from(!before.same_key(key));
        }
        (std::ptr::from_ref(key), rank)
    });
    ranked.collect()
}

struct Pages<'a> {
    layout: &'a Layout,
    group: &'a Group,
    dataset: Dataset,
}

impl Pages<'_> {
    /// Splits sorted rows at exact counts and writes each part.
    fn write<R>(
        &self,
        rows: &[&R],
        batch: impl Fn(&[&R]) -> Result<RecordBatch>,
        facts: fn(&mut Vec<u8>, &R),
    ) -> Result<Vec<File>> {
        let limit = match self.dataset {
            Dataset::Rejects | Dataset::Findings => MAX_ROWS_OF_TEXT,
            _ => usize::MAX,
        };
        let parts = rows.chunks(self.layout.max_rows.min(limit));
        parts.enumerate().map(|(seq, part)| self.file(seq, &batch(part)?, digest::of(part, facts))).collect()
    }

    fn file(&self, seq: usize, batch: &RecordBatch, digest: String) -> Result<File> {
        let properties = self.properties(batch, &digest)?;
        let bytes =
            write(batch, properties).map_err(|e| Error::internal("parquet: cannot encode rows").caused_by(e))?;
        let path = name::data(&self.layout.prefix, self.dataset, self.group, self.layout.roll, seq);
        Ok(File { path, bytes: bytes.into(), rows: batch.num_rows(), digest })
    }

    fn properties(&self, batch: &RecordBatch, digest: &str) -> Result<WriterProperties> {
        let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is within zstd's range");
        Ok(WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_created_by(concat!("catchment version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_sorting_columns(Some(self.sorting_columns(batch)?))
            .set_key_value_metadata(Some(self.facts(batch.num_rows(), digest)))
            .build())
    }

    /// The declared order, by the leaf columns of the Parquet schema.
    fn sorting_columns(&self, batch: &RecordBatch) -> Result<Vec<SortingColumn>> {
        let schema = ArrowSchemaConverter::new().convert(&batch.schema());
        let schema = schema.map_err(|e| Error::internal("parquet: the schema has no Parquet form").caused_by(e))?;
        let leaf = |name: &&str| schema.columns().iter().position(|c| c.path().string() == *name);
        let ascending = |leaf| SortingColumn { column_idx: leaf as i32, descending: false, nulls_first: true };
        Ok(sort_order(self.dataset).iter().filter_map(leaf).map(ascending).collect())
    }

    fn facts(&self, rows: usize, digest: &str) -> Vec<KeyValue> {
        let fact = |name: &str, value: String| KeyValue::new(format!("catchment.{name}"), value);
        let mut facts = vec![
            fact("schema_version", SCHEMA_VERSION.to_string()),
            fact("dataset", self.dataset.name().to_owned()),
            fact("cluster", self.group.stream.cluster.clone()),
            fact("source", self.group.stream.source.clone()),
            fact("rows", rows.to_string()),
            KeyValue::new(ROW_DIGEST.to_owned(), digest.to_owned()),
        ];
        if let Some(span) = self.group.windows {
            facts.push(fact("windows_from", span.start.to_rfc3339()));
            facts.push(fact("windows_to", span.end.to_rfc3339()));
        }
        facts
    }
}

/// The columns a dataset is sorted by.
fn sort_order(dataset: Dataset) -> &'static [&'static str] {
    match dataset {
        Dataset::Flows | Dataset::Conversations | Dataset::Late => {
            &["source_namespace", "source_name", "dest_namespace", "dest_name", "window_start"]
        }
        Dataset::Rejects => &["log_position", "log_index"],
        Dataset::Gaps => &["log_position"],
        Dataset::Findings => &["finding_id", "window_start"],
    }
}

fn write(batch: &RecordBatch, properties: WriterProperties) -> parquet::errors::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.close()?;
    Ok(bytes)
}

/// The digest a footer tells.
pub(crate) fn told_digest(footer: &ParquetMetaData) -> Option<&str> {
    let facts = footer.file_metadata().key_value_metadata()?;
    facts.iter().find(|f| f.key == ROW_DIGEST)?.value.as_deref()
}
