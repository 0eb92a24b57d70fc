//! Private networks, cloud metadata, and who looks around.

pub(super) mod cloud_addresses;
pub(super) mod scan;
pub(super) mod unpoliced_egress;
