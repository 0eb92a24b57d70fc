//! Which bucket to read next, with the constants of a small ring.

use std::collections::BTreeMap;

use crate::collector::RING;
use crate::entry::Tick;

/// Buckets nearest to expiry that are given up.
const MARGIN: Tick = 1;
/// Buckets to wait after the end of one.
const SETTLE: Tick = 1;
/// Age of the first second look.
const EARLY_LOOK: Tick = 3;
/// Age of the last one.
const LAST_LOOK: Tick = 8;

/// Where a source with an empty log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest bucket held.
    Earliest,
    /// With the bucket that fills.
    Latest,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing is due.
    Wait,
    /// Never read, and no longer held: up to this bucket.
    Forget(Tick),
    /// Read for the first time.
    Sweep(Tick),
    /// Read again and compare.
    Look(Tick),
}

/// Plans the reading of one collector.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    /// The first bucket that is not in the log.
    pub cursor: Tick,
    /// Buckets to look at again, with the age at which that is due.
    looks: BTreeMap<Tick, Tick>,
}

impl Planner {
    /// Goes on after the newest progress in the log, or begins as told.
    pub fn new(logged: Option<Tick>, begin: Begin, now: Tick) -> Self {
        let first = match begin {
            Begin::Earliest => oldest(now),
            Begin::Latest => now,
        };
        Self { cursor: logged.unwrap_or(first), looks: BTreeMap::new() }
    }

    /// The next thing to do.
    pub fn next(&mut self, now: Tick) -> Action {
        self.looks = self.looks.split_off(&oldest(now));
        if self.cursor < oldest(now) {
            return Action::Forget(oldest(now));
        }
        if is_due(self.cursor, now) {
            return Action::Sweep(self.cursor);
        }
        let due = self.looks.iter().find(|(bucket, age)| *bucket + *age < now);
        due.map_or(Action::Wait, |(bucket, _)| Action::Look(*bucket))
    }

    /// A bucket of an earlier run will be looked at again.
    pub fn recall(&mut self, bucket: Tick, now: Tick) {
        let look = if age(bucket, now) < EARLY_LOOK { EARLY_LOOK } else { LAST_LOOK };
        self.looks.insert(bucket, look);
    }

    /// A bucket that was just read will be looked at again, where its age allows it.
    pub fn look_again(&mut self, bucket: Tick, now: Tick) {
        let age = age(bucket, now);
        match [EARLY_LOOK, LAST_LOOK].into_iter().find(|look| age < *look) {
            Some(look) => self.looks.insert(bucket, look),
            None => self.looks.remove(&bucket),
        };
    }

    /// The bucket needs no further look.
    pub fn settled(&mut self, bucket: Tick) {
        self.looks.remove(&bucket);
    }
}

/// Whether a bucket has ended and settled.
pub const fn is_due(bucket: Tick, now: Tick) -> bool {
    bucket + 1 + SETTLE <= now
}

/// Whether the collector surely still has the bucket.
pub const fn holds(bucket: Tick, now: Tick) -> bool {
    bucket >= oldest(now)
}

const fn oldest(now: Tick) -> Tick {
    now.saturating_sub(RING - MARGIN)
}

const fn age(bucket: Tick, now: Tick) -> Tick {
    now.saturating_sub(bucket + 1)
}
