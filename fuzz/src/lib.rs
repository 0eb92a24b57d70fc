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
pub mod selector;
pub mod wire;

/// The configuration belongs to the binary, which nobody depends on, so it is built in here.
#[cfg(feature = "config")]
#[allow(dead_code, reason = "a module of the binary, of which only a part is called")]
#[path = "../../pipeline/cli/src"]
mod cli {
    pub(crate) mod config;
    mod nearest;
}
