//! The topics: made with explicit settings, or found missing with the command that makes them.

use std::collections::BTreeMap;
use std::time::Duration;

use catchment_core::{Error, Result};
use catchment_schemas::Dataset;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::client::Context;
use crate::config::{Config, MAX_MESSAGE_BYTES};

const TIMEOUT: Duration = Duration::from_secs(15);

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    name: String,
    partitions: u32,
    replication: u32,
    settings: Vec<(&'static str, String)>,
}

/// The topics of a configuration, cursors last.
pub(crate) fn wanted(config: &Config) -> Result<Vec<Topic>> {
    let topic = |name, partitions, settings| Topic { name, partitions, replication: config.replication, settings };
    let data = config.selected()?.into_iter().map(|dataset| {
        let kept = match dataset {
            // How each finding stands, until a tombstone says that it is forgotten.
            Dataset::Findings => compacted(),
            _ => expiring(config),
        };
        let settings = [kept, vec![("max.message.bytes", MAX_MESSAGE_BYTES.to_owned())]].concat();
        topic(dataset.topic(&config.topic_prefix), config.partitions, settings)
    });
    let cursors = topic(config.cursor_topic(), 1, compacted());
    Ok(data.chain([cursors]).collect())
}

fn expiring(config: &Config) -> Vec<(&'static str, String)> {
    let retention = config.retention.0.as_millis().to_string();
    vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", retention)]
}

/// Only closed segments are compacted, and who reads from the beginning reads what is left.
fn compacted() -> Vec<(&'static str, String)> {
    vec![("cleanup.policy", "compact".to_owned()), ("segment.ms", "3600000".to_owned())]
}

/// Talks to the brokers about topics.
pub(crate) struct Topics {
    admin: AdminClient<Context>,
    /// Serves what its client hears, which the other does not: why a broker cannot be reached.
    listener: BaseConsumer<Context>,
}

/// What the brokers have.
pub(crate) struct Found {
    /// Brokers that answered for the cluster.
    pub(crate) brokers: usize,
    partitions: BTreeMap<String, usize>,
}

impl Found {
    /// Those of `topics` that are not there.
    pub(crate) fn missing<'a>(&self, topics: &'a [Topic]) -> Vec<&'a Topic> {
        topics.iter().filter(|topic| !self.partitions.contains_key(&topic.name)).collect()
    }
}

impl Topics {
    pub(crate) fn connect(config: &Config) -> Result<Self> {
        let refused = |e| Error::user(format!("kafka client: {e}; check `properties`"));
        let admin = config.client().create_with_context(Context::default()).map_err(refused)?;
        let listener = config.reader("read_committed").create_with_context(Context::default()).map_err(refused)?;
        Ok(Self { admin, listener })
    }

    /// Asks for all topics at once: asking for one by name can create it on some brokers.
    pub(crate) fn find(&self, brokers: &str) -> Result<Found> {
        self.find_within(brokers, TIMEOUT)
    }

    fn find_within(&self, brokers: &str, timeout: Duration) -> Result<Found> {
        let metadata = self.listener.fetch_metadata(None, timeout).map_err(|e| self.unreachable(brokers, &e))?;
        let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
        let partitions = topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect();
        Ok(Found { brokers: metadata.brokers().len(), partitions })
    }

    fn unreachable(&self, brokers: &str, error: &KafkaError) -> Error {
        // Errors are told when they are asked for, and there may be several.
        for _ in 0..20 {
            if self.listener.poll(Duration::from_millis(50)).is_none() {
                break;
            }
        }
        Error::external(format!(
            "kafka: no broker of {brokers} answers; check `brokers`, `security.protocol` and the network"
        ))
        .caused_by(self.listener.context().trouble().unwrap_or_else(|| error.to_string()))
    }

    /// Creates `topics`; another process may have been quicker.
    pub(crate) async fn create(&self, topics: &[&Topic]) -> Result<()> {
        let new: Vec<_> = topics.iter().map(|topic| topic.to_new()).collect();
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        let results = self.admin.create_topics(&new, &options).await;
        let results = results.map_err(|e| Error::external("kafka: creating topics failed").caused_by(e))?;
        for result in results {
            match result {
                Ok(topic) => tracing::info!(topic, "kafka topic created"),
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(not_created(&topic, code)),
            }
        }
        Ok(())
    }

    /// Where topics that exist differ from what a new one would get, in words.
    pub(crate) async fn differences(&self, topics: &[Topic], found: &Found) -> Result<Vec<String>> {
        let present: Vec<_> = topics.iter().filter(|topic| found.partitions.contains_key(&topic.name)).collect();
        if present.is_empty() {
            return Ok(Vec::new());
        }
        let specifiers: Vec<_> = present.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let described = self.admin.describe_configs(&specifiers, &options).await;
        let described = described.map_err(|e| Error::external("kafka: reading topic settings failed").caused_by(e))?;
        let mut differences = Vec::new();
        for (topic, resource) in present.iter().zip(described) {
            let is = |key: &str| resource.as_ref().ok()?.get(key)?.value.clone();
            differences.extend(topic.differences(found.partitions[&topic.name], is));
        }
        Ok(differences)
    }
}

