//! What a reader of the files sees, as JSON values: compared with the rows' own JSON form.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use catchment_core::{Epoch, EventTime, json};
use catchment_schemas::{ColumnType, Dataset};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

/// Rows by dataset folder.
pub(crate) type Rows = BTreeMap<String, Vec<Value>>;

/// The rows of epochs as their JSON form, ordered by text.
pub(crate) fn expected(epochs: &[Epoch]) -> Rows {
    let mut rows = Rows::new();
    for epoch in epochs {
        json::for_each_row(epoch, |dataset, line| {
            let mut row = serde_json::from_slice(line).expect("rows are JSON");
            objects_as_text(dataset, &mut row);
            rows.entry(dataset.name().to_owned()).or_default().push(row);
        });
    }
    ordered(rows)
}

/// Objects whose members depend on the row are text in a file.
fn objects_as_text(dataset: Dataset, row: &mut Value) {
    for column in dataset.columns().filter(|column| column.ty == ColumnType::Json) {
        row[column.name] = row[column.name].to_string().into();
    }
}

/// The rows of the files under a folder, ordered by text.
pub(crate) fn found(folder: &Path) -> Rows {
    let mut rows = Rows::new();
    for dataset in Dataset::ALL {
        for file in files(&folder.join(dataset.name())) {
            let read = read(&std::fs::read(file).expect("a listed file"));
            rows.entry(dataset.name().to_owned()).or_default().extend(read);
        }
    }
    ordered(rows)
}

/// Rows ordered by text: what is compared is which rows there are.
pub(crate) fn ordered(mut rows: Rows) -> Rows {
    for rows in rows.values_mut() {
        rows.sort_by_cached_key(Value::to_string);
    }
    rows
}

/// All files under a folder, by name.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|e| e.expect("a readable folder").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect()
}

/// The rows of one file, in its order.
pub(crate) fn read(bytes: &[u8]) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes)).expect("a Parquet file");
    let batches = reader.build().expect("a readable file");
    batches.flat_map(|batch| rows(&batch.expect("a readable batch"))).collect()
}

fn rows(batch: &RecordBatch) -> Vec<Value> {
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    (0..batch.num_rows()).map(|row| record(&names, batch.columns(), row)).collect()
}

fn record(names: &[&str], columns: &[arrow_array::ArrayRef], row: usize) -> Value {
    let members = names.iter().zip(columns).map(|(name, column)| ((*name).to_owned(), value(column, row)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Dictionary(..) => {
            let words = array.as_dictionary::<Int32Type>();
            value(words.values(), words.keys().value(row) as usize)
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Timestamp(..) => {
            EventTime(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_rfc3339().into()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| value(&items, i)).collect()
        }
        DataType::Struct(fields) => {
            let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
            record(&names, array.as_struct().columns(), row)
        }
        other => panic!("no column is {other}"),
    }
}
