//! What is known about the cluster: from files, or from its API while the pipeline runs.

use std::pin::Pin;

use catchment_core::knowledge::Change;
use catchment_core::{Error, EventTime, Result};
use catchment_kubernetes::{Cluster, Snapshot, read_changes};
use catchment_runtime::knowledge::{Recorder, Watched};
use catchment_runtime::{Enrichment, LabelKeys, Timeline};

use prometheus_client::registry::Registry;

use crate::config::{Config, EnrichConfig};
use crate::wiring;

/// What streams are joined with.
#[derive(Clone, Default)]
pub(crate) struct Knowledge {
    /// `None` where nothing is configured.
    pub(crate) enrichment: Option<Enrichment>,
    /// `None` where all of it is known from the start.
    pub(crate) watched: Option<Watched>,
}

/// Who gathers it; resolves only with a fault.
pub(crate) type Gathering = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Reads what files hold, or begins to watch the cluster.
pub(crate) async fn gather(config: &Config, registry: &mut Registry) -> Result<(Knowledge, Gathering)> {
    let Some(kubernetes) = &config.enrich.kubernetes else {
        return Ok((Knowledge::default(), Box::pin(std::future::pending())));
    };
    if kubernetes.is_from_files() {
        let (timeline, _) = read(kubernetes)?;
        let knowledge = Knowledge { enrichment: Some(enrichment(config, timeline, false)), watched: None };
        return Ok((knowledge, Box::pin(std::future::pending())));
    }
    let dir = config.spool.dir.join(&config.cluster).join(FOLDER);
    let registry = registry.sub_registry_with_label(("cluster".into(), config.cluster.clone().into()));
    let cluster = Cluster::new(kubernetes.clone(), registry).await?;
    let (watched, recorder) =
        Watched::open(&dir, wiring::knowledge_limits(config), config.enrich.wait, registry).await?;
    let enrichment = enrichment(config, watched.timeline.clone(), true);
    let knowledge = Knowledge { enrichment: Some(enrichment), watched: Some(watched) };
    Ok((knowledge, Box::pin(watch(cluster, recorder))))
}

/// Beside the folders of the sources; no name of a source is hidden.
const FOLDER: &str = ".knowledge";
/// News that may wait to be written down.
const QUEUED_NEWS: usize = 4096;

async fn watch(cluster: Cluster, recorder: Recorder) -> Result<()> {
    let (sender, news) = tokio::sync::mpsc::channel(QUEUED_NEWS);
    tokio::select! {
        ended = recorder.run(news) => ended?,
        () = cluster.run(sender) => {}
    }
    Err(Error::internal("the cluster is no longer watched"))
}

fn enrichment(config: &Config, timeline: Timeline, marked: bool) -> Enrichment {
    let EnrichConfig { environment_labels, owner_labels, .. } = config.enrich.clone();
    Enrichment { timeline, marked, labels: LabelKeys { environment: environment_labels, owner: owner_labels } }
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
