//! Asymmetric or one-sided traffic.

pub(super) mod no_response;
