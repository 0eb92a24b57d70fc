//! Evidence for people: what is known by name in its own form, everything else member by member.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::row::Row;
use super::super::table::{self, plain};

/// Members that stand in a form of their own, or say what another member says.
const TOLD: [&str; 7] = ["window", "coverage", "counted", "flows", "child_count", "computed", "changed_before"];

pub(super) fn text(row: &Row) -> String {
    let mut text = window(row);
    let flows = row.evidence("flows").as_array().map(Vec::as_slice).unwrap_or_default();
    text += &flow_table(flows);
    text += &chains(flows);
    text += &computed(row.evidence("computed"));
    member(&mut text, "what changed just before", row.evidence("changed_before"), 1);
    let evidence = row.json["evidence"].as_object();
    for (name, value) in evidence.into_iter().flatten().filter(|(name, _)| !TOLD.contains(&name.as_str())) {
        member(&mut text, name, value, 1);
    }
    text
}

/// The window whose rows made this one, and what it counted.
fn window(row: &Row) -> String {
    let [start, end] = [0, 1].map(|end| scalar(&row.evidence("window")[end]));
    let coverage = row.evidence("coverage").as_f64().filter(|share| *share < 1.0);
    let coverage = coverage.map(|share| format!(", {:.0} % of it covered", share * 100.0)).unwrap_or_default();
    let mut text = format!("  window {start} to {end}{coverage}\n");
    if let Some(counted) = row.evidence("counted").as_object() {
        let counted: Vec<_> = counted.iter().map(|(name, value)| format!("{name} {}", scalar(value))).collect();
        let _ = writeln!(text, "  counted in it: {}", counted.join(", "));
    }
    text
}

/// The columns of flows, by the members that fill them.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("SOURCE", &["source"]),
    ("DESTINATION", &["dest"]),
    ("PORT", &["dest_port", "protocol"]),
    ("REPORTER", &["reporter"]),
    ("ACTION", &["action"]),
    ("STARTED/LIVE", &["connections_started", "connections_live"]),
    ("PACKETS IN/OUT", &["packets_in", "packets_out"]),
];

fn flow_table(flows: &[Value]) -> String {
    if flows.is_empty() {
        return String::new();
    }
    let cell = |flow: &Value, members: &[&str]| {
        members.iter().map(|member| scalar(&flow[*member])).collect::<Vec<_>>().join("/")
    };
    let rows: Vec<Vec<_>> =
        flows.iter().map(|flow| COLUMNS.iter().map(|(_, members)| plain(cell(flow, members))).collect()).collect();
    let table = table::render(&COLUMNS.map(|(head, _)| head), &rows);
    table.lines().fold("  flows, of those the first\n".to_owned(), |text, line| text + "    " + line + "\n")
}

/// What the policies did, step by step, as the first flow carries it.
fn chains(flows: &[Value]) -> String {
    let Some(flow) = flows.first() else { return String::new() };
    let mut text = String::new();
    chain(&mut text, "on the wire, the policies that decided", &flow["enforced"]);
    if flow["pending"] != flow["enforced"] {
        chain(&mut text, "on the wire, what would decide with staged policies", &flow["pending"]);
    }
    text
}

/// What the policies of the cluster say of the flow, whatever was on the wire.
fn computed(computed: &Value) -> String {
    if computed.is_null() {
        return String::new();
    }
    let [verdict, by] = ["verdict", "decided_by"].map(|member| scalar(&computed[member]));
    let mut text = format!("  by the policies of the cluster: {verdict}, {by}\n");
    numbered(&mut text, &computed["steps"]);
    text
}

fn chain(text: &mut String, head: &str, steps: &Value) {
    if steps.as_array().is_some_and(|steps| !steps.is_empty()) {
        let _ = writeln!(text, "  {head}");
        numbered(text, steps);
    }
}

fn numbered(text: &mut String, steps: &Value) {
    for (number, step) in (1..).zip(steps.as_array().into_iter().flatten()) {
        let _ = writeln!(text, "    {number}. {}", scalar(step));
    }
}

/// The members of an object, one a line, deeper ones below their names.
pub(super) fn members(object: &Value, depth: usize) -> String {
    let mut text = String::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        member(&mut text, name, value, depth);
    }
    text
}

fn member(text: &mut String, name: &str, value: &Value, depth: usize) {
    let (indent, name) = ("  ".repeat(depth), name.replace('_', " "));
    match value {
        Value::Null => {}
        Value::Object(inner) if inner.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(_) => {
            let _ = write!(text, "{indent}{name}\n{}", members(value, depth + 1));
        }
        Value::Array(items) => {
            let _ = writeln!(text, "{indent}{name}");
            for item in items {
                element(text, item, depth + 1);
            }
        }
        _ => {
            let _ = writeln!(text, "{indent}{name}: {}", scalar(value));
        }
    }
}

/// An element of a list behind a dash.
fn element(text: &mut String, value: &Value, depth: usize) {
    let body = match value {
        Value::Object(_) => members(value, depth + 1),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(", ") + "\n",
        _ => scalar(value) + "\n",
    };
    let _ = write!(text, "{}- {}", "  ".repeat(depth), body.trim_start());
}

/// A value in a line.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_computed_chain_is_told_step_by_step() {
        let chain = json!({"verdict": "deny", "decided_by": "end of tier default", "steps": ["a", "b"]});
        let told = "  by the policies of the cluster: deny, end of tier default\n    1. a\n    2. b\n";
        assert_eq!(computed(&chain), told);
        assert_eq!(computed(&Value::Null), "");
    }

    #[test]
    fn members_stand_below_their_names_and_empty_ones_are_left_out() {
        let value = json!({"a_b": 1, "c": {"d": "x", "e": null}, "f": [], "g": [{"h": 1, "i": 2}, "j"]});
        assert_eq!(members(&value, 1), "  a b: 1\n  c\n    d: x\n  g\n    - h: 1\n      i: 2\n    - j\n");
    }
}
