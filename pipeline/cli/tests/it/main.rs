//! Tests over the whole: what no single crate can see.

mod bytes;
mod demo;
mod run_files;
mod stalled_sink;
mod tidy;
