//! The newest state of every object.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use catchment_core::EventTime;
use catchment_core::knowledge::workload::{LabelSet, Pod, Service};
use catchment_core::knowledge::{Key, Kind, Object, Text};

/// One change as it is learned: never two equal states.
pub(super) struct Step<'a> {
    pub(super) at: EventTime,
    pub(super) key: &'a Key,
    pub(super) before: Option<&'a Object>,
    pub(super) after: Option<&'a Object>,
}

impl Step<'_> {
    /// When an object that was not known before came to be: its creation, unless that lies ahead.
    pub(super) fn appeared(&self) -> EventTime {
        let created = self.after.and_then(Object::created);
        created.map_or(self.at, |created| created.min(self.at))
    }
}

/// Objects by what they are known by.
#[derive(Debug, Default)]
pub(super) struct Objects(HashMap<Key, Object>);

impl Objects {
    /// Puts or removes an object; what was there before.
    pub(super) fn put(&mut self, key: &Key, object: Option<Object>) -> Option<Object> {
        match object {
            Some(object) => self.0.insert(key.clone(), object),
            None => self.0.remove(key),
        }
    }

    pub(super) fn at(&self, key: &Key) -> Option<&Object> {
        self.0.get(key)
    }

    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.0.get(&Key { kind, namespace: Text::new(namespace), name: Text::new(name) })
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        match self.get(Kind::Pod, namespace, name)? {
            Object::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        match self.get(Kind::Service, namespace, name)? {
            Object::Service(service) => Some(service),
            _ => None,
        }
    }

    /// Labels of a namespace or a service account; none if it is not known.
    pub(super) fn labels(&self, kind: Kind, namespace: &str, name: &str) -> LabelSet {
        match self.get(kind, namespace, name) {
            Some(Object::Namespace(object)) => object.metadata.labels.clone(),
            Some(Object::ServiceAccount(object)) => object.metadata.labels.clone(),
            _ => LabelSet::default(),
        }
    }
}

/// Takes one of the many under a key away, and the key with the last.
pub(super) fn take<K: Eq + Hash, T: Ord>(many: &mut HashMap<K, BTreeSet<T>>, key: &K, one: &T) {
    if let Some(set) = many.get_mut(key) {
        set.remove(one);
        if set.is_empty() {
            many.remove(key);
        }
    }
}
