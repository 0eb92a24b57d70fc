//! The cluster and its collector moving through event time together, without a network or a clock.

use catchment_core::{EventTime, Result};

use crate::ledger::Ledger;
use crate::ring::Ring;
use crate::script::Script;
use crate::traffic::{LONGEST_FLUSH_SECS, RESEND, Report, Shape, Traffic};

/// Moves by [`Cluster::advance`]; how often that is called changes nothing.
pub(crate) struct Cluster {
    pub(crate) ring: Ring,
    traffic: Traffic,
    ledger: Option<Ledger>,
    /// Seconds after which the ledger of a bucket cannot change any more.
    settled_secs: i64,
    now: EventTime,
    /// No node flushes after this.
    end: EventTime,
    /// When the collector restarts; `MAX` once it has, or if it never does.
    restart: EventTime,
}

impl Cluster {
    pub(crate) fn new(shape: Shape, script: Script, start: EventTime, end: EventTime, ledger: Option<Ledger>) -> Self {
        let ring = Ring::new(start.secs());
        let sent_again = if shape.resend { RESEND / 1_000_000 } else { 0 };
        let settled_secs = LONGEST_FLUSH_SECS + sent_again;
        let restart = shape.restart.unwrap_or(EventTime::MAX);
        Self { ring, traffic: Traffic::new(shape, script, start.0), ledger, settled_secs, now: start, end, restart }
    }

    pub(crate) const fn now(&self) -> EventTime {
        self.now
    }

    /// Lets everything happen that happens up to and including `now`, in the order of event time.
    pub(crate) fn advance(&mut self, now: EventTime) {
        while self.step(now.0) {}
        if now > self.now {
            self.now = now;
            self.ring.advance_to(now.secs());
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.close_until(self.now.secs() - self.settled_secs, &self.ring);
        }
    }

    /// The next thing that happens by `now`; `false` if there is none.
    fn step(&mut self, now: i64) -> bool {
        let flush = Some(self.traffic.next_flush()).filter(|&at| at <= self.end.0).unwrap_or(i64::MAX);
        let arrival = self.traffic.next_arrival();
        let at = flush.min(arrival).min(self.restart.0);
        if at > now || at == i64::MAX {
            return false;
        }
        if at == self.restart.0 {
            self.restart = EventTime::MAX;
            self.ring.forget();
            self.traffic.reconnect(at);
            return true;
        }
        self.ring.advance_to(at.div_euclid(1_000_000));
        let reports = if flush <= arrival { self.flush() } else { self.traffic.arrive() };
        self.store(&reports);
        true
    }

    /// A node flushes; what is returned arrives at once.
    fn flush(&mut self) -> Vec<Report> {
        let at = self.traffic.next_flush();
        let flush = self.traffic.flush(&mut self.ring);
        if let Some(ledger) = &mut self.ledger {
            ledger.enter(&flush);
            // Here too, so that one long step does not gather all its buckets.
            ledger.close_until(at.div_euclid(1_000_000) - self.settled_secs, &self.ring);
        }
        if flush.arrival > at { Vec::new() } else { flush.reports }
    }

    fn store(&mut self, reports: &[Report]) {
        for r in reports {
            self.ring.add(r.slot, r.start, r.labels, r.tally);
        }
    }

    /// Writes the end of the ledger.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.ledger.take().map_or(Ok(()), |ledger| ledger.finish(&self.ring))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use catchment_schemas::goldmane::{FlowListRequest, FlowListResult};
    use prost::Message;
    use serde_json::Value;

    use super::*;
    use crate::traffic::Habits;

    const START: EventTime = EventTime::from_secs(1_767_225_600);
    const HABITS: Habits = Habits { is_silent: false, restarts: false, is_fast: false, hides_services: false };
    const SHAPE: Shape = Shape {
        seed: 7,
        nodes: 3,
        flows_per_second: 20,
        late_share: 0.1,
        resend: false,
        restart: None,
        habits: HABITS,
    };

