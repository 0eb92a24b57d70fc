//! Compares published rows with the truth ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use catchment_core::{Error, EventTime, Result};
use serde_json::{Value, json};

/// Counters that must agree. Live connections are no sums, so a ledger by bucket does not hold them.
const COUNTERS: [&str; 6] =
    ["packets_in", "packets_out", "bytes_in", "bytes_out", "num_connections_started", "num_connections_completed"];

/// Members that identify a key: their names in the ledger and in a row.
const KEY: [(&str, &str); 10] = [
    ("source_namespace", "source_namespace"),
    ("source_name", "source_name_raw"),
    ("dest_namespace", "dest_namespace"),
    ("dest_name", "dest_name_raw"),
    ("dest_port", "dest_port"),
    ("protocol", "protocol"),
    ("reporter", "reporter"),
    ("action", "action"),
    ("enforced", "enforced_policies"),
    ("pending", "pending_policies"),
];

/// What is compared of a step of a policy trace.
const HIT: [&str; 6] = ["kind", "namespace", "name", "tier", "action", "rule_index"];

type Counted = [u64; COUNTERS.len()];
type Sums = HashMap<(i64, String), Counted>;

/// How rows and ledger compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Windows whose rows say that they were fully covered, and that no gap touches.
    pub windows: usize,
    /// Other windows: there, rows may hold less than the ledger, but never more.
    pub partial: usize,
    /// Keys x whole windows in the ledger.
    pub expected: usize,
    /// Keys x whole windows published.
    pub published: usize,
    /// Keys x windows that differ in a counter, or that only one side has; of other windows those
    /// that exceed the ledger.
    pub different: usize,
    /// One of them, for people.
    pub example: Option<String>,
}

/// Judges the rows of `flows`, `late` and `gaps` in `rows`, JSON lines with a member `dataset`, by the
/// ledger in `truth`: a window's rows and its late rows together must be what the nodes reported,
/// and no more than that where the window was partly covered or is named in a gap.
pub fn judge(truth: &Path, rows: &Path) -> Result<Verdict> {
    let mut published = Sums::new();
    let mut coverage: BTreeMap<i64, bool> = BTreeMap::new();
    let mut gaps = Vec::new();
    let mut width = 0;
    for_each_line(rows, |row| {
        let dataset = row["dataset"].as_str().unwrap_or_default();
        if dataset == "gaps" {
            gaps.push((seconds(&row["gap_start"]), seconds(&row["gap_end"])));
        }
        if dataset != "flows" && dataset != "late" {
            return;
        }
        let (start, end) = (seconds(&row["window_start"]), seconds(&row["window_end"]));
        width = end - start;
        if dataset == "flows" {
            coverage.insert(start, row["coverage"] == 1.0);
        }
        add(&mut published, start, key(&row, |(_, in_row)| in_row), &row);
    })?;
    let is_known_short = |start: i64| gaps.iter().any(|gap| gap.0 < start + width && start < gap.1);
    let is_whole = |(start, whole): &(&i64, &bool)| **whole && !is_known_short(**start);
    let whole: BTreeSet<i64> = coverage.iter().filter(is_whole).map(|(start, _)| *start).collect();
    let mut expected = Sums::new();
    for_each_line(truth, |record| {
        let Some(start) = record["bucket_start"].as_i64().filter(|_| width > 0) else { return };
        let window = start - start.rem_euclid(width);
        if coverage.contains_key(&window) {
            add(&mut expected, window, key(&record["key"], |(in_ledger, _)| in_ledger), &record);
        }
    })?;
    let is_wrong = |name: &&(i64, String)| {
        let (truth, row) = (expected.get(*name), published.get(*name));
        if whole.contains(&name.0) { truth != row } else { exceeds(row, truth) }
    };
    let names = expected.keys().chain(published.keys().filter(|name| !expected.contains_key(*name)));
    let mut different = names.filter(is_wrong).peekable();
    let example = different.peek().map(|name| {
        format!("window {} {}: ledger {:?}, published {:?}", name.0, name.1, expected.get(*name), published.get(*name))
    });
    Ok(Verdict {
        windows: whole.len(),
        partial: coverage.len() - whole.len(),
        expected: expected.keys().filter(|name| whole.contains(&name.0)).count(),
        published: published.keys().filter(|name| whole.contains(&name.0)).count(),
        different: different.count(),
        example,
    })
}

/// Whether a row holds more than the ledger in any counter.
fn exceeds(row: Option<&Counted>, truth: Option<&Counted>) -> bool {
    match (row, truth) {
        (Some(row), Some(truth)) => row.iter().zip(truth).any(|(row, truth)| row > truth),
        (row, _) => row.is_some(),
    }
}

