use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use catchment_core::knowledge::{Change, Coverage, Kind, News, Object};
use catchment_core::{
    Cursor, Encoding, Entry, Epoch, EventTime, FlowsEntry, IdentityState, LogWriter, PartitionId, Period, Purpose,
    Result, Sink, Source, Span, StreamId,
};
use catchment_stages::KeyLimits;
use catchment_stages::enrich::{Enrichment, FORESIGHT, LabelKeys};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{Marker, Recorder, Watched, leave};
use crate::metrics::LogMetrics;
use crate::patient::PatientLog;
use crate::pipeline::{self, LogKind, Stream};
use crate::readiness::Readiness;
use crate::spool::{Limits, Spool};
use crate::{FindingsBoard, NamedSink};

const START: i64 = 1_767_225_600;
const LIMITS: Limits = Limits { segment_bytes: 1 << 20, max_bytes: 1 << 26, look_back: 0 };

fn second(n: i64) -> EventTime {
    EventTime::from_secs(START + n)
}

fn pod(name: &str, made: i64, account: &str) -> Object {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "generateName": "web-", "creationTimestamp": second(made).to_rfc3339()},
        "spec": {"serviceAccountName": account}, "status": {"phase": "Running"}});
    Object::from_json(&pod.to_string()).expect("an object").expect("of a kind that is read")
}

fn told(at: i64, object: Object) -> News {
    News::Change(Change::to(second(at), object))
}

fn all_seen(at: i64) -> Vec<News> {
    let seen = |&kind: &Kind| News::Coverage { kind, at: second(at), coverage: Coverage::Synced };
    Kind::ALL.iter().map(seen).collect()
}

fn lost(kind: Kind, at: i64) -> News {
    let coverage = Coverage::Stale { since: Some(second(at)), why: "no route".into() };
    News::Coverage { kind, at: second(at), coverage }
}

async fn open(dir: &Path, wait: u64) -> (Watched, Recorder) {
    Watched::open(dir, LIMITS, Period::secs(wait), &mut Registry::default()).await.expect("the log opens")
}

/// Changes that are kept: name of the object, second, and whether it is there.
fn kept(watched: &Watched) -> Vec<(String, i64, bool)> {
    let changes = watched.timeline.between(EventTime::MIN, EventTime::MAX);
    changes.into_iter().map(|c| (c.key.name.to_string(), c.at.secs() - START, c.state.is_some())).collect()
}

fn present(name: &str, at: i64) -> (String, i64, bool) {
    (name.to_owned(), at, true)
}

fn state(watched: &Watched, from: i64, to: i64) -> IdentityState {
    watched.timeline.state(Span::new(second(from), second(to)))
}

#[tokio::test]
async fn a_restart_remembers_what_was_told_and_notices_what_went_meanwhile() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let (watched, mut recorder) = open(dir.path(), 60).await;
        recorder.take(vec![told(100, pod("a", 10, "x")), told(100, pod("b", 20, "x"))]).await.expect("written");
        recorder.take(all_seen(101)).await.expect("written");
        recorder.tick(second(200)).await.expect("settled");
        assert_eq!(kept(&watched), [present("a", 10), present("b", 20)], "there since they were made");
        assert_eq!(watched.timeline.sealed(), second(199));
        assert_eq!(state(&watched, 30, 60), IdentityState::Stale, "nobody watched then");
        assert_eq!(state(&watched, 101, 150), IdentityState::Fresh);
    }
    let (watched, mut recorder) = open(dir.path(), 60).await;
    assert_eq!(watched.timeline.sealed(), second(199));
    assert_eq!(kept(&watched), [present("a", 10), present("b", 20)]);
    // `b` has gone and `c` was made before what had been settled.
    recorder.take(vec![told(500, pod("a", 10, "x")), told(500, pod("c", 50, "x"))]).await.expect("written");
    recorder.take(all_seen(501)).await.expect("written");
    let expected = [present("a", 10), present("b", 20), present("c", 199), present("a", 500), ("b".into(), 501, false)];
    assert_eq!(kept(&watched), expected);
    assert_eq!((state(&watched, 101, 199), state(&watched, 300, 360)), (IdentityState::Fresh, IdentityState::Stale));
}

#[tokio::test]
async fn a_restart_remembers_how_much_of_a_kind_could_be_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    let sights = {
        let (watched, mut recorder) = open(dir.path(), 60).await;
        recorder.take(all_seen(100)).await.expect("written");
        recorder.take(vec![lost(Kind::Pod, 150)]).await.expect("written");
        watched.timeline.sights_between(EventTime::MIN, EventTime::MAX)
    };
    assert_eq!(sights.len(), Kind::ALL.len() + 1);
    assert_eq!(sights.last().map(|sight| (sight.kind, sight.at)), Some((Kind::Pod, second(150))));
    let (watched, _) = open(dir.path(), 60).await;
    assert_eq!(watched.timeline.sights_between(EventTime::MIN, EventTime::MAX), sights);
}

