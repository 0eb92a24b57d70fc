//! How much a finding concerns, in words.

use catchment_core::Subject;
use catchment_runtime::detect::{bytes, count};
use serde_json::{Map, Value};

use super::super::row::Row;
use super::evidence::members;

/// Members that the sentence tells.
const TOLD: [&str; 4] = ["pods", "connections", "bytes", "share_of_destination"];

pub(super) fn text(row: &Row) -> String {
    let Some(impact) = row.json["impact"].as_object() else { return String::new() };
    let sentence = sentence(impact, &row.finding.subject);
    let sentence = if sentence.is_empty() { sentence } else { format!("  {sentence}\n") };
    let further = impact.iter().filter(|(name, _)| !TOLD.contains(&name.as_str()));
    let further: Map<_, _> = further.map(|(name, value)| (name.clone(), value.clone())).collect();
    sentence + &members(&further.into(), 1)
}

fn sentence(impact: &Map<String, Value>, subject: &Subject) -> String {
    let number = |name: &str| impact.get(name).and_then(Value::as_u64);
    let pods = number("pods").map(|pods| count(pods, "pod"));
    let counted = [number("connections").map(|number| count(number, "connection")), number("bytes").map(bytes)];
    let counted = counted.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let counted = Some(counted).filter(|counted| !counted.is_empty()).map(|counted| counted + " so far");
    let share = impact.get("share_of_destination").and_then(Value::as_f64);
    let share =
        share.map(|share| format!("{} of all traffic to {} in the window", percent(share), destination(subject)));
    [pods, counted, share].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn percent(share: f64) -> String {
    const LEAST: f64 = 0.01;
    if share > 0.0 && share < LEAST { "less than 1 %".to_owned() } else { format!("{:.0} %", share * 100.0) }
}

/// The destination of a pair, or the workload that is reached.
fn destination(subject: &Subject) -> String {
    let name = |namespace: &str, name: &str| match (subject.get(namespace), subject.get(name)) {
        (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
        (None, name) => name.map(str::to_owned),
        (Some(_), None) => None,
    };
    name("dest_namespace", "dest").or_else(|| name("namespace", "workload")).unwrap_or_else(|| "it".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(impact: &Value, subject: &Subject) -> String {
        sentence(impact.as_object().expect("an object"), subject)
    }

    #[test]
    fn the_impact_is_told_in_words() {
        let pair = Subject::default().with("source", Some("web")).with("dest_namespace", Some("shop"));
        let pair = pair.with("dest", Some("db"));
        let impact = json!({"pods": 3, "connections": 12, "packets": 40, "bytes": 4198, "share_of_destination": 0.38});
        assert_eq!(
            told(&impact, &pair),
            "3 pods; 12 connections, 4.1 KiB so far; 38 % of all traffic to shop/db in the window"
        );
        let reached = Subject::default().with("namespace", Some("shop")).with("workload", Some("web"));
        let little = told(&json!({"share_of_destination": 0.004}), &reached);
        assert_eq!(little, "less than 1 % of all traffic to shop/web in the window");
        assert_eq!(told(&json!({"connections": 1, "bytes": 0}), &reached), "1 connection, 0 B so far");
    }
}
