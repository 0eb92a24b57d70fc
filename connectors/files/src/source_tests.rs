use std::fmt::Write as _;
use std::sync::Mutex;

use catchment_core::{Error, LogPosition, Logged};

use super::*;

/// A log in memory that takes `room` entries and then fails.
struct Log {
    entries: Mutex<Vec<Entry>>,
    room: usize,
}

impl Log {
    fn new(room: usize) -> Self {
        Self { entries: Mutex::default(), room }
    }

    fn entries(&self) -> Vec<Entry> {
        self.entries.lock().expect("no panic under the lock").clone()
    }
}

#[async_trait]
impl LogWriter for Log {
    async fn append(&self, new: Vec<Entry>) -> Result<LogPosition> {
        let mut entries = self.entries.lock().expect("no panic under the lock");
        if entries.len() >= self.room {
            return Err(Error::external("log is full"));
        }
        let first = LogPosition(entries.len() as u64);
        entries.extend(new);
        Ok(first)
    }

    async fn read(&self, position: LogPosition) -> Result<Option<Entry>> {
        Ok(self.entries().get(position.0 as usize).cloned())
    }

    async fn replay(&self, _: EventTime, visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()> {
        for (at, entry) in self.entries().into_iter().enumerate() {
            visit(Logged { position: LogPosition(at as u64), entry });
        }
        Ok(())
    }
}

fn source(paths: Vec<String>, disorder: Option<Period>) -> FileSource {
    FileSource::new(SourceConfig { paths, disorder }, &mut Registry::default())
}

fn lines(seconds: std::ops::Range<i64>, width: usize) -> String {
    seconds.fold(String::new(), |mut text, s| {
        let _ = writeln!(text, "{{\"start_time\":{s},\"pad\":\"{}\"}}", "x".repeat(width));
        text
    })
}

fn payload(entries: &[Entry]) -> Vec<u8> {
    entries
        .iter()
        .filter_map(|e| if let Entry::Flows(f) = e { Some(f.payload.to_vec()) } else { None })
        .flatten()
        .collect()
}

fn progress(entries: &[Entry]) -> Vec<EventTime> {
    entries.iter().filter_map(|e| if let Entry::Progress { up_to, .. } = e { Some(*up_to) } else { None }).collect()
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("temporary directory") }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("file");
        path.display().to_string()
    }
}

#[tokio::test]
async fn files_are_logged_byte_for_byte_and_end_with_the_last_progress() {
    let files = Files::new();
    let (a, b) = (lines(0..3000, 900), lines(3000..3010, 10));
    let paths = vec![files.write("a", &a), files.write("b", &b)];
    let log = Log::new(usize::MAX);
    source(paths.clone(), None).run(&log).await.expect("reads");
    let entries = log.entries();
    assert_eq!(payload(&entries), [a, b].concat().into_bytes());
    assert_eq!(progress(&entries), [EventTime::MAX]);
    let origins: Vec<_> =
        entries.iter().filter_map(|e| if let Entry::Flows(f) = e { Some(f.origin.clone()) } else { None }).collect();
    assert!(origins.len() >= 4 && origins.first() == Some(&paths[0]) && origins.last() == Some(&paths[1]));
}

#[tokio::test]
async fn a_run_after_a_fault_goes_on_behind_what_is_logged() {
    let files = Files::new();
    let paths = vec![files.write("a", &lines(0..1300, 900)), files.write("b", &lines(1300..2600, 900))];
    let whole = Log::new(usize::MAX);
    source(paths.clone(), Some(Period::secs(5))).run(&whole).await.expect("reads");
    for room in 1..whole.entries().len() {
        let mut log = Log::new(room);
        source(paths.clone(), Some(Period::secs(5))).run(&log).await.expect_err("the log is full");
        log.room = usize::MAX;
        source(paths.clone(), Some(Period::secs(5))).run(&log).await.expect("reads on");
        assert_eq!(payload(&log.entries()), payload(&whole.entries()), "after {room} entries");
    }
}

#[tokio::test]
async fn progress_follows_the_newest_flow_at_the_configured_distance() {
    let files = Files::new();
    let paths = vec![files.write("a", &lines(0..2000, 900)), files.write("b", &lines(0..10, 10))];
    let log = Log::new(usize::MAX);
    source(paths, Some(Period::secs(60))).run(&log).await.expect("reads");
    let marks = progress(&log.entries());
    assert!(marks.len() > 2 && marks.is_sorted(), "{marks:?}");
    assert_eq!(marks[marks.len() - 2..], [EventTime::from_secs(1999 - 60), EventTime::MAX]);
}

#[tokio::test]
async fn live_input_is_handed_over_as_it_comes() {
    let (mut writer, reader) = tokio::io::duplex(64);
    let mut blocks = Blocks::live(reader);
    tokio::io::AsyncWriteExt::write_all(&mut writer, b"{\"a\":1}\n").await.expect("room");
    assert_eq!(blocks.next().await.expect("block"), b"{\"a\":1}\n");
    drop(writer);
    assert_eq!(blocks.next().await.expect("end"), b"");
}

#[tokio::test]
async fn a_missing_file_is_named_by_run_and_check() {
    let log = Log::new(usize::MAX);
    let mut source = source(vec!["/nowhere/flows.jsonl".to_owned()], None);
    for error in [source.run(&log).await.expect_err("missing"), source.check().await.expect_err("missing")] {
        assert!(error.message.contains("/nowhere/flows.jsonl"), "{}", error.message);
    }
    assert!(log.entries().is_empty());
}
