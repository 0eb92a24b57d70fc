//! Answers of the collector through the fold.

#![no_main]

use catchment_fuzz::goldmane::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
