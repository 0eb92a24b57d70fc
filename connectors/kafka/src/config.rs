//! Settings of the sink, and the clients made of them.

use std::collections::{BTreeMap, BTreeSet};

use catchment_core::{Error, Period, Result};
use catchment_schemas::Dataset;
use rdkafka::ClientConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where and how rows are published to Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Brokers to start from, `host:port` with commas between.
    pub brokers: String,
    /// Name of this sink. Two sinks that write to the same brokers under one prefix need two names:
    /// whoever opens the same name later takes it over.
    pub name: String,
    /// First part of every topic name: `<prefix>.flows.v1`, `<prefix>.cursors.v1`.
    pub topic_prefix: String,
    /// Datasets to publish. One that is added later starts with the next window.
    pub datasets: Vec<String>,
    /// Create topics that are missing, with the settings below. Without it a missing topic is an error.
    pub create_topics: bool,
    /// Partitions of a created data topic.
    pub partitions: u32,
    /// Replicas of a created topic; 3 on a cluster that must survive the loss of a broker.
    pub replication: u32,
    /// How long a created data topic keeps rows; that of findings keeps the newest row of each until it is forgotten.
    pub retention: Period,
    /// Further librdkafka settings, such as `sasl.username`. Those that exactly-once rests on are refused.
    pub properties: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            name: "kafka".to_owned(),
            topic_prefix: "catchment".to_owned(),
            datasets: Dataset::ALL.iter().map(|d| d.name().to_owned()).collect(),
            create_topics: true,
            partitions: 6,
            replication: 1,
            retention: Period::secs(7 * 24 * 3600),
            properties: BTreeMap::new(),
        }
    }
}

/// Settings that the guarantees or other fields rest on, with their older names.
const OWNED: [&str; 22] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "retries",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Settings that may be changed by `properties`.
const TUNED: [(&str, &str); 8] = [
    ("client.id", "catchment"),
    ("compression.type", "zstd"),
    // A chunk is handed over in one go, so waiting longer would only delay its end.
    ("linger.ms", "20"),
    // Several chunks by count and by bytes; the queue is empty between transactions.
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("message.max.bytes", MAX_MESSAGE_BYTES),
    ("request.timeout.ms", "15000"),
    ("socket.timeout.ms", "30000"),
];

/// Those of the settings above that are not a producer's alone.
const OF_EVERY_CLIENT: [&str; 3] = ["client.id", "message.max.bytes", "socket.timeout.ms"];

/// The largest record; a conversation with many policy traces can pass a broker's default of 1 MiB.
pub(crate) const MAX_MESSAGE_BYTES: &str = "4194304";

impl Config {
    /// Refuses what cannot work, before anything connects.
    pub(crate) fn validate(&self) -> Result<()> {
        self.refuse_empty()?;
        self.selected()?;
        if let Some(owned) = self.properties.keys().find(|key| OWNED.contains(&key.as_str())) {
            return Err(Error::user(format!(
                "kafka properties: `{owned}` is set by catchment, exactly-once rests on it; remove it"
            )));
        }
        // The value is not told: it may be a secret.
        if let Some((key, _)) = self.properties.iter().find(|(key, value)| !TLS && needs_tls(key, value)) {
            return Err(Error::user(format!(
                "kafka properties: `{key}` asks for TLS or SCRAM, which this build lacks; build catchment with \
                 `--features kafka-tls`"
            )));
        }
        self.client()
            .create_native_config()
            .map(drop)
            .map_err(|e| Error::user(format!("kafka properties: {e}; see the librdkafka configuration reference")))
    }

    fn refuse_empty(&self) -> Result<()> {
        let empty = [
            ("brokers", self.brokers.trim().is_empty()),
            ("name", self.name.is_empty()),
            ("topic_prefix", self.topic_prefix.is_empty()),
            ("datasets", self.datasets.is_empty()),
            ("partitions", self.partitions == 0),
            ("replication", self.replication == 0),
        ];
        match empty.iter().find(|(_, is_empty)| *is_empty) {
            Some((field, _)) => Err(Error::user(format!("kafka {field}: empty or zero; give it a value"))),
            None => Ok(()),
        }
    }

    /// The datasets to publish.
    pub(crate) fn selected(&self) -> Result<BTreeSet<Dataset>> {
        self.datasets.iter().map(|name| dataset(name)).collect()
    }

