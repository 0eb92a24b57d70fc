//! Tests over the whole: what no single crate can see.

mod demo;
mod run_files;
mod tidy;
