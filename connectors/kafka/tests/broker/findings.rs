//! The topic that says how each finding stands.

use catchment_core::{Epoch, FindingId, Retry, Sink as _};
use catchment_kafka::Config;
use catchment_schemas::Dataset;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::reader::{Seen, committed, rows, values};
use crate::sample::{epoch, finding, stream};
use crate::{config, sink, topic};

fn findings(config: &Config) -> Vec<Seen> {
    committed(&config.brokers, &topic(config, Dataset::Findings))
}

/// An epoch whose window shows `web` and `db`, with `forgotten` ones beside.
fn showing(position: u64, forgotten: Vec<FindingId>) -> Epoch {
    let mut epoch = epoch(position, 2);
    let span = epoch.window.as_ref().unwrap().span;
    epoch.findings = vec![finding("web", span), finding("db", span)];
    epoch.forgotten = forgotten;
    epoch
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_findings_is_compacted_and_keeps_what_is_not_forgotten() {
    let Some(config) = config("compacted") else { return };
    sink(&config).open(&stream()).await.unwrap();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let names = [topic(&config, Dataset::Findings), topic(&config, Dataset::Flows)];
    let asked = names.each_ref().map(|name| ResourceSpecifier::Topic(name));
    let described = admin.describe_configs(&asked, &AdminOptions::new()).await.unwrap();
    let policies: Vec<_> =
        described.iter().map(|topic| topic.as_ref().unwrap().get("cleanup.policy").unwrap().value.clone()).collect();
    assert_eq!(policies, [Some("compact".to_owned()), Some("delete".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_of_a_finding_and_the_tombstone_that_ends_them_share_its_key() {
    let Some(config) = config("tombstone") else { return };
    let config = Config { partitions: 6, ..config };
    let mut sink = sink(&config);
    sink.open(&stream()).await.unwrap();
    let first = showing(1, vec![]);
    let [web, db] = [first.findings[0].id, first.findings[1].id];
    sink.publish(&first).await.unwrap();
    let last = Epoch { findings: vec![], ..showing(2, vec![web]) };
    sink.publish(&last).await.unwrap();
    let seen = findings(&config);
    let of = |id: FindingId| seen.iter().filter(|seen| seen.key == id.to_string()).collect::<Vec<_>>();
    let [row, tombstone] = of(web)[..] else { panic!("{seen:?}") };
    assert!(!row.tombstone && row.value.contains("no policy decides about web"), "{row:?}");
    assert!(tombstone.tombstone && tombstone.partition == row.partition, "{tombstone:?}");
    assert_eq!((of(db).len(), seen.len()), (1, 3), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_and_tombstones_are_there_once_whatever_is_handed_over_again() {
    let Some(config) = config("findings-once") else { return };
    let (first, second) = (showing(1, vec![]), showing(2, vec![FindingId(7)]));
    let mut before = sink(&config);
    before.open(&stream()).await.unwrap();
    before.publish(&first).await.unwrap();
    before.publish(&second).await.unwrap();
    drop(before);
    let mut after = sink(&config);
    assert_eq!(after.open(&stream()).await.unwrap(), Some(second.cursor()));
    after.publish(&second).await.unwrap();
    let seen = findings(&config);
    let (tombstones, found): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| seen.tombstone);
    let found: Vec<_> = found.into_iter().map(|seen| seen.value).collect();
    assert_eq!(found, rows(&[&first, &second], Dataset::Findings));
    let keys: Vec<_> = tombstones.into_iter().map(|seen| seen.key).collect();
    assert_eq!(keys, [FindingId(7).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fenced_sink_wanted_to_forget_is_still_known() {
    let Some(config) = config("findings-fenced") else { return };
    let first = showing(1, vec![]);
    let mut zombie = sink(&config);
    zombie.open(&stream()).await.unwrap();
    zombie.publish(&first).await.unwrap();
    sink(&config).open(&stream()).await.unwrap();
    let error = zombie.publish(&showing(2, vec![first.findings[0].id])).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never, "{}", error.chain());
    assert_eq!(values(&config.brokers, &topic(&config, Dataset::Findings)), rows(&[&first], Dataset::Findings));
}

/// More records than a chunk takes, nearly all of them tombstones.
#[tokio::test(flavor = "multi_thread")]
async fn tombstones_count_in_the_chunks_of_an_epoch() {
    let Some(config) = config("tombstone-chunks") else { return };
    let forgotten: Vec<_> = (0..25_000).map(FindingId).collect();
    let mut sink = sink(&config);
    sink.open(&stream()).await.unwrap();
    sink.publish(&showing(1, forgotten.clone())).await.unwrap();
    let cursors = values(&config.brokers, &format!("{}.cursors.v1", config.topic_prefix));
    assert_eq!(cursors.len(), 2, "{cursors:?}");
    assert!(cursors[0].contains(r#""chunks":1"#) && cursors[1].contains(r#""partial":null"#), "{cursors:?}");
    let tombstones = findings(&config).into_iter().filter(|seen| seen.tombstone);
    assert_eq!(tombstones.count(), forgotten.len());
}
