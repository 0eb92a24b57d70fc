//! How many rows a topic holds, as its subscribers see them.

use std::time::{Duration, Instant};

use catchment_core::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::Context;
use crate::config::Config;

/// Reading everything again takes as long as the topic is large.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Counts the committed records of a topic by reading it from its beginning to its present end.
/// Blocks; meant for demonstrations and checks, where the topic is small.
pub fn count_rows(config: &Config, topic: &str) -> Result<u64> {
    let failed = |e: KafkaError| Error::external(format!("kafka topic {topic}: cannot be counted")).caused_by(e);
    let reader: BaseConsumer<Context> =
        config.reader("read_committed").create_with_context(Context::default()).map_err(failed)?;
    let metadata = reader.fetch_metadata(Some(topic), TIMEOUT).map_err(failed)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).map_err(failed)?;
    }
    reader.assign(&partitions).map_err(failed)?;
    let deadline = Instant::now() + TIMEOUT;
    let (mut rows, mut unfinished) = (0, partitions.count());
    while unfinished > 0 {
        match reader.poll(Duration::from_secs(1)) {
            Some(Ok(_)) => rows += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => unfinished -= 1,
            Some(Err(e)) => tracing::debug!(error = %e, topic, "counting"),
            None => {}
        }
        if Instant::now() >= deadline {
            return Err(Error::external(format!("kafka topic {topic}: not counted within {} s", TIMEOUT.as_secs())));
        }
    }
    Ok(rows)
}
