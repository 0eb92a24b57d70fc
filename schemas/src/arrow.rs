//! The Arrow schema of each dataset, derived from the column table.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};

use crate::{Column, ColumnType, Dataset};

/// The Arrow schema of a dataset, columns in table order.
pub fn schema(dataset: Dataset) -> Schema {
    Schema::new(dataset.columns().map(field).collect::<Vec<_>>())
}

/// The field of one column.
pub fn field(column: &Column) -> Field {
    Field::new(column.name, data_type(column.ty), column.nullable)
}

fn data_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::Text => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ColumnType::FreeText | ColumnType::Json => DataType::Utf8,
        ColumnType::Int => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        ColumnType::TextList => list(Field::new("item", data_type(ColumnType::Text), false)),
        ColumnType::Record(members) => DataType::Struct(fields(members)),
        ColumnType::RecordList(members) => list(Field::new("item", DataType::Struct(fields(members)), false)),
    }
}

fn list(item: Field) -> DataType {
    DataType::List(Arc::new(item))
}

/// The fields of a nested record.
pub fn fields(members: &[Column]) -> Fields {
    members.iter().map(field).collect()
}
