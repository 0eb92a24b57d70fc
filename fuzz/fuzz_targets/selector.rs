//! Selectors, their canonical form and what they match.

#![no_main]

use catchment_fuzz::selector::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
