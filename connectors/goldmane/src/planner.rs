//! Which bucket to read next: a state machine over the collector's time, without clock or network.

use std::collections::BTreeMap;

use catchment_core::{EventTime, Period, Span};

use crate::Begin;

/// Closed buckets that a collector holds: one hour at its usual width of 15 s.
pub(crate) const RING: i64 = 240;
/// Buckets nearest to expiry that are given up: a request may take that long.
const MARGIN: i64 = 2;
/// The first second look, 6 min after the end at 15 s: late and stuck nodes have reported by then.
const EARLY_LOOK: i64 = 24;
/// The last look, 55 min after the end at 15 s; also the age at which a first read becomes urgent.
const LAST_LOOK: i64 = 220;
/// The ages, in buckets, at which a bucket that was read is looked at again.
const LOOKS: [i64; 2] = [EARLY_LOOK, LAST_LOOK];

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing is due before this moment of the collector's time.
    WaitUntil(EventTime),
    /// The span was never read and the collector no longer has it.
    Forget(Span),
    /// Read the bucket for the first time.
    Sweep {
        /// The bucket.
        bucket: Span,
        /// It is about to expire: do not pause for the collector's sake.
        urgent: bool,
    },
    /// Read the bucket again and compare.
    Reconcile(Span),
}

/// Looks that are due and were not made yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) looks: usize,
    /// For how long the first of them has been due, in microseconds.
    pub(crate) oldest: i64,
}

/// Looks that can no longer be made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lapsed {
    pub(crate) looks: usize,
    /// Buckets that were never looked at again, as few spans as hold them.
    pub(crate) unseen: Vec<Span>,
}

/// Plans the reading of one collector.
#[derive(Debug)]
pub(crate) struct Planner {
    width: i64,
    settle: i64,
    reconcile: bool,
    /// Start of the first bucket that is not in the log.
    cursor: EventTime,
    /// Buckets to look at again, with the age (in buckets) at which that is due.
    looks: BTreeMap<EventTime, i64>,
}

impl Planner {
    /// Width of a bucket in microseconds.
    pub(crate) const fn width(&self) -> i64 {
        self.width
    }

    /// Continues after `logged`, the newest progress in the log, or begins as told.
    pub(crate) fn new(
        width: i64,
        settle: Period,
        reconcile: bool,
        begin: Begin,
        logged: Option<EventTime>,
        now: EventTime,
    ) -> Self {
        debug_assert!(width > 0, "a bucket has a width");
        let mut planner =
            Self { width, settle: settle.micros(), reconcile, cursor: EventTime::MIN, looks: BTreeMap::new() };
        planner.cursor = match (logged, begin) {
            (Some(logged), _) => logged,
            (None, Begin::Earliest) => planner.oldest(now),
            (None, Begin::Latest) => now.align(width),
        };
        planner
    }

    /// The next thing to do. Asking twice without reporting back gives the same answer.
    pub(crate) fn next(&self, now: EventTime) -> Action {
        let oldest = self.oldest(now);
        // A width that changed leaves the cursor inside a bucket; the rest of it cannot be read alone.
        let readable = self.align_up(self.cursor).max(oldest);
        if self.cursor < readable {
            return Action::Forget(Span::new(self.cursor, readable));
        }
        let due = self.cursor.plus(self.width + self.settle);
        if due <= now {
            let urgent = self.cursor.plus(LAST_LOOK * self.width) <= now;
            return Action::Sweep { bucket: self.bucket(self.cursor), urgent };
        }
        let looks = self.due_looks();
        match looks.clone().find(|(due, _)| *due <= now) {
            Some((_, start)) => Action::Reconcile(self.bucket(start)),
            None => Action::WaitUntil(looks.map(|(due, _)| due).min().map_or(due, |look| look.min(due))),
        }
    }

    /// Gives up the looks at buckets that the collector no longer has.
    pub(crate) fn lapse(&mut self, now: EventTime) -> Lapsed {
        let held = self.looks.split_off(&self.oldest(now));
        let given_up = std::mem::replace(&mut self.looks, held);
        let mut lapsed = Lapsed { looks: given_up.len(), unseen: Vec::new() };
        for (start, _) in given_up.into_iter().filter(|(_, look)| *look == EARLY_LOOK) {
            let bucket = self.bucket(start);
            match lapsed.unseen.last_mut().filter(|span| span.end == bucket.start) {
                Some(span) => span.end = bucket.end,
                None => lapsed.unseen.push(bucket),
            }
        }
        lapsed
    }

    /// Whether a first reading of the bucket at `now` shows what the first look would.
    pub(crate) const fn reads_as_look(&self, bucket: EventTime, now: EventTime) -> bool {
        self.age(bucket, now) >= EARLY_LOOK
    }

