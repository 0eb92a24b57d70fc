//! The rules, one file each, by family.

mod asymmetry;
mod health;
mod policy;
mod private;
mod trust;
mod zombie;

use super::config::Settings;
use super::rule::Rule;

/// Every rule that states a kind which is looked for.
pub(super) fn all(settings: &Settings) -> Vec<Box<dyn Rule>> {
    let mut rules: Vec<Box<dyn Rule>> = vec![
        Box::new(policy::no_policy::NoPolicy),
        Box::new(policy::denies::Denies),
        Box::new(policy::staged::Staged::default()),
        Box::new(policy::broad_allow::BroadAllow),
        Box::new(policy::public_exposure::PublicExposure::default()),
        Box::new(policy::staged_forgotten::StagedForgotten::default()),
        Box::new(policy::unused::Unused::default()),
        Box::new(policy::label_mismatch::LabelMismatch::default()),
        Box::new(policy::shadowed::Shadowed::default()),
        Box::new(policy::stale_verdict::StaleVerdict),
        Box::new(asymmetry::no_response::NoResponse),
        Box::new(asymmetry::no_ack::NoAck),
        Box::new(asymmetry::never_established::NeverEstablished),
        Box::new(asymmetry::denied_at_destination::DeniedAtDestination),
        Box::new(asymmetry::one_sided_report::OneSidedReport::default()),
        Box::new(asymmetry::service_without_endpoints::ServiceWithoutEndpoints::default()),
        Box::new(zombie::chatter_after_shutdown::ChatterAfterShutdown::default()),
        Box::new(zombie::gone::Gone::default()),
        Box::new(zombie::long_lived::LongLived),
        Box::new(zombie::background_chatter::BackgroundChatter::default()),
        Box::new(health::key_overflow::KeyOverflow),
        Box::new(trust::default_account::DefaultAccount),
        Box::new(trust::wrong_account::WrongAccount::default()),
        Box::new(trust::destination_identity::DestinationIdentity),
        Box::new(trust::cross_environment::CrossEnvironment),
        Box::new(trust::cross_namespace::CrossNamespace),
        Box::new(trust::unintended_path::UnintendedPath),
        Box::new(private::unpoliced_egress::UnpolicedEgress),
        Box::new(private::cloud_addresses::CloudAddresses::new(settings)),
        Box::new(private::scan::Scan::default()),
    ];
    rules.retain(|rule| rule.kinds().iter().any(|kind| settings.looks_for(*kind)));
    rules
}
