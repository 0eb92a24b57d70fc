//! The reference page of all datasets (`docs/datasets.md`), derived from the column table.

use std::fmt::Write as _;

use crate::dataset::SourceKind;
use crate::{Column, ColumnType, Dataset, SCHEMA_VERSION};

const HEAD: &str = "\
# Datasets

Generated from the column table in `schemas/src/dataset.rs` by `catchment schema reference`; a test keeps it current.

Every dataset is a Kafka topic of JSON records and a folder of Parquet files with the same columns. Times are UTC:
RFC 3339 in JSON, `timestamp[us, UTC]` in Parquet. The Parquet folders carry two more columns from the path,
`date` and `hour` (read `hour` as an integer). *NULL for* names the sources that cannot fill a column; what a source
can carry and is zero is 0.
";

/// The whole page as Markdown.
pub fn page() -> String {
    let mut page = format!("{HEAD}\nSchema version: {SCHEMA_VERSION}.\n");
    for dataset in Dataset::ALL {
        let _ =
            write!(page, "\n## {}\n\nTopic `{}`. {}\n\n", dataset.name(), dataset.topic("catchment"), dataset.doc());
        page.push_str("| column | type | NULL for | meaning |\n|---|---|---|---|\n");
        for column in dataset.columns() {
            row(&mut page, "", column);
        }
    }
    page
}

fn row(page: &mut String, prefix: &str, column: &Column) {
    let name = format!("{prefix}{}", column.name);
    let null_for = null_for(column);
    let _ = writeln!(page, "| `{name}` | {} | {null_for} | {} |", type_name(column.ty), column.doc);
    let (members, suffix) = match column.ty {
        ColumnType::Record(members) => (members, "."),
        ColumnType::RecordList(members) => (members, "[]."),
        _ => return,
    };
    for member in members {
        row(page, &format!("{name}{suffix}"), member);
    }
}

fn null_for(column: &Column) -> String {
    if !column.nullable {
        return "never".to_owned();
    }
    let absent = column.absent_in.iter().map(|source| match source {
        SourceKind::Goldmane => "Goldmane, always",
        SourceKind::WhiskerJson => "Whisker JSON, always",
    });
    absent.chain(["where unknown or none"]).collect::<Vec<_>>().join("; ")
}

const fn type_name(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Text | ColumnType::FreeText => "text",
        ColumnType::Int => "integer",
        ColumnType::Float => "float",
        ColumnType::Bool => "boolean",
        ColumnType::Time => "time",
        ColumnType::TextList => "list of text",
        ColumnType::Json => "object",
        ColumnType::Record(_) => "record",
        ColumnType::RecordList(_) => "list of records",
    }
}
