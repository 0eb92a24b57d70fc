//! What is told of one kind: its changes, and how much of it can be seen.

use std::mem::discriminant;
use std::sync::Arc;

use catchment_core::EventTime;
use catchment_core::knowledge::{Change, Coverage, Key, Kind, News, Object, Text};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::known::Known;
use crate::metrics::Metrics;
use crate::outlet::{Outlet, now};
use crate::tiers::{Tiers, TiersSender};

/// Compares what comes with what is known and tells the difference. Every method may be dropped half-way: what was not told
/// is not known either, and a list that begins anew finds it.
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) metrics: Metrics,
    known: Known,
    outlet: Outlet,
    coverage: Coverage,
    /// What permissions hide although the server seems to show all.
    hidden: Option<Arc<str>>,
    /// When the server last proved that nothing is missing.
    heard: Option<EventTime>,
    /// Whether it did since this was last asked.
    proved: bool,
    /// Who wants to know the names, if these are the tiers.
    tell_tiers: Option<TiersSender>,
}

/// The part of an object that any has.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct HeadMeta {
    namespace: Text,
    name: Text,
    resource_version: String,
}

/// The version an object has; empty where it cannot be read.
pub(crate) fn version_of(raw: &RawValue) -> String {
    serde_json::from_str::<Head>(raw.get()).map(|head| head.metadata.resource_version).unwrap_or_default()
}

impl Line {
    pub(crate) fn new(kind: Kind, outlet: Outlet, metrics: Metrics, tiers: &TiersSender) -> Self {
        metrics.coverage(kind, &Coverage::Pending);
        Self {
            kind,
            metrics,
            known: Known::new(kind),
            outlet,
            coverage: Coverage::Pending,
            hidden: None,
            heard: None,
            proved: false,
            tell_tiers: (kind == Kind::Tier).then(|| tiers.clone()),
        }
    }

    /// A list begins.
    pub(crate) const fn begin(&mut self) {
        self.known.begin();
    }

    /// An object as it is now, served under `group`.
    pub(crate) async fn put(&mut self, group: &str, raw: &RawValue) -> Result<(), Fault> {
        match Object::of_kind(self.kind, group, raw.get()) {
            Ok(object) => {
                let key = object.key();
                let Self { known, outlet, metrics, .. } = self;
                let tell = |at| {
                    let changed = known.put(&key, &object);
                    changed.then(|| metrics.change(key.kind, known.len()));
                    changed.then_some(News::Change(Change { at, key, state: Some(object) }))
                };
                outlet.send(tell).await
            }
            Err(error) => self.unreadable(raw, &error.to_string()).await,
        }
    }

    /// An object that is gone, with the state it had last.
    pub(crate) async fn gone(&mut self, group: &str, raw: &RawValue) -> Result<(), Fault> {
        match Object::of_kind(self.kind, group, raw.get()) {
            Ok(object) => self.remove(object.key()).await,
            Err(error) => self.unreadable(raw, &error.to_string()).await,
        }
    }

    /// Nothing is known of an object that cannot be read, and what was known before does not hold any more.
    async fn unreadable(&mut self, raw: &RawValue, error: &str) -> Result<(), Fault> {
        self.metrics.unreadable(self.kind);
        let HeadMeta { namespace, name, .. } =
            serde_json::from_str::<Head>(raw.get()).map(|head| head.metadata).unwrap_or_default();
        let key = Key { kind: self.kind, namespace, name };
        tracing::warn!(object = %key, error, "an object cannot be read and is left out");
        self.remove(key).await
    }

    async fn remove(&mut self, key: Key) -> Result<(), Fault> {
        let Self { known, outlet, metrics, .. } = self;
        let tell = |at| {
            let was_known = known.remove(&key);
            was_known.then(|| metrics.change(key.kind, known.len()));
            was_known.then(|| News::Change(Change::gone(at, key)))
        };
        outlet.send(tell).await
    }

    /// The list that began last is complete: what it did not show has gone.
    pub(crate) async fn complete(&mut self) -> Result<(), Fault> {
        for key in self.known.vanished() {
            self.remove(key).await?;
        }
        self.current().await
    }

    /// The cluster does not have the kind: it has no objects of it.
    pub(crate) async fn absent(&mut self) -> Result<(), Fault> {
        self.begin();
        for key in self.known.vanished() {
            self.remove(key).await?;
        }
        self.tell_tiers(Tiers::Listed([].into()));
        self.cover(Coverage::Absent).await
    }

    /// The server has proved that nothing is missing.
    pub(crate) async fn current(&mut self) -> Result<(), Fault> {
        self.heard = Some(now());
        self.proved = true;
        if self.kind == Kind::Tier {
            self.tell_tiers(Tiers::Listed(self.known.names().cloned().collect()));
        }
        let coverage = self.hidden.clone().map_or(Coverage::Synced, |why| Coverage::Partial { why });
        self.cover(coverage).await
    }

    /// Whether the server has proved that since this was last asked.
    pub(crate) const fn take_proof(&mut self) -> bool {
        std::mem::replace(&mut self.proved, false)
    }

    /// Permissions hide this from the lists to come.
    pub(crate) fn hide(&mut self, what: Option<Arc<str>>) {
        self.hidden = what;
    }

    pub(crate) async fn denied(&mut self, why: Arc<str>) -> Result<(), Fault> {
        self.tell_tiers(Tiers::Hidden);
        self.cover(Coverage::Denied { since: self.heard, why }).await
    }

    pub(crate) async fn stale(&mut self, why: Arc<str>) -> Result<(), Fault> {
        self.cover(Coverage::Stale { since: self.heard, why }).await
    }

    /// Tells the coverage where it is another one. What is stale for another reason is as stale as before.
    async fn cover(&mut self, coverage: Coverage) -> Result<(), Fault> {
        let same = match (&coverage, &self.coverage) {
            (Coverage::Partial { why }, Coverage::Partial { why: before }) => why == before,
            (new, old) => discriminant(new) == discriminant(old),
        };
        if same {
            return Ok(());
        }
        let (kind, told) = (self.kind, coverage.clone());
        self.outlet.send(|at| Some(News::Coverage { kind, at, coverage: told })).await?;
        self.metrics.coverage(kind, &coverage);
        match &coverage {
            Coverage::Partial { why } => tracing::warn!(%kind, %why, "a part of a kind is hidden"),
            Coverage::Stale { why, .. } => tracing::warn!(%kind, %why, "a kind is not up to date"),
            Coverage::Denied { why, .. } => tracing::warn!(%kind, %why, "a kind may not be read"),
            Coverage::Pending | Coverage::Synced | Coverage::Absent => {
                tracing::info!(%kind, objects = self.known.len(), coverage = ?coverage, "a kind can be seen");
            }
        }
        self.coverage = coverage;
        Ok(())
    }

    fn tell_tiers(&self, tiers: Tiers) {
        if let Some(tell) = &self.tell_tiers {
            tell.send_if_modified(|told| {
                let differs = *told != tiers;
                *told = tiers;
                differs
            });
        }
    }
}
