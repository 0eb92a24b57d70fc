//! From text to expression, by recursive descent over bytes.
//!
//! ```text
//! or  := and ('||' and)*
//! and := op ('&&' op)*
//! op  := '!'* ( has(key) | all() | global() | key comparison | '(' or ')' )
//! ```

use std::fmt;

use super::{Expr, SetOp, ValueOp};

/// Why and where a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError {
    /// Byte of the text at which it goes wrong.
    pub at: usize,
    /// Lower case, without a full stop.
    pub reason: String,
}

impl SelectorError {
    /// The text with a caret under the place, and the reason: two lines.
    pub fn pointed(&self, text: &str) -> String {
        let before = text[..self.at].chars().count();
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{line}\n{:before$}^ {}", "", self.reason)
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.reason)
    }
}

impl std::error::Error for SelectorError {}

/// Longest key.
const LONGEST_KEY: usize = 512;

/// Parentheses within each other; the API holds selectors to 1,024 characters, and this to a part of the stack.
const DEEPEST: usize = 200;

/// Operators with one value, and the words they are made of.
const OPERATORS: [(&[&str], ValueOp); 5] = [
    (&["=="], ValueOp::Equal),
    (&["!="], ValueOp::NotEqual),
    (&["contains"], ValueOp::Contains),
    (&["starts", "with"], ValueOp::StartsWith),
    (&["ends", "with"], ValueOp::EndsWith),
];

pub(super) fn parse(text: &str) -> Result<Expr, SelectorError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.skip_blank();
    if parser.rest().is_empty() {
        return Ok(Expr::All);
    }
    let expr = parser.or()?;
    if parser.rest().is_empty() { Ok(expr) } else { parser.fail("expected `&&`, `||` or the end") }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, SelectorError> {
        Err(SelectorError { at: self.at, reason: reason.into() })
    }

    fn skip_blank(&mut self) {
        self.at += self.rest().bytes().take_while(|b| b" \t".contains(b)).count();
    }

    /// Takes `token` and the blanks behind it, if it is next.
    fn take(&mut self, token: &str) -> bool {
        let next = self.rest().starts_with(token);
        if next {
            self.at += token.len();
            self.skip_blank();
        }
        next
    }

    fn expect(&mut self, token: &str, reason: &str) -> Result<(), SelectorError> {
        if self.take(token) { Ok(()) } else { self.fail(reason) }
    }

    /// Takes words that form an operator, with or without blanks between them, if no key goes on behind the last.
    fn take_words(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        let found = words.iter().all(|word| self.take(word));
        let within_a_key = self.text[start..self.at].ends_with(|c| is_key(c as u8)) && self.key_length() > 0;
        if !found || within_a_key {
            self.at = start;
        }
        found && !within_a_key
    }

    fn key_length(&self) -> usize {
        self.rest().bytes().take_while(|b| is_key(*b)).count()
    }

    fn or(&mut self) -> Result<Expr, SelectorError> {
        let mut any = vec![self.and()?];
        while self.take("||") {
            any.push(self.and()?);
        }
        Ok(one_or(any, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, SelectorError> {
        let mut all = vec![self.operation()?];
        while self.take("&&") {
            all.push(self.operation()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn operation(&mut self) -> Result<Expr, SelectorError> {
        let mut negated = false;
        while self.take("!") {
            negated = !negated;
        }
        let expr = self.operand()?;
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn operand(&mut self) -> Result<Expr, SelectorError> {
        if self.rest().starts_with('(') {
            return self.parentheses();
        }
        if self.take("has(") {
            let key = self.key("expected a label between the parentheses")?;
            return self.expect(")", "expected `)`").map(|()| Expr::Has(key));
        }
        for (function, expr) in [("all(", Expr::All), ("global(", Expr::Global)] {
            if self.take(function) {
                return self.expect(")", "expected `)`: the function takes nothing").map(|()| expr);
            }
        }
        let key = self.key("expected a label, has(), all(), global(), `!` or `(`")?;
        self.comparison(key)
    }

    fn parentheses(&mut self) -> Result<Expr, SelectorError> {
        if self.depth == DEEPEST {
            return self.fail(format!("more than {DEEPEST} parentheses within each other"));
        }
        self.take("(");
        self.depth += 1;
        let expr = self.or()?;
        self.depth -= 1;
        self.expect(")", "expected `&&`, `||` or `)`").map(|()| expr)
    }

    fn key(&mut self, reason: &str) -> Result<String, SelectorError> {
        match self.key_length() {
            0 => self.fail(reason),
            length if length > LONGEST_KEY => self.fail(format!("a label has at most {LONGEST_KEY} characters")),
            length => {
                let key = self.rest()[..length].to_owned();
                self.at += length;
                self.skip_blank();
                Ok(key)
            }
        }
    }

    fn comparison(&mut self, key: String) -> Result<Expr, SelectorError> {
        if self.take_words(&["not", "in"]) {
            return Ok(Expr::Set(key, SetOp::NotIn, self.set()?));
        }
        if self.take_words(&["in"]) {
            return Ok(Expr::Set(key, SetOp::In, self.set()?));
        }
        for (words, op) in OPERATORS {
            if self.take_words(words) {
                return match self.string()? {
                    Some(value) => Ok(Expr::Value(key, op, value)),
                    None => self.fail("expected a string in quotes"),
                };
            }
        }
        self.fail(format!(
            "expected ==, !=, in, not in, contains, starts with or ends with after the label `{}`",
            shortened(&key)
        ))
    }

    /// The string that is next, if one is: everything up to the same quote.
    fn string(&mut self) -> Result<Option<String>, SelectorError> {
        let Some(quote) = self.rest().chars().next().filter(|c| "'\"".contains(*c)) else { return Ok(None) };
        let inside = &self.rest()[1..];
        let Some(length) = inside.find(quote) else { return self.fail("this string does not end") };
        self.at += length + 2;
        self.skip_blank();
        Ok(Some(inside[..length].to_owned()))
    }

    fn set(&mut self) -> Result<Vec<String>, SelectorError> {
        self.expect("{", "expected a set like {'a', 'b'}")?;
        let mut values = Vec::new();
        while let Some(value) = self.string()? {
            values.push(value);
            if !self.take(",") {
                break;
            }
        }
        self.expect("}", if values.is_empty() { "expected a string in quotes or `}`" } else { "expected `,` or `}`" })?;
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./-".contains(&byte)
}

fn one_or(mut exprs: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    if exprs.len() == 1 { exprs.remove(0) } else { many(exprs) }
}

fn shortened(key: &str) -> String {
    if key.len() <= 40 { key.to_owned() } else { format!("{}…", &key[..40]) }
}
