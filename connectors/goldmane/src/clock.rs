//! The collector's clock, known only from below.
//!
//! The collector never tells its time, but it shows it: a bucket it serves as closed has ended, and
//! it accepts a range that starts in its past and refuses one that starts in its future. Each is a
//! lower bound, so a bucket that has ended by this clock has ended at the collector too.

use std::time::Duration;

use catchment_core::EventTime;
use tokio::time::Instant;

/// How far a skew may go unreported.
pub(crate) const SKEW_LIMIT_SECS: i64 = 5;

/// A lower bound of the collector's time, moved on by the local monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerClock {
    bound: EventTime,
    seen: Instant,
}

impl ServerClock {
    pub(crate) const fn new(bound: EventTime, seen: Instant) -> Self {
        Self { bound, seen }
    }

    pub(crate) fn now(&self, local: Instant) -> EventTime {
        self.bound.plus(local.saturating_duration_since(self.seen).as_micros() as i64)
    }
}

/// When to take the bound anew: after a second at first, ever more rarely while the collector keeps
/// pace with the local clock, and more often again when it was found ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    taken: Instant,
    pause: Duration,
}

impl Renewal {
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_mins(10);

    pub(crate) const fn new(taken: Instant) -> Self {
        Self { taken, pause: Self::SHORTEST }
    }

    pub(crate) fn due(&self) -> Instant {
        self.taken + self.pause
    }

    pub(crate) fn is_due(&self, local: Instant) -> bool {
        local >= self.due()
    }

    /// Whether looks still are, or again are, closer together than they will be in the long run.
    pub(crate) fn is_frequent(&self) -> bool {
        self.pause < Self::LONGEST
    }

    pub(crate) fn taken(&mut self, local: Instant, ahead: bool) {
        self.taken = local;
        self.pause = if ahead { self.pause / 2 } else { self.pause * 2 }.clamp(Self::SHORTEST, Self::LONGEST);
    }
}

/// The wall clock of this machine.
pub(crate) fn wall_clock() -> EventTime {
    std::time::SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_moves_with_the_local_clock() {
        let start = Instant::now();
        let clock = ServerClock::new(EventTime::from_secs(100), start);
        assert_eq!(clock.now(start + Duration::from_secs(7)), EventTime::from_secs(107));
    }

    #[test]
    fn looks_grow_rare_while_the_collector_keeps_pace_and_frequent_when_it_does_not() {
        let start = Instant::now();
        let mut renewal = Renewal::new(start);
        assert!(!renewal.is_due(start) && renewal.is_due(start + Duration::from_secs(1)));
        (0..20).for_each(|_| renewal.taken(start, false));
        assert!(!renewal.is_due(start + Duration::from_mins(9)) && !renewal.is_frequent());
        (0..20).for_each(|_| renewal.taken(start, true));
        assert!(renewal.is_due(start + Duration::from_secs(1)) && renewal.is_frequent());
    }
}