fn for_each_line(path: &Path, mut visit: impl FnMut(Value)) -> Result<()> {
    let place = path.display();
    let file = File::open(path).map_err(|e| Error::user(format!("cannot read `{place}`")).caused_by(e))?;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|e| Error::external(format!("cannot read `{place}`")).caused_by(e))?;
        let value = serde_json::from_str(&line);
        visit(value.map_err(|e| Error::user(format!("{place}, line {number}: no JSON object")).caused_by(e))?);
    }
    Ok(())
}

fn add(sums: &mut Sums, window: i64, key: String, record: &Value) {
    let sum = sums.entry((window, key)).or_default();
    for (sum, name) in sum.iter_mut().zip(COUNTERS) {
        *sum += record[name].as_u64().unwrap_or_default();
    }
}

/// The key as comparable text.
fn key(record: &Value, side: impl Fn((&'static str, &'static str)) -> &'static str) -> String {
    let members = KEY.into_iter().map(|names| match &record[side(names)] {
        Value::Array(hits) => Value::Array(hits.iter().map(hit).collect()),
        Value::String(text) if names.0 == "protocol" => text.to_lowercase().into(),
        value => present(value),
    });
    Value::Array(members.collect()).to_string()
}

fn hit(hit: &Value) -> Value {
    Value::Array(HIT.iter().map(|name| present(&hit[*name])).collect())
}

/// What the wire writes for "none" is NULL in a row.
fn present(value: &Value) -> Value {
    match value.as_str() {
        Some("" | "-") => json!(null),
        _ => value.clone(),
    }
}

fn seconds(time: &Value) -> i64 {
    time.as_str().and_then(EventTime::parse_rfc3339).unwrap_or_default().secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: &str = r#"{"bucket_start":0,"key":{"source_namespace":"a","source_name":"x","dest_namespace":"-","dest_name":"pvt","dest_port":80,"protocol":"TCP","reporter":"Src","action":"Allow","enforced":[],"pending":[]},"packets_in":1,"bytes_in":5}
{"bucket_start":15,"key":{"source_namespace":"a","source_name":"x","dest_namespace":"-","dest_name":"pvt","dest_port":80,"protocol":"TCP","reporter":"Src","action":"Allow","enforced":[],"pending":[]},"packets_in":2,"bytes_in":6}
"#;

    fn row(dataset: &str, packets_in: u64) -> String {
        let window = ["1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"];
        json!({
            "dataset": dataset, "window_start": window[0], "window_end": window[1], "coverage": 1.0,
            "source_namespace": "a", "source_name_raw": "x", "dest_namespace": null, "dest_name_raw": "pvt",
            "dest_port": 80, "protocol": "tcp", "reporter": "Src", "action": "Allow",
            "enforced_policies": [], "pending_policies": [], "packets_in": packets_in, "bytes_in": 11,
        })
        .to_string()
    }

    fn verdict(rows: &str) -> Verdict {
        let folder = tempfile::tempdir().expect("a folder");
        let (truth, published) = (folder.path().join("truth"), folder.path().join("rows"));
        std::fs::write(&truth, TRUTH).expect("written");
        std::fs::write(&published, rows).expect("written");
        judge(&truth, &published).expect("both are readable")
    }

    #[test]
    fn rows_that_add_up_to_the_ledger_do_not_differ() {
        let found = verdict(&row("flows", 3));
        assert_eq!((found.windows, found.expected, found.published, found.different), (1, 1, 1, 0));
    }

    #[test]
    fn a_counter_that_is_off_is_shown() {
        let found = verdict(&row("flows", 4));
        assert_eq!(found.different, 1);
        assert!(found.example.expect("shown").contains("published Some([4"));
    }

    #[test]
    fn where_a_gap_says_so_less_is_right_and_more_is_wrong() {
        let gap = json!({
            "dataset": "gaps", "gap_start": "1970-01-01T00:00:45Z", "gap_end": "1970-01-01T00:01:00Z",
        });
        let (less, more) =
            (verdict(&format!("{}\n{gap}", row("flows", 2))), verdict(&format!("{}\n{gap}", row("flows", 4))));
        assert_eq!((less.windows, less.partial, less.different), (0, 1, 0));
        assert_eq!((more.windows, more.partial, more.different), (0, 1, 1));
        assert_eq!(verdict(&row("flows", 2)).different, 1);
    }

    #[test]
    fn a_row_published_twice_is_seen() {
        assert_eq!(verdict(&format!("{}\n{}", row("flows", 3), row("flows", 3))).different, 1);
    }
}
