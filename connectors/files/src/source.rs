//! The source over files, patterns and standard input.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use catchment_core::{
    Encoding, Entry, EventTime, FlowsEntry, LogId, LogWriter, PartitionId, Period, Purpose, Result, Source, Span,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::event_time::newest_start;
use crate::framer::{Chunk, Framer};
use crate::inputs::{Input, identity, resolve, unreadable};

/// Bytes read between two entries of the log. Files are always read in whole blocks, so the entries
/// of an unchanged file are the same every time it is read.
const BLOCK: usize = 1 << 20;

/// The one partition: inputs are read one after the other.
const PARTITION: PartitionId = PartitionId(0);

/// How far standard input may be out of order where nothing else is configured.
const STDIN_DISORDER: Period = Period::secs(60);

/// Reads flows written as JSON: lines, pretty-printed objects, lists, or an event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Files, patterns such as `flows/*.jsonl`, and `-` for standard input; read in this order.
    pub paths: Vec<String>,
    /// How far flows may be out of order. Windows close once flows this much newer have been read;
    /// older ones are published as late. Without it files are read to their end before any window
    /// closes, and standard input uses 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disorder: Option<Period>,
}

/// A bounded source of JSON flows: `run` returns at the end of the last input.
pub struct FileSource {
    config: SourceConfig,
    read_bytes: Counter,
    /// Newest start time read so far.
    newest: EventTime,
}

impl FileSource {
    /// A source that reads nothing until it is run.
    pub fn new(config: SourceConfig, registry: &mut Registry) -> Self {
        let read_bytes = Counter::default();
        registry.register_with_unit("files_read", "Bytes read from input files", Unit::Bytes, read_bytes.clone());
        Self { config, read_bytes, newest: EventTime::MIN }
    }

    async fn read_input(&mut self, input: &Input, done: u64, log: &dyn LogWriter) -> Result<()> {
        match input {
            Input::Stdin => self.read(Blocks::live(tokio::io::stdin()), input, done, log).await,
            Input::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(|e| unreadable(path, e))?;
                self.read(Blocks::whole(file), input, done, log).await
            }
        }
    }

    /// Logs all of `input` behind the chunk that starts at line `done`.
    async fn read<R>(&mut self, mut blocks: Blocks<R>, input: &Input, done: u64, log: &dyn LogWriter) -> Result<()>
    where
        R: AsyncRead + Unpin + Send,
    {
        let origin = input.origin();
        let mut framer = Framer::new();
        loop {
            let block = blocks.next().await.map_err(|e| unreadable(Path::new(&origin), e))?;
            self.read_bytes.inc_by(block.len() as u64);
            let ended = block.is_empty();
            framer.feed(block);
            if ended {
                framer.finish();
            }
            if let Some(chunk) = framer.take() {
                let disorder = self.disorder(input);
                let entries = self.entries(chunk, &origin, disorder, done);
                if !entries.is_empty() {
                    log.append(entries).await?;
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn disorder(&self, input: &Input) -> Option<Period> {
        self.config.disorder.or((*input == Input::Stdin).then_some(STDIN_DISORDER))
    }

    /// The chunk and the progress it proves, in one append; nothing where the log has the chunk.
    fn entries(&mut self, chunk: Chunk, origin: &str, disorder: Option<Period>, done: u64) -> Vec<Entry> {
        let progress = disorder.and_then(|disorder| self.progress(&chunk.payload, disorder));
        if chunk.first_line <= done {
            return Vec::new();
        }
        std::iter::once(flows(chunk, origin)).chain(progress).collect()
    }

    fn progress(&mut self, payload: &[u8], disorder: Period) -> Option<Entry> {
        let newest = newest_start(payload).filter(|&time| time > self.newest)?;
        self.newest = newest;
        Some(Entry::Progress { partition: PARTITION, up_to: newest.plus(-disorder.micros()) })
    }
}

#[async_trait]
impl Source for FileSource {
    async fn run(&mut self, log: &dyn LogWriter) -> Result<()> {
        let inputs = resolve(&self.config.paths)?;
        let logged = last_logged(log).await?;
        let (first, done) = resume_at(&inputs, logged);
        self.newest = EventTime::MIN;
        log.reading();
        for (number, input) in inputs.iter().enumerate().skip(first) {
            self.read_input(input, if number == first { done } else { 0 }, log).await?;
            tracing::info!(origin = input.origin(), "input read to its end");
        }
        log.append(vec![Entry::Progress { partition: PARTITION, up_to: EventTime::MAX }]).await?;
        Ok(())
    }

    fn input(&self) -> Result<Option<LogId>> {
        identity(&resolve(&self.config.paths)?, self.config.disorder)
    }

    async fn check(&mut self) -> Result<String> {
        let inputs = resolve(&self.config.paths)?;
        let mut bytes = 0;
        for input in &inputs {
            if let Input::File(path) = input {
                let file = tokio::fs::File::open(path).await.map_err(|e| unreadable(path, e))?;
                bytes += file.metadata().await.map_err(|e| unreadable(path, e))?.len();
            }
        }
        Ok(format!("{} input(s), {bytes} bytes in files", inputs.len()))
    }
}

fn flows(chunk: Chunk, origin: &str) -> Entry {
    Entry::Flows(FlowsEntry {
        partition: PARTITION,
        encoding: Encoding::JsonLines,
        purpose: Purpose::Report,
        span: Span::new(EventTime::MIN, EventTime::MAX),
        origin: origin.to_owned(),
        first_record: chunk.first_line,
        payload: Bytes::from(chunk.payload),
    })
}

/// Origin and first line of the last chunk in the log: what an earlier run came to.
async fn last_logged(log: &dyn LogWriter) -> Result<Option<(String, u64)>> {
    let mut last = None;
    let mut visit = |logged: catchment_core::Logged| {
        if let Entry::Flows(flows) = logged.entry {
            last = Some((flows.origin, flows.first_record));
        }
    };
    log.replay(EventTime::MIN, &mut visit).await?;
    Ok(last)
}

/// The input to start with, and the line up to which the log has it. Standard input cannot be read
/// twice, so it is always taken as new.
fn resume_at(inputs: &[Input], logged: Option<(String, u64)>) -> (usize, u64) {
    let Some((origin, line)) = logged else { return (0, 0) };
    let found = inputs.iter().position(|input| *input != Input::Stdin && input.origin() == origin);
    found.map_or((0, 0), |number| (number, line))
}

/// An input cut into blocks.
struct Blocks<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Hand over what is there instead of waiting for a whole block: somebody is writing right now.
    live: bool,
}

impl<R: AsyncRead + Unpin + Send> Blocks<R> {
    fn live(reader: R) -> Self {
        Self { reader, buffer: vec![0; BLOCK], live: true }
    }

    fn whole(reader: R) -> Self {
        Self { reader, buffer: vec![0; BLOCK], live: false }
    }

    /// The next block; empty at the end.
    async fn next(&mut self) -> std::io::Result<&[u8]> {
        let mut filled = 0;
        while filled < self.buffer.len() {
            let read = self.reader.read(&mut self.buffer[filled..]).await?;
            filled += read;
            if read == 0 || self.live {
                break;
            }
        }
        Ok(&self.buffer[..filled])
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
