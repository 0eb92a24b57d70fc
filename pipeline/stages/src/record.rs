//! One decoded record: numbers, and an identity that is still bytes.

use catchment_core::{Counters, EventTime, Span};
use catchment_schemas::wire::FlowView;

/// Why a record cannot be used: a stable word and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
    /// The event time of the record, where it says one.
    pub(crate) time: Option<EventTime>,
}

/// The last moment that RFC 3339 can name, 9999-12-31T23:59:59Z: a later time is a mistaken unit.
const LAST: EventTime = EventTime::from_secs(253_402_300_799);

impl Fault {
    pub(crate) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), time: None }
    }

    /// With the time that the record says, unless nobody can have meant it.
    pub(crate) fn at(self, time: Option<EventTime>) -> Self {
        Self { time: time.filter(|time| time.0 > 0 && *time <= LAST), ..self }
    }
}

/// The numbers of a record as they came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    /// `None` where the record has no such member: bytes of protobuf leave zeros out, JSON does not.
    pub(crate) start: Option<EventTime>,
    pub(crate) end: EventTime,
    pub(crate) packets_in: i64,
    pub(crate) packets_out: i64,
    pub(crate) bytes_in: i64,
    pub(crate) bytes_out: i64,
    pub(crate) started: i64,
    pub(crate) completed: i64,
    pub(crate) live: i64,
}

/// What the numbers of a record say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The collector has no closed bucket for the flow yet and sent a row of zeros.
    StillOpen,
    /// Usable.
    Counted(Span, Counters),
}

impl Numbers {
    pub(crate) fn of_view(view: &FlowView<'_>) -> Self {
        Self {
            start: Some(EventTime::from_secs(view.start_time)),
            end: EventTime::from_secs(view.end_time),
            packets_in: view.packets_in,
            packets_out: view.packets_out,
            bytes_in: view.bytes_in,
            bytes_out: view.bytes_out,
            started: view.num_connections_started,
            completed: view.num_connections_completed,
            live: view.num_connections_live,
        }
    }

    /// Checks the numbers once, so that nothing behind needs to.
    pub(crate) fn read(self) -> Result<Reading, Fault> {
        let all =
            [self.packets_in, self.packets_out, self.bytes_in, self.bytes_out, self.started, self.completed, self.live];
        let Some(start) = self.start else {
            return Err(Fault::new(
                "no_start_time",
                "the object has no start time, so it belongs to no window; a flow says `start_time`",
            ));
        };
        if start.0 <= 0 {
            return if start.0 == 0 && all.iter().all(|&n| n == 0) {
                Ok(Reading::StillOpen)
            } else {
                Err(Fault::new(
                    "no_start_time",
                    "the record has counters but no start time, so it belongs to no window",
                ))
            };
        }
        if let Some(negative) = all.iter().find(|&&n| n < 0) {
            return Err(Fault::new(
                "negative_counter",
                format!("a counter is {negative}; counters cannot be negative"),
            ));
        }
        let [packets_in, packets_out, bytes_in, bytes_out, started, completed, live] = all.map(|n| n as u64);
        let counters = Counters { packets_in, packets_out, bytes_in, bytes_out, started, completed, live };
        Ok(Reading::Counted(Span::new(start, self.end.max(start)), counters))
    }
}
