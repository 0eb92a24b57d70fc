//! A scripted collector and a log in memory.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use catchment_core::{Entry, EventTime, LogPosition, LogWriter, Logged, Purpose, Result, Source};
use catchment_goldmane::{Config, GoldmaneSource};
use catchment_schemas::goldmane::flows_server::{Flows, FlowsServer};
use catchment_schemas::goldmane::{
    FilterHintsRequest, FilterHintsResult, Flow, FlowKey, FlowListRequest, FlowListResult, FlowResult,
    FlowStreamRequest, ListMetadata,
};
use prometheus_client::registry::Registry;
use prost::Message as _;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// The local clock, in seconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// Packets by bucket and name.
pub(crate) type Buckets = BTreeMap<i64, BTreeMap<String, i64>>;
pub(crate) type Script = Box<dyn FnMut(&FlowListRequest, &mut State) + Send>;

/// What the collector holds.
pub(crate) struct State {
    pub(crate) width: i64,
    /// Collector clock minus local clock.
    pub(crate) skew: i64,
    /// A bucket cut short by the end of the range is left out.
    pub(crate) whole_buckets: bool,
    pub(crate) buckets: Buckets,
    pub(crate) requests: Vec<FlowListRequest>,
    /// Called once before the answer of each request, to change the state between requests.
    pub(crate) script: Option<Script>,
}

/// A collector that keeps the rules of the real one as far as the source depends on them.
#[derive(Clone)]
pub(crate) struct Collector(Arc<Mutex<State>>);

