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

    /// Whether the bound should be taken anew: a suspended machine stops the monotonic clock.
    pub(crate) fn is_stale(&self, local: Instant) -> bool {
        local.saturating_duration_since(self.seen) > Duration::from_mins(10)
    }
}

/// The wall clock of this machine.
pub(crate) fn wall_clock() -> EventTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    EventTime(since.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_moves_with_the_local_clock_and_grows_stale() {
        let start = Instant::now();
        let clock = ServerClock::new(EventTime::from_secs(100), start);
        assert_eq!(clock.now(start + Duration::from_secs(7)), EventTime::from_secs(107));
        assert!(!clock.is_stale(start + Duration::from_mins(9)));
        assert!(clock.is_stale(start + Duration::from_mins(11)));
    }
}