#[tokio::test]
async fn who_takes_over_a_name_within_a_second_comes_after_who_had_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (watched, mut recorder) = open(dir.path(), 60).await;
    recorder.take(vec![told(100, pod("web-0", 10, "old"))]).await.expect("written");
    let gone = Change::gone(second(200).plus(500_000), pod("web-0", 10, "old").key());
    let next = Change::to(second(200).plus(700_000), pod("web-0", 200, "new"));
    recorder.take(vec![News::Change(gone), News::Change(next)]).await.expect("written");
    let last = watched.timeline.between(EventTime::MIN, EventTime::MAX).pop().expect("three changes");
    assert!(last.state.is_some() && last.at == second(200).plus(500_000));
}

#[tokio::test]
async fn time_goes_on_without_the_cluster_after_the_wait_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let (watched, mut recorder) = open(dir.path(), 3600).await;
    watched.reach(second(60));
    recorder.tick(second(100)).await.expect("nothing to do");
    assert_eq!(watched.timeline.sealed(), EventTime::MIN, "the wait is not over");

    let dir = tempfile::tempdir().expect("a folder");
    let (watched, mut recorder) = open(dir.path(), 0).await;
    watched.reach(second(60));
    recorder.tick(second(100)).await.expect("settled");
    assert_eq!(watched.timeline.sealed(), second(60).plus(FORESIGHT));
    assert_eq!(state(&watched, 0, 60), IdentityState::Unknown);
    // What is told now counts from what is settled on, and the cluster is lost again.
    recorder.take(vec![told(200, pod("a", 10, "x"))]).await.expect("written");
    assert_eq!(kept(&watched), [present("a", 80)]);
    recorder.take(all_seen(200)).await.expect("written");
    recorder.take(vec![lost(Kind::Pod, 250)]).await.expect("written");
    watched.reach(second(300));
    recorder.tick(second(400)).await.expect("settled");
    assert_eq!((state(&watched, 240, 300), watched.timeline.sealed()), (IdentityState::Stale, second(320)));
}

async fn entries(spool: &Spool) -> Vec<Entry> {
    let mut entries = Vec::new();
    spool.replay(EventTime::MIN, &mut |logged| entries.push(logged.entry)).await.expect("readable");
    entries
}

fn patient(spool: &Spool) -> PatientLog {
    let stream = StreamId { cluster: "lab".into(), source: "goldmane".into() };
    let part = Readiness::default().part("log".to_owned());
    PatientLog { spool: spool.clone(), stream, metrics: LogMetrics::default(), part }
}

fn mark(up_to: EventTime) -> Entry {
    Entry::Progress { partition: PartitionId::KNOWLEDGE, up_to }
}

#[tokio::test]
async fn streams_are_marked_and_left_and_learn_when_nobody_looked() {
    let (dir, log) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let spool = Spool::open(log.path(), LIMITS, LogMetrics::default()).expect("the log opens");
    let (watched, mut recorder) = open(dir.path(), 0).await;
    recorder.take(all_seen(100)).await.expect("written");
    let mut marker = Marker::join(watched.clone(), patient(&spool)).await.expect("marked");
    watched.reach(second(200));
    recorder.take(vec![lost(Kind::Pod, 150)]).await.expect("written");
    recorder.tick(second(300)).await.expect("settled");
    marker.catch_up().await.expect("marked");
    let written = entries(&spool).await;
    assert_eq!((&written[0], &written[2]), (&mark(second(80)), &mark(second(200))));
    let Entry::Gap(gap) = &written[1] else { panic!("a gap before the mark: {written:?}") };
    assert_eq!((gap.reason.as_str(), gap.span), ("knowledge_blind", Span::new(second(80), second(200))));

    leave(&patient(&spool)).await.expect("marked");
    leave(&patient(&spool)).await.expect("nothing to do");
    assert_eq!(entries(&spool).await.last(), Some(&mark(EventTime::MAX)));
    assert_eq!(entries(&spool).await.len(), 4);
}

#[tokio::test]
async fn a_log_that_knowledge_has_left_can_be_cut() {
    let log = tempfile::tempdir().expect("a folder");
    let limits = Limits { segment_bytes: 300, ..LIMITS };
    let spool = Spool::open(log.path(), limits, LogMetrics::default()).expect("the log opens");
    spool.append(vec![mark(second(0))]).await.expect("written");
    leave(&patient(&spool)).await.expect("marked");
    let mut end = spool.end();
    for n in 0..50 {
        let flows = Entry::Progress { partition: PartitionId(0), up_to: second(n) };
        end = spool.append(vec![flows]).await.expect("written");
    }
    spool.truncate_before(end).expect("cut");
    assert!(spool.first().0 > 30, "only the newest progress of the flows stays: {:?}", spool.first());
}

// === the whole line ===

/// Flows of one name in each of three minutes, each minute complete behind them.
struct Minutes;

