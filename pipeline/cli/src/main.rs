//! The binary `catchment`: arguments, configuration, wiring.

#[allow(dead_code, reason = "the commands that read it follow")]
mod config;

fn main() {}
