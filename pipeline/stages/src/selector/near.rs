//! Selectors that fail by one term.

use catchment_core::knowledge::LabelMap;
use serde::Serialize;

use super::{Expr, Selector, ValueOp};

/// The one term by which a selector misses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Term {
    /// The term, canonical.
    pub term: String,
    /// The label it asks for.
    pub key: String,
    /// What the label is.
    pub found: Option<String>,
    /// A label that was probably meant: the same key with a value that differs by case, by an ending or by a letter or two,
    /// or the same value under another key.
    pub resembles: Option<String>,
}

/// Values that differ by fewer letters are taken for the same word.
const FEW_LETTERS: usize = 3;

impl Selector {
    /// The terms that alone keep the selector from matching `labels`: if any one of them held, it would match. Empty if it
    /// matches, or misses by more than one.
    pub fn missed(&self, labels: &LabelMap) -> Vec<Term> {
        if self.matches(labels) {
            return Vec::new();
        }
        let mut terms = Vec::new();
        self.root.pivots(labels, &mut terms);
        terms.into_iter().map(|term| term.missed(labels)).collect()
    }
}

impl Expr {
    /// The terms whose truth alone decides.
    fn pivots<'a>(&'a self, labels: &LabelMap, found: &mut Vec<&'a Self>) {
        match self {
            Self::All | Self::Global => {}
            Self::Has(_) | Self::Value(..) | Self::Set(..) => found.push(self),
            Self::Not(inner) => inner.pivots(labels, found),
            Self::And(inner) => decisive(inner, labels, false, found),
            Self::Or(inner) => decisive(inner, labels, true, found),
        }
    }

    fn missed(&self, labels: &LabelMap) -> Term {
        let key = self.key().to_owned();
        let found = labels.get(&key).cloned();
        // A term that holds and must not stands behind a `!`.
        let term = if self.holds(labels) { format!("!{self}") } else { self.to_string() };
        let wanted = self.wanted();
        let value = found.as_deref().filter(|found| wanted.iter().any(|wanted| alike(found, wanted)));
        let elsewhere =
            || labels.iter().find(|(k, v)| telling(v) && origin(k) == origin(&key) && wanted.contains(&v.as_str()));
        let meant =
            value.map(|value| (key.as_str(), value)).or_else(|| elsewhere().map(|(k, v)| (k.as_str(), v.as_str())));
        let resembles = meant.map(|(key, value)| format!("{key}={value}"));
        Term { term, key, found, resembles }
    }

    fn key(&self) -> &str {
        match self {
            Self::Has(key) | Self::Value(key, ..) | Self::Set(key, ..) => key,
            _ => "",
        }
    }

    fn wanted(&self) -> Vec<&str> {
        match self {
            Self::Value(_, ValueOp::Equal, value) => vec![value],
            Self::Set(_, super::SetOp::In, values) => values.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// Of a group in which one `deciding` part settles the whole: its decisive terms.
fn decisive<'a>(parts: &'a [Expr], labels: &LabelMap, deciding: bool, found: &mut Vec<&'a Expr>) {
    let mut settled = parts.iter().filter(|part| part.holds(labels) == deciding);
    match (settled.next(), settled.next()) {
        (None, _) => parts.iter().for_each(|part| part.pivots(labels, found)),
        (Some(only), None) => only.pivots(labels, found),
        _ => {}
    }
}

fn alike(a: &str, b: &str) -> bool {
    let begins = |long: &str, short: &str| short.len() >= FEW_LETTERS && long.starts_with(short);
    let slip = begins(a, b)
        || begins(b, a)
        || (a.len().max(b.len()) > FEW_LETTERS && strsim::damerau_levenshtein(a, b) < FEW_LETTERS);
    a.eq_ignore_ascii_case(b) || (slip && !numbered(a, b))
}

/// Whether two values are the same but for their numbers: `shop-1` and `shop-12` are two of a row, and neither a slip.
fn numbered(a: &str, b: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    letters(a) == letters(b)
}

/// Whether the same value under two keys is more than chance.
fn telling(value: &str) -> bool {
    value.len() >= FEW_LETTERS && value != "true" && value != "false"
}

/// Whose label it is: the namespace's, the service account's, Calico's or the workload's own.
fn origin(key: &str) -> &str {
    ["pcns.", "pcsa.", "projectcalico.org/"].into_iter().find(|prefix| key.starts_with(prefix)).unwrap_or_default()
}