    /// The looks that should have been made by now.
    pub(crate) fn overdue(&self, now: EventTime) -> Overdue {
        let due = self.due_looks().map(|(due, _)| due).filter(|due| *due <= now);
        due.fold(Overdue::default(), |sum, due| Overdue {
            looks: sum.looks + 1,
            oldest: sum.oldest.max(now.0.saturating_sub(due.0)),
        })
    }

    /// When each look is due, and at which bucket; the bucket that expires first comes first.
    fn due_looks(&self) -> impl Iterator<Item = (EventTime, EventTime)> + Clone {
        self.looks.iter().map(|(start, age)| (start.plus((age + 1) * self.width), *start))
    }

    /// The log has everything before `up_to`: read, or written down as a gap.
    pub(crate) fn passed(&mut self, up_to: EventTime) {
        self.cursor = up_to;
    }

    /// A bucket that earlier runs read, and looked at again `looked` times, gets the looks that are
    /// left. One that came due while nobody ran is made up for at once.
    pub(crate) fn recall(&mut self, bucket: EventTime, looked: usize) {
        if let Some(look) = LOOKS.get(looked).filter(|_| self.reconcile) {
            self.looks.insert(bucket, *look);
        }
    }

    /// A bucket that has just been read will be looked at again, where its age still allows it.
    pub(crate) fn look_again(&mut self, bucket: EventTime, now: EventTime) {
        let age = self.age(bucket, now);
        let next = LOOKS.into_iter().find(|look| age < *look);
        match next.filter(|_| self.reconcile) {
            Some(look) => self.looks.insert(bucket, look),
            None => self.looks.remove(&bucket),
        };
    }

    /// The bucket needs no further look.
    pub(crate) fn settled(&mut self, bucket: EventTime) {
        self.looks.remove(&bucket);
    }

    /// The oldest bucket that will be looked at again.
    pub(crate) fn oldest_look(&self) -> Option<EventTime> {
        self.looks.keys().next().copied()
    }

    /// The last moment of the collector's time at which it surely has the bucket.
    pub(crate) const fn held_until(&self, bucket: EventTime) -> EventTime {
        bucket.plus(RING * self.width)
    }

    /// Whole buckets since the end of this one.
    const fn age(&self, bucket: EventTime, now: EventTime) -> i64 {
        now.0.saturating_sub(bucket.plus(self.width).0) / self.width
    }

    const fn bucket(&self, start: EventTime) -> Span {
        Span::new(start, start.plus(self.width))
    }

    /// Start of the oldest bucket that can still be read safely.
    fn oldest(&self, now: EventTime) -> EventTime {
        self.align_up(now.plus(-(RING - MARGIN) * self.width))
    }

