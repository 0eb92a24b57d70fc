//! Which findings are meant.

use catchment_core::{Family, FindingKind, Severity};
use catchment_runtime::detect::NamePattern;

use super::row::Row;
use crate::args::{FilterArgs, StatusArg};

/// What is asked for; an empty list asks for all.
pub(super) struct Filter {
    families: Vec<Family>,
    kinds: Vec<FindingKind>,
    severity: Severity,
    namespaces: Vec<NamePattern>,
    owners: Vec<String>,
    muted: bool,
    statuses: Vec<StatusArg>,
}

impl Filter {
    pub(super) fn new(args: &FilterArgs, statuses: &[StatusArg]) -> Self {
        Self {
            families: args.family.clone(),
            kinds: args.kind.clone(),
            severity: args.severity.unwrap_or(Severity::Info),
            namespaces: args.namespace.iter().cloned().map(NamePattern).collect(),
            owners: args.owner.clone(),
            muted: args.muted,
            statuses: statuses.to_vec(),
        }
    }

    /// What is asked for, and how many more there would be if they were not muted.
    pub(super) fn apply<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> (Vec<&'a Row>, usize) {
        let (muted, shown): (Vec<_>, _) = rows.filter(|row| self.asks_for(row)).partition(|row| self.hides(row));
        (shown, muted.len())
    }

    /// Whether the finding is to be shown.
    pub(super) fn shows(&self, row: &Row) -> bool {
        self.asks_for(row) && !self.hides(row)
    }

    fn hides(&self, row: &Row) -> bool {
        row.finding.mute.is_some() && !self.muted
    }

    fn asks_for(&self, row: &Row) -> bool {
        let finding = &row.finding;
        let in_namespace =
            |pattern: &NamePattern| finding.namespace.as_deref().is_some_and(|name| pattern.matches(name));
        finding.severity >= self.severity
            && (self.families.is_empty() || self.families.contains(&finding.kind.family()))
            && (self.kinds.is_empty() || self.kinds.contains(&finding.kind))
            && (self.namespaces.is_empty() || self.namespaces.iter().any(in_namespace))
            && (self.owners.is_empty() || finding.owner.as_ref().is_some_and(|owner| self.owners.contains(owner)))
            && [StatusArg::All, StatusArg::One(finding.status)].iter().any(|status| self.statuses.contains(status))
    }
}
