//! A sink that fails is tried again, over a log and over an input, until a signal says stop.

use std::future::pending;

use catchment_core::Retry;
use catchment_runtime::pipeline::LogKind;
use tempfile::TempDir;

use crate::script::{Kept, Kind, Script, Shelf, kept_in, run_until, stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_is_read_again_for_a_sink_that_failed() {
    let [shelf, other] = [Shelf::default(), Shelf::default()];
    shelf.kept().trips_at = Some(1);
    run_until(stream(Script::three_minutes(Kind::Files(1)), LogKind::Direct, &[&shelf, &other]), pending())
        .await
        .unwrap();
    assert_eq!((shelf.positions(), shelf.kept().openings), (vec![0, 1, 2], 2));
    assert_eq!(other.positions(), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_again_for_a_sink_that_failed() {
    let (shelf, log) = (Shelf::default(), TempDir::new().unwrap());
    shelf.kept().trips_at = Some(1);
    let enough = |kept: &Kept| kept.epochs.len() >= 3;
    run_until(stream(Script::three_minutes(Kind::Endless), kept_in(log.path()), &[&shelf]), shelf.until(enough))
        .await
        .unwrap();
    assert_eq!((shelf.positions(), shelf.kept().openings), (vec![0, 1, 2], 2));
}

/// What came from standard input is gone: only a person can give it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_cannot_be_read_again_ends_with_the_fault() {
    let shelf = Shelf::default();
    shelf.kept().trips_at = Some(1);
    let piped = stream(Script::three_minutes(Kind::Pipe), LogKind::Direct, &[&shelf]);
    let error = run_until(piped, pending()).await.unwrap_err();
    assert_eq!((error.message.as_str(), error.retry), ("the shelf trips", Retry::Reopen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_wait_for_a_sink_that_does_not_open() {
    let log = TempDir::new().unwrap();
    for (kind, kept) in [(Kind::Endless, kept_in(log.path())), (Kind::Files(1), LogKind::Direct)] {
        let shelf = Shelf::default();
        shelf.kept().is_shut = true;
        let waits = shelf.until(|kept| kept.openings >= 2);
        run_until(stream(Script::three_minutes(kind), kept, &[&shelf]), waits).await.unwrap();
        assert_eq!(shelf.positions(), [0; 0]);
    }
}
