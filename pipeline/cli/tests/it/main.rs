//! Tests over the whole: what no single crate can see.

use std::process::{Child, Command};

mod bytes;
mod demo;
mod pages;
mod run_files;
mod stalled_sink;
mod tidy;

/// The binary under test.
fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_catchment"))
}

/// Ends the process when the test ends, however it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
