//! Findings in the forms that can be asked for.

use std::collections::BTreeMap;

use catchment_core::{Error, FindingId, Result, ocsf};
use serde_json::Value;

use super::row::Row;
use super::table::{self, Cell, plain};
use super::words::{age, is_coloured, lines, severity, short_ids, subject};
use crate::args::FindingsOutput;

/// The rows in the form that was asked for. Ids are shortened as far as `all` allows.
pub(super) fn rows(rows: &[&Row], output: FindingsOutput, all: &BTreeMap<FindingId, Row>) -> Result<String> {
    let values: Vec<_> = rows.iter().map(|row| &row.json).collect();
    Ok(match output {
        FindingsOutput::Table => short_table(rows, &short_ids(all)),
        FindingsOutput::Wide => wide_table(rows),
        FindingsOutput::Json => crate::pretty(&values.into_iter().cloned().collect::<Value>()),
        FindingsOutput::Jsonl => lines(values.into_iter()),
        FindingsOutput::Yaml => {
            serde_saphyr::to_string(&values).map_err(|e| Error::internal("cannot write YAML").caused_by(e))?
        }
        FindingsOutput::Ocsf => lines(rows.iter().map(|row| ocsf::finding(&row.stream, row.window, &row.finding))),
        FindingsOutput::Name => lines(rows.iter().map(|row| row.finding.id)),
    })
}

fn short_table(rows: &[&Row], ids: &BTreeMap<FindingId, String>) -> String {
    let cells = |row: &&Row| {
        let mut cells = vec![plain(&ids[&row.finding.id])];
        cells.extend(what(row));
        cells.push(plain(&row.finding.title));
        cells
    };
    let heads = ["ID", "SEVERITY", "KIND", "STATUS", "NAMESPACE", "SUBJECT", "SINCE", "TITLE"];
    table_or_nothing(&heads, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn wide_table(rows: &[&Row]) -> String {
    let cells = |row: &&Row| {
        let finding = &row.finding;
        let mut cells = vec![plain(finding.id.to_string())];
        cells.extend(what(row));
        cells.extend([
            plain(finding.owner.as_deref().unwrap_or(NONE)),
            plain(finding.confidence.name()),
            plain(finding.windows_seen.to_string()),
            plain(row.json["impact"]["connections"].as_u64().map_or_else(|| NONE.to_owned(), |n| n.to_string())),
            plain(finding.last_seen.to_rfc3339()),
            plain(&finding.title),
        ]);
        cells
    };
    let heads = ["FINDING ID", "SEVERITY", "KIND", "STATUS", "NAMESPACE", "SUBJECT", "SINCE", "OWNER", "CONFIDENCE"];
    let further = ["WINDOWS", "CONNECTIONS", "LAST SEEN", "TITLE"];
    table_or_nothing(&[&heads[..], &further].concat(), &rows.iter().map(cells).collect::<Vec<_>>())
}

/// In a cell that has nothing to say.
const NONE: &str = "-";

/// The columns that both tables have.
fn what(row: &Row) -> [Cell; 6] {
    let finding = &row.finding;
    let muted = if finding.mute.is_some() { ", muted" } else { "" };
    [
        severity(finding.severity, is_coloured()),
        plain(finding.kind.name()),
        plain(format!("{}{muted}", finding.status)),
        plain(finding.namespace.as_deref().unwrap_or(NONE)),
        plain(subject(&finding.subject)),
        plain(age(finding.first_seen, crate::args::now())),
    ]
}

fn table_or_nothing(heads: &[&str], rows: &[Vec<Cell>]) -> String {
    if rows.is_empty() { "no findings\n".to_owned() } else { table::render(heads, rows) }
}
