//! A schedule proves something only about what it meets.

use catchment_model::Flaws;
use catchment_model::coverage::{Coverage, Reached};
use catchment_model::schedule::{Plan, run};

#[test]
fn the_schedules_meet_every_fault_and_branch() {
    let mut met = Coverage::default();
    for seed in 0..800 {
        met.merge(&run(&Plan::new(seed, Flaws::NONE)).reached);
    }
    println!("{:#?}", met.0);
    let never: Vec<_> = Reached::ALL.into_iter().filter(|what| !met.0.contains_key(what)).collect();
    assert!(never.is_empty(), "never met: {never:?}");
}
