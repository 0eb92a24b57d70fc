//! The sinks against an HTTP server of our own.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod alerts;
mod receiver;
#[path = "../sample/mod.rs"]
mod sample;
mod webhook;
