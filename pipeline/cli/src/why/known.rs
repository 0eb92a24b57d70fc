//! What an answer is computed from: files, or one look at a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use catchment_core::knowledge::{Kind, Object};
use catchment_core::{Error, Result};
use catchment_kubernetes::{Cluster, Config, Look, Snapshot};
use catchment_stages::policy::State;
use prometheus_client::registry::Registry;

use crate::args::WhyArgs;

/// Objects, and what is missing of them.
pub(super) struct Known {
    pub(super) objects: Vec<Object>,
    /// What is missing, for people.
    pub(super) notes: Vec<String>,
    /// Whether nothing is missing that decides.
    pub(super) is_certain: bool,
}

impl Known {
    pub(super) fn read(args: &WhyArgs) -> Result<Self> {
        if args.snapshot.is_empty() { look(args)?.try_into() } else { Snapshot::read(&args.snapshot).map(Self::from) }
    }
}

fn look(args: &WhyArgs) -> Result<Look> {
    let (kubeconfig, context) = (args.kubeconfig.clone(), args.context.clone());
    crate::tokio_runtime()?.block_on(async {
        let config = Config { kubeconfig, context, ..Config::default() };
        Cluster::new(config, &mut Registry::default()).await?.look(&State::KINDS).await
    })
}

impl From<Snapshot> for Known {
    /// What files leave out is taken for not there.
    fn from(snapshot: Snapshot) -> Self {
        let objects = snapshot.objects;
        // They are there in every cluster: a snapshot without them tells less than the truth.
        let missing = [Kind::Namespace, Kind::ServiceAccount]
            .into_iter()
            .filter(|kind| objects.iter().all(|object| object.kind() != *kind));
        let notes = missing
            .map(|kind| format!("the snapshot has no {kind}: selectors over their labels match nothing"))
            .collect();
        Self { objects, notes, is_certain: true }
    }
}

impl TryFrom<Look> for Known {
    type Error = Error;

    fn try_from(look: Look) -> Result<Self> {
        let Look { objects, hidden } = look;
        if let Some(why) = hidden.get(&Kind::Pod) {
            let mend = "allow `list` of pods, or give --snapshot";
            return Err(Error::user(format!("without pods no end is known: {why}; {mend}")));
        }
        Ok(Self { objects, notes: notes(&hidden), is_certain: !hidden.keys().any(|kind| decides(*kind)) })
    }
}

fn notes(hidden: &BTreeMap<Kind, Arc<str>>) -> Vec<String> {
    hidden.iter().map(|(kind, why)| format!("{kind} cannot all be read: {}; {why}", loss(*kind))).collect()
}

/// Whether the verdict may be another one without objects of the kind.
fn decides(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Service
            | Kind::StagedNetworkPolicy
            | Kind::StagedGlobalNetworkPolicy
            | Kind::StagedKubernetesNetworkPolicy
    )
}

/// What is wrong without objects of the kind.
fn loss(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace | Kind::ServiceAccount => "selectors over their labels match nothing",
        Kind::NetworkSet | Kind::GlobalNetworkSet => "selectors do not match their addresses",
        Kind::HostEndpoint => "their addresses are taken for nobody's",
        Kind::Service => "their addresses are taken for nobody's, and no policy sees them",
        Kind::EndpointSlice => "rules that name services match nothing",
        Kind::Tier => "policies of their tiers are not asked",
        _ if decides(kind) => "they are not asked",
        _ => "what they would change is not told",
    }
}
