//! The object store sink: gather a slot, put its objects create-only, then swap the cursor object.

use crate::around::{Around, Fault, Went};
use crate::coverage::Reached;
use crate::entry::{Cursor, Epoch, EpochId, Row, Tick, align};
use crate::flaws::{Flaw, Flaws};
use crate::store::{Begins, Dataset, Name, Request, Rows, Said, State as CursorObject};

/// Event time of a group.
pub const SLOT: Tick = 4;
/// Rows of an object.
const OBJECT: usize = 3;

/// Consecutive epochs whose windows start in one slot.
#[derive(Clone, Debug)]
struct Group {
    first: EpochId,
    window: Option<Tick>,
    /// Where its first epoch stands in event time.
    began: Tick,
    cursor: Cursor,
    rows: Rows,
}

#[derive(Clone, Debug)]
enum State {
    Read,
    Take {
        found: Option<(CursorObject, u32)>,
    },
    /// A swap was refused: whose state stands there?
    Settle {
        next: CursorObject,
    },
    Idle,
    /// The group is being written, from this object on.
    Put {
        files: Vec<(Name, Rows)>,
        at: usize,
    },
    Compare {
        files: Vec<(Name, Rows)>,
        at: usize,
    },
    Advance,
}

/// One sink of one process.
#[derive(Clone, Debug)]
pub struct ParquetSink {
    process: usize,
    state: State,
    held: Option<(CursorObject, u32)>,
    group: Option<Group>,
}

impl ParquetSink {
    /// One that is not open.
    pub const fn new(process: usize) -> Self {
        Self { process, state: State::Read, held: None, group: None }
    }

