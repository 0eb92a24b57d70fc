//! The sink that writes one JSON object a line.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use catchment_core::{Cursor, Domain, Epoch, Error, Result, Retry, Sink, StreamId, json};
use catchment_schemas::Dataset;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::{OutputFile, folder};

const CLOSED_OUTPUT: &str = "standard output was closed by its reader";

/// Whether `error` only says that the reader of standard output went away (`catchment flows | head`):
/// a reason to stop, not a failure.
pub fn is_closed_output(error: &Error) -> bool {
    error.message == CLOSED_OUTPUT
}

/// A dataset that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetName {
    /// Window x flow key.
    Flows,
    /// Window x conversation, both reporters side by side.
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

/// The dataset of a counter.
type DatasetLabel = [(&'static str, &'static str); 1];

/// Writes rows as JSON objects, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// A file, or `-` for standard output. `{cluster}` and `{source}` stand for the names of the
    /// stream; with several sources each needs a file of its own. A file is only appended to, and
    /// `<path>.cursor` beside it records how much of it is committed.
    pub path: String,
    /// What to write. With more than one dataset each object leads with a member `dataset`.
    pub datasets: Vec<DatasetName>,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self { path: "-".to_owned(), datasets: vec![DatasetName::Flows] }
    }
}

enum Target {
    Closed,
    Stdout,
    File(Arc<Mutex<OutputFile>>),
}

/// Publishes to a file exactly once, and to standard output once per run.
pub struct JsonSink {
    config: SinkConfig,
    target: Target,
    durable: Option<Cursor>,
    rows: Family<DatasetLabel, Counter>,
    written_bytes: Counter,
}

impl JsonSink {
    /// A sink that touches nothing until it is opened.
    pub fn new(config: SinkConfig, registry: &mut Registry) -> Self {
        let (rows, written_bytes) = (Family::<DatasetLabel, Counter>::default(), Counter::default());
        for dataset in config.datasets.iter().copied().map(Dataset::from) {
            let _ = rows.get_or_create_owned(&[("dataset", dataset.name())]);
        }
        registry.register("jsonl_rows", "Rows written as JSON lines", rows.clone());
        registry.register_with_unit("jsonl_written", "Bytes of JSON lines written", Unit::Bytes, written_bytes.clone());
        Self { config, target: Target::Closed, durable: None, rows, written_bytes }
    }

    fn path(&self, stream: &StreamId) -> PathBuf {
        self.config.path.replace("{cluster}", &stream.cluster).replace("{source}", &stream.source).into()
    }

    fn wanted(&self) -> Vec<Dataset> {
        self.config.datasets.iter().map(|&name| name.into()).collect()
    }

    /// The lines of an epoch.
    fn render(&self, epoch: &Epoch) -> Vec<u8> {
        let wanted = self.wanted();
        let mut lines = Vec::new();
        json::for_each_row(epoch, |dataset, object| {
            if wanted.contains(&dataset) {
                line(&mut lines, (wanted.len() > 1).then_some(dataset), object);
            }
        });
        lines
    }

    fn count(&self, epoch: &Epoch, bytes: u64) {
        self.written_bytes.inc_by(bytes);
        for dataset in self.wanted() {
            self.rows.get_or_create_owned(&[("dataset", dataset.name())]).inc_by(epoch.rows_of(dataset) as u64);
        }
    }

    fn unwritable(&self, error: io::Error) -> Error {
        let message =
            format!("cannot write `{}`: check its folder, its rights and the room on the disk", self.config.path);
        Error::new(Domain::User, Retry::Reopen, message).caused_by(error)
    }
}

#[async_trait]
impl Sink for JsonSink {
    async fn open(&mut self, stream: &StreamId) -> Result<Option<Cursor>> {
        self.target = Target::Closed;
        if self.config.path == "-" {
            self.target = Target::Stdout;
            // What was printed stands, however often a run opens its sinks.
            return Ok(self.durable.clone());
        }
        let (path, stream) = (self.path(stream), stream.clone());
        let output = blocking(move || OutputFile::open(&path, &stream)).await.map_err(|e| self.cannot_open(e))?;
        self.durable.clone_from(&output.mark.cursor);
        self.target = Target::File(Arc::new(Mutex::new(output)));
        Ok(self.durable.clone())
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        let lines = self.render(epoch);
        let (bytes, cursor) = (lines.len() as u64, epoch.cursor());
        match &self.target {
            Target::Closed => return Err(Error::internal("the json lines sink was used before it was opened")),
            Target::Stdout => blocking(move || print(&lines)).await.map_err(output_error)?,
            Target::File(output) => {
                let (output, cursor) = (Arc::clone(output), cursor.clone());
                let commit = move || output.lock().unwrap_or_else(PoisonError::into_inner).commit(&lines, cursor);
                blocking(commit).await.map_err(|e| self.unwritable(e))?;
            }
        }
        self.count(epoch, bytes);
        self.durable = Some(cursor);
        Ok(self.durable.clone())
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        Ok(self.durable.clone())
    }

    fn takes(&self, dataset: Dataset) -> bool {
        self.config.datasets.iter().any(|&name| Dataset::from(name) == dataset)
    }

    async fn check(&mut self) -> Result<String> {
        let path = &self.config.path;
        if path == "-" {
            return Ok("rows go to standard output".to_owned());
        }
        let folder = folder(Path::new(path)).to_owned();
        if !folder.to_string_lossy().contains('{') && !folder.is_dir() {
            return Err(Error::user(format!("`{}` is no folder: create it, or change `path`", folder.display())));
        }
        Ok(format!("rows are appended to {path}"))
    }
}

impl JsonSink {
    /// What stands in the way at open does not pass by itself.
    fn cannot_open(&self, error: io::Error) -> Error {
        self.unwritable(error).with_retry(Retry::Never)
    }
}

fn line(out: &mut Vec<u8>, label: Option<Dataset>, object: &[u8]) {
    match label {
        Some(dataset) => {
            out.extend_from_slice(format!("{{\"dataset\":\"{}\",", dataset.name()).as_bytes());
            out.extend_from_slice(&object[1..]);
        }
        None => out.extend_from_slice(object),
    }
    out.push(b'\n');
}

fn print(lines: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(lines)?;
    stdout.flush()
}

fn output_error(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Error::new(Domain::User, Retry::Never, CLOSED_OUTPUT);
    }
    Error::user("cannot write to standard output").caused_by(error)
}

/// Runs file work, which may wait for a disk, away from the tasks that must not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
