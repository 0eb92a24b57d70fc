//! What people read of findings: subjects, ages, ids, severities.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;

use catchment_core::{EventTime, FindingId, Severity, Subject};
use serde_json::Value;

use super::row::Row;
use super::table::{Cell, painted};

/// Members of a pair, in the order they are read aloud.
const PAIR: [&str; 6] = ["source_namespace", "source", "dest_namespace", "dest", "dest_port", "protocol"];
/// Members of one object.
const OBJECT: [&str; 4] = ["namespace", "workload", "service", "policy"];

/// A subject in one line: `shop/web -> shop/db:5432/tcp`, `shop/web ingress`.
pub(crate) fn subject(subject: &Subject) -> String {
    let (named, further) = read_aloud(subject);
    let further = further.into_iter().map(|(_, value)| value);
    std::iter::once(named).filter(|named| !named.is_empty()).chain(further).collect::<Vec<_>>().join(" ")
}

/// What a subject names, and its further members.
pub(super) fn read_aloud(subject: &Subject) -> (String, Vec<(String, String)>) {
    let members = subject.to_json();
    let value = |member: &str| match &members[member] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let is_pair = value("source").is_some() && value("dest").is_some();
    let (named, used): (String, &[&str]) = if is_pair {
        let [source, dest] = ["source", "dest"].map(|end| name([value(&format!("{end}_namespace")), value(end)]));
        let port = value("dest_port").map(|port| format!(":{port}")).unwrap_or_default();
        let protocol = value("protocol").map(|protocol| format!("/{protocol}")).unwrap_or_default();
        (format!("{source} -> {dest}{port}{protocol}"), &PAIR)
    } else {
        (name(OBJECT.map(value)), &OBJECT)
    };
    let further = members.as_object().into_iter().flat_map(serde_json::Map::keys);
    let further = further.filter(|member| !used.contains(&member.as_str()));
    (named, further.filter_map(|member| Some((member.clone(), value(member)?))).collect())
}

fn name<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// One line for each.
pub(super) fn lines<T: fmt::Display>(items: impl Iterator<Item = T>) -> String {
    items.fold(String::new(), |text, item| text + &format!("{item}\n"))
}

/// How long ago that was, in the two largest units that say something.
pub(super) fn age(since: EventTime, now: EventTime) -> String {
    let secs = now.secs().saturating_sub(since.secs()).max(0);
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{minutes}m"),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// The fewest characters that an id is shortened to.
const SHORTEST: usize = 8;

/// Beginnings of the ids by which each is told from all others.
pub(crate) fn short_ids(all: &BTreeMap<FindingId, Row>) -> BTreeMap<FindingId, String> {
    let ids: Vec<_> = all.keys().map(|id| (*id, id.to_string())).collect();
    let mut short = BTreeMap::new();
    for (place, (id, text)) in ids.iter().enumerate() {
        // Sorted, an id shares the longest beginning with one of its neighbours.
        let before = place.checked_sub(1).map_or(0, |before| shared(text, &ids[before].1));
        let after = ids.get(place + 1).map_or(0, |(_, after)| shared(text, after));
        let length = (before.max(after) + 1).clamp(SHORTEST, text.len());
        short.insert(*id, text[..length].to_owned());
    }
    short
}

fn shared(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// A severity as a cell, in colour for eyes.
pub(super) fn severity(severity: Severity, coloured: bool) -> Cell {
    (severity.name().to_owned(), coloured.then(|| colour(severity)))
}

/// A severity within a text.
pub(super) fn painted_severity(severity: Severity) -> String {
    painted(severity.name(), is_coloured().then(|| colour(severity)))
}

const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "1;31",
        Severity::Medium => "33",
        Severity::Low => "36",
        Severity::Info => "2",
    }
}

/// Whether eyes read standard output, and nobody asked for no colour.
pub(super) fn is_coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Breaks a paragraph into lines, each behind `indent` spaces.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    const WIDTH: usize = 100;
    let mut lines = String::new();
    for paragraph in text.lines() {
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if used > 0 && indent + used + 1 + length > WIDTH {
                lines.push('\n');
                used = 0;
            }
            let gap = if used == 0 { indent } else { 1 };
            lines.extend(std::iter::repeat_n(' ', gap));
            lines.push_str(word);
            used += length + usize::from(used > 0);
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_aloud() {
        let pair = Subject::default().with("source_namespace", Some("shop")).with("source", Some("web"));
        let pair = pair.with("dest_namespace", None).with("dest", Some("PUBLIC NETWORK")).number("dest_port", 443);
        let pair = pair.with("protocol", Some("tcp")).with("reporter", Some("Src"));
        assert_eq!(subject(&pair), "shop/web -> PUBLIC NETWORK:443/tcp Src");
        let workload = Subject::default().with("namespace", Some("shop")).with("workload", Some("web"));
        assert_eq!(subject(&workload.with("direction", Some("ingress"))), "shop/web ingress");
        let policy = Subject::default().with("policy", Some("shop/db")).with("rule", Some("ingress[0]"));
        assert_eq!(subject(&policy), "shop/db ingress[0]");
        assert_eq!(subject(&Subject::default()), "");
    }

    #[test]
    fn ages_are_short() {
        let ages = [7, 61, 3_900, 100_000].map(|secs| age(EventTime::default(), EventTime::from_secs(secs)));
        assert_eq!(ages, ["7s", "1m", "1h05m", "1d03h"]);
        assert_eq!(age(EventTime::from_secs(9), EventTime::default()), "0s");
    }

    #[test]
    fn paragraphs_are_broken_between_words() {
        let text = wrap(&"word ".repeat(40), 2);
        assert!(text.lines().all(|line| line.starts_with("  word") && line.chars().count() <= 100), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
        assert_eq!(wrap("a\n\nb", 1), " a\n\n b\n");
    }
}
