//! Slices of protobuf against the full decode.

#![no_main]

use catchment_fuzz::wire::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
