//! The log of a stream: segments, one append at a time, durable after a sync, bounded.

use std::collections::VecDeque;

use crate::entry::{Entry, LogId, Position};
use crate::flaws::{Flaw, Flaws};

/// Entries after which a segment is closed; an append is never split over two.
const SEGMENT: usize = 4;

/// What a log is asked to keep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Nothing before this position is needed by any sink.
    pub needed: Position,
    /// Nothing before this position may be looked back on by a source.
    pub wanted: Position,
}

/// The disk of one stream.
#[derive(Clone, Debug)]
pub struct Log {
    /// Which one it is.
    pub id: LogId,
    /// Everything that was ever durable. What was dropped stays here for the judge alone.
    entries: Vec<Entry>,
    /// First position of each segment that is kept, oldest first; never empty.
    segments: VecDeque<Position>,
    keep: Keep,
    max_entries: usize,
    /// How often something may have become free.
    pub cuts: u64,
    keeps_mark: bool,
    /// Look-back was given up for room.
    pub yielded: bool,
    /// Written and not synced.
    staged: Vec<Entry>,
    /// How many entries of an unsynced append a crash left, and how many there were.
    torn: Option<(Vec<Entry>, usize)>,
}

/// Where an append can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Here,
    NewSegment,
    Full,
}

impl Log {
    /// An empty log that holds at most so many entries.
    pub fn new(id: LogId, max_entries: usize, flaws: Flaws) -> Self {
        Self {
            id,
            entries: Vec::new(),
            segments: VecDeque::from([0]),
            keep: Keep::default(),
            max_entries,
            cuts: 0,
            yielded: false,
            keeps_mark: !flaws.has(Flaw::NewestMarkDropped),
            staged: Vec::new(),
            torn: None,
        }
    }

    /// The oldest position that is kept.
    pub fn first(&self) -> Position {
        self.segments[0]
    }

    /// The position the next entry gets.
    pub const fn end(&self) -> Position {
        self.entries.len()
    }

    /// Everything that was ever durable, for the judge.
    pub fn history(&self) -> &[Entry] {
        &self.entries
    }

    /// A durable entry that has not been dropped.
    pub fn read(&self, position: Position) -> Option<&Entry> {
        if position < self.first() { None } else { self.entries.get(position) }
    }

    /// An entry as a reader that does not wait for the sync would see it.
    pub fn read_unsynced(&self, position: Position) -> Option<&Entry> {
        self.read(position).or_else(|| self.staged.get(position.checked_sub(self.end())?))
    }

    /// Whether an append waits for its sync.
    pub const fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// An empty one in the place of this.
    #[must_use]
    pub fn replaced(&self, flaws: Flaws) -> Self {
        Self::new(self.id + 1, self.max_entries, flaws)
    }

    /// Whether the last writer left something to recover.
    pub const fn is_torn(&self) -> bool {
        self.torn.is_some()
    }

    /// Writes without syncing; `false` while the log is full.
    pub fn stage(&mut self, entries: &[Entry], flaws: Flaws) -> bool {
        debug_assert!(self.staged.is_empty(), "one source appends, and waits for the answer");
        loop {
            match self.room(entries.len()) {
                Room::Here => break,
                Room::NewSegment => self.roll(),
                Room::Full if self.yields_look_back(flaws) => {}
                Room::Full => return false,
            }
        }
        self.staged = entries.to_vec();
        true
    }

    /// Makes the staged append durable.
    pub fn sync(&mut self) {
        self.entries.append(&mut self.staged);
    }

    /// The writer dies: of an append that was not synced any beginning may reach the disk.
    pub fn crash(&mut self, survive: usize) {
        let staged = std::mem::take(&mut self.staged);
        let whole = staged.len();
        if whole > 0 {
            self.torn = Some((staged.into_iter().take(survive).collect(), whole));
        }
    }

    /// The next writer opens the log. What is left of an append that was cut short is dropped whole.
    /// Returns how many entries of how many a crash had left, if it tore an append.
    pub fn recover(&mut self, flaws: Flaws) -> Option<(usize, usize)> {
        let (left, whole) = self.torn.take()?;
        let survived = left.len();
        if survived == whole || flaws.has(Flaw::TornAppendKept) {
            self.entries.extend(left);
        }
        (survived < whole).then_some((survived, whole))
    }

    /// Drops the segments that lie wholly before what is to be kept.
    pub fn truncate(&mut self, keep: Keep) {
        self.cuts += 1;
        self.keep.needed = self.keep.needed.max(keep.needed);
        self.keep.wanted = self.keep.wanted.max(keep.wanted);
        self.drop_before(self.floor());
    }

    fn newest_mark(&self) -> Position {
        self.entries.iter().rposition(|entry| matches!(entry, Entry::Progress(_))).unwrap_or(0)
    }

    fn floor(&self) -> Position {
        self.keep.needed.min(self.keep.wanted)
    }

    fn room(&self, need: usize) -> Room {
        let newest = *self.segments.back().expect("a log always has a newest segment");
        let begun = self.end() > newest;
        if self.end() - self.first() + need > self.max_entries {
            Room::Full
        } else if begun && self.end() - newest + need > SEGMENT {
            Room::NewSegment
        } else {
            Room::Here
        }
    }

    fn roll(&mut self) {
        self.segments.push_back(self.end());
        self.drop_before(self.floor());
    }

    /// A full log keeps only what sinks need: a source that waits for ever would miss everything.
    fn yields_look_back(&mut self, flaws: Flaws) -> bool {
        let first = self.first();
        if !flaws.has(Flaw::LookBackFillsTheLog) {
            self.drop_before(self.keep.needed);
        }
        let freed = self.first() > first;
        self.yielded |= freed;
        freed
    }

    /// Whatever nobody needs, the newest mark stays: from it the next start learns where to go on.
    fn drop_before(&mut self, floor: Position) {
        let mark = if self.keeps_mark { self.newest_mark() } else { floor };
        let floor = floor.min(mark);
        while self.segments.get(1).is_some_and(|next| *next <= floor) {
            self.segments.pop_front();
        }
    }
}
