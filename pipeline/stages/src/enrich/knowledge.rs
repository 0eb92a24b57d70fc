//! Objects with the time they were so, and what they are looked up by.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use catchment_core::knowledge::{Change, Key, Kind, Object, Text};
use catchment_core::{EventTime, Span};

use super::timeline::Timeline;

/// How long a name is remembered after the last that bore it has gone, in microseconds of event time.
pub(super) const REMEMBERED: i64 = 24 * 3600 * 1_000_000;

/// A node dates a flow back to its last report, so a flow may be older than its pod by one of these, in microseconds.
pub const FORESIGHT: i64 = 20 * 1_000_000;

/// What objects are looked up by, and so what an answer was derived from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Handle {
    /// The object itself.
    Object(Key),
    /// Pods of a namespace whose names were generated from a prefix.
    Prefix(Text, Text),
    /// All pods of a namespace.
    PodsOf(Text),
    /// Pods and nodes with an address.
    Address(IpAddr),
    /// Endpoint slices that lead to a pod, by its namespace and name.
    SlicesTo(Text, Text),
    /// Endpoint slices of a service, by its namespace and name.
    SlicesOf(Text, Text),
}

/// An object as it was from one change to the next.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) from: EventTime,
    /// The end of time while it is so.
    to: EventTime,
    pub(super) object: Object,
    handles: Box<[Handle]>,
}

impl Version {
    /// Whether it was so at some moment of the window.
    pub(super) fn is_in(&self, window: Span) -> bool {
        self.from < window.end && self.to > window.start
    }

    /// Whether it was so at the end of the window.
    pub(super) fn is_there_at_end(&self, window: Span) -> bool {
        self.from < window.end && self.to >= window.end
    }

    /// When it ended, as the window could know: what came behind it had not happened yet.
    pub(super) fn ended(&self, window: Span) -> Option<EventTime> {
        (self.to < window.end).then_some(self.to)
    }

    /// Whether it was so in the window, not too long before, or right behind it.
    pub(super) fn is_remembered(&self, window: Span) -> bool {
        self.from < window.end.plus(FORESIGHT) && self.to > window.start.plus(-REMEMBERED)
    }
}

/// What is known, as far as the newest window needs it; windows of a day before can still be asked for.
#[derive(Debug)]
pub(super) struct Knowledge {
    timeline: Timeline,
    /// Everything before this has been learned.
    learned: EventTime,
    /// In the order of time.
    objects: HashMap<Key, Vec<Version>>,
    /// Objects with a version that has the handle, and how many such versions.
    index: HashMap<Handle, BTreeMap<Key, u32>>,
    /// Objects that change right behind the newest window, and when.
    upcoming: BTreeMap<EventTime, Vec<Key>>,
    /// When versions leave the windows, are forgotten, and can be dropped.
    due: BTreeMap<EventTime, Vec<(Key, Due)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Leave,
    Forget,
    Drop,
}

