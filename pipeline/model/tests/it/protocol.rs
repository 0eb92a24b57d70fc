//! The protocol over thousands of schedules. From the environment: `CATCHMENT_MODEL_SEED` replays one,
//! `CATCHMENT_MODEL_FLAW` with a broken rule, `CATCHMENT_MODEL_SEEDS` runs so many.

use catchment_model::schedule::{Plan, explain, run};
use catchment_model::{Flaw, Flaws};

/// Schedules of one `cargo test`.
const SEEDS: u64 = 3000;
/// Failing schedules of which the shortest is shown.
const COMPARED: usize = 5;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// The name of a flaw from the environment, to replay a broken variant.
fn flaws_to_replay() -> Flaws {
    let Ok(name) = std::env::var("CATCHMENT_MODEL_FLAW") else { return Flaws::NONE };
    let at = Flaw::ALL.iter().position(|flaw| format!("{flaw:?}") == name).expect("CATCHMENT_MODEL_FLAW names a flaw");
    Flaws(&Flaw::ALL[at..=at])
}

#[test]
fn no_schedule_breaks_an_invariant() {
    if let Some(seed) = number("CATCHMENT_MODEL_SEED") {
        let plan = Plan::new(seed, flaws_to_replay());
        println!("{}", explain(&plan));
        assert_eq!(run(&plan).violation, None);
        return;
    }
    let seeds = number("CATCHMENT_MODEL_SEEDS").unwrap_or(SEEDS);
    let plans = (0..seeds).map(|seed| Plan::new(seed, Flaws::NONE));
    let failing = plans.filter(|plan| run(plan).violation.is_some()).take(COMPARED);
    let shortest = failing.map(|plan| explain(&plan)).min_by_key(String::len);
    assert!(shortest.is_none(), "{}\nreplay with CATCHMENT_MODEL_SEED", shortest.unwrap_or_default());
}
