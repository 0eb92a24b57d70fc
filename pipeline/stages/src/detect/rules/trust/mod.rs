//! Trust boundaries: who reaches what, by service account, environment and namespace.
//!
//! Namespaces of the platform are left out both ways: they serve everybody by design.

pub(super) mod cross_environment;
pub(super) mod cross_namespace;
pub(super) mod crossing;
pub(super) mod default_account;
pub(super) mod destination_identity;
pub(super) mod unintended_path;
pub(super) mod wrong_account;
