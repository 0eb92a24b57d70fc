//! The sink against a real broker, given by `CATCHMENT_TEST_KAFKA=host:port`; `tools/kafka/broker.sh` starts one.
//! Without it nothing is tested and each test says so; where `CI` is set to true that is a failure.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod findings;
mod reader;
mod sample;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use catchment_core::{Domain, Epoch, LogId, Retry, Sink as _};
use catchment_kafka::{Config, KafkaSink};
use catchment_schemas::Dataset;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use reader::{committed, rows, values};
use sample::{epoch, reject, stream};

/// A configuration of its own topics on the given broker.
fn config(test: &str) -> Option<Config> {
    let Ok(brokers) = std::env::var("CATCHMENT_TEST_KAFKA") else {
        // Straight to the descriptor: the harness hides what print macros of a passing test say.
        let mut stderr = std::io::stderr();
        writeln!(stderr, "DID NOT RUN: {test}: set CATCHMENT_TEST_KAFKA=host:port").unwrap();
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "a broker is needed in CI");
        return None;
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let topic_prefix = format!("{test}-{}", now.as_nanos());
    Some(Config { brokers, topic_prefix, partitions: 1, ..Config::default() })
}

fn sink(config: &Config) -> KafkaSink {
    KafkaSink::new(config.clone(), &mut Registry::default()).unwrap()
}

