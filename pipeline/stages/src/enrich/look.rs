//! Asking the knowledge about one window, and noting what was asked.

use std::cell::RefCell;

use catchment_core::Span;
use catchment_core::knowledge::workload::{EndpointSlice, LabelSet, Node, Phase, Pod, ShortMeta};
use catchment_core::knowledge::{Key, Kind, Object, Text};

use super::knowledge::{FORESIGHT, Handle, Knowledge, Version};

/// The knowledge as one window sees it.
pub(super) struct Look<'a> {
    knowledge: &'a Knowledge,
    pub(super) window: Span,
    /// Everything that was looked up; the answer holds as long as none of it changes.
    seen: RefCell<&'a mut Vec<Handle>>,
}

/// A pod as it was for some time.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) key: &'a Key,
    pub(super) version: &'a Version,
    pub(super) pod: &'a Pod,
}

impl Seen<'_> {
    /// Whether it could send and receive in the window.
    pub(super) fn is_alive(&self, window: Span) -> bool {
        self.version.is_in(window) && !matches!(self.pod.status.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// The pods that could send and receive in the window, or else right behind it.
pub(super) fn alive<'a>(pods: &[Seen<'a>], window: Span) -> Vec<Seen<'a>> {
    let in_span = |span| pods.iter().copied().filter(|seen| seen.is_alive(span)).collect::<Vec<_>>();
    let alive = in_span(window);
    if alive.is_empty() { in_span(Span::new(window.end, window.end.plus(FORESIGHT))) } else { alive }
}

impl<'a> Look<'a> {
    pub(super) fn new(knowledge: &'a Knowledge, window: Span, seen: &'a mut Vec<Handle>) -> Self {
        Self { knowledge, window, seen: RefCell::new(seen) }
    }

    fn find(&self, handle: Handle) -> Vec<(&'a Key, &'a Version)> {
        let found = self.knowledge.find(&handle).filter(|(_, version)| version.is_remembered(self.window)).collect();
        self.seen.borrow_mut().push(handle);
        found
    }

    /// Pods under the handle, of the window and the day before it.
    pub(super) fn pods(&self, handle: Handle) -> Vec<Seen<'a>> {
        let pods = self.find(handle).into_iter().filter_map(|(key, version)| match &version.object {
            Object::Pod(pod) => Some(Seen { key, version, pod }),
            _ => None,
        });
        pods.collect()
    }

    /// The node with an address, as it was last seen.
    pub(super) fn node_at(&self, handle: Handle) -> Option<&'a Node> {
        let nodes = self.find(handle).into_iter().filter_map(|(_, version)| match &version.object {
            Object::Node(node) => Some((version.from, node)),
            _ => None,
        });
        nodes.max_by_key(|(from, _)| *from).map(|(_, node)| &**node)
    }

    /// An object as it was at the end of the window, or when it was last seen.
    pub(super) fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'a Object> {
        let key = Key { kind, namespace: Text::new(namespace), name: Text::new(name) };
        let found = self.knowledge.last(&key, self.window).map(|version| &version.object);
        self.seen.borrow_mut().push(Handle::Object(key));
        found
    }

    /// Endpoint slices that are there at the end of the window.
    pub(super) fn slices(&self, handle: Handle) -> Vec<&'a EndpointSlice> {
        let slices = self.find(handle).into_iter().filter_map(|(_, version)| match &version.object {
            Object::EndpointSlice(slice) if version.is_there_at_end(self.window) => Some(&**slice),
            _ => None,
        });
        slices.collect()
    }
}

/// The labels and owners of any object that has them in the short form.
pub(super) fn meta(object: &Object) -> Option<&ShortMeta> {
    Some(match object {
        Object::Namespace(o) => &o.metadata,
        Object::Node(o) => &o.metadata,
        Object::Deployment(o) => &o.metadata,
        Object::ReplicaSet(o) => &o.metadata,
        Object::StatefulSet(o) => &o.metadata,
        Object::DaemonSet(o) => &o.metadata,
        Object::CronJob(o) => &o.metadata,
        Object::Job(o) => &o.metadata,
        Object::Pod(o) => &o.metadata,
        _ => return None,
    })
}

/// The value of the first of the labels that is there.
pub(super) fn first_of<'a>(labels: &'a LabelSet, keys: &[String]) -> Option<&'a Text> {
    keys.iter().find_map(|key| labels.get(key))
}
