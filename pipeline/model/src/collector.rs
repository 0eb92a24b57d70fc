//! The collector: closed buckets in a ring that forgets, and answers that change.

use std::collections::BTreeMap;

use crate::entry::{Answer, Key, Tick};
use crate::rng::Rng;

/// Buckets that the ring holds.
pub const RING: Tick = 12;
/// The first bucket still filling when a schedule begins.
pub const FIRST: Tick = RING + 1;
/// Keys that ever report.
const KEYS: usize = 3;

/// A Goldmane as a source sees it.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The bucket that is filling.
    pub now: Tick,
    /// Of six buckets so many have no flows.
    idle: usize,
    ring: BTreeMap<Tick, Answer>,
}

impl Collector {
    /// One that has run for a while.
    pub fn new(rng: &mut Rng) -> Self {
        let idle = [1, 1, 1, 5][rng.below(4)];
        let mut collector = Self { now: FIRST - 4, idle, ring: BTreeMap::new() };
        while collector.now < FIRST {
            collector.tick(rng);
        }
        collector
    }

    /// Closes the bucket that fills, and forgets the oldest.
    pub fn tick(&mut self, rng: &mut Rng) {
        let flows = if rng.below(6) < self.idle { 0 } else { 1 + rng.below(KEYS) };
        for _ in 0..flows {
            self.add(self.now, rng.below(KEYS) as Key, 1 + rng.below(3) as u32);
        }
        self.now += 1;
        let oldest = self.now.saturating_sub(RING);
        self.ring = self.ring.split_off(&oldest);
    }

    /// A node reports late into a bucket that has closed.
    pub fn report_late(&mut self, rng: &mut Rng) -> Tick {
        let bucket = self.now - 1 - rng.below(RING as usize - 1) as Tick;
        self.add(bucket, rng.below(KEYS) as Key, 1);
        bucket
    }

    /// A node that lost its connection sends a bucket again, and it is counted twice.
    pub fn count_twice(&mut self, rng: &mut Rng) -> Tick {
        let bucket = self.now - 1 - rng.below(3) as Tick;
        for count in self.ring.entry(bucket).or_default().values_mut() {
            *count *= 2;
        }
        bucket
    }

    /// The process restarts with an empty ring.
    pub fn restart(&mut self) {
        self.ring.clear();
    }

    /// All flows of a bucket as they are now; a bucket it does not hold looks empty.
    pub fn list(&self, bucket: Tick) -> Answer {
        self.ring.get(&bucket).cloned().unwrap_or_default()
    }

    fn add(&mut self, bucket: Tick, key: Key, count: u32) {
        *self.ring.entry(bucket).or_default().entry(key).or_default() += count;
    }
}