impl Knowledge {
    pub(super) fn new(timeline: Timeline) -> Self {
        Self {
            timeline,
            learned: EventTime::MIN,
            objects: HashMap::new(),
            index: HashMap::new(),
            upcoming: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    pub(super) const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Learns what happened before the end of `window` and right behind it. Returns every handle under which that window finds something
    /// else than the window before.
    pub(super) fn advance(&mut self, window: Span) -> Vec<Handle> {
        let mut touched = Vec::new();
        let until = window.end.plus(FORESIGHT);
        for change in self.timeline.between(self.learned, until) {
            self.learn(&change, &mut touched);
            self.upcoming.entry(change.at).or_default().push(change.key);
        }
        self.learned = self.learned.max(until);
        while let Some(entry) = self.upcoming.first_entry().filter(|entry| *entry.key() < window.end) {
            let (time, keys) = entry.remove_entry();
            for key in &keys {
                self.begins_or_ends(key, time, &mut touched);
            }
        }
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= window.start) {
            let (time, keys) = entry.remove_entry();
            for (key, due) in keys {
                self.fall_due(&key, due, time, &mut touched);
            }
        }
        touched
    }

    fn learn(&mut self, change: &Change, touched: &mut Vec<Handle>) {
        let last = self.objects.get_mut(&change.key).and_then(|versions| versions.last_mut());
        let last = last.filter(|last| last.to == EventTime::MAX);
        if last.as_ref().map(|last| &last.object) == change.state.as_ref() {
            return;
        }
        if let Some(last) = last {
            last.to = change.at;
            touched.extend_from_slice(&last.handles);
            if last.from == change.at {
                self.drop_versions(&change.key, |version| version.from == version.to);
            } else {
                self.due.entry(change.at).or_default().push((change.key.clone(), Due::Leave));
            }
        }
        if let Some(object) = &change.state {
            self.begin(change, object.clone(), touched);
        }
    }

    fn begin(&mut self, change: &Change, object: Object, touched: &mut Vec<Handle>) {
        let handles: Box<[Handle]> = handles(&change.key, &object).into();
        touched.extend_from_slice(&handles);
        for handle in &handles {
            *self.index.entry(handle.clone()).or_default().entry(change.key.clone()).or_default() += 1;
        }
        let version = Version { from: change.at, to: EventTime::MAX, object, handles };
        self.objects.entry(change.key.clone()).or_default().push(version);
    }

    fn begins_or_ends(&self, key: &Key, time: EventTime, touched: &mut Vec<Handle>) {
        let versions = self.objects.get(key).into_iter().flatten();
        let changed = versions.filter(|version| version.from == time || version.to == time);
        touched.extend(changed.flat_map(|version| version.handles.iter().cloned()));
    }

    fn fall_due(&mut self, key: &Key, due: Due, time: EventTime, touched: &mut Vec<Handle>) {
        let ended = |versions: i64| time.plus(-versions * REMEMBERED);
        let versions = self.objects.get(key).map_or(&[][..], |versions| versions);
        let (end, next) = match due {
            Due::Leave => (ended(0), Due::Forget),
            Due::Forget => (ended(1), Due::Drop),
            Due::Drop => return self.drop_versions(key, |version| version.to <= ended(2)),
        };
        touched.extend(versions.iter().filter(|v| v.to == end).flat_map(|v| v.handles.iter().cloned()));
        self.due.entry(time.plus(REMEMBERED)).or_default().push((key.clone(), next));
    }

    fn drop_versions(&mut self, key: &Key, is_gone: impl Fn(&Version) -> bool) {
        let Some(versions) = self.objects.get_mut(key) else { return };
        let gone: Vec<_> = versions.extract_if(.., |version| is_gone(version)).collect();
        if versions.is_empty() {
            self.objects.remove(key);
        }
        for handle in gone.iter().flat_map(|version| &version.handles) {
            self.unindex(handle, key);
        }
    }

    fn unindex(&mut self, handle: &Handle, key: &Key) {
        let Some(keys) = self.index.get_mut(handle) else { return };
        if let Some(count) = keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                keys.remove(key);
            }
        }
        if keys.is_empty() {
            self.index.remove(handle);
        }
    }

    /// Every version that has the handle, by object and time.
    pub(super) fn find<'a, 'h>(
        &'a self,
        handle: &'h Handle,
    ) -> impl Iterator<Item = (&'a Key, &'a Version)> + use<'a, 'h> {
        let keys = self.index.get(handle).into_iter().flat_map(BTreeMap::keys);
        let versions = keys.filter_map(|key| self.objects.get_key_value(key));
        let versions = versions.flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)));
        versions.filter(move |(_, version)| version.handles.contains(handle))
    }

    /// The object as it was at the end of the window, or when it was last seen, or else as it was made right behind it.
    pub(super) fn last(&self, key: &Key, window: Span) -> Option<&Version> {
        let versions = self.objects.get(key)?;
        let known = versions.partition_point(|version| version.from < window.end);
        let before = versions[..known].last().filter(|version| version.is_remembered(window));
        before.or_else(|| versions.get(known).filter(|version| version.is_remembered(window)))
    }
}

fn handles(key: &Key, object: &Object) -> Vec<Handle> {
    let mut handles = vec![Handle::Object(key.clone())];
    match object {
        Object::Pod(pod) => {
            handles.push(Handle::PodsOf(key.namespace.clone()));
            if !pod.metadata.generate_name.is_empty() {
                handles.push(Handle::Prefix(key.namespace.clone(), pod.metadata.generate_name.clone()));
            }
            // The addresses of a pod in the host network are its node's.
            if !pod.spec.host_network {
                handles.extend(pod.status.pod_ips.0.iter().copied().map(Handle::Address));
            }
        }
        Object::Node(node) => {
            let addresses = node.status.addresses.iter().filter_map(|address| address.address.parse().ok());
            handles.extend(addresses.map(Handle::Address));
        }
        Object::EndpointSlice(slice) => {
            if let Some(service) = slice.metadata.labels.get(SERVICE_NAME) {
                handles.push(Handle::SlicesOf(key.namespace.clone(), service.clone()));
            }
            let pods = slice.endpoints.iter().map(|endpoint| &endpoint.target_ref);
            let pods = pods.filter(|target| target.kind == Kind::Pod.name());
            handles.extend(pods.map(|pod| Handle::SlicesTo(key.namespace.clone(), pod.name.clone())));
        }
        _ => {}
    }
    handles.sort_unstable();
    handles.dedup();
    handles
}

/// The label of an endpoint slice that names its service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
