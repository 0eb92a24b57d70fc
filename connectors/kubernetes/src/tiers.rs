//! Policies that Calico's own API server leaves out without a word: it shows those of the tiers that may be read.

use std::collections::BTreeSet;
use std::sync::Arc;

use catchment_core::knowledge::{CALICO, Kind, Text};
use tokio::sync::watch;

use crate::api::{Access, Api};
use crate::fault::Fault;

/// What is known of the tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tiers {
    /// Not asked yet.
    #[default]
    Pending,
    /// Their names.
    Listed(BTreeSet<Text>),
    /// They may not be listed.
    Hidden,
}

/// Tells every kind of policy of the tiers.
pub(crate) type TiersSender = watch::Sender<Tiers>;

/// What a kind of policy hears of the tiers.
pub(crate) type TiersReceiver = watch::Receiver<Tiers>;

/// Whether the server shows objects of the kind by their tiers.
pub(crate) const fn parted_by_tier(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::NetworkPolicy | Kind::GlobalNetworkPolicy | Kind::StagedNetworkPolicy | Kind::StagedGlobalNetworkPolicy
    )
}

/// What is hidden of `kind`, with the mend; `None` if every tier may be read.
pub(crate) async fn hidden(api: &Api, kind: Kind, tiers: &Tiers) -> Result<Option<Arc<str>>, Fault> {
    let names = match tiers {
        Tiers::Listed(names) => names,
        Tiers::Pending | Tiers::Hidden => {
            return Ok(Some(
                "policies of tiers that may not be read are left out; allow `list` and `get` of tiers".into(),
            ));
        }
    };
    let resource = format!("tier.{}", kind.plural());
    let mut closed = Vec::new();
    for name in names {
        let any = format!("{name}.*");
        let tier = Access { verb: "get", group: CALICO, resource: "tiers", name };
        let policies = Access { verb: "list", group: CALICO, resource: &resource, name: &any };
        if !(api.may(&tier).await? && api.may(&policies).await?) {
            closed.push(name.as_str());
        }
    }
    let mend = format!("allow `get` of these tiers and `list` and `watch` of `{resource}`");
    Ok((!closed.is_empty()).then(|| format!("policies of the tiers {} are left out; {mend}", closed.join(", ")).into()))
}
