//! Event time: microseconds since the Unix epoch, UTC. No clock is read here.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment of event time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every record: the watermark of a partition that has not spoken yet.
    pub const MIN: Self = Self(i64::MIN);
    /// After every record: the watermark of a bounded input that has ended.
    pub const MAX: Self = Self(i64::MAX);

    /// From whole seconds, saturating at the ends of the range.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The start of the aligned interval of `width` microseconds that holds this moment.
    #[must_use]
    pub const fn align(self, width: i64) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(width)))
    }

    /// This moment shifted by `micros`, saturating.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// RFC 3339 in UTC; fractions only where there are any. Moments outside the years that RFC 3339
    /// can name are clamped to its ends.
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_microsecond(self.0)
            .unwrap_or(if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
            .to_string()
    }

    /// Parses RFC 3339 with any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }

    /// The UTC calendar date and hour: the two partition columns of the object store layout.
    pub fn date_and_hour(self) -> (String, u8) {
        let text = self.to_rfc3339();
        let hour = text.get(11..13).and_then(|h| h.parse().ok()).unwrap_or(0);
        (text.get(..10).unwrap_or_default().to_owned(), hour)
    }
}

/// A reading of a clock; what lies before 1970 counts as its first moment.
impl From<SystemTime> for EventTime {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// A half-open interval of event time, `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// First moment inside.
    pub start: EventTime,
    /// First moment after.
    pub end: EventTime,
}

impl Span {
    /// The span `[start, end)`.
    pub const fn new(start: EventTime, end: EventTime) -> Self {
        Self { start, end }
    }

    /// Length in microseconds.
    pub const fn micros(self) -> i64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// How many microseconds the two spans share.
    pub fn overlap(self, other: Self) -> i64 {
        (self.end.min(other.end).0.saturating_sub(self.start.max(other.start).0)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_align_print_and_parse() {
        let t = EventTime::from_secs(1_767_225_675);
        assert_eq!(t.to_rfc3339(), "2026-01-01T00:01:15Z");
        assert_eq!(t.align(60_000_000).to_rfc3339(), "2026-01-01T00:01:00Z");
        assert_eq!(EventTime::parse_rfc3339("2026-01-01T01:01:15+01:00"), Some(t));
        assert_eq!(t.date_and_hour(), ("2026-01-01".to_owned(), 0));
        assert_eq!(EventTime(-1).align(1_000_000), EventTime(-1_000_000));
    }

    #[test]
    fn a_clock_is_read_in_microseconds_and_never_before_1970() {
        let since = std::time::Duration::from_millis(1_500);
        assert_eq!(EventTime::from(UNIX_EPOCH + since), EventTime(1_500_000));
        assert_eq!(EventTime::from(UNIX_EPOCH - since), EventTime(0));
    }

    #[test]
    fn spans_overlap_only_where_both_are() {
        let s = |a, b| Span::new(EventTime(a), EventTime(b));
        assert_eq!(s(0, 10).overlap(s(5, 20)), 5);
        assert_eq!(s(0, 10).overlap(s(10, 20)), 0);
        assert_eq!(s(0, 10).overlap(s(30, 40)), 0);
    }
}
