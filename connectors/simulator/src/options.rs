//! What a simulation is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use catchment_core::{Error, EventTime, Period, Result};

use crate::scenarios::Scenario;
use crate::traffic::{Habits, Shape};

/// What a simulation is told; the default is a small cluster in real time.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where the collector listens, without encryption.
    pub listen: SocketAddr,
    /// Everything else equal, the same seed gives the same flows.
    pub seed: u64,
    /// Nodes that report, at least one.
    pub nodes: u32,
    /// Reports per second of event time, all nodes together.
    pub flows_per_second: u32,
    /// Seconds of event time per second of wall time, above 0.
    pub speed: f64,
    /// What the simulated clock shows at first.
    pub start: EventTime,
    /// Event time after which nodes fall silent; the collector goes on answering. Endless if absent.
    pub duration: Option<Period>,
    /// History that is there at first, counted back from `start`.
    pub backfill: Period,
    /// Where to write what the cluster really produced.
    pub truth: Option<PathBuf>,
    /// Folder for what a cluster's API would say of it: `objects.json` as `kubectl get -o json` prints it when the nodes
    /// begin to count, and `changes.jsonl`, the changes of the duration or of a day.
    pub knowledge: Option<PathBuf>,
    /// Share of the flushes that reach the collector one to four minutes late, 0 to 1.
    pub late_share: f64,
    /// Whether nodes connect anew now and then and send five minutes of flows again, which the
    /// collector counts twice.
    pub resend: bool,
    /// When the collector restarts, counted from `start`: it has forgotten everything, and nodes send
    /// it five minutes of flows again.
    pub restart_after: Option<Period>,
    /// Names of scenarios that are mixed in; see [`crate::Scenario`].
    pub scenarios: Vec<String>,
    /// How often each of them is planted.
    pub plants: u32,
    /// Where to write what was planted, and when, as lines of JSON.
    pub plants_truth: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7443)),
            seed: 1,
            nodes: 5,
            flows_per_second: 200,
            speed: 1.0,
            // 2026-01-01T00:00:00Z
            start: EventTime::from_secs(1_767_225_600),
            duration: None,
            backfill: Period::secs(0),
            truth: None,
            knowledge: None,
            late_share: 0.01,
            resend: false,
            restart_after: None,
            scenarios: Vec::new(),
            plants: 1,
            plants_truth: None,
        }
    }
}

impl Options {
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::user(text));
        if self.nodes == 0 {
            return wrong("nodes is 0; a cluster has at least one".to_owned());
        }
        if !self.speed.is_finite() || self.speed <= 0.0 {
            return wrong(format!("speed is {}; it must be above 0, and 1 is real time", self.speed));
        }
        if !(0.0..=1.0).contains(&self.late_share) {
            return wrong(format!("late share is {}; it must lie between 0 and 1", self.late_share));
        }
        self.chosen().map(|_| ())
    }

    /// The scenarios that are mixed in.
    pub(crate) fn chosen(&self) -> Result<Vec<&'static Scenario>> {
        Scenario::named(self.scenarios.iter().map(String::as_str))
    }

    pub(crate) fn shape(&self) -> Result<Shape> {
        let mut shape = Shape {
            seed: self.seed,
            nodes: self.nodes,
            flows_per_second: self.flows_per_second,
            late_share: self.late_share,
            resend: self.resend,
            restart: self.restart_after.map(|after| self.start.plus(after.micros())),
            habits: Habits::default(),
        };
        self.chosen()?.into_iter().for_each(|scenario| (scenario.habit)(&mut shape));
        Ok(shape)
    }

    /// When the nodes begin to count.
    pub(crate) const fn first(&self) -> EventTime {
        self.start.plus(-self.backfill.micros())
    }

    /// How far what is known of the cluster reaches.
    pub(crate) fn known_until(&self) -> EventTime {
        self.start.plus(self.duration.unwrap_or(Period::secs(24 * 3600)).micros())
    }

    /// When the nodes fall silent.
    pub(crate) fn end(&self) -> EventTime {
        self.duration.map_or(EventTime::MAX, |d| self.start.plus(d.micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_starts_with_the_year_and_is_valid() {
        let options = Options::default();
        assert_eq!(options.start.to_rfc3339(), "2026-01-01T00:00:00Z");
        assert!(options.validate().is_ok());
    }

    #[test]
    fn impossible_options_are_refused_by_name() {
        let told = |options: Options| options.validate().expect_err("refused").message;
        assert!(told(Options { nodes: 0, ..Options::default() }).contains("nodes"));
        assert!(told(Options { speed: 0.0, ..Options::default() }).contains("speed"));
        assert!(told(Options { speed: f64::NAN, ..Options::default() }).contains("speed"));
        assert!(told(Options { late_share: 1.5, ..Options::default() }).contains("late share"));
    }
}
