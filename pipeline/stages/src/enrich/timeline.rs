//! What a cluster told, in the order of event time, and how far that order is settled.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use catchment_core::knowledge::{Change, Coverage, Key, Kind, Sight};
use catchment_core::{EventTime, IdentityState, Span};

/// The changes of one cluster; clones share them.
///
/// Nothing before the seal is ever added, so what was read up to it stays what it is: who folds a log again finds the
/// knowledge the first reader found.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// In the order of time; changes of one time in the order they were told.
    changes: Vec<Change>,
    sealed: EventTime,
    blind: Vec<Blind>,
    /// In the order of time.
    sights: Vec<Sight>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { changes: Vec::new(), sealed: EventTime::MIN, blind: Vec::new(), sights: Vec::new() }
    }
}

/// A span in which changes may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blind {
    /// From when to when.
    pub span: Span,
    /// Whether nothing at all had been read before.
    pub unread: bool,
}

impl Timeline {
    /// A history that is complete: of files. Who gives any object of a group of kinds is taken to have given all of the
    /// group, so a cluster without policies is not one whose policies are not known.
    pub fn complete(changes: Vec<Change>) -> Self {
        let given: HashSet<_> = changes.iter().map(|change| group(change.key.kind)).collect();
        let seen = Kind::ALL.iter().filter(|kind| given.contains(&group(**kind)));
        let sights = seen.map(|&kind| Sight { at: EventTime::MIN, kind, coverage: Coverage::Synced }).collect();
        let timeline = Self::restored(changes, EventTime::MAX, Vec::new());
        timeline.restore_sights(sights);
        timeline
    }

    /// A history that goes on from `sealed`.
    pub fn restored(mut changes: Vec<Change>, sealed: EventTime, blind: Vec<Blind>) -> Self {
        changes.sort_by_key(|change| change.at);
        Self { inner: Arc::new(RwLock::new(Inner { changes, sealed, blind, sights: Vec::new() })) }
    }

    // Whoever panics with the lock held leaves a history that is still in order.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Event time before which nothing will be added any more.
    pub fn sealed(&self) -> EventTime {
        self.read().sealed
    }

    /// Adds a change. One that lies before the seal counts from the seal on.
    pub fn tell(&self, mut change: Change) {
        let mut inner = self.write();
        change.at = change.at.max(inner.sealed);
        let place = inner.changes.partition_point(|other| other.at <= change.at);
        inner.changes.insert(place, change);
    }

    /// Tells how much of a kind can be seen from `sight.at` on, or from the seal on if that lies ahead.
    pub fn see(&self, mut sight: Sight) {
        let mut inner = self.write();
        sight.at = sight.at.max(inner.sealed);
        let place = inner.sights.partition_point(|other| other.at <= sight.at);
        inner.sights.insert(place, sight);
    }

    /// Puts back what was told of the sight before the seal.
    pub fn restore_sights(&self, mut sights: Vec<Sight>) {
        sights.sort_by_key(|sight| sight.at);
        self.write().sights = sights;
    }

    /// What was told of the sight in `[from, until)`, in order.
    pub fn sights_between(&self, from: EventTime, until: EventTime) -> Vec<Sight> {
        let inner = self.read();
        let at = |time| inner.sights.partition_point(|sight| sight.at < time);
        inner.sights.get(at(from)..at(until)).unwrap_or_default().to_vec()
    }

    /// Settles everything before `up_to`.
    pub fn seal(&self, up_to: EventTime) {
        let mut inner = self.write();
        inner.sealed = inner.sealed.max(up_to);
    }

    /// Settles everything before the end of a span in which changes may have been missed.
    pub fn seal_blind(&self, blind: Blind) {
        let mut inner = self.write();
        inner.sealed = inner.sealed.max(blind.span.end);
        inner.blind.push(blind);
    }

    /// How far identities in `window` can be trusted.
    pub fn state(&self, window: Span) -> IdentityState {
        let inner = self.read();
        let missed = inner.blind.iter().filter(|blind| blind.span.overlap(window) > 0).map(|blind| blind.unread);
        match missed.max() {
            None => IdentityState::Fresh,
            Some(false) => IdentityState::Stale,
            Some(true) => IdentityState::Unknown,
        }
    }

    /// The changes in `[from, until)`, in order.
    pub fn between(&self, from: EventTime, until: EventTime) -> Vec<Change> {
        let inner = self.read();
        let at = |time| inner.changes.partition_point(|change| change.at < time);
        inner.changes.get(at(from)..at(until)).unwrap_or_default().to_vec()
    }

    /// Everything that is kept, to be written down.
    pub fn whole(&self) -> (Vec<Change>, EventTime, Vec<Blind>) {
        let inner = self.read();
        (inner.changes.clone(), inner.sealed, inner.blind.clone())
    }

    /// Forgets what ended before `horizon`: of each object the newest state before it stays, if it had one then.
    pub fn forget_before(&self, horizon: EventTime) {
        let mut inner = self.write();
        let old = inner.changes.partition_point(|change| change.at < horizon);
        let recent = inner.changes.split_off(old);
        let mut newest: BTreeMap<Key, Change> = BTreeMap::new();
        for change in inner.changes.drain(..) {
            newest.insert(change.key.clone(), change);
        }
        let mut kept: Vec<_> = newest.into_values().filter(|change| change.state.is_some()).collect();
        kept.sort_by_key(|change| change.at);
        kept.extend(recent);
        inner.changes = kept;
        inner.blind.retain(|blind| blind.span.end > horizon);
        let old = inner.sights.partition_point(|sight| sight.at < horizon);
        let recent = inner.sights.split_off(old);
        let newest: BTreeMap<_, _> = inner.sights.drain(..).map(|sight| (sight.kind, sight)).collect();
        inner.sights = newest.into_values().collect();
        inner.sights.sort_by_key(|sight| sight.at);
        inner.sights.extend(recent);
    }

    /// Changes that are kept.
    pub fn len(&self) -> usize {
        self.read().changes.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Kinds that are printed together: those of policies, of services, and each other kind for itself.
const fn group(kind: Kind) -> Kind {
    match kind {
        Kind::ClusterNetworkPolicy
        | Kind::Tier
        | Kind::NetworkPolicy
        | Kind::GlobalNetworkPolicy
        | Kind::StagedNetworkPolicy
        | Kind::StagedGlobalNetworkPolicy
        | Kind::StagedKubernetesNetworkPolicy
        | Kind::NetworkSet
        | Kind::GlobalNetworkSet
        | Kind::HostEndpoint => Kind::KubernetesNetworkPolicy,
        Kind::EndpointSlice | Kind::Ingress => Kind::Service,
        Kind::ReplicaSet | Kind::StatefulSet | Kind::DaemonSet | Kind::CronJob | Kind::Job => Kind::Deployment,
        other => other,
    }
}
