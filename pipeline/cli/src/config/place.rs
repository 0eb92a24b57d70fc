//! Where in the file an error stands, and what was probably meant.

use catchment_core::Error;

use super::super::nearest;

/// An error of the YAML itself; it knows its place.
pub(super) fn of_yaml_error(error: &serde_saphyr::Error) -> Error {
    let line = error.location().map(|location| location.line());
    Error::user(at_line(line, &error.without_snippet().to_string()))
}

/// An error of the value at `path`. The first name it quotes is the one that is wrong, the others
/// are those it could have been.
pub(super) fn of_value_error(text: &str, path: &[&str], message: &str) -> Error {
    let wrong = message.split('`').nth(1).or_else(|| message.split('"').nth(1));
    refuse(text, path, wrong, &told(path, message))
}

/// An error of the value at `path` that reading the text alone comes upon too, which knows line and column.
pub(super) fn of_read_error(text: &str, path: &[&str], message: &str, read: &serde_saphyr::Error) -> Error {
    // A variable stands where its value would be.
    let is_same = !read.without_snippet().to_string().contains("${");
    match read.location().filter(|_| is_same) {
        Some(at) => Error::user(format!("line {}, column {}: {}", at.line(), at.column(), told(path, message))),
        None => of_value_error(text, path, message),
    }
}

/// The message below its path, with what was probably meant.
fn told(path: &[&str], message: &str) -> String {
    let message = nearest::suggest(message);
    if path.is_empty() { message } else { format!("{}: {message}", path.join(".")) }
}

/// `message` with the line of `word` in the section at `path`, or of the section itself.
pub(super) fn refuse(text: &str, path: &[&str], word: Option<&str>, message: &str) -> Error {
    Error::user(at_line(line_of(text, path, word), message))
}

fn at_line(line: Option<u64>, message: &str) -> String {
    line.map_or_else(|| message.to_owned(), |line| format!("line {line}: {message}"))
}

/// Counts from 1; `None` where the section is not in the file.
fn line_of(text: &str, path: &[&str], word: Option<&str>) -> Option<u64> {
    let lines: Vec<&str> = text.lines().map(without_comment).collect();
    let mut at = 0;
    let mut section = None;
    for name in path {
        at += lines[at..].iter().position(|line| key_of(line) == Some(name))?;
        section = Some(at);
    }
    let found = word.and_then(|word| lines[at..].iter().position(|line| holds(line, word)));
    found.map(|below| at + below).or(section).map(|index| index as u64 + 1)
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() }
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    Some(key.trim().trim_start_matches("- ").trim_matches(['"', '\'']))
}

/// Whether `word` stands in `line` and is not a part of a longer name.
fn holds(line: &str, word: &str) -> bool {
    let is_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (first, last) = (is_name(word.chars().next()), is_name(word.chars().next_back()));
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !(first && is_name(before) || last && is_name(after))
    })
}
