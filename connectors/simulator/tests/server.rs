//! The collector over a real connection.

use std::time::Duration;

use catchment_core::{Period, Result};
use catchment_schemas::goldmane::flow_collector_client::FlowCollectorClient;
use catchment_schemas::goldmane::flows_client::FlowsClient;
use catchment_schemas::goldmane::statistics_client::StatisticsClient;
use catchment_schemas::goldmane::{
    Filter, Flow, FlowKey, FlowListRequest, FlowStreamRequest, FlowUpdate, StatisticsRequest, StringMatch,
};
use catchment_simulator::{Options, Running, serve};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// No test waits this long; it turns a hang into a failure.
const NEVER: Duration = Duration::from_mins(1);

fn small() -> Options {
    Options {
        listen: ([127, 0, 0, 1], 0).into(),
        nodes: 2,
        flows_per_second: 10,
        backfill: Period::secs(600),
        late_share: 0.0,
        ..Options::default()
    }
}

async fn connect(running: &Running) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", running.local_addr())).expect("an address");
    endpoint.connect().await.expect("the collector listens")
}

fn bucket(start: i64) -> FlowListRequest {
    FlowListRequest { start_time_gte: start, start_time_lt: start + 15, ..FlowListRequest::default() }
}

#[tokio::test]
async fn history_is_there_at_once_and_the_same_for_one_seed() -> Result<()> {
    let (one, two) = (serve(small()).await?, serve(small()).await?);
    let start = Options::default().start.secs() - 300;
    let mut lists = Vec::new();
    for running in [&one, &two] {
        let mut client = FlowsClient::new(connect(running).await);
        lists.push(client.list(bucket(start)).await.expect("list").into_inner());
    }
    assert!(lists[0].flows.len() > 50);
    assert_eq!(lists[0], lists[1]);
    one.shutdown().await
}

#[tokio::test]
async fn faults_of_a_request_are_of_unknown_kind() -> Result<()> {
    let running = serve(small()).await?;
    let mut client = FlowsClient::new(connect(&running).await);
    let wrong = FlowListRequest { start_time_gte: 10, start_time_lt: 5, ..FlowListRequest::default() };
    let status = client.list(wrong).await.expect_err("start after end");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unknown, "startTimeGt (10) must be less than startTimeLt (5)")
    );
    let mut statistics = StatisticsClient::new(connect(&running).await);
    let status = statistics.list(StatisticsRequest::default()).await.expect_err("no statistics");
    assert_eq!(status.code(), Code::Unimplemented);
    running.shutdown().await
}

#[tokio::test]
async fn a_stream_starts_in_history_and_sends_each_bucket_once_in_order() -> Result<()> {
    let running = serve(Options { speed: 100.0, ..small() }).await?;
    let mut client = FlowsClient::new(connect(&running).await);
    let request = FlowStreamRequest { start_time_gte: -120, ..FlowStreamRequest::default() };
    let mut flows = client.stream(request).await.expect("stream").into_inner();
    let (mut starts, mut seen) = (Vec::new(), std::collections::HashSet::new());
    while starts.len() < 12 {
        let next = tokio::time::timeout(NEVER, flows.message()).await.expect("the stream goes on");
        let row = next.expect("no fault").expect("no end");
        let start = row.flow.expect("a flow").start_time;
        assert!(seen.insert((row.id, start)));
        if starts.last() != Some(&start) {
            starts.push(start);
        }
    }
    assert!(starts.windows(2).all(|pair| pair[1] == pair[0] + 15), "{starts:?}");
    running.shutdown().await
}

#[tokio::test]
async fn pushed_flows_are_receipted_and_count_again_over_a_new_connection() -> Result<()> {
    let running = serve(small()).await?;
    let start = Options::default().start.secs() - 60;
    let key = FlowKey { source_name: "pushed".into(), ..FlowKey::default() };
    let flow = Flow { key: Some(key), start_time: start, end_time: start, packets_in: 10, ..Flow::default() };
    let update = FlowUpdate { flow: Some(flow) };
    for packets in [10, 20] {
        let mut collector = FlowCollectorClient::new(connect(&running).await);
        let updates = tokio_stream::iter([update.clone(), update.clone()]);
        let mut receipts = collector.connect(updates).await.expect("connect").into_inner();
        for _ in 0..2 {
            receipts.message().await.expect("no fault").expect("a receipt for each update");
        }
        assert_eq!(pushed_packets(&running).await, packets);
    }
    running.shutdown().await
}

async fn pushed_packets(running: &Running) -> i64 {
    let name = StringMatch { value: "pushed".into(), ..StringMatch::default() };
    let filter = Some(Filter { source_names: vec![name], ..Filter::default() });
    let mut client = FlowsClient::new(connect(running).await);
    let list = client.list(FlowListRequest { filter, ..FlowListRequest::default() }).await.expect("list").into_inner();
    list.flows.into_iter().filter_map(|row| row.flow).map(|flow| flow.packets_in).sum()
}

#[tokio::test]
async fn a_duration_ends_the_flows_and_shutdown_ends_the_ledger() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = folder.path().join("truth.jsonl");
    let options = Options { speed: 1000.0, duration: Some(Period::secs(60)), truth: Some(truth.clone()), ..small() };
    let end = options.start.plus(60_000_000);
    let running = serve(options).await?;
    tokio::time::timeout(NEVER, running.finished()).await.expect("a minute passes");
    assert!(running.now() >= end);
    running.shutdown().await?;
    let text = std::fs::read_to_string(truth).expect("a ledger");
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let (last, flows) = lines.split_last().expect("lines");
    assert_eq!(last["flows"], flows.len());
    assert!(flows.iter().all(|flow| flow["bucket_end"].as_i64() <= Some(end.secs())));
    Ok(())
}

#[tokio::test]
async fn a_dropped_simulation_gives_its_address_back() -> Result<()> {
    let running = serve(small()).await?;
    let listen = running.local_addr();
    drop(running);
    let again = tokio::time::timeout(NEVER, async {
        loop {
            match serve(Options { listen, ..small() }).await {
                Ok(running) => return running,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    again.await.expect("the address is free").shutdown().await
}

#[tokio::test]
async fn an_address_in_use_is_named() -> Result<()> {
    let running = serve(small()).await?;
    let listen = running.local_addr();
    let error = serve(Options { listen, ..small() }).await.err().expect("in use");
    assert!(error.message.contains(&listen.to_string()), "{error}");
    running.shutdown().await
}