    /// The cursor that is durable, once open.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.held.as_ref()?.0.cursor.as_ref()
    }

    /// Whether the sink is open.
    pub const fn is_open(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it has something to do beside taking an epoch.
    pub const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether the next step is a change that can arrive later.
    pub const fn changes_next(&self) -> bool {
        matches!(self.state, State::Take { .. } | State::Put { .. } | State::Advance)
    }

    /// What the next step does, for people.
    pub fn describe(&self) -> String {
        match &self.state {
            State::Read => "reads the cursor object".to_owned(),
            State::Take { .. } => "takes the cursor object over".to_owned(),
            State::Settle { .. } => "looks whose cursor stands there".to_owned(),
            State::Idle => "takes an epoch".to_owned(),
            State::Put { files, at } => format!("puts {:?}", files[*at].0),
            State::Compare { files, at } => format!("compares {:?}", files[*at].0),
            State::Advance => "moves the cursor object".to_owned(),
        }
    }

    /// After an error the stream is taken over again.
    pub fn close(&mut self) {
        *self = Self::new(self.process);
    }

    /// The next step while something is to be done.
    pub fn step(&mut self, fault: Option<Fault>, around: &mut Around) -> Went {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Went::On,
            State::Read if fault.is_some() => Went::Reopen,
            State::Read => {
                self.state = State::Take { found: around.store.cursor };
                Went::On
            }
            State::Take { found } => self.take(found, fault, around),
            State::Settle { next } => self.settle(next, fault, around),
            State::Put { files, at } => self.put(files, at, fault, around),
            State::Compare { files, at } => self.compare(files, at, fault, around),
            State::Advance => self.advance(fault, around),
        }
    }

    fn take(&mut self, found: Option<(CursorObject, u32)>, fault: Option<Fault>, around: &mut Around) -> Went {
        let (term, cursor) = found.map_or((0, None), |(state, _)| (state.term, state.cursor));
        let next = CursorObject { owner: self.process, term: term + 1, cursor };
        self.swap(found.map(|(_, version)| version), next, fault, around)
    }

    fn swap(&mut self, expected: Option<u32>, next: CursorObject, fault: Option<Fault>, around: &mut Around) -> Went {
        let always = around.flaws.has(Flaw::SwapUnconditional);
        match ask(Request::Swap { expected, next, always }, fault, around) {
            None => Went::Reopen,
            Some(Said::Refused) => {
                self.state = State::Settle { next };
                Went::On
            }
            Some(Said::Done(version)) => self.holds(next, version),
        }
    }

    /// A refused swap is won all the same where our own state stands there.
    fn settle(&mut self, next: CursorObject, fault: Option<Fault>, around: &mut Around) -> Went {
        if fault.is_some() {
            return Went::Reopen;
        }
        match around.store.cursor {
            Some((there, version)) if there == next => {
                around.reached.note(Reached::SwapOwnAnswerLost);
                self.holds(next, version)
            }
            _ => {
                around.reached.note(Reached::SwapLost);
                Went::Fatal
            }
        }
    }

    fn holds(&mut self, state: CursorObject, version: u32) -> Went {
        self.group = self.group.take().filter(|group| Some(group.cursor) != state.cursor);
        self.held = Some((state, version));
        Went::On
    }

    /// Whether taking `epoch` begins a new group, so that the one at hand must be written first.
    pub fn must_flush(&self, epoch: &Epoch, flaws: Flaws) -> bool {
        let Some(group) = &self.group else { return false };
        if flaws.has(Flaw::IdleSlotNeverEnds) && (group.window.is_none() || epoch.window.is_none()) {
            return false;
        }
        align(epoch.moment(), SLOT) > align(group.window.unwrap_or(group.began), SLOT)
    }

    /// Begins to write the group at hand.
    pub fn flush(&mut self, around: &mut Around) {
        let group = self.group.as_ref().expect("only a group is flushed");
        let files = files(group);
        around.reached.note_if(files.iter().any(|(name, _)| name.2 > 0), Reached::SplitGroup);
        let advance_first = around.flaws.has(Flaw::SwapBeforePut);
        self.state = if advance_first || files.is_empty() { State::Advance } else { State::Put { files, at: 0 } };
    }

    /// Adds the rows of an epoch to the group.
    pub fn gather(&mut self, epoch: &Epoch) {
        let (first, began, cursor) = (epoch.id, epoch.moment(), epoch.cursor());
        let group = self.group.get_or_insert_with(|| Group { first, window: None, began, cursor, rows: Vec::new() });
        group.cursor = cursor;
        group.window = group.window.or(epoch.window);
        group.rows.extend(epoch.rows.iter().map(|row| (epoch.id, row.clone())));
    }

    fn put(&mut self, files: Vec<(Name, Rows)>, at: usize, fault: Option<Fault>, around: &mut Around) -> Went {
        let (name, rows) = files[at].clone();
        let term = self.held.as_ref().map_or(0, |(state, _)| state.term);
        let create_only = !around.flaws.has(Flaw::PutReplaces);
        match ask(Request::Put { name, rows, create_only, term }, fault, around) {
            None => return Went::Reopen,
            Some(Said::Refused) => self.state = State::Compare { files, at },
            Some(Said::Done(_)) => self.next_file(files, at, around),
        }
        Went::On
    }

    fn compare(&mut self, files: Vec<(Name, Rows)>, at: usize, fault: Option<Fault>, around: &mut Around) -> Went {
        if fault.is_some() {
            return Went::Reopen;
        }
        let (name, rows) = &files[at];
        if around.store.objects.get(name) != Some(rows) {
            around.judge.object_differs(*name);
            return Went::Fatal;
        }
        around.reached.note(Reached::ObjectThereEqual);
        self.next_file(files, at, around);
        Went::On
    }

    fn next_file(&mut self, files: Vec<(Name, Rows)>, at: usize, around: &Around) {
        self.state = if at + 1 < files.len() {
            State::Put { files, at: at + 1 }
        } else if around.flaws.has(Flaw::SwapBeforePut) {
            State::Idle
        } else {
            State::Advance
        };
    }

    fn advance(&mut self, fault: Option<Fault>, around: &mut Around) -> Went {
        let group = self.group.as_ref().expect("only a group moves the cursor");
        let (state, version) = self.held.expect("an open sink holds the cursor");
        let next = CursorObject { cursor: Some(group.cursor), ..state };
        let files = files(group);
        let went = self.swap(Some(version), next, fault, around);
        if around.flaws.has(Flaw::SwapBeforePut) && !files.is_empty() && matches!(self.state, State::Idle) {
            self.state = State::Put { files, at: 0 };
        }
        went
    }
}

/// Sends a request; `None` where no answer comes.
fn ask(request: Request, fault: Option<Fault>, around: &mut Around) -> Option<Said> {
    match fault {
        Some(Fault::Refused) => None,
        Some(Fault::Delayed) => {
            around.store.in_flight.push(request);
            None
        }
        Some(Fault::AnswerLost) => {
            around.store.apply(request);
            None
        }
        None => Some(around.store.apply(request)),
    }
}

/// The objects of a group: by dataset, split at an exact count.
fn files(group: &Group) -> Vec<(Name, Rows)> {
    let begins = group.window.map_or(Begins::Epoch(group.first), Begins::Window);
    let mut files = Vec::new();
    for dataset in [Dataset::Flows, Dataset::Late, Dataset::Gaps] {
        let rows: Rows = group.rows.iter().filter(|(_, row)| dataset_of(row) == dataset).cloned().collect();
        let parts = rows.chunks(OBJECT).enumerate();
        files.extend(parts.map(|(seq, part)| ((dataset, begins, seq), part.to_vec())));
    }
    files
}

const fn dataset_of(row: &Row) -> Dataset {
    match row {
        Row::Flow { .. } => Dataset::Flows,
        Row::Late { .. } => Dataset::Late,
        Row::Gap { .. } => Dataset::Gaps,
    }
}
