//! Named Arrow columns, gathered in any order and put into the order of the column table.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, FieldRef, Fields, Schema};
use catchment_core::{Error, EventTime, Result};
use foldhash::{HashMap, HashMapExt as _};

/// Columns of a dataset or members of a record, by name.
#[derive(Default)]
pub(crate) struct Columns(HashMap<&'static str, ArrayRef>);

impl Columns {
    pub(crate) fn add(&mut self, name: &'static str, array: ArrayRef) {
        let before = self.0.insert(name, array);
        debug_assert!(before.is_none(), "column {name} was added twice");
    }

    /// The columns as a batch of exactly `schema`.
    pub(crate) fn into_batch(self, schema: Schema) -> Result<RecordBatch> {
        let columns = self.in_order_of(schema.fields())?;
        RecordBatch::try_new(Arc::new(schema), columns).map_err(|e| mismatch().caused_by(e))
    }

    /// The members as records, null where `nulls` says so.
    pub(crate) fn into_records(self, fields: &Fields, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let members = self.in_order_of(fields)?;
        let records = StructArray::try_new(fields.clone(), members, nulls).map_err(|e| mismatch().caused_by(e))?;
        Ok(Arc::new(records))
    }

    fn in_order_of(mut self, fields: &Fields) -> Result<Vec<ArrayRef>> {
        let columns = fields.iter().map(|field| self.take(field)).collect::<Result<_>>()?;
        match self.0.into_keys().next() {
            Some(name) => Err(Error::internal(format!("parquet: column `{name}` is not in the column table"))),
            None => Ok(columns),
        }
    }

    fn take(&mut self, field: &FieldRef) -> Result<ArrayRef> {
        let missing = || Error::internal(format!("parquet: no values for column `{}`", field.name()));
        self.0.remove(field.name().as_str()).ok_or_else(missing)
    }
}

fn mismatch() -> Error {
    Error::internal("parquet: columns do not match the column table")
}

/// Text with few distinct values.
pub(crate) fn text<'a, S: Into<Cow<'a, str>>>(items: impl Iterator<Item = Option<S>>) -> ArrayRef {
    let mut ids: HashMap<Cow<'a, str>, i32> = HashMap::new();
    let mut values = StringBuilder::new();
    let keys: Int32Array = items
        .map(|item| {
            let word = item?.into();
            let next = ids.len() as i32;
            let id = *ids.entry(word).or_insert_with_key(|word| {
                values.append_value(word);
                next
            });
            Some(id)
        })
        .collect();
    let words = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values.finish()));
    Arc::new(words.expect("every key was given out for a value"))
}

/// The same word in every row.
pub(crate) fn constant(word: &str, rows: usize) -> ArrayRef {
    let keys = Int32Array::from_value(0, rows);
    let words = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(StringArray::from_iter_values([word])));
    Arc::new(words.expect("key 0 names the only value"))
}

/// Text of any kind.
pub(crate) fn free_text<S: AsRef<str>>(items: impl Iterator<Item = S>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(items))
}

/// Text of any kind, where there is any.
pub(crate) fn optional_text<'a>(items: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(items.collect::<StringArray>())
}

/// Counters; those beyond 63 bits are cut to the largest number the contract can carry.
pub(crate) fn counts(items: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(items.map(clamp)))
}

/// Counters that a source may not carry.
pub(crate) fn optional_counts(items: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(items.map(|n| n.map(clamp)).collect::<Int64Array>())
}

fn clamp(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Moments of event time.
pub(crate) fn times(items: impl Iterator<Item = Option<EventTime>>) -> ArrayRef {
    Arc::new(items.map(|t| t.map(|t| t.0)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// Lists of the given lengths over `items`, one after the other.
pub(crate) fn lists(item: &FieldRef, lengths: impl Iterator<Item = usize>, items: ArrayRef) -> Result<ArrayRef> {
    lists_or_null(item, lengths.map(Some), items)
}

/// The same, null where there is no length.
pub(crate) fn lists_or_null(
    item: &FieldRef,
    lengths: impl Iterator<Item = Option<usize>>,
    items: ArrayRef,
) -> Result<ArrayRef> {
    let lengths: Vec<_> = lengths.collect();
    let nulls = lengths.contains(&None).then(|| lengths.iter().map(Option::is_some).collect::<NullBuffer>());
    let offsets = OffsetBuffer::from_lengths(lengths.into_iter().map(Option::unwrap_or_default));
    let lists = ListArray::try_new(Arc::clone(item), offsets, items, nulls).map_err(|e| mismatch().caused_by(e))?;
    Ok(Arc::new(lists))
}

/// The field of a list's items.
pub(crate) fn item_of<'a>(fields: &'a Fields, name: &str) -> &'a FieldRef {
    match fields.find(name).map(|(_, field)| field.data_type()) {
        Some(DataType::List(item)) => item,
        other => panic!("the column table has {other:?} where `{name}` is a list"),
    }
}

/// The members of a nested record.
pub(crate) fn members_of(field: &FieldRef) -> &Fields {
    match field.data_type() {
        DataType::Struct(members) => members,
        other => panic!("the column table has {other} where `{}` is a record", field.name()),
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;

    use super::*;

    #[test]
    fn a_column_without_values_is_named() {
        let schema = Schema::new(vec![Field::new("bytes_in", DataType::Int64, false)]);
        let error = Columns::default().into_batch(schema).unwrap_err();
        assert!(error.message.contains("`bytes_in`"), "{}", error.message);
    }

    #[test]
    fn a_column_the_table_does_not_have_is_named() {
        let mut columns = Columns::default();
        columns.add("mood", counts([1].into_iter()));
        assert!(columns.into_batch(Schema::empty()).unwrap_err().message.contains("`mood`"));
    }

    #[test]
    fn counters_beyond_the_contract_stay_at_its_end() {
        assert_eq!(clamp(u64::MAX), i64::MAX);
    }
}
