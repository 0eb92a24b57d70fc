//! Lines of flow JSON through the fold.

#![no_main]

use catchment_fuzz::json_flow::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
