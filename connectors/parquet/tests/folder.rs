//! The sink on a folder: what is written, when, and what happens the second time.

mod reading;
mod sample;

use std::path::Path;

use bytes::Bytes;
use catchment_core::{Cursor, Domain, Epoch, EpochId, Error, LogId, Retry, Sink};
use catchment_parquet::{Config, DatasetName, ParquetSink};
use catchment_schemas::{Dataset, arrow};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prometheus_client::registry::Registry;
use sample::{empty, epoch, stream};
use tempfile::TempDir;

fn config(folder: &Path) -> Config {
    Config { url: format!("file://{}", folder.display()), ..Config::default() }
}

fn sink(config: Config) -> ParquetSink {
    ParquetSink::new(config, &mut Registry::default()).expect("a usable folder")
}

async fn publish(config: Config, epochs: &[Epoch]) -> Result<Option<Cursor>, Error> {
    let mut sink = sink(config);
    sink.open(&stream()).await?;
    for epoch in epochs {
        sink.publish(epoch).await?;
    }
    sink.finish().await
}

fn forget_cursor(folder: &TempDir) {
    std::fs::remove_file(folder.path().join("_cursor/prod-eu/goldmane.json")).expect("the cursor stands there");
}

fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let data = |p: &std::path::PathBuf| p.extension().is_some_and(|e| e == "parquet");
    let files = reading::files(folder).into_iter().filter(data);
    files.map(|p| (p.strip_prefix(folder).expect("inside").to_owned(), std::fs::read(&p).expect("a file"))).collect()
}

#[tokio::test]
async fn every_row_of_every_dataset_reads_back_as_its_json_says() {
    let folder = tempfile::tempdir().unwrap();
    let epochs = [epoch(0, 13), epoch(1, 13), epoch(7, 5)];
    let cursor = publish(config(folder.path()), &epochs).await.unwrap();
    assert_eq!(cursor, Some(epochs[2].cursor()));
    let found = reading::found(folder.path());
    assert_eq!(found.len(), Dataset::ALL.len());
    assert_eq!(found, reading::expected(&epochs));
}

#[tokio::test]
async fn files_are_sorted_described_and_of_the_contracts_schema() {
    let folder = tempfile::tempdir().unwrap();
    publish(config(folder.path()), &[epoch(0, 13), epoch(1, 13)]).await.unwrap();
    for (path, bytes) in contents(folder.path()) {
        let dataset = Dataset::ALL.into_iter().find(|d| path.starts_with(d.name())).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        assert_eq!(reader.schema().fields(), arrow::schema(dataset).fields());
        let footer = reader.metadata();
        let group = footer.row_group(0);
        let order = group.sorting_columns().unwrap();
        let names: Vec<_> = order.iter().map(|c| group.column(c.column_idx as usize).column_path().string()).collect();
        assert_eq!(names, sort_order(dataset));
        assert!(group.columns().iter().all(|c| c.offset_index_length().is_some()), "page index in {path:?}");
        assert!(order.iter().all(|c| group.column(c.column_idx as usize).column_index_length().is_some()));
        let facts = footer.file_metadata().key_value_metadata().unwrap();
        let fact = |name: &str| facts.iter().find(|f| f.key == name).and_then(|f| f.value.clone());
        assert_eq!(fact("catchment.dataset").as_deref(), Some(dataset.name()));
        assert_eq!(fact("catchment.rows"), Some(footer.file_metadata().num_rows().to_string()));
        assert_eq!(fact("catchment.windows_to").as_deref(), Some("2026-01-01T00:02:00Z"));
    }
}

fn sort_order(dataset: Dataset) -> &'static [&'static str] {
    match dataset {
        Dataset::Rejects => &["log_position", "log_index"],
        Dataset::Gaps => &["log_position"],
        Dataset::Findings => &["finding_id", "window_start"],
        _ => &["source_namespace", "source_name", "dest_namespace", "dest_name", "window_start"],
    }
}

#[tokio::test]
async fn rows_are_split_at_exact_counts_and_stay_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { max_rows: 4, datasets: vec![DatasetName::Flows], ..config(folder.path()) };
    publish(config, &[epoch(0, 5), epoch(1, 5)]).await.unwrap();
    let parts: Vec<_> = contents(folder.path()).into_iter().map(|(_, bytes)| reading::read(&bytes)).collect();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    let order = |r: &serde_json::Value| {
        ["source_namespace", "source_name", "dest_namespace", "dest_name", "window_start"]
            .map(|c| r[c].as_str().map(str::to_owned))
    };
    assert!(parts.concat().is_sorted_by_key(order));
}

