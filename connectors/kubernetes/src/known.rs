//! The objects of one kind as they were last told.

use std::collections::HashMap;

use catchment_core::knowledge::{Key, Kind, Object, Text};

/// Shares the objects with whoever was told of them.
pub(crate) struct Known {
    kind: Kind,
    objects: HashMap<(Text, Text), Seen>,
    /// Counts the lists: what the last one did not show has gone.
    list: u32,
}

struct Seen {
    object: Object,
    list: u32,
}

impl Known {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, objects: HashMap::new(), list: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// A list begins.
    pub(crate) const fn begin(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// Takes in the object as it is now; says whether anything that is read has changed.
    pub(crate) fn put(&mut self, key: &Key, object: &Object) -> bool {
        let seen = Seen { object: object.clone(), list: self.list };
        let before = self.objects.insert((key.namespace.clone(), key.name.clone()), seen);
        before.is_none_or(|before| before.object != *object)
    }

    /// Says whether it was known.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        self.objects.remove(&(key.namespace.clone(), key.name.clone())).is_some()
    }

    /// What the list that began last did not show: gone, once that list is complete.
    pub(crate) fn vanished(&self) -> Vec<Key> {
        let vanished = self.objects.iter().filter(|(_, seen)| seen.list != self.list);
        vanished
            .map(|((namespace, name), _)| Key { kind: self.kind, namespace: namespace.clone(), name: name.clone() })
            .collect()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Text> {
        self.objects.keys().map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str) -> Object {
        let json = format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{"nodeName": "{node}"}}}}"#
        );
        Object::from_json(&json).unwrap().unwrap()
    }

    fn put(known: &mut Known, object: &Object) -> bool {
        known.put(&object.key(), object)
    }

    #[test]
    fn what_a_list_does_not_show_has_gone_and_what_it_shows_unchanged_is_no_change() {
        let mut known = Known::new(Kind::Pod);
        known.begin();
        assert!(put(&mut known, &pod("a", "1")) && put(&mut known, &pod("b", "1")) && put(&mut known, &pod("c", "1")));
        assert_eq!(known.vanished(), []);
        known.begin();
        assert!(!put(&mut known, &pod("a", "1")));
        assert!(put(&mut known, &pod("b", "2")));
        assert_eq!(known.vanished(), [pod("c", "1").key()]);
        assert!(known.remove(&pod("c", "1").key()) && !known.remove(&pod("c", "1").key()));
        assert_eq!(known.len(), 2);
    }

    #[test]
    fn a_list_that_breaks_off_makes_nothing_vanish() {
        let mut known = Known::new(Kind::Pod);
        known.begin();
        put(&mut known, &pod("a", "1"));
        put(&mut known, &pod("b", "1"));
        known.begin();
        put(&mut known, &pod("a", "1"));
        known.begin();
        put(&mut known, &pod("a", "1"));
        put(&mut known, &pod("b", "1"));
        assert_eq!(known.vanished(), []);
    }

    #[test]
    fn a_change_of_what_is_not_read_is_no_change() {
        let mut known = Known::new(Kind::Pod);
        let with_note = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "resourceVersion": "9",
            "annotations": {"n": "1"}}, "spec": {"nodeName": "1"}}"#;
        assert!(put(&mut known, &pod("a", "1")));
        assert!(!put(&mut known, &Object::from_json(with_note).unwrap().unwrap()));
    }
}
