//! Tests over the whole: what no single crate can see.

mod tidy;
