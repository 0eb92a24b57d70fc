//! Measures how good the findings are: `quality full|brief|calm|memory|look COURSE SEED`.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::{env, fs, thread};

use catchment_core::{Error, Result};
use catchment_quality::{
    Course, JUDGED_FROM, KEYS, MOST_BYTES, Scores, brief, bytes_a_key, calm, full, page, run, table,
};
use catchment_simulator::Options;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
quality full FILE   every kind at least 300 times and a calm week; writes the page FILE
quality brief       a few of every kind over three clusters; fails where a kind is below the bar
quality calm        the calm week alone
quality memory      what is remembered of a million flow keys; fails above the bound
quality look COURSE SEED
                    every miss and every false finding of one cluster, for a SEED below 1000";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["full", file] => write_page(Path::new(file)),
        ["brief"] => judge(&brief()),
        ["calm"] => over(&[calm()], JUDGED_FROM).map(|scores| show(&scores)),
        ["memory"] => remember(),
        ["look", course, seed] => look(course, seed),
        _ => Err(Error::user(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write_page(file: &Path) -> Result<()> {
    // The calm week takes longest by itself.
    let (quiet, scores) = thread::scope(|scope| {
        let quiet = scope.spawn(|| over(&[calm()], JUDGED_FROM));
        let scores = over(&full(), JUDGED_FROM);
        (quiet.join().expect("it does not panic"), scores)
    });
    let (quiet, scores) = (quiet?, scores?);
    show(&quiet);
    show(&scores);
    fs::write(file, page(&scores, &quiet, &made()))
        .map_err(|e| Error::user(format!("cannot write `{}`", file.display())).caused_by(e))
}

/// When, where and with what the page was made.
fn made() -> String {
    let date = Command::new("date").args(["-u", "+%F"]).output().ok();
    let date = date.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let courses: Vec<_> = full().iter().map(Course::describe).collect();
    format!("Made on {date}, {} x {processor}, by `make quality`. {}", cores(), courses.join(" "))
}

fn judge(courses: &[Course]) -> Result<()> {
    let scores = over(courses, JUDGED_FROM)?;
    show(&scores);
    let failing: Vec<_> = scores.failing().iter().map(|kind| kind.name()).collect();
    if failing.is_empty() { Ok(()) } else { Err(Error::user(format!("below the bar: {}", failing.join(", ")))) }
}

fn remember() -> Result<()> {
    let bytes = bytes_a_key();
    println!("{bytes} B remembered for each of {KEYS} flow keys, at most {MOST_BYTES}");
    if bytes <= MOST_BYTES { Ok(()) } else { Err(Error::user("above the bound")) }
}

fn look(course: &str, seed: &str) -> Result<()> {
    let seed = seed.parse().map_err(|_| Error::user(format!("`{seed}` is no seed")))?;
    let mut courses = full();
    courses.push(calm());
    let names: Vec<_> = courses.iter().map(|course| course.name).collect();
    let unknown = || Error::user(format!("there is no course `{course}`; there are {}", names.join(", ")));
    let mut course = courses.iter().find(|known| known.name == course).cloned().ok_or_else(unknown)?;
    course.clusters = 1;
    show(&over(&[course], seed)?);
    Ok(())
}

fn show(scores: &Scores) {
    for complaint in &scores.complaints {
        println!("{complaint}");
    }
    println!(
        "{}\n{} windows, {} reports, {} findings at medium or above",
        table(scores),
        scores.windows,
        scores.flows,
        scores.grave
    );
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs every cluster of some courses, as many at a time as there are cores.
fn over(courses: &[Course], first_seed: u64) -> Result<Scores> {
    let clusters: Vec<Options> = courses.iter().flat_map(|course| course.options(first_seed)).collect();
    let (queue, sum) = (Mutex::new(clusters.into_iter().enumerate()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let next = queue.lock().expect("nobody panics with it").next();
            let Some((number, options)) = next else { return };
            let scores = run(&options).map(|outcome| Scores::of(&outcome));
            sum.lock().expect("nobody panics with it").push((number, scores));
        }
    };
    thread::scope(|scope| (0..cores()).for_each(|_| drop(scope.spawn(work))));
    let mut all = sum.into_inner().expect("nobody panicked with it");
    all.sort_by_key(|(number, _)| *number);
    let mut scores = Scores::default();
    for (_, of_one) in all {
        scores.add(of_one?);
    }
    Ok(scores)
}
