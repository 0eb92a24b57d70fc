//! What every decoder must keep, whatever bytes it is given.
//!
//! One module a target. `check` takes the fuzzer's bytes and panics where a decoder is wrong, so a
//! crash that was found is replayed by giving the file to the target again.

#[cfg(feature = "config")]
pub mod config;
mod fold;
pub mod framing;
pub mod goldmane;
pub mod json_flow;
pub mod log;
pub mod wire;
