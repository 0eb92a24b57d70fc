//! Calico's selector language: which labels an expression matches.
//!
//! ```
//! use catchment_stages::selector::Selector;
//!
//! let selector: Selector = "tier == 'db' && !has(retired)".parse().unwrap();
//! assert!(selector.matches(&[("tier".into(), "db".into())].into()));
//! assert_eq!(selector.to_string(), r#"(tier == "db" && !has(retired))"#);
//! ```
//!
//! A text that is no selector gives the place and the reason, and never a selector that matches something else.

mod kubernetes;
mod near;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use catchment_core::knowledge::LabelMap;

pub use kubernetes::{Subject, calico_text};
pub use near::Term;
pub use parse::SelectorError;

/// A parsed selector. Printing gives the canonical form, as Calico prints it. It parses to an equal selector, but for
/// `!(!x)`: Calico prints that as `!!x`, and reads that as `x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    root: Expr,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Expr {
    All,
    Global,
    Has(String),
    /// Key, operator, value.
    Value(String, ValueOp, String),
    /// Key, operator, values sorted and without duplicates.
    Set(String, SetOp, Vec<String>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ValueOp {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SetOp {
    In,
    NotIn,
}

impl Selector {
    /// Matches everything.
    pub fn all() -> Self {
        Self { root: Expr::All }
    }

    /// The label has this value.
    pub fn equal(key: &str, value: &str) -> Self {
        Self { root: Expr::Value(key.to_owned(), ValueOp::Equal, value.to_owned()) }
    }

    /// The label has one of these values.
    pub fn one_of(key: &str, values: &[String]) -> Self {
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        Self { root: Expr::Set(key.to_owned(), SetOp::In, values) }
    }

    /// Whether `labels` match. `global()` matches everything, as in Calico: only a rule's namespace selector gives it a
    /// meaning of its own.
    pub fn matches(&self, labels: &LabelMap) -> bool {
        self.root.holds(labels)
    }

    /// Both must match; `self` is printed first.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { root: Expr::And(vec![self.root, other.root]) }
    }

    /// Must not match.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { root: Expr::Not(Box::new(self.root)) }
    }

    /// With `prefix` in front of every key.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.root.each(&mut |expr| {
            if let Expr::Has(key) | Expr::Value(key, ..) | Expr::Set(key, ..) = expr {
                key.insert_str(0, prefix);
            }
        });
        self
    }

    /// With `has(key)` in place of `all()`, wherever that stands.
    #[must_use]
    pub fn all_means_has(mut self, key: &str) -> Self {
        self.root.each(&mut |expr| {
            if *expr == Expr::All {
                *expr = Expr::Has(key.to_owned());
            }
        });
        self
    }

    /// With `!has(key)` in place of `global()`, wherever that stands.
    #[must_use]
    pub fn global_means_without(mut self, key: &str) -> Self {
        self.root.each(&mut |expr| {
            if *expr == Expr::Global {
                *expr = Expr::Not(Box::new(Expr::Has(key.to_owned())));
            }
        });
        self
    }

    /// Labels of which at least one is there whenever the selector matches; `None` if there are no such labels.
    pub fn anchors(&self) -> Option<Vec<Anchor<'_>>> {
        self.anchors_by(&|anchor| anchor.weakness())
    }

    /// Of several such lists the one with the least sum of what `weigh` says of each label.
    pub fn anchors_by(&self, weigh: &dyn Fn(&Anchor<'_>) -> usize) -> Option<Vec<Anchor<'_>>> {
        self.root.anchors(weigh)
    }
}

/// A label that a selector asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor<'a> {
    /// Key and value.
    Value(&'a str, &'a str),
    /// Key, whatever the value.
    Key(&'a str),
}

impl Anchor<'_> {
    /// How much is looked at in vain because of it; labels that nearly every workload bears count as much as a key.
    fn weakness(&self) -> usize {
        match self {
            Self::Value(key, _) if *key != "projectcalico.org/orchestrator" => 1,
            _ => 1_000,
        }
    }
}

impl Expr {
    fn holds(&self, labels: &LabelMap) -> bool {
        match self {
            Self::All | Self::Global => true,
            Self::Has(key) => labels.contains_key(key),
            Self::Value(key, op, value) => op.holds(labels.get(key).map(String::as_str), value),
            Self::Set(key, op, values) => {
                let found = labels.get(key).is_some_and(|value| values.binary_search(value).is_ok());
                found == (*op == SetOp::In)
            }
            Self::Not(inner) => !inner.holds(labels),
            Self::And(all) => all.iter().all(|expr| expr.holds(labels)),
            Self::Or(any) => any.iter().any(|expr| expr.holds(labels)),
        }
    }

    /// Calls `change` for every expression, inner ones first.
    fn each(&mut self, change: &mut impl FnMut(&mut Self)) {
        match self {
            Self::Not(inner) => inner.each(change),
            Self::And(inner) | Self::Or(inner) => inner.iter_mut().for_each(|expr| expr.each(change)),
            _ => {}
        }
        change(self);
    }

    fn anchors(&self, weigh: &dyn Fn(&Anchor<'_>) -> usize) -> Option<Vec<Anchor<'_>>> {
        match self {
            Self::Value(key, ValueOp::Equal, value) => Some(vec![Anchor::Value(key, value)]),
            Self::Set(key, SetOp::In, values) => Some(values.iter().map(|value| Anchor::Value(key, value)).collect()),
            Self::Has(key) => Some(vec![Anchor::Key(key)]),
            Self::Value(key, op, _) if *op != ValueOp::NotEqual => Some(vec![Anchor::Key(key)]),
            Self::And(all) => {
                let anchored = all.iter().filter_map(|expr| expr.anchors(weigh));
                anchored.min_by_key(|anchors| anchors.iter().map(weigh).sum::<usize>())
            }
            Self::Or(any) => {
                any.iter().map(|expr| expr.anchors(weigh)).collect::<Option<Vec<_>>>().map(|each| each.concat())
            }
            _ => None,
        }
    }
}

impl ValueOp {
    /// A missing label equals nothing and contains nothing, so it differs from everything.
    fn holds(self, found: Option<&str>, value: &str) -> bool {
        let Some(found) = found else { return self == Self::NotEqual };
        match self {
            Self::Equal => found == value,
            Self::NotEqual => found != value,
            Self::Contains => found.contains(value),
            Self::StartsWith => found.starts_with(value),
            Self::EndsWith => found.ends_with(value),
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Contains => "contains",
            Self::StartsWith => "starts with",
            Self::EndsWith => "ends with",
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(|root| Self { root })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(key) => write!(f, "has({key})"),
            Self::Value(key, op, value) => write!(f, "{key} {} {}", op.symbol(), Quoted(value)),
            Self::Set(key, op, values) => {
                f.write_str(key)?;
                f.write_str(if *op == SetOp::In { " in {" } else { " not in {" })?;
                for (index, value) in values.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    Quoted(value).fmt(f)?;
                }
                f.write_str("}")
            }
            Self::Not(inner) => write!(f, "!{inner}"),
            Self::And(all) => group(f, all, " && "),
            Self::Or(any) => group(f, any, " || "),
        }
    }
}

fn group(f: &mut fmt::Formatter<'_>, inner: &[Expr], between: &str) -> fmt::Result {
    f.write_str("(")?;
    for (index, expr) in inner.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { between })?;
        write!(f, "{expr}")?;
    }
    f.write_str(")")
}

/// In double quotes unless the value contains one; there are no escapes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}
