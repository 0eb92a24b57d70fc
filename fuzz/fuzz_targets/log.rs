//! Segments of the log, broken in every way.

#![no_main]

use catchment_fuzz::log::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
