//! The endpoints of a cluster, and which of them a selector matches.

use std::collections::HashMap;

use super::endpoint::Endpoint;
use super::label_index::LabelIndex;
use crate::selector::{Anchor, Selector};

/// Endpoints by their labels. A change costs time in proportion to the labels of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointIndex {
    endpoints: Vec<Option<(String, Endpoint)>>,
    free: Vec<usize>,
    places: HashMap<String, usize>,
    labelled: LabelIndex<usize>,
}

impl EndpointIndex {
    /// Adds an endpoint or replaces the one of the same `key`, which is any text that tells endpoints apart.
    pub fn set(&mut self, key: &str, endpoint: Endpoint) {
        self.remove(key);
        let place = self.free.pop().unwrap_or_else(|| {
            self.endpoints.push(None);
            self.endpoints.len() - 1
        });
        for (label, value) in &endpoint.labels {
            self.labelled.insert(label, Some(value), place);
            self.labelled.insert(label, None, place);
        }
        self.places.insert(key.to_owned(), place);
        self.endpoints[place] = Some((key.to_owned(), endpoint));
    }

    /// Removes and returns the endpoint of `key`.
    pub fn remove(&mut self, key: &str) -> Option<Endpoint> {
        let place = self.places.remove(key)?;
        let (_, endpoint) = self.endpoints[place].take()?;
        for (label, value) in &endpoint.labels {
            self.labelled.remove(label, Some(value), place);
            self.labelled.remove(label, None, place);
        }
        self.free.push(place);
        Some(endpoint)
    }

    /// The endpoint of `key`.
    pub fn get(&self, key: &str) -> Option<&Endpoint> {
        let (_, endpoint) = self.places.get(key).and_then(|place| self.endpoints[*place].as_ref())?;
        Some(endpoint)
    }

    /// All endpoints, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.entries().map(|(_, endpoint)| endpoint)
    }

    /// All endpoints with their keys, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Endpoint)> {
        self.endpoints.iter().flatten().map(|(key, endpoint)| (key.as_str(), endpoint))
    }

    /// The endpoints that `selector` matches, in no order.
    pub fn matching(&self, selector: &Selector) -> Vec<&Endpoint> {
        self.entries_matching(selector).into_iter().map(|(_, endpoint)| endpoint).collect()
    }

    /// The endpoints that `selector` matches with their keys, in no order.
    pub fn entries_matching(&self, selector: &Selector) -> Vec<(&str, &Endpoint)> {
        // Where an app has the same labels in every namespace, the namespace leads to fewer.
        let bearers = |anchor: &Anchor<'_>| match *anchor {
            Anchor::Value(key, value) => self.labelled.count(key, Some(value)),
            Anchor::Key(key) => self.labelled.count(key, None),
        };
        let Some(anchors) = selector.anchors_by(&bearers) else {
            return self.entries().filter(|(_, endpoint)| selector.matches(&endpoint.labels)).collect();
        };
        let mut places = Vec::new();
        for anchor in anchors {
            match anchor {
                Anchor::Value(key, value) => places.extend(self.labelled.of_value(key, value)),
                Anchor::Key(key) => places.extend(self.labelled.of_key(key)),
            }
        }
        places.sort_unstable();
        places.dedup();
        let found = places.into_iter().filter_map(|place| self.endpoints[place].as_ref());
        let found = found.map(|(key, endpoint)| (key.as_str(), endpoint));
        found.filter(|(_, endpoint)| selector.matches(&endpoint.labels)).collect()
    }
}
