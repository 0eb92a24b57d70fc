//! The columns of who talked, from one value per distinct identity.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::Fields;
use catchment_core::{AddressClass, Ends, Identity, IdentityFrom, IdentityState, Result, Services, ServicesFrom, Who};

use crate::columns::{Columns, item_of, lists_or_null, text};
use crate::keys::Distinct;

const SOURCE: [&str; 11] = [
    "source_workload_kind",
    "source_workload_name",
    "source_service_accounts",
    "source_nodes",
    "source_zones",
    "source_namespace_labels",
    "source_environment",
    "source_owner",
    "source_pods",
    "source_address_class",
    "source_identity_from",
];

const DEST: [&str; 11] = [
    "dest_workload_kind",
    "dest_workload_name",
    "dest_service_accounts",
    "dest_nodes",
    "dest_zones",
    "dest_namespace_labels",
    "dest_environment",
    "dest_owner",
    "dest_pods",
    "dest_address_class",
    "dest_identity_from",
];

/// Who stands at both ends.
pub(crate) fn ends<'a>(out: &mut Columns, fields: &Fields, rows: impl Iterator<Item = &'a Ends> + Clone) -> Result<()> {
    end(out, fields, SOURCE, &Distinct::of(rows.clone().map(|ends| &ends.source)))?;
    end(out, fields, DEST, &Distinct::of(rows.map(|ends| &ends.dest)))
}

fn end(out: &mut Columns, fields: &Fields, columns: [&'static str; 11], of: &Distinct<'_, Identity>) -> Result<()> {
    let [kind, name, accounts, nodes, zones, labels, environment, owner, pods, class, from] = columns;
    let who: Vec<&Who> = of.items.iter().map(|identity| &identity.who).collect();
    let word = |pick: fn(&Who) -> Option<&str>| text(who.iter().map(|who| pick(who)));
    let mut list = |column, pick: fn(&Who) -> Option<&[Arc<str>]>| {
        let array = texts(fields, column, who.iter().map(|who| pick(who)))?;
        of.add(out, column, &array)
    };
    list(accounts, |who| who.service_accounts.as_deref())?;
    list(nodes, |who| who.nodes.as_deref())?;
    list(zones, |who| who.zones.as_deref())?;
    list(labels, |who| who.namespace_labels.as_deref())?;
    of.add(out, kind, &word(|who| who.workload_kind.as_deref()))?;
    of.add(out, name, &word(|who| who.workload_name.as_deref()))?;
    of.add(out, environment, &word(|who| who.environment.as_deref()))?;
    of.add(out, owner, &word(|who| who.owner.as_deref()))?;
    of.add(out, pods, &numbers(who.iter().map(|who| who.pods)))?;
    of.add(out, class, &word(|who| who.address_class.map(AddressClass::as_str)))?;
    of.add(out, from, &word(|who| who.from.map(IdentityFrom::as_str)))
}

/// The services in front of the destination.
pub(crate) fn services<'a>(
    out: &mut Columns,
    fields: &Fields,
    rows: impl Iterator<Item = &'a Arc<Services>>,
) -> Result<()> {
    let of = Distinct::of(rows);
    let served = || of.items.iter().map(|services| &services.served);
    let names = texts(fields, "dest_services", served().map(|served| served.services.as_deref()))?;
    of.add(out, "dest_services", &names)?;
    of.add(out, "dest_services_from", &text(served().map(|served| served.from.map(ServicesFrom::as_str))))?;
    of.add(out, "dest_ready_endpoints", &numbers(served().map(|served| served.ready_endpoints)))
}

/// How far the identities can be trusted.
pub(crate) fn states(out: &mut Columns, rows: impl Iterator<Item = Option<IdentityState>>) {
    out.add("identity_state", text(rows.map(|state| state.map(IdentityState::as_str))));
}

fn texts<'a>(
    fields: &Fields,
    column: &str,
    lists: impl Iterator<Item = Option<&'a [Arc<str>]>> + Clone,
) -> Result<ArrayRef> {
    let words = text(lists.clone().flatten().flatten().map(|word| Some(&**word)));
    lists_or_null(item_of(fields, column), lists.map(|list| list.map(<[_]>::len)), words)
}

fn numbers(items: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(items.map(|n| n.map(|n| n as i64)).collect::<Int64Array>())
}
