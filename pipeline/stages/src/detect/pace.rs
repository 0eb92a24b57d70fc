//! How long a rule has watched, and when it looks again at what does not change by the window.

use std::collections::VecDeque;

use catchment_core::{EventTime, Period, Span};
use serde::{Deserialize, Serialize};

use super::view::View;

/// Between two looks of one rule.
const EVERY: Period = Period::secs(600);
/// Times that it could not watch, at most: of more, what was watched before the oldest does not count.
const HOLES: usize = 1024;

/// When a rule looked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pace {
    looked: Option<EventTime>,
}

impl Pace {
    /// Whether it is time for a look; if so, that is noted.
    pub(crate) fn is_due(&mut self, now: EventTime) -> bool {
        let due = self.looked.is_none_or(|looked| looked.plus(EVERY.micros()) <= now);
        if due {
            self.looked = Some(now);
        }
        due
    }
}

/// What a rule has watched: windows of which no part is missing. Windows that never came, as while nobody ran, are holes in
/// that like windows of which a part is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watch {
    watched: Option<Span>,
    /// In order, and apart from each other.
    holes: VecDeque<Span>,
}

impl Watch {
    /// Takes in a window, whole or not.
    pub(crate) fn take(&mut self, view: &View<'_>) {
        let window = view.window;
        let before = self.watched.get_or_insert(Span::new(window.start, window.start)).end;
        if before < window.start {
            self.miss(Span::new(before, window.start));
        }
        if !view.is_whole() {
            self.miss(window);
        }
        self.watched = self.watched.map(|watched| Span::new(watched.start, window.end));
    }

    fn miss(&mut self, hole: Span) {
        match self.holes.back_mut().filter(|last| last.end == hole.start) {
            Some(last) => *last = Span::new(last.start, hole.end),
            None => self.holes.push_back(hole),
        }
        if self.holes.len() > HOLES
            && let (Some(oldest), Some(watched)) = (self.holes.pop_front(), &mut self.watched)
        {
            *watched = Span::new(oldest.end, watched.end);
        }
    }

    /// Since when it has watched for so long, the holes left out; `None` if it has not.
    pub(crate) fn since(&self, time: Period) -> Option<EventTime> {
        let watched = self.watched?;
        let mut since = watched.end.plus(-time.micros());
        for hole in self.holes.iter().rev() {
            if hole.end <= since {
                break;
            }
            since = since.plus(-hole.micros());
        }
        (since >= watched.start).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{ClosedWindow, EventTime, Period, Span};

    use super::{HOLES, Watch};
    use crate::detect::Settings;
    use crate::detect::view::View;

    fn minute(n: i64) -> EventTime {
        EventTime::from_secs(60 * n)
    }

    /// A rule that watched these minutes, of which those that are not whole are told.
    fn watched(minutes: impl IntoIterator<Item = (i64, bool)>) -> Watch {
        let (mut watch, settings) = (Watch::default(), Settings::default());
        for (n, is_whole) in minutes {
            let (span, coverage) = (Span::new(minute(n), minute(n + 1)), if is_whole { 1.0 } else { 0.75 });
            let window = ClosedWindow { span, coverage, identity: None, flows: Vec::new(), conversations: Vec::new() };
            watch.take(&View::new(&window, &settings, None));
        }
        watch
    }

    fn since(watch: &Watch, minutes: u64) -> Option<i64> {
        watch.since(Period::secs(60 * minutes)).map(|since| since.0 / 60_000_000)
    }

    #[test]
    fn what_is_watched_without_a_break_is_watched_since_then() {
        let watch = watched((10..20).map(|n| (n, true)));
        assert_eq!([since(&watch, 3), since(&watch, 10), since(&watch, 11)], [Some(17), Some(10), None]);
    }

    #[test]
    fn windows_that_never_came_and_such_with_holes_do_not_count() {
        let watch = watched([(10, true), (11, true), (15, true), (16, false), (17, false), (18, true), (19, true)]);
        assert_eq!([since(&watch, 2), since(&watch, 3)], [Some(18), Some(15)]);
        assert_eq!([since(&watch, 4), since(&watch, 5), since(&watch, 6)], [Some(11), Some(10), None]);
    }

    #[test]
    fn of_too_many_holes_the_oldest_ends_what_is_known() {
        let holes = 2 * (HOLES as i64 + 3);
        let watch = watched((0..holes).map(|n| (n, n % 2 == 1)));
        let all = HOLES as u64;
        assert_eq!([since(&watch, all).is_some(), since(&watch, all + 3).is_some()], [true, false]);
        assert_eq!(watch.holes.len(), HOLES);
    }
}
