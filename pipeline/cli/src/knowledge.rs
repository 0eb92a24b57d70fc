//! What is known about the cluster, from files.

use catchment_core::knowledge::Change;
use catchment_core::{EventTime, Result};
use catchment_kubernetes::{Cluster, Snapshot, read_changes};
use catchment_runtime::{Enrichment, LabelKeys, Timeline};

use prometheus_client::registry::Registry;

use crate::config::EnrichConfig;

/// What rows are enriched with; `None` where nothing is configured.
pub(crate) fn enrichment(config: &EnrichConfig) -> Result<Option<Enrichment>> {
    let Some(kubernetes) = &config.kubernetes else { return Ok(None) };
    let (timeline, _) = read(kubernetes)?;
    let labels = LabelKeys { environment: config.environment_labels.clone(), owner: config.owner_labels.clone() };
    Ok(Some(Enrichment { timeline, marked: false, labels }))
}

/// Reads the files or asks the cluster, and says in one line what it found.
pub(crate) async fn check(kubernetes: &catchment_kubernetes::Config) -> Result<String> {
    if kubernetes.is_from_files() {
        return read(kubernetes).map(|(_, found)| found);
    }
    Cluster::new(kubernetes.clone(), &mut Registry::default()).await?.check().await
}

/// Reads the files, before the first flow. Says in one line what they hold.
pub(crate) fn read(kubernetes: &catchment_kubernetes::Config) -> Result<(Timeline, String)> {
    let snapshot = Snapshot::read(&kubernetes.snapshot)?;
    let changes = read_changes(&kubernetes.changes)?;
    let found = describe(&snapshot, changes.len());
    // An object was as the snapshot shows it since it was made, for all that is known.
    let made =
        |object: catchment_core::knowledge::Object| Change::to(object.created().unwrap_or(EventTime::MIN), object);
    let whole = snapshot.objects.into_iter().map(made).chain(changes).collect();
    Ok((Timeline::complete(whole), found))
}

fn describe(snapshot: &Snapshot, changes: usize) -> String {
    let mut kinds = std::collections::BTreeMap::new();
    for object in &snapshot.objects {
        *kinds.entry(object.kind().name()).or_insert(0) += 1;
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let ignored = snapshot.ignored.values().sum::<usize>();
    let ignored = if ignored > 0 { format!("; {ignored} of kinds that are not read") } else { String::new() };
    format!("{} objects ({}), {changes} changes{ignored}", snapshot.objects.len(), kinds.join(", "))
}
