//! Tests over the whole: what no single crate can see.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

mod bytes;
mod collector_trouble;
mod demo;
mod explained;
mod full_disk;
mod knowledge;
mod lab;
mod lost_log;
mod pages;
mod policies;
mod run_files;
mod small_log;
mod stalled_sink;
mod tidy;

/// The binary under test.
fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_catchment"))
}

/// What the binary says to `input`.
fn catchment(args: &[&str], input: &str) -> Output {
    let mut child = binary()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // One that refuses its arguments may be gone before it is written to.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the binary ends")
}

/// Ends the process when the test ends, however it does.
struct Running(Child);

impl Running {
    /// Asks it to stop; a stopped process exits with 0.
    fn stop(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(asked.expect("kill runs").success());
        assert!(self.0.wait().expect("the process ends").success(), "a stopped process exits with 0");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
