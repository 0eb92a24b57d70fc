//! Maps that rules keep over windows, which must not grow without end.

use std::collections::BTreeMap;

/// Adds or renews an entry, unless there are too many.
pub(crate) fn put<K: Ord, T>(entries: &mut BTreeMap<K, T>, name: K, entry: T, most: usize) {
    if entries.len() < most || entries.contains_key(&name) {
        entries.insert(name, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::put;

    #[test]
    fn what_is_there_is_renewed_though_nothing_more_has_room() {
        let mut entries = std::collections::BTreeMap::from([("a", 1), ("b", 1)]);
        put(&mut entries, "a", 2, 2);
        put(&mut entries, "c", 2, 2);
        assert_eq!(entries.into_iter().collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
    }
}