    /// The compacted topic of cursors.
    pub(crate) fn cursor_topic(&self) -> String {
        format!("{}.cursors.v1", self.topic_prefix)
    }

    /// What all clients share.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in TUNED {
            config.set(key, value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// The transactional producer. A chunk has 30 s to be delivered and 30 s to commit, so the
    /// broker's limit of 90 s is met only by a process that stands still.
    pub(crate) fn producer(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("transactional.id", transactional_id)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "30000")
            .set("transaction.timeout.ms", "90000");
        config
    }

    /// A reader of the cursor topic, outside any consumer group.
    pub(crate) fn reader(&self, isolation: &str) -> ClientConfig {
        let mut config = self.client();
        // Producer settings would only be warned about.
        for (key, _) in TUNED.iter().filter(|(key, _)| !OF_EVERY_CLIENT.contains(key)) {
            config.remove(key);
        }
        config
            .set("group.id", "catchment-cursor")
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        config
    }
}

/// Whether the client knows TLS and what comes with it.
const TLS: bool = cfg!(feature = "tls");

fn needs_tls(key: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    match key {
        "security.protocol" => matches!(&*value, "SSL" | "SASL_SSL"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("SCRAM-") || value == "OAUTHBEARER",
        "enable.ssl.certificate.verification" => true,
        key => key.starts_with("ssl."),
    }
}

fn dataset(name: &str) -> Result<Dataset> {
    Dataset::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| {
        let known = Dataset::ALL.map(Dataset::name).join(", ");
        Error::user(format!("kafka datasets: `{name}` is none; there are {known}"))
    })
}

#[cfg(test)]
mod tests {
    use catchment_core::{Domain, Retry};

    use super::*;

    fn refusal(config: &Config) -> String {
        let error = config.validate().unwrap_err();
        assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never));
        error.message
    }

    fn with_property(key: &str, value: &str) -> Config {
        Config { properties: [(key.to_owned(), value.to_owned())].into(), ..Config::default() }
    }

    #[test]
    fn the_defaults_are_valid_and_select_every_dataset() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(config.selected().unwrap().len(), Dataset::ALL.len());
    }

    #[test]
    fn a_property_that_exactly_once_rests_on_is_refused_by_name() {
        for key in OWNED {
            assert!(refusal(&with_property(key, "1")).contains(&format!("`{key}`")));
        }
    }

    #[test]
    fn a_property_unknown_to_the_client_is_refused_by_name() {
        assert!(refusal(&with_property("lingr.ms", "5")).contains("lingr.ms"));
    }

    #[test]
    fn tls_and_scram_work_or_are_refused_with_the_build_that_has_them() {
        let cases =
            [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "SCRAM-SHA-512"), ("ssl.cipher.suites", "HIGH")];
        for (key, value) in cases {
            if TLS {
                with_property(key, value).validate().unwrap();
            } else {
                let message = refusal(&with_property(key, value));
                assert!(message.contains(&format!("`{key}`")) && message.contains("kafka-tls"), "{message}");
            }
        }
        with_property("security.protocol", "SASL_PLAINTEXT").validate().unwrap();
    }

    #[test]
    fn a_tuned_property_takes_the_place_of_the_default() {
        let config = with_property("compression.type", "gzip");
        config.validate().unwrap();
        assert_eq!(config.producer("id").get("compression.type"), Some("gzip"));
    }

    #[test]
    fn an_unknown_dataset_is_refused_with_the_known_ones() {
        let config = Config { datasets: vec!["flow".to_owned()], ..Config::default() };
        let message = refusal(&config);
        assert!(message.contains("`flow`") && message.contains("flows, conversations"), "{message}");
    }

    #[test]
    fn empty_brokers_and_zero_partitions_are_refused() {
        assert!(refusal(&Config { brokers: " ".to_owned(), ..Config::default() }).contains("brokers"));
        assert!(refusal(&Config { partitions: 0, ..Config::default() }).contains("partitions"));
    }

    #[test]
    fn unknown_settings_are_refused_when_read() {
        assert!(serde_json::from_str::<Config>(r#"{"broker": "x:9092"}"#).is_err());
        let config: Config = serde_json::from_str(r#"{"brokers": "x:9092", "retention": "24h"}"#).unwrap();
        assert_eq!(config.retention, Period::secs(86_400));
    }
}
