//! Tests over the whole: what no single crate can see.

mod run_files;
mod tidy;
