//! The whole story of a finding for people, and what a kind means.

mod evidence;
mod impact;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use catchment_core::{Error, FindingId, FindingKind, FindingRow, Result};
use catchment_runtime::detect::Runbooks;

use super::origin::Origin;
use super::row::Row;
use super::words::{age, lines, painted_severity, read_aloud, short_ids, wrap};
use super::{kinds, one};
use crate::args::ExplainArgs;
use crate::nearest;

pub(super) fn explain(args: &ExplainArgs) -> Result<()> {
    if let Some(kind) = asked_kind(&args.what)? {
        return crate::emit(&meaning(kind));
    }
    let all = Origin::of(&args.origin)?.newest()?;
    crate::emit(&story(one(&all, &args.what)?, &all))
}

/// The kind that is asked for; ids have no dot.
fn asked_kind(word: &str) -> Result<Option<FindingKind>> {
    word.contains('.').then(|| nearest::word(word).map_err(Error::user)).transpose()
}

fn meaning(kind: FindingKind) -> String {
    let mut text = format!("{kind}: {}, {}, unless the case says otherwise\n\n", kind.severity(), kind.confidence());
    text += &kinds::text(kind);
    section(&mut text, "Page", &format!("  {}\n", Runbooks::default().of(kind)));
    text
}

fn section(text: &mut String, head: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(text, "\n{head}\n{body}");
    }
}

fn story(row: &Row, all: &BTreeMap<FindingId, Row>) -> String {
    let finding = &row.finding;
    let mut text = format!("{}\n\n{}", finding.title, facts(row));
    section(&mut text, "What", &wrap(&finding.explanation, 2));
    section(&mut text, "Evidence", &evidence::text(row));
    section(&mut text, "Impact", &impact::text(row));
    section(&mut text, "What to do", &wrap(&finding.remediation, 2));
    section(&mut text, "How to see that it is fixed", &indented(&finding.verify));
    section(&mut text, "Related", &related(finding, all));
    section(&mut text, "Page", &format!("  {}, or `catchment findings explain {}`\n", finding.runbook, finding.kind));
    text
}

/// Members beside their names.
fn facts(row: &Row) -> String {
    let (finding, now) = (&row.finding, crate::args::now());
    let mut facts = vec![
        ("finding", finding.id.to_string()),
        ("kind", format!("{}, {}", finding.kind, finding.confidence)),
        ("severity", painted_severity(finding.severity)),
        ("status", status(finding)),
        ("since", format!("{}, {} ago", finding.first_seen, age(finding.first_seen, now))),
        ("last seen", format!("{}, in {} in all", finding.last_seen, windows(finding))),
        ("cluster", format!("{}, source {}", row.stream.cluster, row.stream.source)),
    ];
    let (named, further) = read_aloud(&finding.subject);
    facts.push(("about", named));
    facts.extend(further.iter().map(|(member, value)| (member.as_str(), value.clone())));
    facts.extend(finding.owner.iter().map(|owner| ("owner", owner.clone())));
    facts.extend(finding.mute.iter().map(|mute| ("muted", format!("until {}: {}", mute.until, mute.reason))));
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines(facts.iter().map(|(name, value)| format!("  {name:width$}  {value}")))
}

fn status(finding: &FindingRow) -> String {
    let why = finding.resolution.map(|why| format!(": {}", why.name().replace('_', " "))).unwrap_or_default();
    let back = match finding.reopen_count {
        0 => String::new(),
        1 => ", came back once".to_owned(),
        times => format!(", came back {times} times"),
    };
    format!("{}{why}{back}", finding.status)
}

fn windows(finding: &FindingRow) -> String {
    if finding.windows_seen == 1 { "1 window".to_owned() } else { format!("{} windows", finding.windows_seen) }
}

fn indented(text: &str) -> String {
    lines(text.lines().map(|line| format!("  {line}")))
}

fn related(finding: &FindingRow, all: &BTreeMap<FindingId, Row>) -> String {
    let short = short_ids(all);
    let line = |id: &FindingId| match all.get(id) {
        Some(row) => format!("  {} {} {}: {}\n", short[id], row.finding.kind, row.finding.status, row.finding.title),
        None => format!("  {id}\n"),
    };
    finding.related.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_from_an_id_and_an_unknown_one_names_the_known() {
        assert_eq!(asked_kind("policy.no-policy").expect("a kind"), Some(FindingKind::NoPolicy));
        assert_eq!(asked_kind("3fa9c1d2").expect("an id"), None);
        let error = asked_kind("policy.no-polcy").expect_err("no kind").message;
        assert_eq!(error, "`policy.no-polcy` is no kind of finding; did you mean `policy.no-policy`?");
        let error = asked_kind("x.y").expect_err("no kind").message;
        assert!(error.starts_with("`x.y` is no kind of finding; known are policy.no-policy, "), "{error}");
    }
}
