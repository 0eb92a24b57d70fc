//! What scenarios add to the ordinary cluster: objects and what becomes of them, traffic, and what was planted.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use catchment_core::{Error, EventTime, Result};
use catchment_schemas::goldmane::{FlowKey, Reporter};
use serde_json::{Value, json};

use crate::ring::Tally;

const SECOND: f64 = 1e6;

/// Everything that scenarios add; without any it is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Objects that are there when the nodes begin to count.
    pub(crate) objects: Vec<Value>,
    /// When and how objects change after that.
    pub(crate) changes: Vec<(i64, &'static str, Value)>,
    /// Traffic by the node that reports it.
    pub(crate) lines: Vec<Vec<Line>>,
    pub(crate) plants: Vec<Plant>,
    /// Objects that several plants need and that are there already.
    pub(crate) shared: HashSet<String>,
    /// Addresses that were given to pods.
    pub(crate) addresses: u32,
}

impl Script {
    /// Writes what was planted, one line for each.
    pub(crate) fn write_plants(&self, file: &Path) -> Result<()> {
        let lines: String = self.plants.iter().map(|plant| plant.to_line() + "\n").collect();
        fs::write(file, lines).map_err(|e| {
            let place = file.display();
            Error::user(format!("cannot write what was planted to `{place}`; its folder must exist and be writable"))
                .caused_by(e)
        })
    }
}

/// Something that a detector should find, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Plant {
    /// The kind of finding, like `policy.no-policy`.
    pub kind: &'static str,
    /// Members of the finding's subject.
    pub subject: Value,
    /// The first moment at which traffic or objects show it.
    pub from: EventTime,
    /// When it ends; `None` if it never does.
    pub until: Option<EventTime>,
    /// The scenario that planted it.
    pub scenario: &'static str,
}

impl Plant {
    /// The plant as a line of JSON, without the line feed.
    pub fn to_line(&self) -> String {
        let until = self.until.map(EventTime::to_rfc3339);
        json!({"kind": self.kind, "subject": self.subject, "from": self.from.to_rfc3339(), "until": until,
            "scenario": self.scenario})
        .to_string()
    }
}

/// One end's part of a conversation, for a time.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// First second.
    pub(crate) from: i64,
    /// First second after it.
    pub(crate) until: i64,
    pub(crate) key: FlowKey,
    pub(crate) source_labels: Vec<String>,
    pub(crate) dest_labels: Vec<String>,
    pub(crate) pace: Pace,
}

impl Line {
    /// What the node counts from `from` to `at`, in microseconds; `None` if it has nothing to report.
    pub(crate) fn tally(&self, from: i64, at: i64) -> Option<Tally> {
        let (first, last) = (self.from * 1_000_000, self.until * 1_000_000);
        let (from, at) = (from.max(first), at.min(last));
        if from >= at {
            return None;
        }
        let within = ((from - first) as f64 / SECOND, (at - first) as f64 / SECOND);
        let tally = self.pace.tally(within, self.key.reporter());
        // A deny that is sent again has counted nothing; else somebody must be there.
        (self.pace.is_repeated || tally != Tally::default()).then_some(tally)
    }
}

/// How a conversation goes. What was counted by a moment is a function of the time since it began, so both ends
/// come to the same sums whenever their nodes flush.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Packets a second.
    pub(crate) requests: f64,
    /// Packets a second.
    pub(crate) replies: f64,
    /// Bytes per packet.
    pub(crate) request_bytes: f64,
    /// Bytes per packet.
    pub(crate) reply_bytes: f64,
    /// Connections begun a second.
    pub(crate) starts: f64,
    /// Seconds that a connection lives; without, it neither completes nor is seen again.
    pub(crate) life: Option<f64>,
    /// Connections that were open before and stay so.
    pub(crate) open: i64,
    /// Seconds between bursts; 0 if it flows evenly.
    pub(crate) every: f64,
    /// Whether it is reported although nothing is counted.
    pub(crate) is_repeated: bool,
}

