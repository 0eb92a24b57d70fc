//! The connector against a real API server: what it tells is what was planted, whatever happens between the two.
//!
//! `CATCHMENT_TEST_CLUSTER` names the script that starts servers, `tools/cluster/server.sh`; each test has one of its own.
//! Without it nothing is tested and each test says so; where `CI` is set to true that is a failure.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod access;
mod calico;
mod faults;
mod rollout;
mod scale;
mod support;
