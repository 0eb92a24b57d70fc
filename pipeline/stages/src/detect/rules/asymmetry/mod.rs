//! Asymmetric or one-sided traffic.

mod causes;
pub(super) mod denied_at_destination;
pub(super) mod never_established;
pub(super) mod no_ack;
pub(super) mod no_response;
pub(super) mod one_sided_report;
pub(super) mod service_without_endpoints;