/// The error for topics that are missing and not ours to create.
pub(crate) fn missing(topics: &[&Topic], brokers: &str) -> Error {
    let names = topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ");
    let commands = topics.iter().map(|topic| topic.command(brokers)).collect::<Vec<_>>().join("; ");
    Error::user(format!("kafka: missing topics {names}; set `create_topics: true` or run {commands}"))
}

fn not_created(topic: &str, code: Code) -> Error {
    match code {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::InvalidReplicationFactor => {
            Error::user(format!(
                "kafka topic {topic}: not created, {code}; check `replication` and the rights to create"
            ))
        }
        _ => Error::external(format!("kafka topic {topic}: not created, {code}")),
    }
}

impl Topic {
    fn to_new(&self) -> NewTopic<'_> {
        let replication = TopicReplication::Fixed(self.replication as i32);
        let new = NewTopic::new(&self.name, self.partitions as i32, replication);
        self.settings.iter().fold(new, |new, (key, value)| new.set(key, value))
    }

    /// The command line that makes this topic.
    fn command(&self, brokers: &str) -> String {
        let Self { name, partitions, replication, settings } = self;
        let settings: Vec<_> = settings.iter().map(|(key, value)| format!("--config {key}={value}")).collect();
        let settings = settings.join(" ");
        format!(
            "`kafka-topics.sh --bootstrap-server {brokers} --create --topic {name} --partitions {partitions} \
             --replication-factor {replication} {settings}`"
        )
    }

    fn differences(&self, partitions: usize, is: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let Self { name, partitions: wanted, .. } = self;
        let count = (partitions != *wanted as usize)
            .then(|| format!("{name} has {partitions} partitions, the configuration says {wanted}"));
        let settings = self.settings.iter().filter_map(|(key, wanted)| {
            let is = is(key)?;
            (is != *wanted).then(|| format!("{name} has {key}={is}, a new one would get {wanted}"))
        });
        count.into_iter().chain(settings).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_compacted_in_one_partition_and_rows_expire() {
        let topics = wanted(&Config { datasets: vec!["flows".to_owned()], ..Config::default() }).unwrap();
        let [flows, cursors] = &topics[..] else { panic!("{topics:?}") };
        assert_eq!((flows.name.as_str(), flows.partitions), ("catchment.flows.v1", 6));
        assert!(flows.settings.contains(&("retention.ms", "604800000".to_owned())));
        assert_eq!((cursors.name.as_str(), cursors.partitions), ("catchment.cursors.v1", 1));
        assert!(cursors.settings.contains(&("cleanup.policy", "compact".to_owned())));
    }

    #[test]
    fn findings_are_compacted_and_do_not_expire() {
        let topics = wanted(&Config { datasets: vec!["findings".to_owned()], ..Config::default() }).unwrap();
        let findings = &topics[0];
        assert_eq!((findings.name.as_str(), findings.partitions), ("catchment.findings.v1", 6));
        assert!(findings.settings.contains(&("cleanup.policy", "compact".to_owned())));
        assert!(findings.settings.iter().all(|(key, _)| *key != "retention.ms"), "{:?}", findings.settings);
    }

    #[test]
    fn a_broker_that_refuses_the_connection_is_named_with_its_refusal() {
        let brokers = "127.0.0.1:9";
        let topics = Topics::connect(&Config { brokers: brokers.to_owned(), ..Config::default() }).unwrap();
        let Err(error) = topics.find_within(brokers, Duration::from_secs(2)) else { panic!("nobody listens there") };
        let said = error.chain();
        assert!(said.contains("no broker of 127.0.0.1:9") && said.contains("Connection refused"), "{said}");
    }

    #[test]
    fn a_missing_topic_is_named_with_the_command_that_makes_it() {
        let topics = wanted(&Config::default()).unwrap();
        let error = missing(&topics.iter().collect::<Vec<_>>(), "kafka:9092");
        for part in ["catchment.gaps.v1", "kafka-topics.sh --bootstrap-server kafka:9092 --create", "--partitions 6"] {
            assert!(error.message.contains(part), "{part} not in {}", error.message);
        }
    }

    #[test]
    fn differences_name_the_setting_and_both_values() {
        let topic = &wanted(&Config::default()).unwrap()[0];
        let short = |key: &str| (key == "retention.ms").then(|| "1000".to_owned());
        let said = topic.differences(3, short);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("3 partitions") && said[1].contains("retention.ms=1000"), "{said:?}");
    }
}
