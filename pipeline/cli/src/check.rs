//! `catchment check`: validate, connect to everything, say what was found. Starts nothing.

use std::path::Path;

use catchment_core::{Error, Result};
use prometheus_client::registry::Registry;

use crate::config::{Config, LogConfig};
use crate::{knowledge, wiring};

pub(crate) fn check(path: &Path) -> Result<()> {
    crate::start_log(&LogConfig { level: "warn".to_owned(), ..LogConfig::default() })?;
    let config = Config::load(path)?;
    crate::emit(&format!("configuration {}: ok\n", path.display()))?;
    let failures = crate::tokio_runtime()?.block_on(connect(&config))?;
    match failures {
        0 => Ok(()),
        n => Err(Error::user(format!("{n} of the sources, sinks and clusters cannot be used; see above"))),
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
    }
    for (name, sink) in &config.sinks {
        let found = match wiring::sink(sink, &mut Registry::default()) {
            Ok(mut sink) => sink.check().await,
            Err(e) => Err(e),
        };
        failures += report("sink", name, found)?;
    }
    Ok(failures)
}

/// Prints one line; returns how many failures it told of.
fn report(kind: &str, name: &str, found: Result<String>) -> Result<usize> {
    let (line, failures) = match found {
        Ok(found) => (format!("{kind} {name}: ok, {found}\n"), 0),
        Err(e) => (format!("{kind} {name}: FAILED, {}\n", e.chain()), 1),
    };
    crate::emit(&line).map(|()| failures)
}
