//! From labels to what asks for them or bears them.

use std::collections::{BTreeSet, HashMap};

/// Who stands under a key and value.
#[derive(Debug)]
pub(super) struct LabelIndex<T> {
    keys: HashMap<String, OfKey<T>>,
}

#[derive(Debug)]
struct OfKey<T> {
    /// Under the key, whatever the value.
    any: BTreeSet<T>,
    values: HashMap<String, BTreeSet<T>>,
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self { keys: HashMap::new() }
    }
}

impl<T: Ord + Copy> LabelIndex<T> {
    /// Puts `who` under the key, and under the value if one is given.
    pub(super) fn insert(&mut self, key: &str, value: Option<&str>, who: T) {
        let empty = || OfKey { any: BTreeSet::new(), values: HashMap::new() };
        let of_key = self.keys.entry(key.to_owned()).or_insert_with(empty);
        match value {
            Some(value) => of_key.values.entry(value.to_owned()).or_default().insert(who),
            None => of_key.any.insert(who),
        };
    }

    /// Takes back what was put by the same words; leaves nothing behind.
    pub(super) fn remove(&mut self, key: &str, value: Option<&str>, who: T) {
        let Some(of_key) = self.keys.get_mut(key) else { return };
        match value {
            Some(value) => {
                if let Some(under) = of_key.values.get_mut(value) {
                    under.remove(&who);
                    if under.is_empty() {
                        of_key.values.remove(value);
                    }
                }
            }
            None => {
                of_key.any.remove(&who);
            }
        }
        if of_key.any.is_empty() && of_key.values.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Who stands under the key alone.
    pub(super) fn of_key(&self, key: &str) -> impl Iterator<Item = T> + '_ {
        self.keys.get(key).into_iter().flat_map(|of_key| of_key.any.iter().copied())
    }

    /// Who stands under the key and the value.
    pub(super) fn of_value(&self, key: &str, value: &str) -> impl Iterator<Item = T> + '_ {
        self.keys.get(key).and_then(|of_key| of_key.values.get(value)).into_iter().flatten().copied()
    }

    /// How many stand under the key, or under the key and the value.
    pub(super) fn count(&self, key: &str, value: Option<&str>) -> usize {
        let of_key = self.keys.get(key);
        let under = of_key.and_then(|of_key| value.map_or(Some(&of_key.any), |value| of_key.values.get(value)));
        under.map_or(0, BTreeSet::len)
    }
}