impl Pace {
    /// Requests, answered, over connections that come and go.
    pub(crate) const STEADY: Self = Self {
        requests: 20.0,
        replies: 20.0,
        request_bytes: 300.0,
        reply_bytes: 900.0,
        starts: 0.5,
        life: Some(10.0),
        open: 2,
        every: 0.0,
        is_repeated: false,
    };
    /// First packets that are turned away or get lost.
    pub(crate) const KNOCKS: Self = Self {
        requests: 1.0,
        replies: 0.0,
        request_bytes: 60.0,
        reply_bytes: 0.0,
        starts: 0.5,
        life: None,
        open: 0,
        ..Self::STEADY
    };
    /// A connection that nothing is sent over.
    pub(crate) const IDLE: Self = Self { requests: 0.0, replies: 0.0, starts: 0.0, open: 1, ..Self::STEADY };

    fn tally(&self, (from, at): (f64, f64), reporter: Reporter) -> Tally {
        let counted = |rate| self.by(rate, at) - self.by(rate, from);
        let (request, reply) = (counted(self.requests), counted(self.replies));
        let (request_bytes, reply_bytes) =
            ((request as f64 * self.request_bytes) as i64, (reply as f64 * self.reply_bytes) as i64);
        let is_dest = reporter == Reporter::Dst;
        let started = counted(self.starts);
        let gone = |at| self.life.map_or_else(|| self.by(self.starts, from), |life| self.by(self.starts, at - life));
        Tally {
            packets_in: if is_dest { request } else { reply },
            packets_out: if is_dest { reply } else { request },
            bytes_in: if is_dest { request_bytes } else { reply_bytes },
            bytes_out: if is_dest { reply_bytes } else { request_bytes },
            num_connections_started: started,
            num_connections_completed: if self.life.is_some() { gone(at) - gone(from) } else { 0 },
            num_connections_live: self.by(self.starts, at) - gone(from) + self.open,
        }
    }

    /// What has come together at a moment.
    fn by(&self, rate: f64, at: f64) -> i64 {
        let at = if self.every > 0.0 { (at / self.every).floor() * self.every } else { at };
        (rate * at.max(0.0)).floor() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pace: Pace) -> Line {
        let key = FlowKey { reporter: Reporter::Src as i32, ..FlowKey::default() };
        Line { from: 100, until: 400, key, source_labels: Vec::new(), dest_labels: Vec::new(), pace }
    }

    fn sum(line: &Line, cuts: &[i64]) -> Tally {
        let mut sum = Tally::default();
        for cut in cuts.windows(2) {
            sum += line.tally(cut[0] * 1_000_000, cut[1] * 1_000_000).unwrap_or_default();
        }
        sum
    }

    #[test]
    fn sums_do_not_depend_on_when_a_node_flushes() {
        let line = line(Pace { requests: 1.3, replies: 0.7, ..Pace::STEADY });
        let (a, b) = (sum(&line, &[90, 107, 161, 420]), sum(&line, &[0, 500]));
        assert_eq!((a.packets_out, a.packets_in, a.bytes_in), (b.packets_out, b.packets_in, b.bytes_in));
        assert_eq!((a.num_connections_started, a.packets_out), (150, 390));
    }

    #[test]
    fn every_connection_that_lives_is_seen_until_it_completes() {
        let line = line(Pace { starts: 0.1, life: Some(25.0), open: 0, ..Pace::STEADY });
        let first = line.tally(100_000_000, 130_000_000).unwrap();
        assert_eq!((first.num_connections_started, first.num_connections_completed), (3, 0));
        let second = line.tally(130_000_000, 145_000_000).unwrap();
        let counted = (second.num_connections_started, second.num_connections_completed, second.num_connections_live);
        assert_eq!(counted, (1, 2, 4));
    }

    #[test]
    fn outside_its_time_and_between_bursts_there_is_nothing_to_report() {
        let line = line(Pace { starts: 0.0, open: 0, every: 60.0, ..Pace::STEADY });
        assert_eq!(line.tally(0, 100_000_000), None);
        assert_eq!(line.tally(101_000_000, 159_000_000), None);
        assert_eq!(line.tally(159_000_000, 161_000_000).unwrap().packets_out, 1200);
        assert_eq!(line.tally(400_000_000, 500_000_000), None);
    }
}