#[async_trait]
impl Source for Minutes {
    async fn run(&mut self, log: &dyn LogWriter) -> Result<()> {
        for minute in 0..3 {
            let start = START + minute * 60;
            let line = format!(
                r#"{{"Key":{{"source_name":"web-*","source_namespace":"shop","source_type":1,"dest_name":"pub","dest_namespace":"-","dest_type":4,"dest_port":443,"proto":"tcp","reporter":1,"action":1}},"start_time":{start},"end_time":{},"packets_in":1}}"#,
                start + 15
            );
            let flows = Entry::Flows(FlowsEntry {
                partition: PartitionId(0),
                encoding: Encoding::JsonLines,
                purpose: Purpose::Report,
                span: Span::new(second(minute * 60), second(minute * 60 + 60)),
                origin: "test".into(),
                first_record: 0,
                payload: Bytes::from(line),
            });
            let complete = Entry::Progress { partition: PartitionId(0), up_to: second(minute * 60 + 60) };
            log.append(vec![flows, complete]).await?;
        }
        std::future::pending().await
    }

    async fn check(&mut self) -> Result<String> {
        Ok(String::new())
    }
}

type Told = (i64, Vec<String>, Option<IdentityState>);

/// Keeps who talked in every window, and forgets its place: each start reads the whole log again.
struct Listener(Arc<Mutex<Vec<Told>>>, mpsc::UnboundedSender<()>);

#[async_trait]
impl Sink for Listener {
    async fn open(&mut self, _stream: &StreamId) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        if let Some(window) = &epoch.window {
            let who = &window.flows[0].ends().source.who;
            let accounts = who.service_accounts.iter().flatten().map(ToString::to_string).collect();
            let told = (window.span.start.secs() - START, accounts, window.identity);
            self.0.lock().expect("nobody panics").push(told);
            let _ = self.1.send(());
        }
        Ok(None)
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn check(&mut self) -> Result<String> {
        Ok(String::new())
    }
}

/// Runs a stream over the log in `dir` until `windows` windows were published.
async fn published(dir: &Path, watched: &Watched, source: Box<dyn Source>, windows: usize) -> Vec<Told> {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let (published, mut each) = mpsc::unbounded_channel();
    let enrichment = Enrichment { timeline: watched.timeline.clone(), marked: true, labels: LabelKeys::default() };
    let stream = Stream {
        id: StreamId { cluster: "c".into(), source: "s".into() },
        source,
        log: LogKind::Spool { dir: dir.to_owned(), limits: LIMITS },
        sinks: vec![NamedSink { name: "rows".into(), sink: Box::new(Listener(rows.clone(), published)) }],
        window: 60_000_000,
        limits: KeyLimits::default(),
        enrichment: Some(enrichment),
        watched: Some(watched.clone()),
        detect: None,
        workers: 2,
    };
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(pipeline::run(
        stream,
        &mut Registry::default(),
        &Readiness::default(),
        &FindingsBoard::default(),
        stopped,
    ));
    for _ in 0..windows {
        each.recv().await.expect("a window");
    }
    stop.send_replace(true);
    running.await.expect("no panic").expect("no fault");
    Arc::into_inner(rows).expect("the stream has ended").into_inner().expect("nobody panics")
}

/// Reads nothing more.
struct Silence;

#[async_trait]
impl Source for Silence {
    async fn run(&mut self, _log: &dyn LogWriter) -> Result<()> {
        std::future::pending().await
    }

    async fn check(&mut self) -> Result<String> {
        Ok(String::new())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_a_stream_wait_for_the_cluster_and_say_the_same_after_a_restart() {
    let (dir, log) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (watched, mut recorder) = open(dir.path(), 3600).await;
    recorder.take(vec![told(0, pod("web-0", -100, "first"))]).await.expect("written");
    recorder.take(all_seen(0)).await.expect("written");
    recorder.tick(second(1)).await.expect("settled");
    let waits = watched.clone();
    let telling = tokio::spawn(async move {
        // The source has read everything; what the cluster tells only now still counts for its time.
        while waits.reached() < second(180) {
            tokio::task::yield_now().await;
        }
        let next = Change::to(second(130), pod("web-0", -100, "second"));
        recorder.take(vec![News::Change(next)]).await.expect("written");
        recorder.tick(second(300)).await.expect("settled");
        recorder
    });
    let rows = published(log.path(), &watched, Box::new(Minutes), 3).await;
    let fresh = Some(IdentityState::Fresh);
    let accounts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = [
        (0, accounts(&["first"]), fresh),
        (60, accounts(&["first"]), fresh),
        (120, accounts(&["first", "second"]), fresh),
    ];
    assert_eq!(rows, expected);
    drop((telling.await.expect("no panic"), watched));

    let (watched, _recorder) = open(dir.path(), 3600).await;
    assert_eq!(published(log.path(), &watched, Box::new(Silence), 3).await, expected);
}
