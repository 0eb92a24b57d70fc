//! Flow objects found in a stream of bytes.

#![no_main]

use catchment_fuzz::framing::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check(data));
