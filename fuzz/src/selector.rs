//! Selectors, their canonical form and what they match.

use catchment_core::knowledge::LabelMap;
use catchment_stages::selector::Selector;

/// A selector on the first line and `key=value` on every other.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, rest) = text.split_once('\n').unwrap_or((text, ""));
    let labels: LabelMap =
        rest.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect();
    let selector = match text.parse::<Selector>() {
        Ok(selector) => selector,
        Err(error) => {
            assert!(text.is_char_boundary(error.at) && error.pointed(text).contains('^'), "{error}");
            return;
        }
    };
    let canonical = selector.to_string();
    let again: Selector = canonical.parse().expect("the canonical form is a selector");
    // `!(!x)` is printed as `!!x`, which is read as `x`.
    assert!(again.to_string() == canonical || canonical.contains("!!"), "{canonical} becomes {again}");
    assert_eq!(again.to_string().parse().as_ref(), Ok(&again));
    let matches = selector.matches(&labels);
    assert_eq!(again.matches(&labels), matches);
    assert_eq!(selector.clone().negated().matches(&labels), !matches);
    assert!(!matches || selector.missed(&labels).is_empty());
}