#[tokio::test]
async fn the_same_rows_make_the_same_bytes_in_any_order_and_again() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(config(one.path()), &[epoch(0, 9)]).await.unwrap();
    let mut turned = epoch(0, 9);
    turned.window.as_mut().unwrap().flows.reverse();
    turned.window.as_mut().unwrap().conversations.reverse();
    publish(config(other.path()), &[turned]).await.unwrap();
    let written = contents(one.path());
    assert_eq!(written.len(), Dataset::ALL.len());
    assert!(written == contents(other.path()));
}

#[tokio::test]
async fn a_group_is_written_when_a_later_slot_begins() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(config(folder.path()));
    sink.open(&stream()).await.unwrap();
    for n in 0..5 {
        assert_eq!(sink.publish(&epoch(n, 2)).await.unwrap(), None, "minute {n} is in the first slot");
    }
    let windowless = Epoch { id: EpochId { part: 1, ..empty(4).id }, ..empty(3) };
    assert_eq!(sink.publish(&windowless).await.unwrap(), None, "an epoch without window joins the slot it lies in");
    assert!(contents(folder.path()).is_empty());
    assert_eq!(sink.publish(&epoch(5, 2)).await.unwrap(), Some(windowless.cursor()));
    let names: Vec<_> = contents(folder.path()).into_iter().map(|(path, _)| path).collect();
    let flows = Path::new("flows/date=2026-01-01/hour=00/prod-eu_goldmane_20260101T000000Z_000_v1.parquet");
    assert!(names.contains(&flows.to_owned()), "{names:?}");
    assert_eq!(sink.finish().await.unwrap(), Some(epoch(5, 0).cursor()));
}

#[tokio::test]
async fn a_group_is_written_when_time_passes_its_slot_without_another_window() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(config(folder.path()));
    sink.open(&stream()).await.unwrap();
    assert_eq!(sink.publish(&epoch(2, 2)).await.unwrap(), None);
    let late = Epoch { late: epoch(2, 0).late, ..empty(5) };
    assert_eq!(sink.publish(&late).await.unwrap(), Some(epoch(2, 0).cursor()), "minute 5 has ended");
    assert_eq!(reading::found(folder.path()), reading::expected(&[epoch(2, 2)]));
    // What is handed over while nothing closes is no different.
    assert_eq!(sink.publish(&empty(8)).await.unwrap(), Some(epoch(2, 0).cursor()));
    assert_eq!(sink.publish(&empty(9)).await.unwrap(), Some(empty(8).cursor()));
    assert_eq!(reading::found(folder.path()), reading::expected(&[epoch(2, 2), late]));
}

#[tokio::test]
async fn empty_datasets_write_no_file_and_side_rows_alone_do() {
    let folder = tempfile::tempdir().unwrap();
    let only_gap = Epoch { gaps: epoch(3, 0).gaps, ..empty(3) };
    publish(config(folder.path()), &[only_gap.clone(), empty(4)]).await.unwrap();
    let names: Vec<_> = contents(folder.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, [Path::new("gaps/date=2026-01-01/hour=00/prod-eu_goldmane_log30.0_000_v1.parquet")]);
}

#[tokio::test]
async fn rejects_alone_are_filed_where_the_stream_had_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut timeless = Epoch { rejects: epoch(3, 0).rejects, ..empty(63) };
    timeless.rejects.retain(|row| row.event_time.is_none());
    publish(config(folder.path()), &[timeless]).await.unwrap();
    let names: Vec<_> = contents(folder.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, [Path::new("rejects/date=2026-01-01/hour=01/prod-eu_goldmane_log630.0_000_v1.parquet")]);
}

#[tokio::test]
async fn after_a_crash_before_the_cursor_moved_the_same_objects_are_met() {
    let folder = tempfile::tempdir().unwrap();
    let epochs = [epoch(0, 4), epoch(9, 4)];
    publish(config(folder.path()), &epochs).await.unwrap();
    let before = contents(folder.path());
    forget_cursor(&folder);
    assert_eq!(publish(config(folder.path()), &epochs).await.unwrap(), Some(epochs[1].cursor()));
    assert!(before == contents(folder.path()));
}

