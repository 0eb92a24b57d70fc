//! A source that writes what it is told, and a sink that remembers what it was given.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use catchment_core::{
    Cursor, Entry, Epoch, EpochId, Error, EventTime, LogId, LogWriter, PartitionId, Result, Retry, Sink, Source,
    StreamId,
};
use catchment_runtime::pipeline::{self, LogKind, Stream};
use catchment_runtime::spool::Limits;
use catchment_runtime::{FindingsBoard, KeyLimits, NamedSink, Readiness};
use catchment_schemas::Dataset;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};

const MINUTE: i64 = 60_000_000;

pub(crate) fn progress(minutes: i64) -> Entry {
    Entry::Progress { partition: PartitionId(0), up_to: EventTime(minutes * MINUTE) }
}

/// What a script is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A collector: it never ends.
    Endless,
    /// Files: they end, and are known when they are read again.
    Files(u64),
    /// A pipe: it ends, and cannot be read again.
    Pipe,
}

/// Appends its entries.
pub(crate) struct Script {
    pub(crate) entries: Vec<Entry>,
    pub(crate) kind: Kind,
}

impl Script {
    pub(crate) fn three_minutes(kind: Kind) -> Self {
        Self { entries: vec![progress(1), progress(2), progress(3)], kind }
    }
}

#[async_trait]
impl Source for Script {
    async fn run(&mut self, log: &dyn LogWriter) -> Result<()> {
        for entry in &self.entries {
            log.append(vec![entry.clone()]).await?;
        }
        if self.kind == Kind::Endless { std::future::pending().await } else { Ok(()) }
    }

    fn input(&self) -> Result<Option<LogId>> {
        Ok(if let Kind::Files(id) = self.kind { Some(LogId(id)) } else { None })
    }

    async fn check(&mut self) -> Result<String> {
        Ok("a script".to_owned())
    }
}

/// What outlives a sink.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) epochs: Vec<EpochId>,
    /// How often somebody wanted to open it.
    pub(crate) openings: u32,
    /// It does not open.
    pub(crate) is_shut: bool,
    /// It takes no findings.
    pub(crate) is_blind: bool,
    /// Rows of findings that it was handed.
    pub(crate) findings: usize,
    /// The next epoch at this position is not taken.
    pub(crate) trips_at: Option<u64>,
}

/// A place for epochs.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    kept: Arc<Mutex<Kept>>,
    changed: Arc<Notify>,
}

impl Shelf {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no test panics while holding it")
    }

    /// Waits until what it keeps is so.
    pub(crate) async fn until(&self, so: impl Fn(&Kept) -> bool) {
        loop {
            let changed = self.changed.notified();
            if so(&self.kept()) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn positions(&self) -> Vec<u64> {
        self.kept().epochs.iter().map(|epoch| epoch.position.0).collect()
    }

    fn named(&self, number: usize) -> NamedSink {
        NamedSink { name: format!("shelf{number}"), sink: Box::new(self.clone()) }
    }
}

#[async_trait]
impl Sink for Shelf {
    async fn open(&mut self, _: &StreamId) -> Result<Option<Cursor>> {
        let mut kept = self.kept();
        kept.openings += 1;
        self.changed.notify_one();
        if kept.is_shut { Err(Error::external("the shelf is shut")) } else { Ok(kept.cursor.clone()) }
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        let mut kept = self.kept();
        if kept.trips_at.take_if(|at| *at == epoch.id.position.0).is_some() {
            return Err(Error::external("the shelf trips").with_retry(Retry::Reopen));
        }
        kept.epochs.push(epoch.id);
        kept.findings += epoch.findings.len();
        kept.cursor = Some(epoch.cursor());
        self.changed.notify_one();
        Ok(kept.cursor.clone())
    }

    fn takes(&self, dataset: Dataset) -> bool {
        dataset != Dataset::Findings || !self.kept().is_blind
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        Ok(self.kept().cursor.clone())
    }

    async fn check(&mut self) -> Result<String> {
        Ok("a shelf".to_owned())
    }
}

/// A log in `dir` with room for every test.
pub(crate) fn kept_in(dir: &Path) -> LogKind {
    LogKind::Spool {
        dir: dir.to_owned(),
        limits: Limits { segment_bytes: 1 << 16, max_bytes: 1 << 20, look_back: MINUTE },
    }
}

pub(crate) fn stream(script: Script, log: LogKind, shelves: &[&Shelf]) -> Stream {
    Stream {
        id: StreamId { cluster: "test".to_owned(), source: "script".to_owned() },
        source: Box::new(script),
        log,
        sinks: shelves.iter().enumerate().map(|(number, shelf)| shelf.named(number)).collect(),
        window: MINUTE,
        limits: KeyLimits::default(),
        enrichment: None,
        watched: None,
        detect: Some(Arc::default()),
        workers: 1,
    }
}

/// Runs the stream until it ends, or stops it once `done`.
pub(crate) async fn run_until(stream: Stream, done: impl Future<Output = ()>) -> Result<()> {
    run_before(stream, &FindingsBoard::default(), done).await
}

/// Runs the stream until it ends, or stops it once `done`; its findings are posted to the board.
pub(crate) async fn run_before(stream: Stream, board: &FindingsBoard, done: impl Future<Output = ()>) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let running = pipeline::run(stream, &mut Registry::default(), &Readiness::default(), board, stopped);
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        () = done => {}
    }
    stop.send_replace(true);
    running.await
}
