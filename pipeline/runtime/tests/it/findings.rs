//! What is posted of findings, whichever sinks get on.

use std::time::Duration;

use bytes::Bytes;
use catchment_core::{Encoding, Entry, EventTime, FlowsEntry, PartitionId, Purpose, Span};
use catchment_runtime::FindingsBoard;
use tempfile::TempDir;

use crate::script::{Kept, Kind, Script, Shelf, kept_in, progress, run_before, stream};

/// Long past anything a loaded machine needs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A workload that no policy guards and public networks reach, in the second minute.
const EXPOSED: &str = r#"{"Key":{"source_name":"pub","source_namespace":"-","source_type":4,"dest_name":"web-7d4b9c6f5-*","dest_namespace":"shop","dest_type":1,"dest_port":443,"proto":"tcp","reporter":2,"action":1,"policies":{"enforced_policies":[{"kind":9,"name":"kns.shop","action":1}]}},"start_time":60,"end_time":75,"packets_in":3,"packets_out":4,"num_connections_started":2}"#;

fn exposed() -> Script {
    let flows = Entry::Flows(FlowsEntry {
        partition: PartitionId(0),
        encoding: Encoding::JsonLines,
        purpose: Purpose::Report,
        span: Span::new(EventTime::from_secs(60), EventTime::from_secs(120)),
        origin: "test".to_owned(),
        first_record: 0,
        payload: Bytes::from_static(EXPOSED.as_bytes()),
    });
    Script { entries: vec![flows, progress(2), progress(3), progress(4)], kind: Kind::Endless }
}

fn silent() -> Script {
    Script { entries: Vec::new(), kind: Kind::Endless }
}

async fn until_posted(board: &FindingsBoard) {
    let posted = async {
        while !board.lines().contains("policy.no-policy") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, posted).await.expect("it is posted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_are_posted_though_the_first_sink_never_opens() {
    let ([shut, open], log, board) =
        ([Shelf::default(), Shelf::default()], TempDir::new().unwrap(), FindingsBoard::default());
    shut.kept().is_shut = true;
    run_before(stream(exposed(), kept_in(log.path()), &[&shut, &open]), &board, until_posted(&board)).await.unwrap();
    assert!(shut.kept().epochs.is_empty());
}

/// Runs until both sinks have the three windows and the findings of one of them are posted; returns how many rows of
/// findings each was handed.
async fn handed(shelves: [&Shelf; 2], log: &TempDir) -> [usize; 2] {
    let board = FindingsBoard::default();
    let done = async {
        until_posted(&board).await;
        for shelf in shelves {
            shelf.until(|kept| kept.epochs.len() >= 3).await;
        }
    };
    run_before(stream(exposed(), kept_in(log.path()), &shelves), &board, done).await.expect("it stops");
    shelves.map(|shelf| shelf.kept().findings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_lines_whose_sinks_take_findings_look_for_them() {
    let ([blind, seeing], log) = ([Shelf::default(), Shelf::default()], TempDir::new().unwrap());
    blind.kept().is_blind = true;
    let [of_blind, of_seeing] = handed([&blind, &seeing], &log).await;
    assert!(of_blind == 0 && of_seeing > 0, "{of_blind} {of_seeing}");
    let remembered = |number: usize| log.path().join(format!("findings/shelf{number}.memory")).exists();
    assert_eq!([remembered(0), remembered(1)], [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_sink_takes_findings_the_first_line_looks_for_who_asks_the_process() {
    let ([one, other], log) = ([Shelf::default(), Shelf::default()], TempDir::new().unwrap());
    one.kept().is_blind = true;
    other.kept().is_blind = true;
    let [of_one, of_other] = handed([&one, &other], &log).await;
    assert!(of_one > 0 && of_other == 0, "{of_one} {of_other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_is_posted_again_though_the_first_sink_never_opens() {
    let ([shut, open], log) = ([Shelf::default(), Shelf::default()], TempDir::new().unwrap());
    shut.kept().is_shut = true;
    let shelves = [&shut, &open];
    let enough = |kept: &Kept| kept.epochs.len() >= 3;
    let first = FindingsBoard::default();
    run_before(stream(exposed(), kept_in(log.path()), &shelves), &first, open.until(enough)).await.unwrap();
    let second = FindingsBoard::default();
    run_before(stream(silent(), kept_in(log.path()), &shelves), &second, until_posted(&second)).await.unwrap();
    assert_eq!(second.lines().lines().count(), first.lines().lines().count());
}
