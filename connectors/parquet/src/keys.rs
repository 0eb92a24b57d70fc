//! Columns that belong to a key, a trace or a label set: made once per distinct one and spread
//! over the rows by number, so that a row costs no hashing of text.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{FieldRef, Fields};
use catchment_core::{Endpoint, Error, KeyRecord, Labels, PolicyHit, PolicyRef, Result, Service, Trace, VerdictReason};
use catchment_schemas::goldmane::names;
use foldhash::{HashMap, HashMapExt as _};

use crate::columns::{Columns, free_text, item_of, lists, members_of, text};

/// The distinct values behind a sequence of shared ones, in order of first appearance.
pub(crate) struct Distinct<'a, T> {
    pub(crate) items: Vec<&'a T>,
    rows: UInt32Array,
}

impl<'a, T> Distinct<'a, T> {
    /// Tells values apart by address: cheap, and two equal values only cost a second encoding.
    pub(crate) fn of(shared: impl Iterator<Item = &'a Arc<T>>) -> Self {
        let mut ids: HashMap<*const T, u32> = HashMap::new();
        let mut items = Vec::new();
        let number = |value: &'a Arc<T>| {
            *ids.entry(Arc::as_ptr(value)).or_insert_with(|| {
                items.push(&**value);
                items.len() as u32 - 1
            })
        };
        let rows = UInt32Array::from_iter_values(shared.map(number));
        Self { items, rows }
    }

    fn iter(&self) -> impl Iterator<Item = &'a T> + Clone + '_ {
        self.items.iter().copied()
    }

    /// The distinct values that the items share in turn, spread over the same rows.
    fn through<U>(&self, pick: impl Fn(&'a T) -> &'a Arc<U>) -> Distinct<'a, U> {
        let of_items = Distinct::of(self.items.iter().map(|item| pick(item)));
        let rows = self.rows.values().iter().map(|item| of_items.rows.value(*item as usize));
        Distinct { items: of_items.items, rows: UInt32Array::from_iter_values(rows) }
    }

    /// One value per row, from one value per distinct item.
    pub(crate) fn spread(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let spread = arrow_select::take::take(array, &self.rows, None);
        spread.map_err(|e| Error::internal("parquet: a column outgrew its offsets; lower `max_rows`").caused_by(e))
    }

    pub(crate) fn add(&self, out: &mut Columns, name: &'static str, array: &ArrayRef) -> Result<()> {
        out.add(name, self.spread(array)?);
        Ok(())
    }
}

type Keys<'a> = Distinct<'a, KeyRecord>;

/// Both ends, port and protocol.
pub(crate) fn conversation(out: &mut Columns, keys: &Keys<'_>) -> Result<()> {
    end(out, keys, ["source_namespace", "source_name", "source_name_raw", "source_type"], |k| &k.key.source)?;
    end(out, keys, ["dest_namespace", "dest_name", "dest_name_raw", "dest_type"], |k| &k.key.dest)?;
    let ports = keys.iter().map(|k| k.key.dest_port);
    keys.add(out, "dest_port", &(Arc::new(Int64Array::from_iter_values(ports)) as ArrayRef))?;
    keys.add(out, "protocol", &text(keys.iter().map(|k| Some(&*k.key.protocol))))
}

