//! Asymmetric or one-sided traffic.

mod causes;
pub(super) mod denied_at_destination;
pub(super) mod never_established;
pub(super) mod no_ack;
pub(super) mod no_response;
