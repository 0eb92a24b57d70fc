//! Streams over a real log, between a source and sinks that do as they are told.

use std::time::Duration;

use async_trait::async_trait;
use catchment_core::{Cursor, Entry, Epoch, EventTime, LogWriter, Sink};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;

/// Long past anything a loaded machine needs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Moves time on by a minute whenever it is told to, and ends with `fault` after `minutes`.
struct Clock {
    go: Arc<Notify>,
    minutes: i64,
    fault: fn() -> Error,
}

#[async_trait]
impl Source for Clock {
    async fn run(&mut self, log: &dyn LogWriter) -> Result<()> {
        self.go.notified().await;
        log.reading();
        for minute in 0..self.minutes {
            let up_to = EventTime::from_secs(60 * minute);
            log.append(vec![Entry::Progress { partition: PartitionId(0), up_to }]).await?;
        }
        self.go.notified().await;
        Err((self.fault)())
    }

    async fn check(&mut self) -> Result<String> {
        Ok(String::new())
    }
}

/// Opens once it may, publishes `good` epochs, and then fails for good.
struct Tap {
    may_open: Arc<Notify>,
    good: usize,
    published: watch::Sender<usize>,
}

#[async_trait]
impl Sink for Tap {
    async fn open(&mut self, _stream: &StreamId) -> Result<Option<Cursor>> {
        self.may_open.notified().await;
        Ok(None)
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        let published = *self.published.borrow();
        if published == self.good {
            return Err(Error::user("the sink broke"));
        }
        self.published.send_replace(published + 1);
        Ok(Some(epoch.cursor()))
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn check(&mut self) -> Result<String> {
        Ok(String::new())
    }
}

/// A running stream, and the strings it hangs on.
struct Stage {
    _dir: TempDir,
    ready: Readiness,
    registry: Registry,
    go: Arc<Notify>,
    may_open: Vec<Arc<Notify>>,
    published: Vec<watch::Receiver<usize>>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<Result<()>>,
}

impl Stage {
    /// One sink for each number of epochs that it can publish.
    fn new(minutes: i64, fault: fn() -> Error, good: &[usize]) -> Self {
        let dir = TempDir::new().unwrap();
        let (ready, mut registry, go) = (Readiness::default(), Registry::default(), Arc::new(Notify::new()));
        let (stop, stopped) = watch::channel(false);
        let (mut may_open, mut published, mut sinks) = (Vec::new(), Vec::new(), Vec::new());
        for (number, &good) in good.iter().enumerate() {
            let (told, seen) = watch::channel(0);
            let tap = Tap { may_open: Arc::new(Notify::new()), good, published: told };
            may_open.push(tap.may_open.clone());
            published.push(seen);
            sinks.push(NamedSink { name: format!("s{number}"), sink: Box::new(tap) });
        }
        let limits = Limits { segment_bytes: 1 << 20, max_bytes: 1 << 24, look_back: 0 };
        let stream = Stream {
            id: StreamId { cluster: "lab".into(), source: "clock".into() },
            source: Box::new(Clock { go: go.clone(), minutes, fault }),
            log: LogKind::Spool { dir: dir.path().to_owned(), limits },
            sinks,
            window: 60_000_000,
            limits: KeyLimits::default(),
            enrichment: None,
            watched: None,
            detect: None,
            workers: 1,
        };
        let running = tokio::spawn(run(stream, &mut registry, &ready, &FindingsBoard::default(), stopped));
        Self { _dir: dir, ready, registry, go, may_open, published, stop, running }
    }

    fn open_all(&self) {
        self.may_open.iter().for_each(|may_open| may_open.notify_one());
    }

    async fn until_missing(&self, expected: Option<&str>) {
        let reached = async {
            while self.ready.missing().as_deref() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        assert!(waited.is_ok(), "missing is {:?}, not {expected:?}", self.ready.missing());
    }

    async fn until_published(&mut self, sink: usize, epochs: usize) {
        let reached = self.published[sink].wait_for(|published| *published >= epochs);
        tokio::time::timeout(PATIENCE, reached).await.expect("it is published").expect("the sink lives");
    }

    async fn outcome(self) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.running).await.expect("the stream ends").expect("without a panic")
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

const ALL: usize = usize::MAX;

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_who_has_opened_the_log_and_every_sink_and_reads() {
    let stage = Stage::new(1, || Error::user("no more"), &[ALL, ALL]);
    let [source, first, second] =
        ["source", "sink s0", "sink s1"].map(|part| format!("stream lab/clock, {part}: not open yet\n"));
    stage.until_missing(Some(&format!("{first}{second}{source}"))).await;
    stage.may_open[0].notify_one();
    stage.until_missing(Some(&format!("{second}{source}"))).await;
    stage.go.notify_one();
    stage.until_missing(Some(&second)).await;
    stage.may_open[1].notify_one();
    stage.until_missing(None).await;
    stage.stop.send_replace(true);
    stage.outcome().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_be_mended_stops_alone_and_is_the_outcome() {
    let mut stage = Stage::new(9, || Error::user("no more"), &[2, ALL]);
    stage.open_all();
    stage.go.notify_one();
    stage.until_published(1, 8).await;
    stage.until_missing(Some(&format!("stream lab/clock, sink s0: {STOPPED}\n"))).await;
    let counted = r#"sink_failures_total{cluster="lab",source="clock",sink="s0"} 1"#;
    assert!(stage.metrics().contains(counted), "{}", stage.metrics());
    stage.stop.send_replace(true);
    assert_eq!(stage.outcome().await.unwrap_err().message, "the sink broke");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_last_sink() {
    let stage = Stage::new(9, || Error::user("no more"), &[2, 3]);
    stage.open_all();
    stage.go.notify_one();
    assert_eq!(stage.outcome().await.unwrap_err().message, "the sink broke");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_source() {
    let mut stage = Stage::new(9, || Error::user("no more"), &[ALL]);
    stage.open_all();
    stage.go.notify_one();
    stage.until_published(0, 8).await;
    stage.go.notify_one();
    let (ready, go) = (stage.ready.clone(), stage.go.clone());
    assert_eq!(stage.outcome().await.unwrap_err().message, "no more");
    assert_eq!(ready.missing().as_deref(), Some(&*format!("stream lab/clock, source: {STOPPED}\n")));
    drop(go);
}
