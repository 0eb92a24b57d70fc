//! A cursor goes on in its own log or not at all.

use std::future::pending;
use std::path::Path;

use catchment_core::{Domain, Error, LogPosition, Retry};
use catchment_runtime::pipeline::LogKind;
use tempfile::TempDir;

use crate::script::{Kept, Kind, Script, Shelf, kept_in, progress, run_until, stream};

/// Runs the script over the log in `dir` until that much is published in all.
async fn run_over(dir: &Path, shelf: &Shelf, epochs: usize) -> Result<(), Error> {
    let enough = |kept: &Kept| kept.epochs.len() >= epochs;
    run_until(stream(Script::three_minutes(Kind::Endless), kept_in(dir), &[shelf]), shelf.until(enough)).await
}

/// A fourth minute follows behind the three, and nothing comes again.
async fn go_on_over(dir: &Path, shelf: &Shelf) {
    let fourth = Script { entries: vec![progress(4)], kind: Kind::Endless };
    let enough = |kept: &Kept| kept.epochs.len() >= 4;
    run_until(stream(fourth, kept_in(dir), &[shelf]), shelf.until(enough)).await.expect("it goes on");
    assert_eq!(shelf.positions(), [0, 1, 2, 3]);
}

async fn run_input(input: u64, shelf: &Shelf) -> Result<(), Error> {
    run_until(stream(Script::three_minutes(Kind::Files(input)), LogKind::Direct, &[shelf]), pending()).await
}

fn refused(outcome: Result<(), Error>) -> String {
    let error = outcome.expect_err("refused");
    assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never), "{error}");
    error.message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_log_is_refused_and_goes_on_in_its_own() {
    let shelf = Shelf::default();
    let [log, other] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    run_over(log.path(), &shelf, 3).await.unwrap();
    let held = shelf.kept().cursor.clone().and_then(|cursor| cursor.log).expect("a new cursor names its log");
    let refusal = refused(run_over(other.path(), &shelf, 4).await);
    let dir = other.path().to_str().unwrap();
    let held = format!("its cursor is of log {held}, and {dir} holds log ");
    for part in ["test/script, sink shelf", &held, "restore the folder of log", "give the source another name"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert_eq!(shelf.positions(), [0, 1, 2]);
    go_on_over(log.path(), &shelf).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_beyond_the_end_of_its_log_is_refused() {
    let (shelf, log) = (Shelf::default(), TempDir::new().unwrap());
    run_over(log.path(), &shelf, 3).await.unwrap();
    shelf.kept().cursor.as_mut().unwrap().committed.position = LogPosition(70);
    let refusal = refused(run_over(log.path(), &shelf, 4).await);
    assert!(refusal.contains("its cursor stands at position 70"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_before_logs_had_an_identity_is_adopted() {
    let (shelf, log) = (Shelf::default(), TempDir::new().unwrap());
    run_over(log.path(), &shelf, 3).await.unwrap();
    let before = shelf.kept().cursor.as_mut().unwrap().log.take();
    go_on_over(log.path(), &shelf).await;
    assert_eq!(shelf.kept().cursor.clone().unwrap().log, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_is_published_once_and_another_one_never_passed_over() {
    let shelf = Shelf::default();
    run_input(1, &shelf).await.unwrap();
    run_input(1, &shelf).await.unwrap();
    assert_eq!(shelf.positions(), [0, 1, 2]);
    let refusal = refused(run_input(2, &shelf).await);
    assert!(refusal.contains("it holds rows of input") && refusal.contains("other files"), "{refusal}");
    assert_eq!(shelf.positions(), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_input_in_other_windows_is_another_one() {
    let shelf = Shelf::default();
    run_input(1, &shelf).await.unwrap();
    let mut wider = stream(Script::three_minutes(Kind::Files(1)), LogKind::Direct, &[&shelf]);
    wider.window *= 2;
    assert!(refused(run_until(wider, pending()).await).contains("another window"));
}