    fn align_up(&self, time: EventTime) -> EventTime {
        time.plus(self.width - 1).align(self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: i64 = 15_000_000;

    fn at(secs: i64) -> EventTime {
        EventTime::from_secs(secs)
    }

    fn span(start: i64, end: i64) -> Span {
        Span::new(at(start), at(end))
    }

    fn planner(begin: Begin, logged: Option<i64>, now: i64) -> Planner {
        Planner::new(WIDTH, Period::secs(60), true, begin, logged.map(at), at(now))
    }

    #[test]
    fn a_bucket_is_read_once_it_has_ended_and_settled() {
        let mut p = planner(Begin::Latest, None, 10_000);
        assert_eq!(p.next(at(10_000)), Action::WaitUntil(at(9_990 + 75)));
        assert_eq!(p.next(at(10_064)), Action::WaitUntil(at(10_065)));
        assert_eq!(p.next(at(10_065)), Action::Sweep { bucket: span(9_990, 10_005), urgent: false });
        p.passed(at(10_005));
        assert_eq!(p.next(at(10_065)), Action::WaitUntil(at(10_080)));
    }

    #[test]
    fn the_first_start_reads_what_the_collector_holds_oldest_first() {
        let mut p = planner(Begin::Earliest, None, 10_001);
        // 238 buckets before 10,001, rounded up to a whole bucket.
        assert_eq!(p.next(at(10_001)), Action::Sweep { bucket: span(6_435, 6_450), urgent: true });
        p.passed(at(9_000));
        assert_eq!(p.next(at(10_001)), Action::Sweep { bucket: span(9_000, 9_015), urgent: false });
    }

    #[test]
    fn what_the_collector_forgot_during_an_outage_is_a_gap_before_the_next_bucket() {
        let mut p = planner(Begin::Latest, Some(3_000), 10_001);
        assert_eq!(p.next(at(10_001)), Action::Forget(span(3_000, 6_435)));
        p.passed(at(6_435));
        assert_eq!(p.next(at(10_001)), Action::Sweep { bucket: span(6_435, 6_450), urgent: true });
    }

    #[test]
    fn a_cursor_inside_a_bucket_gives_up_the_rest_of_it() {
        let p = planner(Begin::Latest, Some(9_991), 10_001);
        assert_eq!(p.next(at(10_001)), Action::Forget(span(9_991, 10_005)));
    }

    #[test]
    fn a_bucket_is_looked_at_twice_more_and_never_before_a_first_read() {
        let mut p = planner(Begin::Latest, Some(9_015), 9_100);
        p.look_again(at(9_000), at(9_100));
        let early = 9_015 + 360;
        // The first reads go first, although the second look is due as well.
        assert_eq!(p.next(at(early)), Action::Sweep { bucket: span(9_015, 9_030), urgent: false });
        p.passed(at(9_375));
        assert_eq!(p.next(at(early)), Action::Reconcile(span(9_000, 9_015)));
        p.look_again(at(9_000), at(early));
        let last = 9_015 + 3_300;
        p.passed(at(last - 15));
        assert_eq!(p.next(at(early + 1)), Action::WaitUntil(at(last)));
        assert_eq!(p.next(at(last)), Action::Reconcile(span(9_000, 9_015)));
        p.look_again(at(9_000), at(last));
        assert_eq!(p.next(at(last)), Action::WaitUntil(at(last + 60)));
    }

    #[test]
    fn second_looks_go_by_expiry_and_lapse_with_it() {
        let mut p = planner(Begin::Latest, Some(9_990), 10_000);
        p.look_again(at(9_000), at(9_100));
        p.look_again(at(7_000 - 7_000 % 15), at(10_000));
        p.look_again(at(9_015), at(9_100));
        assert_eq!(p.next(at(9_990)), Action::Reconcile(span(9_000, 9_015)));
        p.settled(at(9_000));
        assert_eq!(p.next(at(9_990)), Action::Reconcile(span(9_015, 9_030)));
        p.passed(at(20_010));
        p.recall(at(9_060), 1);
        let lapsed = p.lapse(at(20_000));
        assert_eq!(lapsed, Lapsed { looks: 3, unseen: vec![span(9_015, 9_030)] });
        assert_eq!(p.lapse(at(20_000)), Lapsed::default());
        assert_eq!(p.next(at(20_000)), Action::WaitUntil(at(20_085)));
    }

    #[test]
    fn looks_missed_while_nobody_ran_are_made_up_for() {
        let mut p = planner(Begin::Latest, Some(12_990), 13_000);
        // Its last look is due, and nothing after it.
        p.recall(at(9_450), 1);
        // Seven minutes old, and never looked at again.
        p.recall(at(12_570), 0);
        // Not yet due; has been looked at; has had all its looks.
        p.recall(at(12_900), 0);
        p.recall(at(12_000), 1);
        p.recall(at(9_465), 2);
        assert_eq!(p.next(at(13_000)), Action::Reconcile(span(9_450, 9_465)));
        p.look_again(at(9_450), at(13_000));
        assert_eq!(p.next(at(13_000)), Action::Reconcile(span(12_570, 12_585)));
        p.look_again(at(12_570), at(13_000));
        assert_eq!(p.next(at(13_000)), Action::WaitUntil(at(13_065)));
    }

    #[test]
    fn buckets_never_looked_at_again_lapse_as_few_spans() {
        let mut p = planner(Begin::Latest, Some(9_990), 10_000);
        for start in [9_000, 9_015, 9_030, 9_060] {
            p.recall(at(start), 0);
        }
        assert_eq!(p.lapse(at(20_000)).unseen, [span(9_000, 9_045), span(9_060, 9_075)]);
    }

    #[test]
    fn looks_that_starve_are_counted_with_the_age_of_the_oldest() {
        let mut p = planner(Begin::Latest, Some(9_990), 10_000);
        assert_eq!(p.overdue(at(10_000)), Overdue::default());
        p.recall(at(9_000), 0);
        p.recall(at(9_015), 0);
        p.recall(at(9_900), 0);
        let due = 9_015 + 360;
        assert_eq!(p.overdue(at(due - 1)), Overdue::default());
        assert_eq!(p.overdue(at(due)), Overdue { looks: 1, oldest: 0 });
        assert_eq!(p.overdue(at(due + 20)), Overdue { looks: 2, oldest: 20_000_000 });
    }

    #[test]
    fn a_bucket_is_held_for_an_hour_at_least() {
        let p = planner(Begin::Latest, None, 10_000);
        assert_eq!(p.held_until(at(6_435)), at(10_035));
    }

    #[test]
    fn without_reconciling_nothing_is_looked_at_again() {
        let mut p = Planner::new(WIDTH, Period::secs(60), false, Begin::Latest, Some(at(9_990)), at(10_000));
        p.look_again(at(9_000), at(9_100));
        assert_eq!(p.next(at(10_000)), Action::WaitUntil(at(10_065)));
    }

    #[test]
    fn times_scale_with_the_width_of_the_bucket() {
        let p = Planner::new(1_000_000, Period::secs(0), true, Begin::Earliest, None, at(1_000));
        assert_eq!(p.next(at(1_000)), Action::Sweep { bucket: span(762, 763), urgent: true });
    }
}
