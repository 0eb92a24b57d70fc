//! What a subscriber with `isolation.level=read_committed` sees.

use std::time::{Duration, Instant};

use catchment_core::{Epoch, json};
use catchment_schemas::Dataset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// One committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: String,
    /// It has no value: whatever its key had is over.
    pub(crate) tombstone: bool,
    pub(crate) headers: Vec<(String, String)>,
}

/// All committed records of a topic, partition by partition.
pub(crate) fn committed(brokers: &str, topic: &str) -> Vec<Seen> {
    let reader = consumer(brokers, "read_committed");
    let metadata = reader.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let partitions = metadata.topics()[0].partitions().len() as i32;
    (0..partitions).flat_map(|partition| partition_records(brokers, &reader, topic, partition)).collect()
}

/// The JSON values of [`committed`].
pub(crate) fn values(brokers: &str, topic: &str) -> Vec<String> {
    committed(brokers, topic).into_iter().map(|seen| seen.value).collect()
}

/// The rows of one dataset as they should arrive.
pub(crate) fn rows(epochs: &[&Epoch], dataset: Dataset) -> Vec<String> {
    let mut rows = Vec::new();
    for epoch in epochs {
        json::for_each_row(epoch, |of, row| {
            if of == dataset {
                rows.push(String::from_utf8(row.to_vec()).unwrap());
            }
        });
    }
    rows
}

fn consumer(brokers: &str, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test-reader")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap()
}

/// Waits until no transaction is open in the partition, then reads it to its end.
fn partition_records(brokers: &str, reader: &BaseConsumer, topic: &str, partition: i32) -> Vec<Seen> {
    let raw = consumer(brokers, "read_uncommitted");
    let end = |c: &BaseConsumer| c.fetch_watermarks(topic, partition, Duration::from_secs(10)).unwrap().1;
    let deadline = Instant::now() + Duration::from_mins(1);
    while end(reader) < end(&raw) {
        assert!(Instant::now() < deadline, "a transaction stays open in {topic}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    reader.assign(&start).unwrap();
    let mut seen = Vec::new();
    loop {
        assert!(Instant::now() < deadline, "the end of {topic} was not reached");
        match reader.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => seen.push(detach(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => return seen,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
}

fn detach(message: &BorrowedMessage<'_>) -> Seen {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Seen {
        partition: message.partition(),
        key: text(message.key()),
        value: text(message.payload()),
        tombstone: message.payload().is_none(),
        headers: headers.map(|h| (h.key.to_owned(), text(h.value))).collect(),
    }
}