fn topic(config: &Config, dataset: Dataset) -> String {
    dataset.topic(&config.topic_prefix)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_reader_sees_every_row_once_and_in_order() {
    let Some(config) = config("order") else { return };
    let mut registry = Registry::default();
    let mut sink = KafkaSink::new(config.clone(), &mut registry).unwrap();
    assert_eq!(sink.open(&stream()).await.unwrap(), None);
    let (first, second) = (epoch(5, 40), epoch(8, 40));
    assert_eq!(sink.publish(&first).await.unwrap(), Some(first.cursor()));
    assert_eq!(sink.publish(&second).await.unwrap(), Some(second.cursor()));
    assert_eq!(sink.finish().await.unwrap(), Some(second.cursor()));
    for dataset in Dataset::ALL {
        let seen = values(&config.brokers, &topic(&config, dataset));
        assert_eq!(seen, rows(&[&first, &second], dataset), "{dataset:?}");
    }
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("kafka_sink_rows_total{dataset=\"flows\"} 80"), "{text}");
    assert!(text.contains("kafka_sink_transactions_total 2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_carry_their_schema_and_both_directions_share_a_partition() {
    let Some(config) = config("headers") else { return };
    let config = Config { partitions: 6, ..config };
    let mut sink = sink(&config);
    sink.open(&stream()).await.unwrap();
    sink.publish(&epoch(1, 20)).await.unwrap();
    let flows = committed(&config.brokers, &topic(&config, Dataset::Flows));
    let conversations = committed(&config.brokers, &topic(&config, Dataset::Conversations));
    let pairs: BTreeSet<_> = flows.iter().chain(&conversations).map(|seen| (seen.partition, &*seen.key)).collect();
    assert_eq!(pairs.len(), 1, "{pairs:?}");
    assert_eq!(flows[0].key, "prod|shop/db|shop/web");
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(flows[0].headers, [header("schema", "catchment.flows.v1"), header("schema_version", "1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_window_is_marked_beside_the_cursor() {
    let Some(config) = config("marker") else { return };
    let mut sink = sink(&config);
    sink.open(&stream()).await.unwrap();
    sink.publish(&epoch(1, 3)).await.unwrap();
    let cursors = committed(&config.brokers, &format!("{}.cursors.v1", config.topic_prefix));
    let [cursor] = &cursors[..] else { panic!("{cursors:?}") };
    assert_eq!(cursor.key, "prod/calico/kafka");
    assert_eq!(cursor.headers, [("marker".to_owned(), "window_end".to_owned())]);
    let window = r#""window":{"start":"1970-01-01T00:01:00Z","end":"1970-01-01T00:02:00Z","rows":{"conversations":1,"findings":1,"flows":3}}"#;
    assert!(cursor.value.contains(window), "{}", cursor.value);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_again_resumes_at_the_cursor_and_a_repeated_epoch_is_not_published_twice() {
    let Some(config) = config("resume") else { return };
    let (first, second) = (epoch(5, 10), epoch(6, 10));
    let mut before = sink(&config);
    before.open(&stream()).await.unwrap();
    before.publish(&first).await.unwrap();
    drop(before);
    let mut after = sink(&config);
    assert_eq!(after.open(&stream()).await.unwrap(), Some(first.cursor()));
    assert_eq!(after.publish(&first).await.unwrap(), Some(first.cursor()));
    assert_eq!(after.publish(&second).await.unwrap(), Some(second.cursor()));
    let seen = values(&config.brokers, &topic(&config, Dataset::Flows));
    assert_eq!(seen, rows(&[&first, &second], Dataset::Flows));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_names_keep_cursors_of_their_own() {
    let Some(config) = config("apart") else { return };
    let mut one = sink(&config);
    one.open(&stream()).await.unwrap();
    one.publish(&epoch(5, 1)).await.unwrap();
    let mut other_stream = stream();
    other_stream.cluster = "test".to_owned();
    assert_eq!(sink(&config).open(&other_stream).await.unwrap(), None);
    let named = Config { name: "copy".to_owned(), ..config };
    assert_eq!(sink(&named).open(&stream()).await.unwrap(), None);
    let last = epoch(6, 1);
    assert_eq!(one.publish(&last).await.unwrap(), Some(last.cursor()), "nobody took this stream over");
}

/// Flows of an epoch that goes out in two chunks, the second of which has room for a record that no broker takes: the same
/// rows come before it with that record and without.
const TWO_CHUNKS: usize = 14_000;

/// The second chunk of the epoch fails on a record that no broker takes, after the first was
/// committed. The run that follows has the same first chunk and must not write it again.
#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_stopped_between_two_chunks_goes_on_with_the_next() {
    let Some(config) = config("partial") else { return };
    let (first, whole) = (epoch(1, 1), epoch(2, TWO_CHUNKS));
    let mut broken = whole.clone();
    broken.rejects = vec![reject(2, Bytes::from(vec![b'x'; 5 << 20]))];
    let mut sink = sink(&config);
    sink.open(&stream()).await.unwrap();
    sink.publish(&first).await.unwrap();
    let error = sink.publish(&broken).await.unwrap_err();
    assert_eq!(error.domain, Domain::User, "{}", error.chain());
    assert!(error.message.contains("max.message.bytes"), "{}", error.chain());
    let standing = values(&config.brokers, &topic(&config, Dataset::Flows)).len();
    assert!((1..TWO_CHUNKS).contains(&(standing - 1)), "the first chunk alone stands, found {standing}");

    assert_eq!(sink.open(&stream()).await.unwrap(), Some(first.cursor()), "a part of an epoch moves no cursor");
    let other = sink.publish(&epoch(3, 1)).await.unwrap_err();
    assert_eq!((other.domain, other.retry), (Domain::Internal, Retry::Never), "{}", other.chain());
    sink.open(&stream()).await.unwrap();
    assert_eq!(sink.publish(&whole).await.unwrap(), Some(whole.cursor()));
    for dataset in Dataset::ALL {
        let seen = values(&config.brokers, &topic(&config, dataset));
        assert!(seen == rows(&[&first, &whole], dataset), "{dataset:?}: {} rows", seen.len());
    }
}

/// A part of the first epoch stands and no cursor yet: the record alone says whose part it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_an_epoch_is_not_completed_from_another_log() {
    let Some(config) = config("part-of-another") else { return };
    let whole = epoch(2, TWO_CHUNKS);
    let mut broken = whole.clone();
    broken.rejects = vec![reject(2, Bytes::from(vec![b'x'; 5 << 20]))];
    let mut sink = sink(&config);
    sink.open(&stream()).await.unwrap();
    sink.publish(&broken).await.unwrap_err();

    assert_eq!(sink.open(&stream()).await.unwrap(), None);
    let other = Epoch { log: LogId(2), ..whole.clone() };
    let refused = sink.publish(&other).await.unwrap_err();
    assert_eq!((refused.domain, refused.retry), (Domain::User, Retry::Never), "{}", refused.chain());
    assert!(refused.message.contains("of log 0000000000000001, and this is log 0000000000000002"), "{refused}");
    sink.open(&stream()).await.unwrap();
    assert_eq!(sink.publish(&whole).await.unwrap(), Some(whole.cursor()));
    assert!(values(&config.brokers, &topic(&config, Dataset::Flows)) == rows(&[&whole], Dataset::Flows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_taken_over_publishes_nothing_and_does_not_come_back() {
    let Some(config) = config("zombie") else { return };
    let (first, second) = (epoch(1, 5), epoch(2, 5));
    let mut zombie = sink(&config);
    zombie.open(&stream()).await.unwrap();
    zombie.publish(&first).await.unwrap();
    let mut holder = sink(&config);
    assert_eq!(holder.open(&stream()).await.unwrap(), Some(first.cursor()));
    let error = zombie.publish(&second).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never, "{}", error.chain());
    assert!(error.message.contains("took this stream over"), "{}", error.chain());
    assert_eq!(values(&config.brokers, &topic(&config, Dataset::Flows)), rows(&[&first], Dataset::Flows));
    holder.publish(&second).await.unwrap();
    assert_eq!(values(&config.brokers, &topic(&config, Dataset::Flows)), rows(&[&first, &second], Dataset::Flows));
}

/// Committed readers stop before the oldest open transaction, whoever's it is. A cursor that stands
/// behind it must be waited for: without it everything would be published a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_behind_an_open_transaction_of_another_producer_is_waited_for() {
    let Some(config) = config("settle") else { return };
    let mut before = sink(&config);
    before.open(&stream()).await.unwrap();
    let other = foreign_transaction(&config);
    let first = epoch(1, 2);
    before.publish(&first).await.unwrap();
    let mut after = sink(&config);
    let opened = tokio::spawn(async move { after.open(&stream()).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(2)).await;
    tokio::task::block_in_place(|| other.commit_transaction(Duration::from_secs(20)).unwrap());
    assert_eq!(opened.await.unwrap(), Some(first.cursor()));
}

/// An open transaction with a record in the cursor topic.
fn foreign_transaction(config: &Config) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("transactional.id", format!("{}-foreign", config.topic_prefix))
        .create()
        .unwrap();
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    producer.begin_transaction().unwrap();
    let topic = format!("{}.cursors.v1", config.topic_prefix);
    producer.send(BaseRecord::to(&topic).partition(0).key("someone/else/kafka").payload("{}")).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
    producer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_an_error_that_names_it_where_none_may_be_created() {
    let Some(config) = config("missing") else { return };
    let config = Config { create_topics: false, ..config };
    let mut sink = sink(&config);
    for error in [sink.open(&stream()).await.unwrap_err(), sink.check().await.unwrap_err()] {
        assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never));
        assert!(error.message.contains(&topic(&config, Dataset::Gaps)), "{}", error.message);
        assert!(error.message.contains("kafka-topics.sh"), "{}", error.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_creates_nothing_and_tells_topics_that_differ() {
    let Some(config) = config("check") else { return };
    let said = sink(&config).check().await.unwrap();
    assert_eq!(said, "1 brokers, 0 topics there, 7 to be created");
    sink(&config).open(&stream()).await.unwrap();
    assert_eq!(sink(&config).check().await.unwrap(), "1 brokers, 7 topics there, 0 to be created");
    let wider = Config { partitions: 3, ..config };
    let said = sink(&wider).check().await.unwrap();
    assert!(said.contains("flows.v1 has 1 partitions, the configuration says 3"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_selected_datasets_are_published() {
    let Some(config) = config("selected") else { return };
    let config = Config { datasets: vec!["gaps".to_owned()], ..config };
    let mut sink = sink(&config);
    sink.open(&stream()).await.unwrap();
    let only = epoch(1, 4);
    assert_eq!(sink.publish(&only).await.unwrap(), Some(only.cursor()));
    assert_eq!(values(&config.brokers, &topic(&config, Dataset::Gaps)), rows(&[&only], Dataset::Gaps));
}

#[tokio::test]
async fn publishing_before_opening_asks_to_be_opened() {
    let mut sink = sink(&Config::default());
    let error = sink.publish(&epoch(1, 1)).await.unwrap_err();
    assert_eq!(error.retry, Retry::Reopen);
}
