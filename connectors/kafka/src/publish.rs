//! One epoch becomes transactions.

use std::collections::BTreeMap;
use std::time::Instant;

use catchment_core::{Cursor, Epoch, Result, StreamId, json};
use catchment_schemas::{Dataset, SCHEMA_VERSION};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::chunk::Cutter;
use crate::client::Producer;
use crate::config::Config;
use crate::cursor::{self, Record};
use crate::key;
use crate::metrics::{Metrics, Tally};

/// Delivery reports are served once in so many records.
const RECORDS_PER_POLL: u64 = 1000;

/// Where rows of a dataset go.
struct Door {
    topic: String,
    headers: OwnedHeaders,
}

/// The topics of an open stream.
pub(crate) struct Doors {
    data: BTreeMap<Dataset, Door>,
    cursor_topic: String,
    cursor_key: String,
}

impl Doors {
    pub(crate) fn new(config: &Config, stream: &StreamId) -> Result<Self> {
        let door = |dataset: Dataset| Door { topic: dataset.topic(&config.topic_prefix), headers: headers(dataset) };
        Ok(Self {
            data: config.selected()?.into_iter().map(|dataset| (dataset, door(dataset))).collect(),
            cursor_topic: config.cursor_topic(),
            cursor_key: cursor::record_key(stream, &config.name),
        })
    }

    pub(crate) fn cursor_key(&self) -> &str {
        &self.cursor_key
    }
}

/// The schema is named the same whatever the topics are called.
fn headers(dataset: Dataset) -> OwnedHeaders {
    OwnedHeaders::new()
        .insert(Header { key: "schema", value: Some(&dataset.topic("catchment")) })
        .insert(Header { key: "schema_version", value: Some(&SCHEMA_VERSION.to_string()) })
}

/// Writes the chunks of one epoch, without those that stand already.
pub(crate) struct Publisher<'a> {
    producer: &'a Producer,
    doors: &'a Doors,
    metrics: &'a Metrics,
    epoch: &'a Epoch,
    before: Option<Cursor>,
    cutter: Cutter,
    /// Number of the chunk that is being filled.
    chunk: u32,
    /// Chunks that stand.
    standing: u32,
    open: Option<Transaction>,
}

/// What is in the open transaction.
struct Transaction {
    begun: Instant,
    records: u64,
    tallies: BTreeMap<Dataset, Tally>,
}

impl<'a> Publisher<'a> {
    /// `before` is the cursor of the epoch before, `standing` how many chunks of this one stand.
    pub(crate) fn new(
        producer: &'a Producer,
        doors: &'a Doors,
        metrics: &'a Metrics,
        epoch: &'a Epoch,
        before: Option<Cursor>,
        standing: u32,
    ) -> Self {
        Self { producer, doors, metrics, epoch, before, cutter: Cutter::default(), chunk: 0, standing, open: None }
    }

    /// Publishes the epoch; an error leaves the transaction of its chunk open.
    pub(crate) fn run(mut self) -> Result<Cursor> {
        let mut keys = key::keys(self.epoch);
        let mut outcome = Ok(());
        json::for_each_row(self.epoch, |dataset, row| {
            let key = keys.next().expect("keys and rows come in the same order and number");
            if outcome.is_ok() {
                outcome = self.record(dataset, &key, Some(row));
            }
        });
        outcome?;
        for forgotten in &self.epoch.forgotten {
            self.record(Dataset::Findings, &forgotten.to_string(), None)?;
        }
        self.end_chunk(&Record::whole(self.epoch))?;
        Ok(self.epoch.cursor())
    }

    /// A row, or the end of all rows of its key.
    fn record(&mut self, dataset: Dataset, key: &str, row: Option<&[u8]>) -> Result<()> {
        if self.cutter.cuts_before(row.map_or(0, <[u8]>::len)) {
            self.end_chunk(&Record::partial(self.before.clone(), self.epoch, self.chunk + 1))?;
        }
        match self.doors.data.get(&dataset) {
            Some(door) if self.chunk >= self.standing => self.send(dataset, door, key, row),
            _ => Ok(()),
        }
    }

    fn send(&mut self, dataset: Dataset, door: &Door, key: &str, row: Option<&[u8]>) -> Result<()> {
        self.begin()?;
        let record = BaseRecord::to(&door.topic).key(key).headers(door.headers.clone());
        self.producer.send(BaseRecord { payload: row, ..record })?;
        let open = self.open.as_mut().expect("begun above");
        let tally = open.tallies.entry(dataset).or_default();
        tally.rows += u64::from(row.is_some());
        tally.bytes += row.map_or(0, <[u8]>::len) as u64;
        open.records += 1;
        if open.records.is_multiple_of(RECORDS_PER_POLL) {
            self.producer.poll();
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if self.open.is_none() {
            self.producer.begin()?;
            self.open = Some(Transaction { begun: Instant::now(), records: 0, tallies: BTreeMap::new() });
        }
        Ok(())
    }

    /// Moves the cursor and commits, unless this chunk stands already.
    fn end_chunk(&mut self, record: &Record) -> Result<()> {
        if self.chunk >= self.standing {
            self.begin()?;
            self.send_cursor(record)?;
            self.producer.commit()?;
            let open = self.open.take().expect("begun above");
            let tallies = open.tallies.into_iter().map(|(dataset, tally)| (dataset.name(), tally));
            self.metrics.committed(open.begun.elapsed().as_secs_f64(), tallies);
        }
        self.chunk += 1;
        Ok(())
    }

    fn send_cursor(&self, record: &Record) -> Result<()> {
        let value = serde_json::to_vec(record).expect("numbers and text serialize");
        let message = BaseRecord::to(&self.doors.cursor_topic)
            .partition(0)
            .key(self.doors.cursor_key.as_str())
            .payload(&value[..]);
        let marker = OwnedHeaders::new().insert(Header { key: "marker", value: Some("window_end") });
        self.producer.send(if record.window.is_some() { message.headers(marker) } else { message })
    }
}
