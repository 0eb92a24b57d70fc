//! A dataset of a group as Parquet files: sorted, split, described in their footers.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use catchment_core::json::RowWriter;
use catchment_core::{ClosedWindow, Conversation, Error, EventTime, FlowRow, KeyRecord, Result};
use catchment_schemas::{Dataset, SCHEMA_VERSION};
use object_store::path::Path;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, ParquetMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use sha2::{Digest, Sha256};

use crate::encode;
use crate::group::{Group, Windowed};
use crate::name;

/// Rejected records carry up to 4 KiB of text each: this many keep a column within 32-bit offsets.
const MAX_REJECTS: usize = 100_000;

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
        Dataset::Flows => {
            pages.write(&by_names(&group.flows, |r| &r.key), |p| encode::flows(stream, p), flow_json(group))
        }
        Dataset::Conversations => {
            let rows = by_names(&group.conversations, |r| &r.key);
            pages.write(&rows, |p| encode::conversations(stream, p), conversation_json(group))
        }
        Dataset::Late => {
            let mut rows: Vec<_> = group.late.iter().collect();
            rows.sort_by_key(|r| (r.flow.key.names(), r.window.start, &r.flow.key.canonical, r.position, r.index));
            pages.write(&rows, |p| encode::late(stream, p), side_json(group, RowWriter::late))
        }
        Dataset::Rejects => {
            let mut rows: Vec<_> = group.rejects.iter().collect();
            rows.sort_by_key(|r| (r.position, r.index));
            pages.write(&rows, |p| encode::rejects(stream, p), side_json(group, RowWriter::reject))
        }
        Dataset::Gaps => {
            let mut rows: Vec<_> = group.gaps.iter().collect();
            rows.sort_by_key(|r| r.position);
            pages.write(&rows, |p| encode::gaps(stream, p), side_json(group, RowWriter::gap))
        }
    }
}

/// The contract's order: both ends' names, then time, then whatever else tells keys apart.
fn by_names<R>(rows: &[Windowed<R>], key: fn(&R) -> &Arc<KeyRecord>) -> Vec<&Windowed<R>> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|r| {
        let key = key(&r.row);
        (key.names(), r.span.start, &key.canonical)
    });
    rows
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
        json: impl Fn(&mut Vec<u8>, &R),
    ) -> Result<Vec<File>> {
        let limit = if self.dataset == Dataset::Rejects { MAX_REJECTS } else { usize::MAX };
        let parts = rows.chunks(self.layout.max_rows.min(limit));
        parts.enumerate().map(|(seq, part)| self.file(seq, &batch(part)?, digest(part, &json))).collect()
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
    }
}

fn write(batch: &RecordBatch, properties: WriterProperties) -> parquet::errors::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.close()?;
    Ok(bytes)
}

// === the digest of rows: over their JSON form, which any reader can make again ===

fn digest<R>(rows: &[&R], json: impl Fn(&mut Vec<u8>, &R)) -> String {
    let mut hasher = Sha256::new();
    let mut line = Vec::with_capacity(2048);
    for row in rows {
        line.clear();
        json(&mut line, row);
        line.push(b'\n');
        hasher.update(&line);
    }
    format!("sha256:{:x}", hasher.finalize())
}

/// Writers for the rows of a group's windows: what a window's rows share is rendered once.
struct WindowWriters(HashMap<EventTime, RowWriter>);

impl WindowWriters {
    fn of<R>(group: &Group, rows: &[Windowed<R>]) -> Self {
        let mut writers = HashMap::new();
        for row in rows {
            writers.entry(row.span.start).or_insert_with(|| {
                let (span, coverage) = (row.span, row.coverage);
                let window = ClosedWindow { span, coverage, flows: Vec::new(), conversations: Vec::new() };
                RowWriter::for_window(&group.stream, &window)
            });
        }
        Self(writers)
    }

    fn writer<R>(&self, row: &Windowed<R>) -> &RowWriter {
        self.0.get(&row.span.start).expect("every row's window has a writer")
    }
}

fn flow_json(group: &Group) -> impl Fn(&mut Vec<u8>, &Windowed<FlowRow>) {
    let writers = WindowWriters::of(group, &group.flows);
    move |out, row| writers.writer(row).flow(out, &row.row)
}

fn conversation_json(group: &Group) -> impl Fn(&mut Vec<u8>, &Windowed<Conversation>) {
    let writers = WindowWriters::of(group, &group.conversations);
    move |out, row| writers.writer(row).conversation(out, &row.row)
}

fn side_json<R>(group: &Group, write: fn(&RowWriter, &mut Vec<u8>, &R)) -> impl Fn(&mut Vec<u8>, &R) {
    let writer = RowWriter::for_side_doors(&group.stream);
    move |out, row| write(&writer, out, row)
}

/// The digest a footer tells.
pub(crate) fn told_digest(footer: &ParquetMetaData) -> Option<&str> {
    let facts = footer.file_metadata().key_value_metadata()?;
    facts.iter().find(|f| f.key == ROW_DIGEST)?.value.as_deref()
}
