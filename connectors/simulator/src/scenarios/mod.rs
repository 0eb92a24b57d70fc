//! Scenarios: trouble that is planted among ordinary traffic, one file for each kind, and what a detector has to bear with.
//!
//! A scenario is a name, a line for people and a function that sets one scene: objects, traffic, and what should be
//! found. To add one, write its file and name it in [`ALL`].

mod addresses;
mod background_chatter;
mod broad_allow;
mod cast;
mod chatter_after_shutdown;
mod config;
mod cross_environment;
mod cross_namespace;
mod default_service_account;
mod denied_at_destination;
mod edit_without_effect;
mod explicit_deny;
mod gone;
mod habits;
mod hidden_ends;
mod implicit_deny;
mod label_mismatch;
mod long_lived;
mod never_established;
mod new_service_account;
mod no_ack;
mod no_policy;
mod no_response;
mod one_sided_report;
mod policy_edits;
mod public_exposure;
mod rolling_deployments;
mod rules;
mod scan;
mod scene;
mod service_without_endpoints;
mod shadowed;
mod staged_forgotten;
mod staged_would_allow;
mod staged_would_deny;
mod stale_verdict;
mod unexpected_destination_identity;
mod unintended_path;
mod unpoliced_egress;
mod unused;
mod wrong_service_account;

use std::fmt;

use catchment_core::{Error, Result};

use self::config::{BOUNDARIES, EXPECTED_ACCOUNTS, ISOLATED_NAMESPACES};
use self::scene::Scene;
use crate::dice::Dice;
use crate::options::Options;
use crate::ordinary;
use crate::script::Script;
use crate::traffic::Shape;
use crate::world::{World, drawn};

/// Trouble that can be planted, or a habit of clusters that a detector has to bear with.
pub struct Scenario {
    /// What it is asked for by.
    pub name: &'static str,
    /// The kind of finding it plants, like `policy.no-policy`; empty if it plants none.
    pub kind: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// What has to be declared to a detector before it can tell: members of its section `findings`, as YAML.
    pub config: &'static str,
    /// Plants it once.
    plant: fn(&mut Scene<'_>),
    /// What it changes about the cluster as a whole.
    pub(crate) habit: fn(&mut Shape),
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Scenario {
    /// A scenario without anything.
    const NONE: Self = Self { name: "", kind: "", doc: "", config: "", plant: |_| {}, habit: |_| {} };

    /// Every scenario, in the order of the families of findings.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        ALL.iter()
    }

    /// Those of some names: a scenario's own, its kind of finding, `all`, or `calm` for none.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<&'static Self>> {
        let mut wanted = Vec::new();
        for name in names {
            let found: Vec<_> = ALL.iter().filter(|s| name == "all" || s.name == name || s.kind == name).collect();
            if found.is_empty() && name != "calm" {
                return Err(Error::user(format!(
                    "there is no scenario `{name}`; `--scenario list` prints those there are"
                )));
            }
            wanted.extend(found);
        }
        // Each once, in the order of the list.
        let is_wanted = |scenario: &&Self| wanted.iter().any(|other| other.name == scenario.name);
        Ok(ALL.iter().filter(is_wanted).collect())
    }
}

static ALL: [Scenario; 48] = [
    no_policy::SCENARIO,
    implicit_deny::SCENARIO,
    explicit_deny::SCENARIO,
    staged_would_deny::SCENARIO,
    staged_would_allow::SCENARIO,
    stale_verdict::DENIED,
    stale_verdict::LET_IN,
    staged_forgotten::SCENARIO,
    label_mismatch::SCENARIO,
    edit_without_effect::SCENARIO,
    broad_allow::SCENARIO,
    shadowed::SCENARIO,
    unused::SCENARIO,
    public_exposure::SCENARIO,
    default_service_account::SCENARIO,
    wrong_service_account::SCENARIO,
    new_service_account::SCENARIO,
    unexpected_destination_identity::SCENARIO,
    cross_environment::SCENARIO,
    cross_namespace::SCENARIO,
    unintended_path::SCENARIO,
    no_response::SCENARIO,
    no_ack::SCENARIO,
    never_established::SCENARIO,
    one_sided_report::SCENARIO,
    denied_at_destination::SCENARIO,
    service_without_endpoints::SCENARIO,
    unpoliced_egress::SCENARIO,
    addresses::METADATA,
    addresses::CREDENTIALS,
    scan::SCENARIO,
    gone::SOURCE,
    gone::DESTINATION,
    long_lived::SCENARIO,
    chatter_after_shutdown::SCENARIO,
    background_chatter::SCENARIO,
    rolling_deployments::SCENARIO,
    policy_edits::SCENARIO,
    hidden_ends::SNAT,
    hidden_ends::HOST_NETWORK,
    hidden_ends::DNS_CACHE,
    hidden_ends::DENY_REPEATS,
    habits::LATE_REPORTS,
    habits::DUPLICATED_REPORTS,
    habits::MISSING_REPORTER,
    habits::NODE_RESTARTS,
    habits::CLOCK_SKEW,
    habits::EBPF,
];

/// Before the first plant there is a time without any.
const LEAD_SECS: i64 = 300;
/// The longest time from one plant of a scenario to its next.
const GAP_SECS: i64 = 300;
/// Pods of a plant talk so long before it and after its end, so that many plants do not all talk at once.
const AROUND_SECS: i64 = 3600;
/// A plant that ends lasts at least this long, and at most twice.
const LAST_SECS: i64 = 1200;

/// What the scenarios of `options` add to a cluster, and all there is to be found in it.
pub(crate) fn script(options: &Options, shape: &Shape, world: &World) -> Result<Script> {
    let nodes = options.nodes.max(1) as usize;
    let plants = ordinary::plants(world, shape.habits, options.first(), options.known_until());
    let mut script = Script { lines: vec![Vec::new(); nodes], plants, ..Script::default() };
    for scenario in options.chosen()? {
        let plants = if scenario.kind.is_empty() { 1 } else { options.plants };
        for number in 0..plants {
            (scenario.plant)(&mut scene(options, &mut script, scenario, number));
        }
    }
    script.plants.sort_by_key(|plant| plant.from);
    Ok(script)
}

/// Place and time of one plant: plants begin one after the other, and every second one ends.
fn scene<'a>(options: &Options, script: &'a mut Script, scenario: &'static Scenario, number: u32) -> Scene<'a> {
    let name = scenario.name.bytes().fold(0, |name: u64, byte| name.wrapping_mul(257) + u64::from(byte));
    let mut dice = Dice::of(&[options.seed, 10, name, u64::from(number)]);
    let (begin, close) = (options.first().secs(), options.known_until().secs());
    let lead = LEAD_SECS.min((close - begin) / 8);
    let gap = ((close - begin - lead) * 3 / 5 / i64::from(options.plants.max(1))).clamp(1, GAP_SECS);
    let from = begin + lead + gap * i64::from(number) + dice.below(gap as u64) as i64;
    let until = from + LAST_SECS + dice.below(LAST_SECS as u64) as i64;
    let until = Some(until).filter(|until| number % 2 == 1 && *until < close);
    Scene {
        script,
        scenario,
        number: number as usize,
        begin,
        since: begin.max(from - AROUND_SECS),
        from,
        until,
        end: until.map_or(close, |until| close.min(until + AROUND_SECS)),
        close,
        // The last three are left to the habits that a detector has to bear with.
        nodes: (options.nodes as usize).saturating_sub(3).max(1),
        tag: drawn(dice.clone(), 4),
        dice,
    }
}
