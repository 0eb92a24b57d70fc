//! The binary `catchment`: arguments, configuration, wiring. The only crate that knows every other.

mod args;
mod check;
mod config;
mod demo;
mod findings;
mod knowledge;
mod nearest;
mod run;
mod schema;
mod selector;
mod setup;
mod simulate;
mod trust;
mod why;
mod wiring;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use args::{Args, Command, ConfigCommand};
use catchment_core::{Domain, Error, Result};
use clap::Parser as _;
use config::{Config, LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes: 1 internal or external fault, 2 usage or configuration, 10 a verdict that was asked to fail.
fn main() -> ExitCode {
    // One TLS provider for the whole process, named before anything can ask for another.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command(Args::parse().command) {
        Ok(code) => code,
        Err(e) if catchment_files::is_closed_output(&e) || is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {}", e.chain());
            ExitCode::from(if e.domain == Domain::User { 2 } else { 1 })
        }
    }
}

fn command(command: Command) -> Result<ExitCode> {
    let done = match command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Simulate(args) => simulate::simulate(args.target),
        Command::Check(args) => check::check(&args.config),
        Command::Why(args) => return why::why(&args),
        Command::Selector(args) => selector::selector(&args),
        Command::Findings(command) => return findings::findings(&command),
        Command::Setup(command) => setup::setup(&command),
        Command::Trust(command) => trust::trust(&command),
        Command::Schema(args) => schema::schema(&args),
        Command::Config(ConfigCommand::Print(args)) => emit(&Config::load(&args.config)?.print()),
        Command::Config(ConfigCommand::Schema) => emit(&pretty(&Config::schema())),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Writes to standard output; a reader that has gone away is no error.
fn emit(text: &str) -> Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(output_failed(e)),
        _ => Ok(()),
    }
}

/// Writes to standard output at once; that its reader has gone away is for the caller to know.
fn print_line(text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output_failed)
}

const OUTPUT_FAILED: &str = "cannot write to standard output";

fn output_failed(e: std::io::Error) -> Error {
    Error::external(OUTPUT_FAILED).caused_by(e)
}

/// Whether the reader of standard output has gone away.
fn is_closed_pipe(e: &Error) -> bool {
    let cause = e.source.as_ref().and_then(|source| source.downcast_ref::<std::io::Error>());
    e.message == OUTPUT_FAILED && cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Starts the log on standard error. `RUST_LOG` wins over the configuration.
fn start_log(config: &LogConfig) -> Result<()> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| config.level.clone());
    let filter = EnvFilter::try_new(&level)
        .map_err(|e| Error::user(format!("`{level}` is no log level; write info, debug or a filter")).caused_by(e))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match config.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn tokio_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal("cannot start the async runtime").caused_by(e))
}
