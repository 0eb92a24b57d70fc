//! How long a rule has watched, and when it looks again at what does not change by the window.

use catchment_core::{EventTime, Period};
use serde::{Deserialize, Serialize};

/// Between two looks of one rule.
const EVERY: Period = Period::secs(600);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pace {
    begun: Option<EventTime>,
    looked: Option<EventTime>,
}

impl Pace {
    /// Whether it is time for a look; if so, that is noted.
    pub(crate) fn is_due(&mut self, now: EventTime) -> bool {
        self.begun.get_or_insert(now);
        let due = self.looked.is_none_or(|looked| looked.plus(EVERY.micros()) <= now);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// Whether it has watched for so long.
    pub(crate) fn has_watched(&self, time: Period, now: EventTime) -> bool {
        self.begun.is_some_and(|begun| begun.plus(time.micros()) <= now)
    }
}
