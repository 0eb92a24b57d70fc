//! The line of one sink: open, fold from the cursor's floor, suppress what stands, publish.

use std::collections::VecDeque;

use crate::around::{Around, Fault, Went};
use crate::coverage::Reached;
use crate::entry::{Cursor, Epoch, EpochId, Row};
use crate::flaws::Flaw;
use crate::fold::Folder;
use crate::kafka::KafkaSink;
use crate::parquet::ParquetSink;
use crate::retention::Retention;

/// Epochs that may wait for a sink.
const QUEUED: usize = 2;

/// Which sink a line supplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Transactions.
    Kafka,
    /// Objects.
    Parquet,
}

#[derive(Clone, Debug)]
enum Sink {
    Kafka(KafkaSink),
    Parquet(ParquetSink),
}

/// One sink of one process, and the fold that supplies it.
#[derive(Clone, Debug)]
pub struct Line {
    number: usize,
    workers: usize,
    sink: Sink,
    folder: Option<Folder>,
    queue: VecDeque<Epoch>,
    committed: Option<EpochId>,
}

impl Line {
    /// A line that is not open.
    pub fn new(number: usize, kind: Kind, process: usize, workers: usize) -> Self {
        let sink = match kind {
            Kind::Kafka => Sink::Kafka(KafkaSink::new(process)),
            Kind::Parquet => Sink::Parquet(ParquetSink::new(process)),
        };
        Self { number, workers, sink, folder: None, queue: VecDeque::new(), committed: None }
    }

    /// Which sink it supplies.
    pub const fn kind(&self) -> Kind {
        match self.sink {
            Sink::Kafka(_) => Kind::Kafka,
            Sink::Parquet(_) => Kind::Parquet,
        }
    }

    fn is_open(&self) -> bool {
        match &self.sink {
            Sink::Kafka(sink) => sink.is_open(),
            Sink::Parquet(sink) => sink.is_open(),
        }
    }

    fn is_busy(&self) -> bool {
        match &self.sink {
            Sink::Kafka(sink) => sink.is_busy(),
            Sink::Parquet(sink) => sink.is_busy(),
        }
    }

    /// What the next step of the sink does, for people.
    pub fn describe(&self) -> String {
        match &self.sink {
            Sink::Kafka(sink) => sink.describe(),
            Sink::Parquet(sink) => sink.describe(),
        }
    }

    /// The next step of the sink can go wrong.
    pub fn asks(&self) -> bool {
        self.is_busy()
    }

    /// The next step of the sink is a change that can arrive later.
    pub const fn changes_next(&self) -> bool {
        match &self.sink {
            Sink::Kafka(sink) => sink.commits_next(),
            Sink::Parquet(sink) => sink.changes_next(),
        }
    }

    fn cursor(&self) -> Option<&Cursor> {
        match &self.sink {
            Sink::Kafka(sink) => sink.cursor(),
            Sink::Parquet(sink) => sink.cursor(),
        }
    }

    /// Whether the fold has an entry to read and a place for what comes out.
    pub fn can_fold(&self, around: &Around) -> bool {
        let end = around.log.end() + usize::from(around.flaws.has(Flaw::ReadBeforeSync) && around.log.is_staged());
        self.folder.as_ref().is_some_and(|folder| folder.next < end) && self.queue.len() < QUEUED
    }

    /// Whether the sink has something to do.
    pub fn can_publish(&self) -> bool {
        self.is_busy() || !self.queue.is_empty()
    }

    /// Folds one entry.
    pub fn fold(&mut self, is_alone: bool, around: &mut Around) -> Went {
        let folder = self.folder.as_mut().expect("an open line folds");
        let position = folder.next;
        let log = &around.log;
        let entry =
            if around.flaws.has(Flaw::ReadBeforeSync) { log.read_unsynced(position) } else { log.read(position) };
        let Some(entry) = entry else {
            // Another process may have moved the cursor meanwhile, and cut the log behind it.
            if is_alone {
                around.judge.dropped_under(position, around.log.first());
            }
            return Went::Fatal;
        };
        let epochs = folder.entry(entry, &mut around.rng);
        let entry = around.trace.is_some().then(|| entry.clone());
        around.say(|| format!("    position {position}: {entry:?}"));
        for epoch in &epochs {
            around.say(|| format!("    {}: window {:?}, {:?}, {:?}", epoch.id, epoch.window, epoch.floor, epoch.rows));
        }
        note_epochs(&epochs, around);
        self.queue.extend(epochs);
        Went::On
    }

