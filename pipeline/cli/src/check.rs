//! `catchment check`: validate, connect to everything, say what was found. Starts nothing.

mod findings;

use std::path::Path;
use std::time::SystemTime;

use catchment_core::{Error, EventTime, Period, Result};
use catchment_runtime::pipeline::LogKind;
use catchment_runtime::spool::{self, Limits};
use prometheus_client::registry::Registry;

use crate::config::{Config, LogConfig};
use crate::{knowledge, wiring};

pub(crate) fn check(path: &Path) -> Result<()> {
    crate::start_log(&LogConfig { level: "warn".to_owned(), ..LogConfig::default() })?;
    let config = Config::load(path)?;
    crate::emit(&format!("configuration {}: ok\n", path.display()))?;
    for warning in findings::warnings(&config, crate::args::now()) {
        crate::emit(&format!("warning: {warning}\n"))?;
    }
    let failures = crate::tokio_runtime()?.block_on(connect(&config))?;
    match failures {
        0 => Ok(()),
        n => Err(Error::user(format!("{n} of the sources, logs, sinks and clusters cannot be used; see above"))),
    }
}

async fn connect(config: &Config) -> Result<usize> {
    let mut failures = 0;
    if let Some(kubernetes) = &config.enrich.kubernetes {
        failures += report("knowledge", "kubernetes", knowledge::check(kubernetes).await)?;
    }
    for (name, source) in &config.sources {
        let found = match wiring::source(source, &mut Registry::default()) {
            Ok(mut source) => source.check().await,
            Err(e) => Err(e),
        };
        failures += report("source", name, found)?;
        if let LogKind::Spool { dir, limits } = wiring::log_kind(config, name, source) {
            failures += report("log", name, look_at(&dir, limits))?;
        }
    }
    for (name, sink) in &config.sinks {
        let found = match wiring::sink(config, name, sink, &mut Registry::default()) {
            Ok(mut sink) => sink.check().await,
            Err(e) => Err(e),
        };
        failures += report("sink", name, found)?;
    }
    Ok(failures)
}

/// What is in the log, which a running process may be writing.
fn look_at(dir: &Path, limits: Limits) -> Result<String> {
    let path = dir.display();
    let Some(view) = spool::view(dir)? else { return Ok(format!("{path} is empty yet")) };
    let size = format!("{:.1} of {:.1} MiB", mebibytes(view.bytes), mebibytes(limits.max_bytes));
    let places = format!("positions {} to {} in {} segments", view.first.0, view.end.0, view.segments);
    let oldest = view.oldest.map(|oldest| format!("from {oldest}"));
    let newest = view.newest.map(|newest| format!("read up to {newest}, {} ago", age(newest)));
    let unfinished = (view.unfinished > 0)
        .then(|| format!("then {} bytes of an append that is unfinished or being written", view.unfinished));
    let found = [Some(format!("{path}: {size}")), Some(places), oldest, newest, unfinished];
    Ok(found.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// By the clock of this machine, in whole seconds.
fn age(time: EventTime) -> Period {
    let now = EventTime::from(SystemTime::now()).secs();
    Period::secs(u64::try_from(now.saturating_sub(time.secs().max(0))).unwrap_or_default())
}

/// Prints one line; returns how many failures it told of.
fn report(kind: &str, name: &str, found: Result<String>) -> Result<usize> {
    let (line, failures) = match found {
        Ok(found) => (format!("{kind} {name}: ok, {found}\n"), 0),
        Err(e) => (format!("{kind} {name}: FAILED, {}\n", e.chain()), 1),
    };
    crate::emit(&line).map(|()| failures)
}
