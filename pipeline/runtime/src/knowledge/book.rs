//! The log of the knowledge: what was told, up to when it is settled, and when nobody looked.

use std::path::Path;

use catchment_core::knowledge::{Change, Sight};
use catchment_core::{
    Entry, Error, EventTime, GapEntry, KnowledgeEntry, LogPosition, LogWriter, Logged, PartitionId, Result,
};
use catchment_stages::enrich::{Blind, Timeline};

use crate::metrics::LogMetrics;
use crate::patient;
use crate::spool::{Limits, Spool};

/// A log that has grown to twice its last whole account and this much more is begun anew.
const SLACK: u64 = 16 << 20;
/// Nobody had looked at the cluster at all.
const UNREAD: &str = "knowledge_unread";
/// The cluster could not be watched.
const BLIND: &str = "knowledge_blind";

/// Writes down what is known.
pub(super) struct Book {
    spool: Spool,
    /// Bytes of the log after the last whole account.
    whole_bytes: u64,
}

impl Book {
    /// Opens the log in `dir` and gives back what it holds.
    pub(super) async fn open(dir: &Path, limits: Limits) -> Result<(Self, Timeline)> {
        let spool = Spool::open(dir, limits, LogMetrics::default())?;
        let mut read = Reading::default();
        let mut failed = Ok(());
        let mut visit = |logged: Logged| {
            if failed.is_ok() {
                failed = read.take(logged);
            }
        };
        spool.replay(EventTime::MIN, &mut visit).await?;
        failed?;
        let timeline = Timeline::restored(read.changes, read.sealed, read.blind);
        timeline.restore_sights(read.sights);
        let mut book = Self { spool, whole_bytes: 0 };
        book.begin_anew(&timeline).await?;
        Ok((book, timeline))
    }

    /// A disk that refuses makes the cluster's news wait.
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition> {
        patient::append(&self.spool, entries, "knowledge", || {}).await
    }

    /// Writes changes and sights, whose times are those they count from.
    pub(super) async fn tell(&self, changes: &[Change], sights: &[Sight]) -> Result<()> {
        self.append(vec![told(false, changes, sights)?]).await.map(drop)
    }

    /// Writes that everything before `up_to` is settled, and in which time changes may have been missed.
    pub(super) async fn seal(&self, up_to: EventTime, blind: Option<Blind>) -> Result<()> {
        let entries = blind.iter().map(missed).chain([settled(up_to)]).collect();
        self.append(entries).await.map(drop)
    }

    /// Whether the log holds much that a whole account would not.
    pub(super) fn has_outgrown(&self) -> bool {
        self.spool.bytes() > 2 * self.whole_bytes + SLACK
    }

    /// Writes everything that is known, and gives up what stands before.
    pub(super) async fn begin_anew(&mut self, timeline: &Timeline) -> Result<()> {
        let (changes, sealed, blind) = timeline.whole();
        let sights = timeline.sights_between(EventTime::MIN, EventTime::MAX);
        let mut entries = vec![told(true, &changes, &sights)?];
        entries.extend(blind.iter().map(missed));
        entries.extend((sealed > EventTime::MIN).then(|| settled(sealed)));
        let first = self.append(entries).await?;
        self.spool.truncate_before(first)?;
        self.whole_bytes = self.spool.bytes();
        Ok(())
    }
}

fn told(whole: bool, changes: &[Change], sights: &[Sight]) -> Result<Entry> {
    let mut lines = String::new();
    for line in changes.iter().map(Change::to_line).chain(sights.iter().map(Sight::to_line)) {
        let line = line.map_err(|e| Error::internal("an object has no written form").caused_by(e))?;
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok(Entry::Knowledge(KnowledgeEntry { whole, changes: lines.into() }))
}

const fn settled(up_to: EventTime) -> Entry {
    Entry::Progress { partition: PartitionId::KNOWLEDGE, up_to }
}

/// The entry that says so, here and in the logs of the streams.
pub(super) fn missed(blind: &Blind) -> Entry {
    let (reason, detail) = if blind.unread {
        (UNREAD, "nothing about the cluster had been read yet; who talked is not known")
    } else {
        (BLIND, "the cluster could not be watched; who talked is joined by what was known before")
    };
    let (reason, detail) = (reason.to_owned(), detail.to_owned());
    Entry::Gap(GapEntry { partition: PartitionId::KNOWLEDGE, span: blind.span, reason, detail })
}

/// What the log holds, as far as it was read.
struct Reading {
    changes: Vec<Change>,
    sights: Vec<Sight>,
    sealed: EventTime,
    blind: Vec<Blind>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { changes: Vec::new(), sights: Vec::new(), sealed: EventTime::MIN, blind: Vec::new() }
    }
}

impl Reading {
    fn take(&mut self, logged: Logged) -> Result<()> {
        match logged.entry {
            Entry::Knowledge(told) => {
                if told.whole {
                    *self = Self { sealed: self.sealed, ..Self::default() };
                }
                self.changes(&told, logged.position)?;
            }
            Entry::Progress { up_to, .. } => self.sealed = self.sealed.max(up_to),
            Entry::Gap(gap) => self.blind.push(Blind { span: gap.span, unread: gap.reason == UNREAD }),
            Entry::Flows(_) => return Err(strange(logged.position, "it holds flows")),
        }
        Ok(())
    }

    fn changes(&mut self, told: &KnowledgeEntry, at: LogPosition) -> Result<()> {
        let text = std::str::from_utf8(&told.changes).map_err(|e| strange(at, "it is no text").caused_by(e))?;
        for line in text.lines() {
            match Change::from_line(line) {
                Ok(change) => self.changes.extend(change),
                Err(e) => {
                    let sight = Sight::from_line(line);
                    self.sights.push(sight.ok_or_else(|| strange(at, "it holds no change").caused_by(e))?);
                }
            }
        }
        Ok(())
    }
}

fn strange(at: LogPosition, what: &str) -> Error {
    Error::user(format!(
        "entry {} of the log of the knowledge cannot be used: {what}; move its folder away to begin anew",
        at.0
    ))
}
