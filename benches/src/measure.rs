//! Processor time of this process, repeated and printed.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time this process has used, all threads.
pub fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("benchmarks run on Linux");
    let pages: u64 = pages.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("the second is resident");
    pages * 4096
}

/// Processor time of `rounds` calls: the least and the median.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The fastest round.
    pub least: Duration,
    /// Half of the rounds were faster.
    pub median: Duration,
}

impl Times {
    fn of(mut rounds: Vec<Duration>) -> Self {
        rounds.sort_unstable();
        Self { least: rounds[0], median: rounds[rounds.len() / 2] }
    }
}

/// Much longer than what the clock and the first call cost.
const ROUND: Duration = Duration::from_millis(500);

/// Measures two calls turn by turn, so that both meet the same machine.
pub fn pair(rounds: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> (Times, Times) {
    let (calls_a, calls_b) = (calls_a_round(&mut a), calls_a_round(&mut b));
    let measured = (0..rounds).map(|_| (cost(calls_a, &mut a), cost(calls_b, &mut b)));
    let (of_a, of_b) = measured.unzip();
    (Times::of(of_a), Times::of(of_b))
}

/// How many calls fill a round; warms up on the way.
fn calls_a_round(call: &mut impl FnMut()) -> u32 {
    let start = cpu();
    let mut calls = 0;
    while cpu().saturating_sub(start) < ROUND {
        call();
        calls += 1;
    }
    calls
}

/// Processor time of one call, on average over `calls`.
fn cost(calls: u32, call: &mut impl FnMut()) -> Duration {
    spent(|| (0..calls).for_each(|_| call())) / calls
}

/// Processor time of a call.
pub fn spent(call: impl FnOnce()) -> Duration {
    let start = cpu();
    call();
    cpu().saturating_sub(start)
}

/// One line of a table: what was done `count` times, beside its reference.
pub fn report(what: &str, count: usize, times: Times, reference: Times, budget: f64) {
    let per = |time: Duration| time.as_secs_f64() * 1e9 / count as f64;
    let rate = 1e9 / per(times.median);
    println!(
        "{what:<34} {:>9.0} /s  {:>7.1} ns median {:>7.1} least   reference {:>7.1} ns, ratio {:.2}   budget {budget:>9.0} /s {}",
        rate,
        per(times.median),
        per(times.least),
        per(reference.median),
        per(times.median) / per(reference.median),
        if rate >= budget { "met" } else { "MISSED" },
    );
}
