//! Tests over the whole: what no single crate can see.

use std::io::Write as _;
use std::process::{Output, Stdio};

use self::process::{Running, binary};

mod bytes;
mod collector_trouble;
mod demo;
mod explained;
mod findings;
mod full_disk;
mod killed;
mod knowledge;
mod lab;
mod links;
mod lost_log;
mod pages;
mod policies;
mod process;
mod run_files;
mod setup;
mod simulate;
mod small_log;
mod stalled_sink;
mod tidy;

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