fn end(
    out: &mut Columns,
    keys: &Keys<'_>,
    columns: [&'static str; 4],
    pick: fn(&KeyRecord) -> &Endpoint,
) -> Result<()> {
    let [namespace, name, raw_name, kind] = columns;
    keys.add(out, namespace, &text(keys.iter().map(|k| pick(k).namespace.as_deref())))?;
    keys.add(out, name, &text(keys.iter().map(|k| Some(pick(k).name()))))?;
    keys.add(out, raw_name, &text(keys.iter().map(|k| Some(&*pick(k).raw_name))))?;
    keys.add(out, kind, &text(keys.iter().map(|k| pick(k).type_name())))
}

/// What a flow key has beyond its conversation, the trace included.
pub(crate) fn rest_of_flow_key(out: &mut Columns, keys: &Keys<'_>, fields: &Fields) -> Result<()> {
    keys.add(out, "reporter", &text(keys.iter().map(|k| names::reporter(k.key.reporter))))?;
    keys.add(out, "action", &text(keys.iter().map(|k| names::action(k.key.action))))?;
    service(out, keys)?;
    keys.add(out, "flow_id", &free_text(keys.iter().map(|k| format!("{:032x}", k.flow_id))))?;
    trace(out, keys, fields)
}

fn service(out: &mut Columns, keys: &Keys<'_>) -> Result<()> {
    let word = |pick: fn(&Service) -> Option<&Arc<str>>| text(keys.iter().map(|k| pick(&k.key.service).map(|w| &**w)));
    keys.add(out, "dest_service_namespace", &word(|s| s.namespace.as_ref()))?;
    keys.add(out, "dest_service_name", &word(|s| s.name.as_ref()))?;
    keys.add(out, "dest_service_port_name", &word(|s| s.port_name.as_ref()))?;
    let ports: Int64Array = keys.iter().map(|k| k.key.service.port).collect();
    keys.add(out, "dest_service_port", &(Arc::new(ports) as ArrayRef))
}

/// Keys share few traces, and a trace has many columns.
fn trace(out: &mut Columns, keys: &Keys<'_>, fields: &Fields) -> Result<()> {
    let traces = keys.through(|k| &k.key.trace);
    traces.add(out, "enforced_policy", &text(traces.iter().map(Trace::enforced_policy)))?;
    traces.add(out, "enforced_tier", &text(traces.iter().map(|t| t.enforced_tier().map(|w| &**w))))?;
    traces.add(out, "verdict_reason", &text(traces.iter().map(|t| t.verdict_reason().map(VerdictReason::as_str))))?;
    traces.add(out, "pending_action", &text(traces.iter().map(|t| t.pending_action().and_then(names::action))))?;
    traces.add(out, "enforced_policies", &enforced(&traces.items, fields)?)?;
    traces.add(out, "pending_policies", &pending(&traces.items, fields)?)
}

/// The enforced hits of each trace; `fields` are those of the record that holds the list.
pub(crate) fn enforced(traces: &[&Trace], fields: &Fields) -> Result<ArrayRef> {
    hits(item_of(fields, "enforced_policies"), traces, |t| &t.enforced)
}

/// The pending hits of each trace.
pub(crate) fn pending(traces: &[&Trace], fields: &Fields) -> Result<ArrayRef> {
    hits(item_of(fields, "pending_policies"), traces, |t| &t.pending)
}

fn hits(item: &FieldRef, traces: &[&Trace], pick: fn(&Trace) -> &[PolicyHit]) -> Result<ArrayRef> {
    let fields = members_of(item);
    let all: Vec<&PolicyHit> = traces.iter().flat_map(|t| pick(t)).collect();
    let mut out = Columns::default();
    policies(&mut out, all.iter().map(|h| Some(&h.policy)));
    out.add("action", text(all.iter().map(|h| names::action(h.action))));
    out.add("policy_index", Arc::new(Int64Array::from_iter_values(all.iter().map(|h| h.policy_index))));
    out.add("rule_index", Arc::new(Int64Array::from_iter_values(all.iter().map(|h| h.rule_index))));
    out.add("trigger", triggers(fields, &all)?);
    lists(item, traces.iter().map(|t| pick(t).len()), out.into_records(fields, None)?)
}

fn triggers(fields: &Fields, hits: &[&PolicyHit]) -> Result<ArrayRef> {
    let (_, field) = fields.find("trigger").expect("the column table has a trigger in every hit");
    let present: NullBuffer = hits.iter().map(|h| h.trigger.is_some()).collect::<Vec<_>>().into();
    let mut out = Columns::default();
    policies(&mut out, hits.iter().map(|h| h.trigger.as_ref()));
    out.into_records(members_of(field), Some(present))
}

fn policies<'a>(out: &mut Columns, refs: impl Iterator<Item = Option<&'a PolicyRef>> + Clone) {
    out.add("kind", text(refs.clone().map(|p| names::policy_kind(p?.kind))));
    out.add("namespace", text(refs.clone().map(|p| p?.namespace.as_deref())));
    out.add("name", text(refs.clone().map(|p| p?.name.as_deref())));
    out.add("tier", text(refs.map(|p| p?.tier.as_deref())));
}

/// A list of labels per row.
pub(crate) fn labels<'a>(item: &FieldRef, rows: impl Iterator<Item = &'a Arc<Labels>>) -> Result<ArrayRef> {
    let sets = Distinct::of(rows);
    let words = text(sets.iter().flat_map(|l| l.items.iter().map(|w| Some(&**w))));
    sets.spread(&lists(item, sets.iter().map(|l| l.items.len()), words)?)
}
