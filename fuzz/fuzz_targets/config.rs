//! Configurations, whatever they say.

#![no_main]

use catchment_fuzz::config::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
