use catchment_core::{EpochId, EventTime, Floor, GapRow, LogId, LogPosition, PartitionId, Span};

use super::*;

fn stream() -> StreamId {
    StreamId { cluster: "test".to_owned(), source: "files".to_owned() }
}

fn epoch(number: u64) -> Epoch {
    let gap = GapRow {
        position: LogPosition(number),
        partition: PartitionId(0),
        span: Span::new(EventTime::from_secs(0), EventTime::from_secs(15)),
        reason: "collector_forgot".to_owned(),
        detail: format!("gap {number}"),
    };
    Epoch {
        stream: stream(),
        log: LogId(1),
        id: EpochId { position: LogPosition(number), part: 0 },
        floor: Floor { position: LogPosition(number), watermarks: Vec::new() },
        window: None,
        late: Vec::new(),
        rejects: Vec::new(),
        gaps: vec![gap],
        findings: Vec::new(),
        forgotten: Vec::new(),
    }
}

fn sink(path: &Path, datasets: &[DatasetName]) -> JsonSink {
    let config = SinkConfig { path: path.display().to_string(), datasets: datasets.to_vec() };
    JsonSink::new(config, &mut Registry::default())
}

fn details(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("file");
    let detail = |line| serde_json::from_str::<serde_json::Value>(line).expect("json")["detail"].to_string();
    text.lines().map(detail).collect()
}

#[tokio::test]
async fn epochs_are_appended_and_the_cursor_outlives_the_sink() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("gaps.jsonl");
    let mut first = sink(&path, &[DatasetName::Gaps]);
    assert_eq!(first.open(&stream()).await.expect("opens"), None);
    assert_eq!(first.publish(&epoch(1)).await.expect("writes"), Some(epoch(1).cursor()));
    assert!(sink(&path, &[DatasetName::Gaps]).open(&stream()).await.is_err(), "held by the first");
    drop(first);
    let mut second = sink(&path, &[DatasetName::Gaps]);
    assert_eq!(second.open(&stream()).await.expect("opens"), Some(epoch(1).cursor()));
    second.publish(&epoch(2)).await.expect("writes");
    assert_eq!(second.finish().await.expect("finishes"), Some(epoch(2).cursor()));
    assert_eq!(details(&path), ["\"gap 1\"", "\"gap 2\""]);
}

#[tokio::test]
async fn what_was_written_and_not_committed_is_cut_off() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("gaps.jsonl");
    let mut first = sink(&path, &[DatasetName::Gaps]);
    first.open(&stream()).await.expect("opens");
    first.publish(&epoch(1)).await.expect("writes");
    drop(first);
    let mut text = std::fs::read(&path).expect("file");
    text.extend_from_slice(b"{\"detail\":\"half a li");
    std::fs::write(&path, text).expect("torn write");
    let mut second = sink(&path, &[DatasetName::Gaps]);
    second.open(&stream()).await.expect("opens");
    second.publish(&epoch(2)).await.expect("writes");
    assert_eq!(details(&path), ["\"gap 1\"", "\"gap 2\""]);
}

#[tokio::test]
async fn a_file_that_was_there_before_is_kept() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("mine.jsonl");
    std::fs::write(&path, "{\"detail\":\"mine\"}\n").expect("file");
    for number in 1..3 {
        let mut sink = sink(&path, &[DatasetName::Gaps]);
        sink.open(&stream()).await.expect("opens");
        sink.publish(&epoch(number)).await.expect("writes");
    }
    assert_eq!(details(&path), ["\"mine\"", "\"gap 1\"", "\"gap 2\""]);
}

#[tokio::test]
async fn a_file_of_another_stream_is_refused_and_placeholders_keep_them_apart() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let other = StreamId { source: "other".to_owned(), ..stream() };
    let shared = dir.path().join("all.jsonl");
    sink(&shared, &[DatasetName::Gaps]).open(&stream()).await.expect("opens");
    let error = sink(&shared, &[DatasetName::Gaps]).open(&other).await.expect_err("holds other rows");
    assert_eq!(error.retry, Retry::Never);
    let own = dir.path().join("{source}.jsonl");
    sink(&own, &[DatasetName::Gaps]).open(&other).await.expect("opens");
    assert!(dir.path().join("other.jsonl").exists());
}

#[tokio::test]
async fn with_several_datasets_each_row_says_which() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("all.jsonl");
    let mut both = sink(&path, &[DatasetName::Flows, DatasetName::Gaps]);
    both.open(&stream()).await.expect("opens");
    both.publish(&epoch(1)).await.expect("writes");
    let row: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("file")).expect("one object");
    assert_eq!((&row["dataset"], &row["cluster"]), (&"gaps".into(), &"test".into()));
    let none = dir.path().join("flows.jsonl");
    let mut flows = sink(&none, &[DatasetName::Flows]);
    flows.open(&stream()).await.expect("opens");
    assert_eq!(flows.publish(&epoch(1)).await.expect("writes"), Some(epoch(1).cursor()));
    assert_eq!(std::fs::read(&none).expect("file"), b"");
}

#[test]
fn a_closed_pipe_is_told_from_a_failure() {
    assert!(is_closed_output(&output_error(io::ErrorKind::BrokenPipe.into())));
    assert!(!is_closed_output(&output_error(io::ErrorKind::StorageFull.into())));
}

#[tokio::test]
async fn check_names_a_missing_folder() {
    let error = sink(Path::new("/nowhere/at/all.jsonl"), &[]).check().await.expect_err("no such folder");
    assert!(error.message.contains("/nowhere/at"), "{}", error.message);
}
