//! The sink on a real S3-compatible server: `tools/s3/server.sh start DIR PORT`, then
//! `CATCHMENT_TEST_S3=http://127.0.0.1:PORT cargo test -p catchment-parquet --test s3`.

mod reading;
mod sample;

use catchment_core::{Domain, Epoch, LogId, Retry, Sink};
use catchment_parquet::{Config, ParquetSink, S3};
use catchment_schemas::Dataset;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use prometheus_client::registry::Registry;
use sample::{epoch, stream};

/// The server's address. Without one the test says so, and where everything must run it fails.
fn endpoint() -> Option<String> {
    let endpoint = std::env::var("CATCHMENT_TEST_S3").ok();
    if endpoint.is_none() {
        eprintln!("DID NOT RUN: set CATCHMENT_TEST_S3 to the address of an S3 server (tools/s3/server.sh)");
        assert!(std::env::var("CI").is_err(), "CATCHMENT_TEST_S3 must be set in CI");
    }
    endpoint
}

/// A prefix that no earlier run has used: the server keeps its objects between runs.
fn fresh_prefix(test: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    format!("{test}-{}-{}", std::process::id(), folder.path().file_name().expect("a name").to_string_lossy())
}

fn sink(endpoint: &str, bucket: &str, prefix: &str, secret: &str) -> ParquetSink {
    let s3 = S3 {
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("testkey".to_owned()),
        secret_access_key: Some(secret.to_owned()),
        allow_http: true,
        virtual_hosted: false,
    };
    let config = Config { url: format!("s3://{bucket}/{prefix}"), s3, ..Config::default() };
    ParquetSink::new(config, &mut Registry::default()).expect("usable settings")
}

fn store(endpoint: &str) -> AmazonS3 {
    let builder = AmazonS3Builder::new().with_endpoint(endpoint).with_allow_http(true).with_region("us-east-1");
    let builder = builder.with_access_key_id("testkey").with_secret_access_key("testsecret");
    builder.with_bucket_name("catchment").build().expect("usable settings")
}

async fn found(store: &AmazonS3, prefix: &str) -> reading::Rows {
    let mut rows = reading::Rows::new();
    for dataset in Dataset::ALL {
        let folder = Path::from(format!("{prefix}/{}", dataset.name()));
        let objects: Vec<_> = store.list(Some(&folder)).try_collect().await.expect("a listing");
        for object in objects {
            let bytes = store.get(&object.location).await.expect("an object").bytes().await.expect("its bytes");
            rows.entry(dataset.name().to_owned()).or_default().extend(reading::read(&bytes));
        }
    }
    reading::ordered(rows)
}

#[tokio::test]
async fn rows_are_published_once_over_a_crash_and_a_zombie() {
    let Some(endpoint) = endpoint() else { return };
    let prefix = fresh_prefix("once");
    let new = || sink(&endpoint, "catchment", &prefix, "testsecret");
    let epochs = [epoch(0, 7), epoch(6, 7)];
    let mut zombie = new();
    assert_eq!(zombie.open(&stream()).await.unwrap(), None);
    zombie.publish(&epochs[0]).await.unwrap();
    assert_eq!(zombie.publish(&epochs[1]).await.unwrap(), Some(epochs[0].cursor()));

    let mut holder = new();
    assert_eq!(holder.open(&stream()).await.unwrap(), Some(epochs[0].cursor()));
    holder.publish(&epochs[1]).await.unwrap();
    assert_eq!(
        zombie.finish().await.unwrap_err().retry,
        Retry::Never,
        "the zombie wrote its objects and lost the swap"
    );
    assert_eq!(holder.finish().await.unwrap(), Some(epochs[1].cursor()), "the same objects are met");
    assert_eq!(found(&store(&endpoint), &prefix).await, reading::expected(&epochs));
}

#[tokio::test]
async fn other_rows_under_the_same_name_are_refused() {
    let Some(endpoint) = endpoint() else { return };
    let prefix = fresh_prefix("other");
    let cursor = Path::from(format!("{prefix}/_cursor/prod-eu/goldmane.json"));
    for (rows, refused) in [(4, false), (4, false), (5, true)] {
        let mut sink = sink(&endpoint, "catchment", &prefix, "testsecret");
        sink.open(&stream()).await.unwrap();
        sink.publish(&epoch(0, rows)).await.unwrap();
        let error = sink.finish().await.err();
        assert_eq!(error.map(|e| (e.domain, e.retry)), refused.then_some((Domain::Internal, Retry::Never)));
        store(&endpoint).delete(&cursor).await.unwrap();
    }
    assert_eq!(found(&store(&endpoint), &prefix).await, reading::expected(&[epoch(0, 4)]));
}

#[tokio::test]
async fn files_of_another_log_do_not_get_among_those_of_a_crash() {
    let Some(endpoint) = endpoint() else { return };
    let prefix = fresh_prefix("other-log");
    let cursor = Path::from(format!("{prefix}/_cursor/prod-eu/goldmane.json"));
    let publish = async |epoch: &Epoch| {
        let mut sink = sink(&endpoint, "catchment", &prefix, "testsecret");
        sink.open(&stream()).await.unwrap();
        sink.publish(epoch).await.unwrap();
        sink.finish().await
    };
    let first = epoch(0, 4);
    publish(&first).await.unwrap();
    let written = store(&endpoint).get(&cursor).await.unwrap().bytes().await.unwrap();
    store(&endpoint).put(&cursor, sample::before_the_cursor_moved(&written).into()).await.unwrap();

    let refused = publish(&Epoch { log: LogId(2), ..epoch(1, 4) }).await.unwrap_err();
    assert_eq!((refused.domain, refused.retry), (Domain::User, Retry::Never));
    assert_eq!(publish(&first).await.unwrap(), Some(first.cursor()));
    assert_eq!(found(&store(&endpoint), &prefix).await, reading::expected(&[first]));
}

#[tokio::test]
async fn a_missing_bucket_and_a_wrong_secret_are_the_users_to_mend() {
    let Some(endpoint) = endpoint() else { return };
    for (bucket, secret) in [("no-such-bucket", "testsecret"), ("catchment", "wrong")] {
        let mut sink = sink(&endpoint, bucket, "x", secret);
        let error = sink.check().await.unwrap_err();
        assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never), "{}", error.chain());
    }
    assert!(sink(&endpoint, "catchment", "nothing-here", "testsecret").check().await.unwrap().ends_with("is empty"));
}
