//! Who talked, shown on one flow that was denied.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use catchment_core::{Error, Result};
use serde_json::Value;

use super::Folder;

/// The first denied flow between two workloads, with what its row says of them; empty where there is none.
pub(super) fn text(folder: &Folder) -> Result<String> {
    let path = folder.rows();
    let unreadable = |e| Error::external(format!("cannot read `{}`", path.display())).caused_by(e);
    let file = File::open(&path).map_err(unreadable)?;
    for line in BufReader::new(file).lines() {
        let row: Value = serde_json::from_str(&line.map_err(unreadable)?).unwrap_or_default();
        let is_workload = |end: &str| row[format!("{end}_workload_name")].is_string();
        if row["dataset"] == "flows" && row["action"] == "Deny" && is_workload("source") && is_workload("dest") {
            return Ok(show(&row, folder));
        }
    }
    Ok(String::new())
}

fn show(row: &Value, folder: &Folder) -> String {
    let mut text = format!("\nwho talked, in a flow that was denied ({})\n", plain(&row["window_start"]));
    for end in ["source", "dest"] {
        let column = |name: &str| plain(&row[format!("{end}_{name}")]);
        writeln!(
            text,
            "  {end:<7} {}\n          {} {}, service account {}, owner {}, {}, {} pods on {}",
            name(row, end),
            column("workload_kind"),
            column("workload_name"),
            column("service_accounts"),
            column("owner"),
            column("environment"),
            column("pods"),
            column("nodes"),
        )
        .expect("text takes every write");
    }
    let objects = folder.knowledge().join("objects.json");
    let (source, dest) = (name(row, "source"), name(row, "dest"));
    let (port, protocol) = (plain(&row["dest_port"]), plain(&row["protocol"]));
    let why = format!("catchment why '{source}' '{dest}:{port}/{protocol}' --snapshot {}", objects.display());
    writeln!(text, "  by which rule:\n  {why}").expect("text takes every write");
    text
}

fn name(row: &Value, end: &str) -> String {
    format!("{}/{}", plain(&row[format!("{end}_namespace")]), plain(&row[format!("{end}_name_raw")]))
}

/// A value as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
