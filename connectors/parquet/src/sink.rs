//! The sink itself: gather, roll, write, move the cursor.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use catchment_core::{Cursor, Epoch, Error, Result, Sink, StreamId};
use catchment_schemas::Dataset;
use futures::StreamExt;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::cursor::Held;
use crate::fault::wrap;
use crate::file::{self, File, Layout};
use crate::group::Group;
use crate::metrics::Metrics;
use crate::store::Store;

/// Publishes epochs as Parquet files.
pub struct ParquetSink {
    store: Store,
    layout: Arc<Layout>,
    datasets: Vec<Dataset>,
    metrics: Metrics,
    held: Option<Held>,
    /// Shared with the thread that encodes; nobody else holds it while rows are added.
    group: Option<Arc<Group>>,
    url: String,
}

impl ParquetSink {
    /// A sink for what `config` names. Nothing is connected or written before [`Sink::open`].
    pub fn new(config: Config, registry: &mut Registry) -> Result<Self> {
        config.validate()?;
        let store = Store::open(&config)?;
        Ok(Self::on(store, config, registry))
    }

    pub(crate) fn on(store: Store, config: Config, registry: &mut Registry) -> Self {
        let layout = Layout { prefix: store.prefix.clone(), roll: config.roll.micros(), max_rows: config.max_rows };
        let datasets = config.selected();
        Self {
            layout: Arc::new(layout),
            metrics: Metrics::register(registry, &datasets),
            datasets,
            held: None,
            group: None,
            url: config.url,
            store,
        }
    }

    /// The cursor that is durable now.
    fn durable(&self) -> Option<Cursor> {
        self.held.as_ref()?.cursor().cloned()
    }

    /// An epoch handed over again after an error is known already.
    fn knows(&self, epoch: &Epoch) -> bool {
        let gathered = self.group.as_ref().map(|g| g.cursor.committed);
        gathered.or(self.durable().map(|c| c.committed)).is_some_and(|last| epoch.id <= last)
    }

    /// Writes the gathered rows and moves the cursor past them. After an error everything is still
    /// gathered: the next call meets the objects that were written and goes on behind them.
    async fn flush(&mut self) -> Result<()> {
        let Some(group) = self.group.clone() else { return Ok(()) };
        let held = self.held.as_mut().ok_or_else(not_open)?;
        held.begin(&self.store, group.log).await?;
        for &dataset in &self.datasets {
            for file in encode(&self.layout, &group, dataset).await? {
                put(&self.store, &self.metrics, dataset, &file).await?;
            }
        }
        held.advance(&self.store, &group.cursor).await?;
        self.group = None;
        Ok(())
    }

    fn gather(&mut self, epoch: &Epoch) {
        let group = self.group.get_or_insert_with(|| Arc::new(Group::starting_with(epoch)));
        Arc::make_mut(group).add(epoch, &self.datasets);
    }
}

fn not_open() -> Error {
    Error::internal("parquet: rows were handed over before the sink was opened")
}

/// Encoding takes seconds for a full file, so it runs beside the reactor.
async fn encode(layout: &Arc<Layout>, group: &Arc<Group>, dataset: Dataset) -> Result<Vec<File>> {
    let (layout, group) = (Arc::clone(layout), Arc::clone(group));
    let encoded = tokio::task::spawn_blocking(move || file::files(&layout, &group, dataset)).await;
    encoded.map_err(|e| Error::internal("parquet: the encoder stopped").caused_by(e))?
}

async fn put(store: &Store, metrics: &Metrics, dataset: Dataset, file: &File) -> Result<()> {
    let start = Instant::now();
    store.create(file).await?;
    metrics.durable(dataset, file.rows, file.bytes.len(), start.elapsed());
    tracing::debug!(object = %file.path, rows = file.rows, bytes = file.bytes.len(), "object is durable");
    Ok(())
}

#[async_trait]
impl Sink for ParquetSink {
    async fn open(&mut self, stream: &StreamId) -> Result<Option<Cursor>> {
        self.group = None;
        self.held = Some(Held::take(&self.store, stream).await?);
        Ok(self.durable())
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        if self.held.is_none() {
            return Err(not_open());
        }
        if self.knows(epoch) {
            return Ok(self.durable());
        }
        if self.group.as_ref().is_some_and(|g| g.ends_before(epoch, self.layout.roll)) {
            self.flush().await?;
        }
        self.gather(epoch);
        Ok(self.durable())
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        self.flush().await?;
        Ok(self.durable())
    }

    fn takes(&self, dataset: Dataset) -> bool {
        self.datasets.contains(&dataset)
    }

    async fn check(&mut self) -> Result<String> {
        let mut objects = self.store.objects.list(Some(&self.store.prefix));
        let found = match objects.next().await {
            Some(first) => format!("holds objects, first {}", first.map_err(|e| wrap("list", &e))?.location),
            None => "is empty".to_owned(),
        };
        Ok(format!("{} {found}", self.url))
    }
}
