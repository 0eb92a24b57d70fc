//! `catchment setup`: objects to apply, printed for review. Nothing is ever written to a cluster.

use catchment_core::knowledge::{Kind, Object};
use catchment_core::{Error, Result};
use catchment_kubernetes::{Cluster, Config, Look, Snapshot};
use catchment_stages::setup::{NetworkSets, network_sets};
use prometheus_client::registry::Registry;

use crate::args::{NetworksetsArgs, SetupCommand};

/// Kinds that tell of the cluster's own ranges.
const KINDS: [Kind; 4] = [Kind::Node, Kind::EndpointSlice, Kind::ServiceCIDR, Kind::IPPool];

pub(crate) fn setup(command: &SetupCommand) -> Result<()> {
    let SetupCommand::Networksets(args) = command;
    let (objects, hidden) = objects(args)?;
    let NetworkSets { sets, notes } = network_sets(&objects, &args.service_range);
    for note in hidden.iter().chain(&notes) {
        eprintln!("note: {note}");
    }
    let documents = sets.into_iter().map(|set| {
        let document = serde_saphyr::to_string(&Object::from(set));
        document.map_err(|e| Error::internal("cannot write YAML").caused_by(e))
    });
    let documents: Vec<_> = documents.collect::<Result<_>>()?;
    crate::emit(&documents.iter().flat_map(|document| ["---\n", document]).collect::<String>())
}

/// What files or the cluster hold, and what may not be read of it.
fn objects(args: &NetworksetsArgs) -> Result<(Vec<Object>, Vec<String>)> {
    if !args.snapshot.is_empty() {
        return Snapshot::read(&args.snapshot).map(|snapshot| (snapshot.objects, Vec::new()));
    }
    let (kubeconfig, context) = (args.kubeconfig.clone(), args.context.clone());
    let Look { objects, hidden } = crate::tokio_runtime()?.block_on(async {
        let config = Config { kubeconfig, context, ..Config::default() };
        Cluster::new(config, &mut Registry::default()).await?.look(&KINDS).await
    })?;
    let hidden = hidden.iter().map(|(kind, why)| format!("{kind} cannot all be read: {why}"));
    Ok((objects, hidden.collect()))
}