#[tokio::test]
async fn a_finding_that_is_worded_otherwise_is_the_same_row_and_one_that_went_over_is_another() {
    let folder = tempfile::tempdir().unwrap();
    publish(config(folder.path()), &[epoch(0, 4)]).await.unwrap();
    let before = contents(folder.path());
    forget_cursor(&folder);
    let mut reworded = epoch(0, 4);
    reworded.findings[0].title = "put otherwise by the next release".into();
    assert_eq!(publish(config(folder.path()), &[reworded]).await.unwrap(), Some(epoch(0, 4).cursor()));
    assert!(before == contents(folder.path()));
    forget_cursor(&folder);
    let mut other = epoch(0, 4);
    other.findings[0].status = catchment_core::Status::Stale;
    let error = publish(config(folder.path()), &[other]).await.unwrap_err();
    assert!(error.message.contains("findings/") && error.message.contains("exists with other rows"), "{error}");
}

#[tokio::test]
async fn other_rows_under_the_same_name_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    publish(config(folder.path()), &[epoch(0, 4)]).await.unwrap();
    let before = contents(folder.path());
    forget_cursor(&folder);
    let error = publish(config(folder.path()), &[epoch(0, 5)]).await.unwrap_err();
    assert_eq!((error.domain, error.retry), (Domain::Internal, Retry::Never));
    assert!(error.message.contains("exists with other rows"), "{}", error.message);
    assert!(before == contents(folder.path()));
}

/// A crash between the files of the first slot and the move of the cursor: only the cursor object's
/// log says whose files they are, for files of another log may get other names.
#[tokio::test]
async fn files_of_another_log_do_not_get_among_those_of_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let first = [epoch(0, 4)];
    publish(config(folder.path()), &first).await.unwrap();
    let path = folder.path().join("_cursor/prod-eu/goldmane.json");
    std::fs::write(&path, sample::before_the_cursor_moved(&std::fs::read(&path).unwrap())).unwrap();
    let before = contents(folder.path());

    let other = Epoch { log: LogId(2), ..epoch(1, 4) };
    let refused = publish(config(folder.path()), &[other]).await.unwrap_err();
    assert_eq!((refused.domain, refused.retry), (Domain::User, Retry::Never));
    assert!(refused.message.contains("of log 0000000000000001, and this is log 0000000000000002"), "{refused}");
    assert!(before == contents(folder.path()));
    assert_eq!(publish(config(folder.path()), &first).await.unwrap(), Some(first[0].cursor()));
}

#[tokio::test]
async fn who_held_the_stream_before_loses_and_nothing_is_published_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut zombie, mut holder) = (sink(config(folder.path())), sink(config(folder.path())));
    zombie.open(&stream()).await.unwrap();
    zombie.publish(&epoch(0, 3)).await.unwrap();
    holder.open(&stream()).await.unwrap();
    holder.publish(&epoch(0, 3)).await.unwrap();
    assert_eq!(holder.finish().await.unwrap(), Some(epoch(0, 3).cursor()));
    assert_eq!(zombie.finish().await.unwrap_err().retry, Retry::Never);
    assert_eq!(reading::found(folder.path()), reading::expected(&[epoch(0, 3)]));
}

#[tokio::test]
async fn epochs_at_or_before_the_cursor_are_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    publish(config(folder.path()), &[epoch(0, 3)]).await.unwrap();
    let mut sink = sink(config(folder.path()));
    assert_eq!(sink.open(&stream()).await.unwrap(), Some(epoch(0, 3).cursor()));
    sink.publish(&epoch(0, 3)).await.unwrap();
    sink.publish(&epoch(1, 3)).await.unwrap();
    sink.publish(&epoch(1, 3)).await.unwrap();
    sink.finish().await.unwrap();
    assert_eq!(reading::found(folder.path()), reading::expected(&[epoch(0, 3), epoch(1, 3)]));
}

#[tokio::test]
async fn rows_before_open_are_refused_and_check_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(config(folder.path()));
    assert_eq!(sink.publish(&epoch(0, 1)).await.unwrap_err().domain, Domain::Internal);
    assert!(sink.check().await.unwrap().ends_with("is empty"));
    assert!(reading::files(folder.path()).is_empty());
}
