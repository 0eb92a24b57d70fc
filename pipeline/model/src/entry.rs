//! The vocabulary: what stands in the log, and what becomes of it.

use std::collections::BTreeMap;
use std::fmt;

/// Event time in buckets: bucket `t` is `[t, t + 1)`. 0 is before every record.
pub type Tick = u32;
/// Which log it is: a log that is lost comes back as another one.
pub type LogId = usize;
/// A place in the log.
pub type Position = usize;
/// Whose flows they are.
pub type Key = u8;
/// What a collector says about one bucket.
pub type Answer = BTreeMap<Key, u32>;

/// Buckets of a window.
pub const WINDOW: Tick = 2;

/// Start of the window that holds `time`.
pub const fn align(time: Tick, width: Tick) -> Tick {
    time - time % width
}

/// Why flows were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For the first time.
    Report,
    /// What a later look showed on top.
    Correction,
}

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The collector no longer had it.
    Forgot,
    /// The collector restarted and has less than it had.
    Restarted,
    /// A later look differs, and what it differs from has left the log.
    Incomparable,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A page of a bucket.
    Flows {
        /// The bucket.
        bucket: Tick,
        /// Report or correction.
        purpose: Purpose,
        /// Key and count, in the collector's order.
        rows: Vec<(Key, u32)>,
    },
    /// Everything before this moment has been written, or is late.
    Progress(Tick),
    /// Something is known to be missing.
    Gap {
        /// First bucket that is missing.
        from: Tick,
        /// First bucket after.
        to: Tick,
        /// Why.
        reason: Reason,
    },
}

/// The log position that closed an epoch, and its number within that position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochId {
    /// Position of the progress entry.
    pub position: Position,
    /// 0 for the first.
    pub part: usize,
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}.{}", self.position, self.part)
    }
}

/// Where folding starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The oldest position still needed.
    pub position: Position,
    /// The watermark just before it.
    pub watermark: Tick,
}

/// How far a sink has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The log whose positions these are.
    pub log: LogId,
    /// The last epoch that stands.
    pub committed: EpochId,
    /// Where folding starts again.
    pub floor: Floor,
}

/// One published row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A key of a closed window.
    Flow {
        /// Start of the window.
        window: Tick,
        /// Buckets of the window that could not be read.
        missing: u32,
        /// The key.
        key: Key,
        /// Its count.
        count: u32,
        /// Its count in the window before: rows look one window back.
        before: u32,
    },
    /// A flow that came after its window had closed.
    Late {
        /// Where it stands in the log.
        position: Position,
        /// Its number in the entry.
        index: usize,
        /// Its bucket.
        bucket: Tick,
        /// The key.
        key: Key,
        /// Its count.
        count: u32,
    },
    /// Something known to be missing.
    Gap {
        /// Where it stands in the log.
        position: Position,
        /// First bucket that is missing.
        from: Tick,
        /// First bucket after.
        to: Tick,
        /// Why.
        reason: Reason,
    },
}

impl Row {
    /// Whether it leaves by a side door.
    pub const fn is_side(&self) -> bool {
        !matches!(self, Self::Flow { .. })
    }
}

/// The outputs of the log between two positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The log that determines it.
    pub log: LogId,
    /// Its place in the order.
    pub id: EpochId,
    /// Where folding starts again once it is durable.
    pub floor: Floor,
    /// Start of the window that closed, if one did.
    pub window: Option<Tick>,
    /// Rows of the window, then late rows, then gaps, in canonical order.
    pub rows: Vec<Row>,
}

impl Epoch {
    /// Where it stands in event time: the start of its window, or how far the stream has surely come.
    pub fn moment(&self) -> Tick {
        self.window.unwrap_or(self.floor.watermark)
    }

    /// The cursor that stands once it is durable.
    pub const fn cursor(&self) -> Cursor {
        Cursor { log: self.log, committed: self.id, floor: self.floor }
    }
}
