//! The cursor: how far a stream has come, kept beside its rows in a compacted topic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use catchment_core::{Cursor, Epoch, EpochId, Error, LogId, Result, StreamId};
use catchment_schemas::Dataset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use crate::client::Context;
use crate::config::Config;

/// Version of the cursor records and of the cuts of [`crate::chunk`].
pub(crate) const FORMAT: u32 = 1;

/// Another stream's transaction hides cursors behind it until it ends, at the latest after the
/// transaction time-out of a producer that died in it.
const READ_TIMEOUT: Duration = Duration::from_secs(100);

/// The value of a cursor record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// [`FORMAT`] of the writer.
    pub(crate) format: u32,
    /// The last epoch that stands as a whole; `None` while the first is under way.
    pub(crate) cursor: Option<Cursor>,
    /// The epoch after it, where some of its chunks stand.
    pub(crate) partial: Option<Partial>,
    /// The window that ended with this record.
    pub(crate) window: Option<Window>,
}

/// How much of an epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Partial {
    /// Whose epoch it is; unknown where the record was written before logs had an identity.
    #[serde(default)]
    pub(crate) log: Option<LogId>,
    pub(crate) epoch: EpochId,
    pub(crate) chunks: u32,
}

/// What a reader learns when a window is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) start: String,
    pub(crate) end: String,
    pub(crate) rows: BTreeMap<String, usize>,
}

impl Record {
    /// A record that ends `epoch`.
    pub(crate) fn whole(epoch: &Epoch) -> Self {
        let window = epoch.window.as_ref().map(|window| Window {
            start: window.span.start.to_rfc3339(),
            end: window.span.end.to_rfc3339(),
            rows: [Dataset::Flows, Dataset::Conversations, Dataset::Findings]
                .map(|dataset| (dataset.name().to_owned(), epoch.rows_of(dataset)))
                .into(),
        });
        Self { format: FORMAT, cursor: Some(epoch.cursor()), partial: None, window }
    }

    /// A record after the first `chunks` chunks of `epoch`.
    pub(crate) fn partial(cursor: Option<Cursor>, epoch: &Epoch, chunks: u32) -> Self {
        let partial = Partial { log: Some(epoch.log), epoch: epoch.id, chunks };
        Self { format: FORMAT, cursor, partial: Some(partial), window: None }
    }

    fn parse(topic: &str, key: &str, bytes: &[u8]) -> Result<Self> {
        let place = format!("kafka topic {topic}, cursor {key}");
        let format = serde_json::from_slice::<Format>(bytes)
            .map_err(|e| Error::internal(format!("{place}: unreadable; choose another sink name")).caused_by(e))?;
        if format.format != FORMAT {
            let found = format.format;
            return Err(Error::user(format!(
                "{place}: format {found}, this release reads {FORMAT}; use the release that wrote it"
            )));
        }
        serde_json::from_slice(bytes)
            .map_err(|e| Error::internal(format!("{place}: unreadable; choose another sink name")).caused_by(e))
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The key of a stream's cursor.
pub(crate) fn record_key(stream: &StreamId, sink: &str) -> String {
    format!("{stream}/{sink}")
}

/// Reads the newest committed cursor of `key`. The caller has fenced everyone else who writes it.
pub(crate) fn read(config: &Config, key: &str) -> Result<Option<Record>> {
    let topic = config.cursor_topic();
    let deadline = Instant::now() + READ_TIMEOUT;
    let committed = consumer(&config.reader("read_committed"))?;
    wait_until_settled(&committed, &consumer(&config.reader("read_uncommitted"))?, &topic, deadline)?;
    let newest = last_value(&committed, &topic, key, deadline)?;
    newest.map(|bytes| Record::parse(&topic, key, &bytes)).transpose()
}

fn consumer(config: &ClientConfig) -> Result<BaseConsumer<Context>> {
    config.create_with_context(Context::default()).map_err(|e| unreadable("cursors", e))
}

fn unreadable(topic: &str, error: KafkaError) -> Error {
    Error::external(format!("kafka topic {topic}: the cursor could not be read")).caused_by(error)
}

/// Waits until committed readers see as far as the topic reached when this was called: up to there
/// everything of ours is decided, but an open transaction of another stream may stand before it.
fn wait_until_settled(
    committed: &BaseConsumer<Context>,
    uncommitted: &BaseConsumer<Context>,
    topic: &str,
    deadline: Instant,
) -> Result<()> {
    let end = end_offset(uncommitted, topic, deadline)?;
    while end_offset(committed, topic, deadline)? < end {
        if Instant::now() >= deadline {
            return Err(Error::external(format!(
                "kafka topic {topic}: a transaction of another stream stays open; end it with kafka-transactions.sh"
            )));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A topic that was just created has no leader for a moment, so this tries again until `deadline`.
fn end_offset(consumer: &BaseConsumer<Context>, topic: &str, deadline: Instant) -> Result<i64> {
    loop {
        match consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)) {
            Ok((_, end)) => return Ok(end),
            Err(error) if Instant::now() >= deadline => return Err(unreadable(topic, error)),
            Err(error) => tracing::debug!(%error, topic, "end of topic not known yet"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The last value of `key`, reading to the end that committed readers see.
fn last_value(consumer: &BaseConsumer<Context>, topic: &str, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).map_err(|e| unreadable(topic, e))?;
    consumer.assign(&start).map_err(|e| unreadable(topic, e))?;
    let mut last = None;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) if message.key() == Some(key.as_bytes()) => last = message.payload().map(<[u8]>::to_vec),
            None | Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(error)) => tracing::debug!(%error, topic, "reading the cursor"),
        }
    }
    Err(Error::external(format!("kafka topic {topic}: the end was not reached within {}s", READ_TIMEOUT.as_secs())))
}

#[cfg(test)]
mod tests {
    use catchment_core::{Domain, Floor, LogPosition};

    use super::*;

    #[test]
    fn a_partial_record_keeps_the_last_whole_epoch() {
        let id = |position| EpochId { position: LogPosition(position), part: 0 };
        let floor = Floor { position: LogPosition(3), watermarks: vec![] };
        let cursor = Cursor { log: Some(LogId(5)), committed: id(7), floor: floor.clone() };
        let next = Epoch {
            stream: StreamId { cluster: "prod".into(), source: "calico".into() },
            log: LogId(5),
            id: id(9),
            floor,
            window: None,
            late: vec![],
            rejects: vec![],
            gaps: vec![],
            findings: vec![],
            forgotten: vec![],
        };
        let record = Record::partial(Some(cursor.clone()), &next, 2);
        let read = Record::parse("t", "k", &serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(read.cursor, Some(cursor));
        assert_eq!(read.partial, Some(Partial { log: Some(LogId(5)), epoch: id(9), chunks: 2 }));
    }

    #[test]
    fn a_partial_record_from_before_logs_had_an_identity_is_still_read() {
        let stored =
            br#"{"format":1,"cursor":null,"partial":{"epoch":{"position":9,"part":0},"chunks":2},"window":null}"#;
        let partial = Record::parse("t", "k", stored).unwrap().partial.unwrap();
        assert_eq!((partial.log, partial.chunks), (None, 2));
    }

    #[test]
    fn a_record_of_another_format_is_refused_even_if_its_members_differ() {
        let error = Record::parse("catchment.cursors.v1", "prod/calico/kafka", br#"{"format":2,"x":1}"#).unwrap_err();
        assert_eq!(error.domain, Domain::User);
        assert!(error.message.contains("format 2"), "{}", error.message);
    }
}
