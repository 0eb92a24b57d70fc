//! The Kafka sink: fence, read the cursor, chunks of rows with the cursor in the same transaction.

use crate::around::{Around, Fault, Went};
use crate::broker::{CursorRecord, Producer, Transaction};
use crate::coverage::Reached;
use crate::entry::{Cursor, Epoch, EpochId, Row};
use crate::flaws::Flaw;

/// Rows of a chunk.
pub const CHUNK: usize = 2;

#[derive(Clone, Debug)]
enum State {
    Fence,
    ReadCursor,
    Idle,
    /// A chunk is to be written.
    Send {
        epoch: Epoch,
        chunk: usize,
    },
    /// A chunk is written and not committed.
    Commit {
        epoch: Epoch,
        chunk: usize,
    },
}

/// One sink of one process.
#[derive(Clone, Debug)]
pub struct KafkaSink {
    process: usize,
    state: State,
    producer: Option<Producer>,
    cursor: Option<Cursor>,
    partial: Option<(EpochId, usize)>,
    has_read: bool,
}

impl KafkaSink {
    /// One that is not open.
    pub const fn new(process: usize) -> Self {
        Self { process, state: State::Fence, producer: None, cursor: None, partial: None, has_read: false }
    }

    /// The committed cursor, once open.
    pub const fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Whether the sink is open.
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, State::Fence | State::ReadCursor)
    }

    /// Whether it has something to do beside taking an epoch.
    pub const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether the next step waits for somebody else, so that it can go wrong.
    pub const fn asks(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether a commit comes next, which can arrive later.
    pub const fn commits_next(&self) -> bool {
        matches!(self.state, State::Commit { .. })
    }

    /// What the next step does, for people.
    pub fn describe(&self) -> String {
        match &self.state {
            State::Fence => "takes the transactional id over".to_owned(),
            State::ReadCursor => "reads the cursor".to_owned(),
            State::Idle => "takes an epoch".to_owned(),
            State::Send { epoch, chunk } => format!("writes chunk {chunk} of {}", epoch.id),
            State::Commit { epoch, chunk } => format!("commits chunk {chunk} of {}", epoch.id),
        }
    }

    /// After an error only opening again tells what stands.
    pub fn close(&mut self) {
        *self = Self::new(self.process);
    }

    /// The next step while something is to be done; `Some` epoch once it stands.
    pub fn step(&mut self, fault: Option<Fault>, around: &mut Around) -> (Went, Option<Epoch>) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Fence => (self.fence(fault, around), None),
            State::ReadCursor => (self.read_cursor(fault, around), None),
            State::Idle => (Went::On, None),
            State::Send { epoch, chunk } => (self.send(epoch, chunk, fault, around), None),
            State::Commit { epoch, chunk } => self.commit(epoch, chunk, fault, around),
        }
    }

    fn fence(&mut self, fault: Option<Fault>, around: &mut Around) -> Went {
        if fault == Some(Fault::Refused) {
            return Went::Reopen;
        }
        if around.flaws.has(Flaw::CursorReadBeforeFence) && !self.has_read {
            self.take_cursor(around);
            self.state = State::Fence;
            return Went::On;
        }
        let id = if around.flaws.has(Flaw::TransactionalIdPerProcess) { self.process } else { 0 };
        self.producer = Some(around.broker.init(id, self.process));
        if fault.is_some() {
            return Went::Reopen;
        }
        self.state = State::ReadCursor;
        Went::On
    }

    fn read_cursor(&mut self, fault: Option<Fault>, around: &mut Around) -> Went {
        if fault.is_some() {
            return Went::Reopen;
        }
        if !around.flaws.has(Flaw::CursorReadBeforeFence) {
            self.take_cursor(around);
        }
        around.reached.note_if(self.partial.is_some(), Reached::PartialResume);
        Went::On
    }

    fn take_cursor(&mut self, around: &Around) {
        let CursorRecord { cursor, partial } = around.broker.cursor;
        (self.cursor, self.partial, self.has_read) = (cursor, partial, true);
    }

    /// Takes an epoch that is not suppressed.
    pub fn publish(&mut self, epoch: Epoch, around: &mut Around) -> Went {
        let standing = match self.partial {
            Some((held, chunks)) if held == epoch.id => chunks,
            None => 0,
            Some((held, _)) => {
                around.judge.holds_part_of_another(held, epoch.id);
                return Went::Fatal;
            }
        };
        let chunk = if around.flaws.has(Flaw::PartialIgnored) { 0 } else { standing };
        self.state = State::Send { epoch, chunk };
        Went::On
    }

    fn send(&mut self, epoch: Epoch, chunk: usize, fault: Option<Fault>, around: &mut Around) -> Went {
        let producer = self.producer.expect("an open sink has a producer");
        if fault.is_some() {
            around.broker.abort(&producer);
            return Went::Reopen;
        }
        let cursor = self.cursor_with(&epoch, chunk);
        let rows = chunk_rows(&epoch, chunk).map(|row| (epoch.id, row.clone())).collect();
        if around.flaws.has(Flaw::CursorBeforeRows) {
            let alone = Transaction { rows: Vec::new(), cursor };
            if around.broker.send(&producer, alone).and_then(|()| around.broker.commit(&producer)).is_err() {
                return Went::Fatal;
            }
        }
        if around.broker.send(&producer, Transaction { rows, cursor }).is_err() {
            around.reached.note(Reached::ZombieCommitFenced);
            return Went::Fatal;
        }
        self.state = State::Commit { epoch, chunk };
        Went::On
    }

    fn cursor_with(&self, epoch: &Epoch, chunk: usize) -> CursorRecord {
        if chunk + 1 == chunks(epoch) {
            CursorRecord { cursor: Some(epoch.cursor()), partial: None }
        } else {
            CursorRecord { cursor: self.cursor, partial: Some((epoch.id, chunk + 1)) }
        }
    }

    fn commit(
        &mut self,
        epoch: Epoch,
        chunk: usize,
        fault: Option<Fault>,
        around: &mut Around,
    ) -> (Went, Option<Epoch>) {
        let producer = self.producer.expect("an open sink has a producer");
        match fault {
            Some(Fault::Refused) => {
                around.reached.note(Reached::CommitNotApplied);
                around.broker.abort(&producer);
            }
            Some(Fault::Delayed) => around.broker.in_flight.push(producer),
            Some(Fault::AnswerLost) | None => {
                if around.broker.commit(&producer).is_err() {
                    around.reached.note(Reached::ZombieCommitFenced);
                    return (Went::Fatal, None);
                }
            }
        }
        if fault.is_none() {
            return (Went::On, self.stands(epoch, chunk));
        }
        around.reached.note_if(fault == Some(Fault::AnswerLost), Reached::CommitAppliedUnanswered);
        if around.flaws.has(Flaw::UnknownCommitRepeated) {
            self.state = State::Send { epoch, chunk };
            return (Went::On, None);
        }
        (Went::Reopen, None)
    }

    fn stands(&mut self, epoch: Epoch, chunk: usize) -> Option<Epoch> {
        if chunk + 1 < chunks(&epoch) {
            self.state = State::Send { epoch, chunk: chunk + 1 };
            return None;
        }
        self.cursor = Some(epoch.cursor());
        self.partial = None;
        Some(epoch)
    }
}

/// Chunks of an epoch; one without rows still moves the cursor.
fn chunks(epoch: &Epoch) -> usize {
    epoch.rows.len().div_ceil(CHUNK).max(1)
}

fn chunk_rows(epoch: &Epoch, chunk: usize) -> impl Iterator<Item = &Row> {
    epoch.rows.iter().skip(chunk * CHUNK).take(CHUNK)
}
