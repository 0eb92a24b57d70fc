//! Takes in news of the cluster and settles time behind them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use catchment_core::knowledge::{Change, Coverage, Key, Kind, News, Sight};
use catchment_core::{EventTime, Result, Span};
use catchment_stages::enrich::{Blind, FORESIGHT};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::book::Book;
use super::{Metrics, Watched};

/// How often time is settled.
const TICK: Duration = Duration::from_secs(5);
/// News that are written down together.
const BATCH: usize = 4096;
/// What is kept of the past, in microseconds: who reads the log again may be two days behind, and needs the day before.
const KEPT: i64 = 3 * 24 * 3600 * 1_000_000;

/// Writes down what a cluster tells. There is one for each.
pub struct Recorder {
    watched: Watched,
    book: Book,
    seal: watch::Sender<EventTime>,
    metrics: Metrics,
    /// Objects that are there, as far as is known.
    present: HashSet<Key>,
    /// When objects went, as far as time is not settled.
    ended: HashMap<Key, EventTime>,
    /// Of those that are there, what was known before this start and has not been told again.
    untold: HashSet<Key>,
    /// Kinds of which changes may be missed.
    unseen: HashSet<Kind>,
    /// Since when some kind is unseen; `None` while all are seen.
    blind_since: Option<Instant>,
    /// Everything was seen at least once since this start.
    was_complete: bool,
}

impl Recorder {
    pub(super) fn new(watched: Watched, book: Book, seal: watch::Sender<EventTime>, metrics: Metrics) -> Self {
        let mut present = HashSet::new();
        for change in watched.timeline.between(EventTime::MIN, EventTime::MAX) {
            if change.state.is_some() {
                present.insert(change.key);
            } else {
                present.remove(&change.key);
            }
        }
        Self {
            watched,
            book,
            seal,
            metrics,
            untold: present.clone(),
            ended: HashMap::new(),
            present,
            unseen: Kind::ALL.iter().copied().collect(),
            blind_since: Some(Instant::now()),
            was_complete: false,
        }
    }

    /// Records until the news end. What was told is on the disk at any time, so this may be dropped. An error means that the log cannot be written.
    pub async fn run(mut self, mut news: mpsc::Receiver<News>) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = news.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.take(std::mem::take(&mut batch)).await?;
                }
                _ = ticks.tick() => self.tick(SystemTime::now().into()).await?,
            }
        }
    }

    pub(super) async fn take(&mut self, news: Vec<News>) -> Result<()> {
        let (mut changes, mut sights, mut completed) = (Vec::new(), Vec::new(), None);
        for piece in news {
            match piece {
                News::Change(change) => changes.extend(self.change(change)),
                News::Coverage { kind, at, coverage } => {
                    changes.extend(self.coverage(kind, at, &coverage));
                    let at = at.max(self.watched.timeline.sealed());
                    sights.push(Sight { at, kind, coverage });
                    completed = Some(at).filter(|_| self.unseen.is_empty()).or(completed);
                }
            }
        }
        if !(changes.is_empty() && sights.is_empty()) {
            self.book.tell(&changes, &sights).await?;
            for change in changes {
                self.watched.timeline.tell(change);
            }
            for sight in sights {
                self.watched.timeline.see(sight);
            }
        }
        match completed.filter(|_| !self.was_complete) {
            Some(at) => self.first_complete(at).await,
            None => Ok(()),
        }
    }

    /// An object that was not known has been there since it was made, as far as time is not settled.
    fn change(&mut self, mut change: Change) -> Option<Change> {
        let sealed = self.watched.timeline.sealed();
        self.untold.remove(&change.key);
        if let Some(object) = &change.state {
            if self.present.insert(change.key.clone()) {
                let made = object.created().map_or(change.at, |made| made.min(change.at));
                // The API counts whole seconds; who bore the name before went first.
                change.at = self.ended.remove(&change.key).map_or(made, |ended| made.max(ended));
            }
        } else if self.present.remove(&change.key) {
            self.ended.insert(change.key.clone(), change.at);
        } else {
            return None;
        }
        change.at = change.at.max(sealed);
        Some(change)
    }

    /// Once a kind was told as a whole, what was not told of it has gone while nobody looked.
    fn coverage(&mut self, kind: Kind, at: EventTime, coverage: &Coverage) -> Vec<Change> {
        let whole = matches!(coverage, Coverage::Synced | Coverage::Partial { .. } | Coverage::Absent);
        // What the server refuses to show is no reason to wait: it will not show it soon.
        let seen = whole || matches!(coverage, Coverage::Denied { .. });
        if seen {
            self.unseen.remove(&kind);
        } else {
            self.unseen.insert(kind);
        }
        self.blind_since =
            if self.unseen.is_empty() { None } else { self.blind_since.or_else(|| Some(Instant::now())) };
        if !whole {
            return Vec::new();
        }
        let gone: Vec<_> = self.untold.iter().filter(|key| key.kind == kind).cloned().collect();
        gone.into_iter().filter_map(|key| self.change(Change::gone(at, key))).collect()
    }

    /// What happened before nobody can tell for sure: what came and went is not known.
    async fn first_complete(&mut self, at: EventTime) -> Result<()> {
        self.was_complete = true;
        let from = self.watched.timeline.sealed();
        if at <= from {
            return Ok(());
        }
        self.settle(at, Some(Blind { span: Span::new(from, at), unread: false })).await
    }

    pub(super) async fn tick(&mut self, now: EventTime) -> Result<()> {
        let sealed = self.watched.timeline.sealed();
        // Flows may come from clocks ahead of ours; whoever sees everything knows as much as there is to know by now.
        let wanted = self.watched.reached().plus(FORESIGHT);
        self.metrics.blind.set(i64::from(self.blind_since.is_some()));
        match self.blind_since {
            None => self.settle(now.plus(-1_000_000).max(wanted), None).await?,
            Some(since) if since.elapsed() >= self.watched.wait.0 && wanted > sealed => {
                let unread = !self.was_complete && self.present.is_empty();
                self.settle(wanted, Some(Blind { span: Span::new(sealed, wanted), unread })).await?;
            }
            Some(_) => {}
        }
        if self.book.has_outgrown() {
            self.watched.timeline.forget_before(self.watched.timeline.sealed().plus(-KEPT));
            self.book.begin_anew(&self.watched.timeline).await?;
        }
        self.metrics.changes.set(self.watched.timeline.len() as i64);
        Ok(())
    }

    /// First on the disk, then for the windows.
    async fn settle(&mut self, up_to: EventTime, blind: Option<Blind>) -> Result<()> {
        if up_to <= self.watched.timeline.sealed() {
            return Ok(());
        }
        self.book.seal(up_to, blind).await?;
        match blind {
            Some(blind) => self.watched.timeline.seal_blind(blind),
            None => self.watched.timeline.seal(up_to),
        }
        self.ended.retain(|_, ended| *ended > up_to);
        self.metrics.sealed.set(up_to.secs());
        self.seal.send_replace(up_to);
        Ok(())
    }
}
