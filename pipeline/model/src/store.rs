//! An object store: create-only puts, a cursor object moved by compare-and-swap, late arrivals.

use std::collections::BTreeMap;

use crate::entry::{Cursor, EpochId, Row, Tick};

/// The files a group is split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dataset {
    /// Rows of windows.
    Flows,
    /// Late rows.
    Late,
    /// Gaps.
    Gaps,
}

/// What a group's files are named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Begins {
    /// Its first window.
    Window(Tick),
    /// Its first epoch, where it has no window.
    Epoch(EpochId),
}

/// The name of an object: a function of the rows' place.
pub type Name = (Dataset, Begins, usize);

/// Rows with the epoch they belong to.
pub type Rows = Vec<(EpochId, Row)>;

/// What the cursor object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The process that may move it.
    pub owner: usize,
    /// One more than the owner before.
    pub term: u32,
    /// How far the stream is durable.
    pub cursor: Option<Cursor>,
}

/// A change that is asked for.
#[derive(Clone, Debug)]
pub enum Request {
    /// An object.
    Put {
        /// Its name.
        name: Name,
        /// Its rows.
        rows: Rows,
        /// Not where the name is taken.
        create_only: bool,
        /// Term of the writer, for the judge.
        term: u32,
    },
    /// The cursor object.
    Swap {
        /// The version that must stand there; `None` for no object. Not compared if `always`.
        expected: Option<u32>,
        /// What to put.
        next: State,
        /// Do not compare.
        always: bool,
    },
}

/// What the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Done; the version that stands now.
    Done(u32),
    /// The precondition does not hold.
    Refused,
}

/// A bucket with one stream in it.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Objects with their rows.
    pub objects: BTreeMap<Name, Rows>,
    /// The cursor object and its version.
    pub cursor: Option<(State, u32)>,
    /// Requests on their way.
    pub in_flight: Vec<Request>,
    /// An object whose rows readers may have seen was put again, by a writer of this term.
    pub replaced: Option<(Name, u32)>,
    /// A cursor of this term replaced one of a later term.
    pub taken_back: Option<u32>,
    versions: u32,
}

impl Store {
    /// The request arrives.
    pub fn apply(&mut self, request: Request) -> Said {
        match request {
            Request::Put { name, create_only: true, .. } if self.objects.contains_key(&name) => Said::Refused,
            Request::Put { name, rows, term, .. } => {
                if self.objects.insert(name, rows).is_some() {
                    self.replaced = Some((name, term));
                }
                Said::Done(0)
            }
            Request::Swap { expected, always, .. } if !always && expected != self.version() => Said::Refused,
            Request::Swap { next, .. } => {
                self.taken_back = self.cursor.filter(|(held, _)| held.term > next.term).map(|_| next.term);
                self.versions += 1;
                self.cursor = Some((next, self.versions));
                Said::Done(self.versions)
            }
        }
    }

    fn version(&self) -> Option<u32> {
        self.cursor.map(|(_, version)| version)
    }

    /// The term that holds the stream.
    pub fn term(&self) -> u32 {
        self.cursor.map_or(0, |(state, _)| state.term)
    }
}
