//! Label lists as small numbers: merging two of them is a table look-up after the first time.

use std::collections::HashMap;
use std::sync::Arc;

/// A list of labels in a [`LabelTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelsId(u32);

impl LabelsId {
    /// The list without labels.
    pub const EMPTY: Self = Self(0);
}

/// Every list of labels that was seen, and the merges made so far.
#[derive(Debug)]
pub(crate) struct LabelTable {
    lists: Vec<Arc<[String]>>,
    ids: HashMap<Arc<[String]>, LabelsId>,
    merged: HashMap<(LabelsId, LabelsId), LabelsId>,
}

impl Default for LabelTable {
    fn default() -> Self {
        let empty: Arc<[String]> = Arc::from([]);
        Self { lists: vec![Arc::clone(&empty)], ids: HashMap::from([(empty, LabelsId::EMPTY)]), merged: HashMap::new() }
    }
}

impl LabelTable {
    /// The number of a list; lists are sorted first, as the collector does.
    pub(crate) fn intern(&mut self, mut labels: Vec<String>) -> LabelsId {
        labels.sort_unstable();
        if let Some(&id) = self.ids.get(labels.as_slice()) {
            return id;
        }
        let id = LabelsId(self.lists.len() as u32);
        let list: Arc<[String]> = labels.into();
        self.lists.push(Arc::clone(&list));
        self.ids.insert(list, id);
        id
    }

    pub(crate) fn get(&self, id: LabelsId) -> &[String] {
        &self.lists[id.0 as usize]
    }

    /// The labels of both lists, remembered: merging reports of one bucket.
    pub(crate) fn merge(&mut self, a: LabelsId, b: LabelsId) -> LabelsId {
        if a == b {
            return a;
        }
        if let Some(&id) = self.merged.get(&(a, b)) {
            return id;
        }
        let common = intersection(self.get(a), self.get(b));
        let id = self.intern(common);
        self.merged.insert((a, b), id);
        id
    }
}

/// What both sorted lists hold.
pub(crate) fn intersection(a: &[String], b: &[String]) -> Vec<String> {
    a.iter().filter(|label| b.binary_search(label).is_ok()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(labels: &[&str]) -> Vec<String> {
        labels.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn merging_keeps_what_both_have() {
        let mut table = LabelTable::default();
        let (a, b) = (table.intern(list(&["b=2", "a=1"])), table.intern(list(&["b=2", "c=3"])));
        let both = table.merge(a, b);
        assert_eq!(table.get(both), list(&["b=2"]));
        assert_eq!(table.merge(a, b), both);
        assert_eq!(table.merge(a, LabelsId::EMPTY), LabelsId::EMPTY);
    }
}
