//! Private networks, cloud metadata, and who looks around.

pub(super) mod scan;
pub(super) mod unpoliced_egress;
