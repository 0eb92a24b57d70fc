//! Tests over the whole: what no single crate can see.

use std::process::Command;

mod bytes;
mod demo;
mod run_files;
mod stalled_sink;
mod tidy;

/// The binary under test.
fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_catchment"))
}