    /// A ledger's file that a test can read.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("paper").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn lines(&self) -> Vec<Value> {
            let bytes = self.0.lock().expect("paper").clone();
            let text = String::from_utf8(bytes).expect("text");
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
        }
    }

    /// Runs ten minutes in steps of `step`, waits for what is late, and closes the ledger.
    fn run(shape: Shape, step: i64) -> (Cluster, Paper) {
        let paper = Paper::default();
        let ledger = Ledger::to(Box::new(paper.clone()));
        let mut cluster = Cluster::new(shape, Script::default(), START, START.plus(600_000_000), Some(ledger));
        for at in (0..=900).step_by(step as usize) {
            cluster.advance(START.plus(at * 1_000_000));
        }
        cluster.finish().expect("ledger");
        (cluster, paper)
    }

    fn whole(cluster: &Cluster) -> FlowListResult {
        cluster.ring.list(&FlowListRequest::default(), cluster.now().secs()).expect("list")
    }

    #[test]
    fn one_seed_gives_the_same_bytes_however_time_moves() {
        let ((a, paper_a), (b, paper_b)) = (run(SHAPE, 1), run(SHAPE, 900));
        assert_eq!(whole(&a).encode_to_vec(), whole(&b).encode_to_vec());
        assert_eq!(*paper_a.0.lock().expect("paper"), *paper_b.0.lock().expect("paper"));
        let (other, _) = run(Shape { seed: 8, ..SHAPE }, 900);
        assert_ne!(whole(&a), whole(&other));
    }

    #[test]
    fn the_ledger_is_what_every_bucket_holds_in_the_end() {
        let (cluster, paper) = run(SHAPE, 10);
        let lines = paper.lines();
        let (end, flows) = lines.split_last().expect("a last line");
        assert_eq!((&end["end_of_ledger"], &end["flows"]), (&true.into(), &flows.len().into()));
        let mut told: BTreeMap<(i64, String), [i64; 7]> = BTreeMap::new();
        for line in flows {
            let at = (line["bucket_start"].as_i64().expect("start"), line["key"].to_string());
            let twice = told.insert(at, FIELDS.map(|f| line[f].as_i64().expect("counter")));
            assert_eq!(twice, None);
        }
        assert_eq!(told, held(&cluster));
        assert!(told.len() > 100);
    }

    const FIELDS: [&str; 7] = [
        "packets_in",
        "packets_out",
        "bytes_in",
        "bytes_out",
        "num_connections_started",
        "num_connections_completed",
        "num_connections_live",
    ];

    /// What single-bucket lists say, in the ledger's terms.
    fn held(cluster: &Cluster) -> BTreeMap<(i64, String), [i64; 7]> {
        let mut held = BTreeMap::new();
        for bucket in 0..60 {
            let start = START.secs() + 15 * bucket;
            let request =
                FlowListRequest { start_time_gte: start, start_time_lt: start + 15, ..FlowListRequest::default() };
            for row in cluster.ring.list(&request, cluster.now().secs()).expect("list").flows {
                let flow = row.flow.expect("a flow");
                let key = crate::ledger::key_json(flow.key.as_ref().expect("a key")).to_string();
                let counters = [
                    flow.packets_in,
                    flow.packets_out,
                    flow.bytes_in,
                    flow.bytes_out,
                    flow.num_connections_started,
                    flow.num_connections_completed,
                    flow.num_connections_live,
                ];
                held.insert((flow.start_time, key), counters);
            }
        }
        held
    }

    #[test]
    fn late_reports_are_invisible_to_a_reader_that_waits_a_minute_and_marked() {
        let shape = Shape { late_share: 0.3, ..SHAPE };
        let (cluster, paper) = run(shape, 10);
        let mut early = Cluster::new(shape, Script::default(), START, START.plus(600_000_000), None);
        let bucket = START.secs() + 300;
        early.advance(EventTime::from_secs(bucket + 75));
        let before = early.ring.bucket(bucket, None);
        let after = cluster.ring.bucket(bucket, None);
        let late = paper.lines().iter().filter(|l| l["bucket_start"] == bucket && l["late"] == true).count();
        let packets = |rows: &[catchment_schemas::goldmane::FlowResult]| -> i64 {
            rows.iter().filter_map(|r| r.flow.as_ref()).map(|f| f.packets_in + f.packets_out).sum()
        };
        assert!(late > 0 && packets(&before) < packets(&after));
    }

    #[test]
    fn resent_flows_are_counted_twice_but_not_true() {
        let busy = Shape { nodes: 30, flows_per_second: 30, late_share: 0.0, ..SHAPE };
        let ((plain, truth), (twice, same)) = (run(busy, 900), run(Shape { resend: true, ..busy }, 900));
        let live = |c: &Cluster| -> i64 {
            whole(c).flows.iter().filter_map(|r| r.flow.as_ref()).map(|f| f.num_connections_live).sum()
        };
        assert!(live(&twice) > live(&plain));
        let flows = |paper: &Paper, again: bool| -> Vec<Value> {
            let is_again = |line: &Value| line["sent_again"] == true;
            paper.lines().into_iter().filter(|l| l["key"].is_object() && is_again(l) == again).collect()
        };
        assert_eq!(flows(&truth, false), flows(&same, false));
        let live_again: i64 = flows(&same, true).iter().filter_map(|l| l["num_connections_live"].as_i64()).sum();
        assert_eq!(live(&twice) - live(&plain), live_again);
    }

    #[test]
    fn a_restarted_collector_has_five_minutes_again_and_nothing_twice() {
        let at = START.plus(600_000_000 - 7_000_000);
        let quiet = Shape { late_share: 0.0, ..SHAPE };
        let ((plain, truth), (restarted, same)) = (run(quiet, 900), run(Shape { restart: Some(at), ..quiet }, 10));
        assert_eq!(truth.lines(), same.lines());
        let (before, after) = (held(&plain), held(&restarted));
        assert!(after.iter().all(|(place, counters)| before[place].iter().zip(counters).all(|(b, a)| a <= b)));
        let recent = |((start, _), _): &(&(i64, String), &[i64; 7])| *start >= at.secs() - 300;
        assert!(after.iter().filter(recent).eq(before.iter().filter(recent)));
        let first = after.keys().next().expect("flows").0;
        assert!((at.secs() - 335..at.secs() - 300).contains(&first), "{first}");
    }

    #[test]
    fn the_rate_is_what_was_asked_for() {
        let shape = Shape { flows_per_second: 100, ..SHAPE };
        let mut traffic = Traffic::new(shape, Script::default(), START.0);
        let mut ring = Ring::new(START.secs());
        let mut reports = 0;
        while traffic.next_flush() < START.plus(600_000_000).0 {
            reports += traffic.flush(&mut ring).reports.len();
        }
        let per_second = reports as f64 / 600.0;
        assert!((90.0..112.0).contains(&per_second), "{per_second}");
    }
}