    /// The next step of the sink.
    pub fn publish(&mut self, fault: Option<Fault>, retention: &mut Retention, around: &mut Around) -> Went {
        let was_open = self.is_open();
        let went = if self.is_busy() { self.go_on(fault, retention, around) } else { self.take(retention, around) };
        match went {
            Went::On if !was_open && self.is_open() => return self.opened(retention, around),
            Went::On | Went::Fatal => {}
            Went::Reopen => self.close(),
        }
        went
    }

    fn go_on(&mut self, fault: Option<Fault>, retention: &mut Retention, around: &mut Around) -> Went {
        match &mut self.sink {
            Sink::Kafka(sink) => {
                let (went, stands) = sink.step(fault, around);
                if let Some(epoch) = stands {
                    let durable = Some(epoch.cursor());
                    retention.published(self.number, &epoch, durable.as_ref(), &mut around.log);
                }
                went
            }
            Sink::Parquet(sink) => sink.step(fault, around),
        }
    }

    /// The sink is open: the fold starts at the floor of its cursor, in the log that the cursor is of.
    fn opened(&mut self, retention: &mut Retention, around: &mut Around) -> Went {
        let cursor = self.cursor().copied();
        if cursor.is_some_and(|cursor| cursor.log != around.log.id) && !around.flaws.has(Flaw::AnyLogTaken) {
            around.reached.note(Reached::OtherLogRefused);
            return Went::Fatal;
        }
        retention.opened(self.number, cursor.as_ref());
        self.committed = cursor.map(|cursor| cursor.committed);
        let folder = Folder::new(cursor.as_ref(), &around.log, self.workers, around.flaws);
        let last = cursor.and_then(|c| around.judge.reference.part_after(c.committed));
        around.reached.note_if(last.is_some(), Reached::ResumeInsideMark);
        let (kind, next) = (self.kind(), folder.next);
        around.say(|| format!("    {kind:?} goes on after {cursor:?}, reading from {next}"));
        self.folder = Some(folder);
        Went::On
    }

    /// Takes the next epoch from the queue, unless it stands already.
    fn take(&mut self, retention: &mut Retention, around: &mut Around) -> Went {
        let epoch = self.queue.front().expect("a step was possible");
        if self.is_suppressed(epoch.id, around) {
            self.queue.pop_front();
            return Went::On;
        }
        match &mut self.sink {
            Sink::Parquet(sink) if sink.must_flush(epoch, around.flaws) => {
                sink.flush(around);
                Went::On
            }
            Sink::Parquet(sink) => {
                let epoch = self.queue.pop_front().expect("looked at above");
                around.judge.publishes(&epoch);
                sink.gather(&epoch);
                retention.published(self.number, &epoch, sink.cursor(), &mut around.log);
                Went::On
            }
            Sink::Kafka(sink) => {
                let epoch = self.queue.pop_front().expect("looked at above");
                around.judge.publishes(&epoch);
                sink.publish(epoch, around)
            }
        }
    }

    fn is_suppressed(&self, epoch: EpochId, around: &Around) -> bool {
        let below = around.flaws.has(Flaw::SuppressBelow);
        self.committed.is_some_and(|committed| if below { epoch < committed } else { epoch <= committed })
    }

    fn close(&mut self) {
        match &mut self.sink {
            Sink::Kafka(sink) => sink.close(),
            Sink::Parquet(sink) => sink.close(),
        }
        self.folder = None;
        self.queue.clear();
    }
}

fn note_epochs(epochs: &[Epoch], around: &mut Around) {
    let windows = epochs.iter().filter(|epoch| epoch.window.is_some()).count();
    around.reached.note_if(windows > 1, Reached::MultiWindowClose);
    around.reached.note_if(!epochs.is_empty() && windows == 0, Reached::EpochWithoutWindow);
    let rows = || epochs.iter().flat_map(|epoch| &epoch.rows);
    around.reached.note_if(rows().any(|row| matches!(row, Row::Late { .. })), Reached::LateRow);
    let uncovered = |row: &Row| matches!(row, Row::Flow { missing: 1.., .. });
    around.reached.note_if(rows().any(uncovered), Reached::UncoveredWindow);
}
