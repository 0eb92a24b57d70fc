//! The JSON Schema (draft 2020-12) of each topic's records, derived from the column table.

use serde_json::{Map, Value, json};

use crate::{Column, ColumnType, Dataset, SCHEMA_VERSION};

/// The JSON Schema of one record of a dataset.
pub fn schema(dataset: Dataset) -> Value {
    let mut schema = object(&dataset.columns().collect::<Vec<_>>());
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:catchment:{}:v{SCHEMA_VERSION}", dataset.name()),
        "title": format!("catchment {}", dataset.name()),
        "description": dataset.doc(),
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
    }
    schema
}

fn object(columns: &[&Column]) -> Value {
    let properties: Map<_, _> = columns.iter().map(|c| (c.name.to_owned(), property(c))).collect();
    let required: Vec<_> = columns.iter().map(|c| c.name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn property(column: &Column) -> Value {
    let mut property = value_schema(column.ty);
    if let Value::Object(members) = &mut property {
        if column.nullable
            && let Some(ty) = members.get_mut("type")
        {
            *ty = json!([ty.clone(), "null"]);
        }
        members.insert("description".to_owned(), column.doc.into());
    }
    property
}

fn value_schema(ty: ColumnType) -> Value {
    match ty {
        ColumnType::Text | ColumnType::FreeText => json!({ "type": "string" }),
        ColumnType::Int => json!({ "type": "integer" }),
        ColumnType::Float => json!({ "type": "number" }),
        ColumnType::Bool => json!({ "type": "boolean" }),
        ColumnType::Time => json!({ "type": "string", "format": "date-time" }),
        ColumnType::TextList => json!({ "type": "array", "items": { "type": "string" } }),
        ColumnType::Json => json!({ "type": "object" }),
        ColumnType::Record(members) => object(&members.iter().collect::<Vec<_>>()),
        ColumnType::RecordList(members) => {
            json!({ "type": "array", "items": object(&members.iter().collect::<Vec<_>>()) })
        }
    }
}