impl Collector {
    pub(crate) fn new(width: i64) -> Self {
        let (buckets, requests) = (BTreeMap::new(), Vec::new());
        Self(Arc::new(Mutex::new(State { width, skew: 0, whole_buckets: true, buckets, requests, script: None })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while holding it")
    }

    /// Start of the bucket that ended `age` buckets before the one filling now.
    pub(crate) fn bucket(&self, age: i64) -> i64 {
        let width = self.state().width;
        (now() / width - 1 - age) * width
    }

    pub(crate) fn put(&self, bucket: i64, name: &str, packets: i64) {
        self.state().buckets.entry(bucket).or_default().insert(name.to_owned(), packets);
    }

    /// Serves plaintext until the test ends.
    pub(crate) async fn serve(&self) -> SocketAddr {
        self.serve_with(Server::builder()).await
    }

    /// Serves TLS until the test ends.
    pub(crate) async fn serve_tls(&self, tls: ServerTlsConfig) -> SocketAddr {
        self.serve_with(Server::builder().tls_config(tls).expect("test certificates")).await
    }

    async fn serve_with(&self, mut server: Server) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let service = FlowsServer::new(self.clone());
        tokio::spawn(server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        address
    }
}

impl State {
    fn list(&mut self, request: &FlowListRequest) -> Result<FlowListResult, Status> {
        if let Some(mut script) = self.script.take() {
            script(request, self);
            self.script = Some(script);
        }
        let now = now() + self.skew;
        let resolve = |t: i64, zero: i64| match t {
            0 => zero,
            ..0 => now + t,
            _ => t,
        };
        let (start, end) =
            (resolve(request.start_time_gte, now - 240 * self.width), resolve(request.start_time_lt, now));
        if start >= end {
            return Err(Status::unknown("start time must be before end time"));
        }
        let flows = self.flows(start, end, now, !request.sort_by.is_empty());
        let size = if request.page_size == 0 { flows.len().max(1) } else { request.page_size as usize };
        let (pages, total) = (flows.len().div_ceil(size), flows.len());
        let page = flows.into_iter().skip(request.page as usize * size).take(size);
        let flows = page.map(|flow| FlowResult { id: 1, flow: Some(flow) }).collect();
        let meta = Some(ListMetadata { total_pages: pages as i64, total_results: total as i64 });
        Ok(FlowListResult { meta, flows })
    }

    /// One row per name over all buckets that touch the range and have ended.
    fn flows(&self, start: i64, end: i64, now: i64, by_name: bool) -> Vec<Flow> {
        let mut rows: BTreeMap<&str, Flow> = BTreeMap::new();
        let end = if self.whole_buckets { end / self.width * self.width } else { end };
        let held = self.buckets.iter().filter(|(b, _)| **b + self.width > start && **b < end);
        for (bucket, flows) in held.filter(|(b, _)| **b + self.width <= now) {
            for (name, packets) in flows {
                let row = rows.entry(name).or_insert_with(|| flow(name, *bucket));
                row.end_time = bucket + self.width;
                row.packets_in += packets;
            }
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        if !by_name {
            rows.sort_by_key(|row| -row.start_time);
        }
        rows
    }
}

fn flow(name: &str, start_time: i64) -> Flow {
    let key = Some(FlowKey { source_name: name.to_owned(), ..FlowKey::default() });
    Flow { key, start_time, ..Flow::default() }
}

#[async_trait]
impl Flows for Collector {
    type StreamStream =
        std::pin::Pin<Box<dyn tonic::codegen::tokio_stream::Stream<Item = Result<FlowResult, Status>> + Send>>;

    async fn list(&self, request: Request<FlowListRequest>) -> Result<Response<FlowListResult>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        state.requests.push(request.clone());
        state.list(&request).map(Response::new)
    }

    async fn stream(&self, _: Request<FlowStreamRequest>) -> Result<Response<Self::StreamStream>, Status> {
        Err(Status::unimplemented("the source must never stream"))
    }

    async fn filter_hints(&self, _: Request<FilterHintsRequest>) -> Result<Response<FilterHintsResult>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

/// A log in memory.
#[derive(Default)]
pub(crate) struct MemoryLog {
    entries: Mutex<Vec<Entry>>,
    is_forgetful: bool,
    grown: tokio::sync::Notify,
}

impl MemoryLog {
    /// One that cannot read back: as if every entry had been dropped as soon as it was written.
    pub(crate) fn forgetful() -> Self {
        Self { is_forgetful: true, ..Self::default() }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().expect("no test panics while holding it").clone()
    }

    /// Waits until `enough` holds of the entries.
    pub(crate) async fn until(&self, enough: impl Fn(&[Entry]) -> bool) {
        loop {
            let grown = self.grown.notified();
            if enough(&self.entries()) {
                return;
            }
            grown.await;
        }
    }

    /// Whether everything before `secs` is in the log.
    pub(crate) async fn until_progress(&self, secs: i64) {
        self.until(|entries| marks(entries).last().is_some_and(|mark| *mark >= secs)).await;
    }
}

/// The progress marks, in seconds.
pub(crate) fn marks(entries: &[Entry]) -> Vec<i64> {
    let mark = |e: &Entry| if let Entry::Progress { up_to, .. } = e { Some(up_to.secs()) } else { None };
    entries.iter().filter_map(mark).collect()
}

/// The flows of a purpose: bucket start, name, packets.
pub(crate) fn flows(entries: &[Entry], purpose: Purpose) -> Vec<(i64, String, i64)> {
    let mut found = Vec::new();
    for entry in entries {
        let Entry::Flows(entry) = entry else { continue };
        if entry.purpose == purpose {
            let list = FlowListResult::decode(entry.payload.clone()).expect("as the collector wrote it");
            for flow in list.flows.into_iter().filter_map(|result| result.flow) {
                let name = flow.key.expect("scripted flows have keys").source_name;
                found.push((entry.span.start.secs(), name, flow.packets_in));
            }
        }
    }
    found
}

#[async_trait]
impl LogWriter for MemoryLog {
    async fn append(&self, entries: Vec<Entry>) -> Result<LogPosition> {
        let mut log = self.entries.lock().expect("no test panics while holding it");
        let first = LogPosition(log.len() as u64);
        log.extend(entries);
        drop(log);
        self.grown.notify_one();
        Ok(first)
    }

    async fn read(&self, position: LogPosition) -> Result<Option<Entry>> {
        Ok(self.entries().get(position.0 as usize).filter(|_| !self.is_forgetful).cloned())
    }

    async fn replay(&self, since: EventTime, visit: &mut (dyn FnMut(Logged) + Send)) -> Result<()> {
        for (position, entry) in self.entries().into_iter().enumerate() {
            let reach = match &entry {
                Entry::Flows(flows) => flows.span.end,
                Entry::Progress { up_to, .. } => *up_to,
                Entry::Gap(gap) => gap.span.end,
                Entry::Knowledge(_) => EventTime::MAX,
            };
            if reach >= since {
                visit(Logged { position: LogPosition(position as u64), entry });
            }
        }
        Ok(())
    }
}

/// A source with nothing to wait for.
pub(crate) fn config(address: &str) -> Config {
    Config { address: address.to_owned(), settle: catchment_core::Period::secs(0), ..Config::default() }
}

pub(crate) fn source(config: Config) -> GoldmaneSource {
    GoldmaneSource::new(config, &mut Registry::default()).expect("a valid configuration")
}

/// Runs a fresh source on the log until `done`.
pub(crate) async fn run_until(config: Config, log: &MemoryLog, done: impl Future<Output = ()>) {
    let mut source = source(config);
    tokio::select! {
        result = source.run(log) => panic!("the source ended: {result:?}"),
        () = done => {}
        // Far beyond what any test needs; a guard against hanging, not a measure.
        () = tokio::time::sleep(Duration::from_mins(2)) => panic!("the log stopped growing: {:?}", log.entries().len()),
    }
}
