//! A schedule: steps and faults drawn by a seed, then a drain without faults, then judgement.

use crate::coverage::Coverage;
use crate::flaws::Flaws;
use crate::invariants::{Invariant, Violation};
use crate::world::{Step, World};

/// Steps with faults.
const STEPS: usize = 400;
/// Steps without, after which something goes round in circles.
const DRAIN: usize = 3000;

/// What makes a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// What is broken.
    pub flaws: Flaws,
    /// An invariant that is not judged.
    pub blind_to: Option<Invariant>,
    /// Steps after which faults stop.
    pub faulty: usize,
    /// Whether to write down what happens.
    pub traced: bool,
}

impl Plan {
    /// The usual one for a seed.
    pub const fn new(seed: u64, flaws: Flaws) -> Self {
        Self { seed, flaws, blind_to: None, faulty: STEPS, traced: false }
    }
}

/// What a schedule came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first thing that did not hold.
    pub violation: Option<Violation>,
    /// What was met.
    pub reached: Coverage,
    /// Steps taken.
    pub steps: usize,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs one schedule.
pub fn run(plan: &Plan) -> Outcome {
    let mut world = World::new(plan);
    let mut steps = Vec::new();
    let mut taken = 0;
    while world.around.judge.violation.is_none() && taken < plan.faulty + DRAIN {
        if taken == plan.faulty {
            world.stop_faults();
        }
        world.steps(taken < plan.faulty, &mut steps);
        let Some(step) = choose(&mut world, &steps) else { break };
        world.take(step);
        taken += 1;
    }
    if taken == plan.faulty + DRAIN {
        world.around.judge.fail(Invariant::Drains, || format!("still busy after {DRAIN} steps without faults"));
    }
    world.judge();
    let around = world.around;
    let trace = around.trace.unwrap_or_default();
    Outcome { violation: around.judge.violation, reached: around.reached, steps: taken, trace }
}

/// The readable account of a schedule: faults stop as early as they still make it fail.
pub fn explain(plan: &Plan) -> String {
    let fails = |faulty: &usize| run(&Plan { faulty: *faulty, ..*plan }).violation.is_some();
    let faulty = (0..plan.faulty).find(fails).unwrap_or(plan.faulty);
    let outcome = run(&Plan { faulty, traced: true, ..*plan });
    let end = outcome.violation.map_or("everything holds".to_owned(), |v| format!("{:?}: {}", v.invariant, v.detail));
    format!("seed {}, {:?}\n{}\n=> {end}", plan.seed, plan.flaws, outcome.trace.join("\n"))
}

fn choose(world: &mut World, steps: &[(Step, usize)]) -> Option<Step> {
    let total: usize = steps.iter().map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    let mut at = world.around.rng.below(total);
    for (step, weight) in steps {
        match at.checked_sub(*weight) {
            Some(rest) => at = rest,
            None => return Some(*step),
        }
    }
    None
}
