//! What was probably meant by a word that is unknown.

use std::str::FromStr;

/// The message of an unknown word with the known one that was probably meant. Messages quote the wrong word first, and
/// then the known ones or list them behind `known are`.
pub(crate) fn suggest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(wrong) = quoted.next() else { return message.to_owned() };
    if let Some((told, known)) = message.split_once("; known are ") {
        let nearest = nearest(wrong, known.split(", "));
        return nearest.map_or_else(|| message.to_owned(), |nearest| format!("{told}; did you mean `{nearest}`?"));
    }
    match nearest(wrong, quoted).filter(|_| message.starts_with("unknown")) {
        Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
        None => message.to_owned(),
    }
}

/// Reads a word of the command line.
pub(crate) fn word<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: String| suggest(&e))
}

/// The candidate that differs least from `wrong`, if it differs little enough to be a slip.
fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.map(|candidate| (strsim::damerau_levenshtein(wrong, candidate), candidate));
    scored.filter(|(distance, _)| *distance <= 1 + wrong.len() / 3).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_answered_with_the_word_and_anything_else_with_all_words() {
        let known = "`hihg` is no severity; known are info, low, medium, high";
        assert_eq!(suggest(known), "`hihg` is no severity; did you mean `high`?");
        let known = "`catastrophe` is no severity; known are info, low, medium, high";
        assert_eq!(suggest(known), known);
        let field = "unknown field `adress`, expected one of `type`, `address`";
        assert_eq!(suggest(field), format!("{field}; did you mean `address`?"));
        assert_eq!(suggest("missing field `type`"), "missing field `type`");
    }
}
