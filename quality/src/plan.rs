//! Which clusters are looked at.

use catchment_core::Period;
use catchment_simulator::{Options, Scenario};

/// Seeds from here on are for judging; those before it are for whoever mends rules.
pub const JUDGED_FROM: u64 = 5000;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Clusters that differ by their seeds alone.
#[derive(Clone, Debug)]
pub struct Course {
    /// What it is called in the table.
    pub name: &'static str,
    /// Names of scenarios; habits that a detector has to bear with are among them.
    pub scenarios: Vec<String>,
    /// How often each scenario is planted in a cluster.
    pub plants: u32,
    /// How many clusters.
    pub clusters: u64,
    /// How long each is looked at, in seconds.
    pub secs: u64,
    /// Reports a second of the calm part of a cluster.
    pub flows_per_second: u32,
}

/// Scenarios that show after days only.
const SLOW: [&str; 3] = ["staged-forgotten", "unused", "new-service-account"];

/// Trouble that shows within hours, with every habit.
fn hours(plants: u32, clusters: u64) -> Course {
    let names = Scenario::all().map(|scenario| scenario.name).filter(|name| !SLOW.contains(name));
    let scenarios = names.map(str::to_owned).collect();
    Course { name: "hours", scenarios, plants, clusters, secs: 3 * HOUR, flows_per_second: 40 }
}

/// Trouble that shows after days.
fn days(plants: u32, clusters: u64) -> Course {
    let scenarios = SLOW.map(str::to_owned).to_vec();
    Course { name: "days", scenarios, plants, clusters, secs: 7 * DAY + 2 * HOUR, flows_per_second: 2 }
}

/// All that the table is made of.
pub fn full() -> Vec<Course> {
    vec![hours(10, 30), days(75, 4)]
}

/// Few plants of every kind: what a change must not make worse.
pub fn brief() -> Vec<Course> {
    vec![hours(4, 3)]
}

/// A week without any plant, with rollouts and edits as ever.
pub fn calm() -> Course {
    Course { name: "calm", scenarios: Vec::new(), plants: 0, clusters: 1, secs: 7 * DAY, flows_per_second: 100 }
}

impl Course {
    /// The clusters, from a seed on.
    pub fn options(&self, first_seed: u64) -> impl Iterator<Item = Options> {
        (first_seed..first_seed + self.clusters).map(|seed| Options {
            seed,
            nodes: 8,
            flows_per_second: self.flows_per_second,
            duration: Some(Period::secs(self.secs)),
            scenarios: self.scenarios.clone(),
            plants: self.plants,
            ..Options::default()
        })
    }

    /// What it is, in a sentence.
    pub fn describe(&self) -> String {
        let (Self { name, clusters, plants, .. }, extent) = (self, self.extent());
        let last = JUDGED_FROM + clusters - 1;
        format!("Course `{name}`: seeds {JUDGED_FROM} to {last}, each {extent}, every scenario planted {plants} times.")
    }

    /// How long and how busy it is.
    pub(crate) fn extent(&self) -> String {
        let (hours, flows) = (self.secs / HOUR, self.flows_per_second);
        format!("{hours} hours of event time with {flows} reports a second of ordinary traffic")
    }
}
