//! The sink's section of the configuration.

use catchment_core::{Error, Period, Result};
use catchment_schemas::Dataset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Offsets inside a column are 32 bits wide; this many rows stay far below that.
const MAX_ROWS_LIMIT: usize = 10_000_000;

/// Where Parquet files go and when they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `file:///absolute/folder` or `s3://bucket/prefix`.
    pub url: String,
    /// Length of the slot of event time whose windows share a file; a multiple of the window.
    pub roll: Period,
    /// Rows per file; a group with more is split at exactly this many.
    pub max_rows: usize,
    /// Which datasets are written.
    pub datasets: Vec<DatasetName>,
    /// Settings for `s3://`; what is left out is taken from the `AWS_*` environment.
    pub s3: S3,
}

/// A dataset, by the name of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetName {
    /// Window x flow key.
    Flows,
    /// Window x conversation.
    Conversations,
    /// Records that came after their window had closed.
    Late,
    /// Records that could not be used.
    Rejects,
    /// Intervals known to be missing.
    Gaps,
    /// What has become of findings.
    Findings,
}

/// How an S3-compatible store is reached.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// Address of the service, for stores other than AWS: `https://minio.example:9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Access key; without it the environment and the machine's role are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Secret of the access key, best written as `${NAME}` of an environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    /// Allows an `http://` endpoint.
    pub allow_http: bool,
    /// Puts the bucket into the host name instead of the path.
    pub virtual_hosted: bool,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &self.secret_access_key.as_ref().map(|_| "***"))
            .field("allow_http", &self.allow_http)
            .field("virtual_hosted", &self.virtual_hosted)
            .finish()
    }
}

impl Default for Config {
    fn default() -> Self {
        use DatasetName::{Conversations, Findings, Flows, Gaps, Late, Rejects};
        Self {
            url: String::new(),
            roll: Period::secs(300),
            max_rows: 1_000_000,
            datasets: vec![Flows, Conversations, Late, Rejects, Gaps, Findings],
            s3: S3::default(),
        }
    }
}

impl From<DatasetName> for Dataset {
    fn from(name: DatasetName) -> Self {
        match name {
            DatasetName::Flows => Self::Flows,
            DatasetName::Conversations => Self::Conversations,
            DatasetName::Late => Self::Late,
            DatasetName::Rejects => Self::Rejects,
            DatasetName::Gaps => Self::Gaps,
            DatasetName::Findings => Self::Findings,
        }
    }
}

impl Config {
    /// Refuses values no file could be written with.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.roll.micros() <= 0 {
            return Err(Error::user("parquet: `roll` must be longer than zero; write it like 5m"));
        }
        if !(1..=MAX_ROWS_LIMIT).contains(&self.max_rows) {
            return Err(Error::user(format!("parquet: `max_rows` must be between 1 and {MAX_ROWS_LIMIT}")));
        }
        if self.datasets.is_empty() {
            let known = Dataset::ALL.map(Dataset::name).join(", ");
            return Err(Error::user(format!("parquet: `datasets` is empty; name some of {known}, or leave it out")));
        }
        Ok(())
    }

    /// The datasets to write, each once, in reading order.
    pub(crate) fn selected(&self) -> Vec<Dataset> {
        let wanted: Vec<Dataset> = self.datasets.iter().copied().map(Into::into).collect();
        Dataset::ALL.into_iter().filter(|d| wanted.contains(d)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_no_file_could_be_written_with_are_refused() {
        assert!(Config::default().validate().is_ok());
        assert!(Config { roll: Period::secs(0), ..Config::default() }.validate().is_err());
        assert!(Config { datasets: Vec::new(), ..Config::default() }.validate().is_err());
        assert!(Config { max_rows: 0, ..Config::default() }.validate().is_err());
    }

    #[test]
    fn unknown_keys_are_refused_and_secrets_are_not_printed() {
        assert!(serde_json::from_str::<Config>(r#"{"uri":"file:///x"}"#).is_err());
        let s3: S3 = serde_json::from_str(r#"{"secret_access_key":"hunter2"}"#).unwrap();
        assert!(!format!("{s3:?}").contains("hunter2"));
    }

    #[test]
    fn datasets_are_written_once_and_in_reading_order() {
        let config: Config = serde_json::from_str(r#"{"datasets":["gaps","flows","gaps"]}"#).unwrap();
        assert_eq!(config.selected(), [Dataset::Flows, Dataset::Gaps]);
    }
}
