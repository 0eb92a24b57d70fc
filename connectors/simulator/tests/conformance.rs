//! What a collector answers, as vectors: pushes in, answers out.
//!
//! Asked of the simulated collector, or of a real one where `CATCHMENT_GOLDMANE=host:port` names it.
//! With TLS name the files by `CATCHMENT_GOLDMANE_CA`, `_CERT` and `_KEY`, and the name in its
//! certificate by `CATCHMENT_GOLDMANE_NAME`. **It pushes flows**: ask no collector that somebody reads.

use std::env;
use std::io::Write as _;
use std::time::{Duration, Instant};

use catchment_core::EventTime;
use catchment_schemas::goldmane::flow_collector_client::FlowCollectorClient;
use catchment_schemas::goldmane::flows_client::FlowsClient;
use catchment_schemas::goldmane::{
    Filter, Flow, FlowKey, FlowListRequest, FlowListResult, FlowStreamRequest, FlowUpdate, ListMetadata, MatchType,
    SortBy, SortOption, StringMatch,
};
use catchment_simulator::{Options, bucket_of, serve};
use serde::Deserialize;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const VECTORS: &str = include_str!("conformance/vectors.json");
/// A receipt says that a flow was read; when it shows is the collector's affair.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    pushes: Vec<Push>,
    asks: Vec<Ask>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    /// Seconds after the start of the vector's first bucket, which ended half a minute ago or more.
    at: i64,
    source: String,
    #[serde(default)]
    dest: String,
    /// The counters of a flow are this, twice this, and so on.
    packets: i64,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    connection: usize,
}

/// Source, first second, first second after, packets in.
type Row = (String, i64, i64, i64);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    from: i64,
    /// Until now if absent.
    to: Option<i64>,
    #[serde(default)]
    stream: bool,
    sort: Option<String>,
    #[serde(default)]
    page: i64,
    #[serde(default)]
    size: i64,
    /// Names; one that begins with `~` is a part of a name.
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    dests: Vec<String>,
    #[serde(default)]
    rows: Vec<Row>,
    /// Whether the rows come in this order.
    #[serde(default)]
    ordered: bool,
    /// Pages and rows in all.
    totals: Option<(i64, i64)>,
    /// Labels of every row.
    labels: Option<Vec<String>>,
    /// A part of the error's text.
    refused: Option<String>,
}

/// A collector, and where in its time and names a vector stands.
struct Place<'a> {
    endpoint: &'a Endpoint,
    namespace: String,
    base: i64,
}

impl Place<'_> {
    async fn channel(&self) -> Channel {
        self.endpoint.connect().await.expect("the collector listens")
    }

    async fn push(&self, pushes: &[Push]) {
        let connections = pushes.iter().map(|push| push.connection).max().map_or(0, |last| last + 1);
        for connection in 0..connections {
            let flows = pushes.iter().filter(|push| push.connection == connection).map(|push| self.flow(push));
            let updates: Vec<_> = flows.map(|flow| FlowUpdate { flow: Some(flow) }).collect();
            let count = updates.len();
            let mut collector = FlowCollectorClient::new(self.channel().await);
            let answer = collector.connect(tokio_stream::iter(updates)).await.expect("a connection");
            let mut receipts = answer.into_inner();
            for _ in 0..count {
                receipts.message().await.expect("no fault").expect("a receipt for each flow");
            }
        }
    }

    fn flow(&self, push: &Push) -> Flow {
        let key = FlowKey {
            source_name: push.source.clone(),
            source_namespace: self.namespace.clone(),
            dest_name: push.dest.clone(),
            proto: "tcp".into(),
            ..FlowKey::default()
        };
        let at = self.base + push.at;
        Flow {
            key: Some(key),
            start_time: at,
            end_time: at,
            source_labels: push.labels.clone(),
            packets_in: push.packets,
            packets_out: 2 * push.packets,
            bytes_in: 3 * push.packets,
            bytes_out: 4 * push.packets,
            num_connections_started: 5 * push.packets,
            num_connections_completed: 6 * push.packets,
            num_connections_live: 7 * push.packets,
            ..Flow::default()
        }
    }

    /// Only what this vector pushed.
    fn filter(&self, ask: &Ask) -> Filter {
        let names = |names: &[String]| names.iter().map(|name| text(name)).collect();
        let source_namespaces = vec![text(&self.namespace)];
        let (source_names, dest_names) = (names(&ask.sources), names(&ask.dests));
        Filter { source_names, source_namespaces, dest_names, ..Filter::default() }
    }

    /// Asks until the answer is right or patience ends.
    async fn ask(&self, ask: &Ask) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = if ask.stream { self.stream(ask).await } else { self.list(ask).await };
            match found {
                Ok(()) => return,
                Err(wrong) => assert!(Instant::now() < deadline, "{ask:?}\n{wrong}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn list(&self, ask: &Ask) -> Result<(), String> {
        let sort = |name: &String| SortOption { sort_by: SortBy::from_str_name(name).expect("an order").into() };
        let request = FlowListRequest {
            start_time_gte: self.base + ask.from,
            start_time_lt: ask.to.map_or(0, |to| self.base + to),
            page: ask.page,
            page_size: ask.size,
            sort_by: ask.sort.iter().map(sort).collect(),
            filter: Some(self.filter(ask)),
            ..FlowListRequest::default()
        };
        let answer = FlowsClient::new(self.channel().await).list(request).await;
        match (&ask.refused, answer) {
            (Some(why), Err(status)) if status.code() == Code::Unknown && status.message().contains(why) => Ok(()),
            (None, Ok(answer)) => self.compare(ask, answer.into_inner()),
            (_, answer) => Err(format!("{answer:?}")),
        }
    }

    async fn stream(&self, ask: &Ask) -> Result<(), String> {
        let start_time_gte = self.base + ask.from;
        let request =
            FlowStreamRequest { start_time_gte, filter: Some(self.filter(ask)), ..FlowStreamRequest::default() };
        let mut client = FlowsClient::new(self.channel().await);
        let mut sent = client.stream(request).await.map_err(|status| status.to_string())?.into_inner();
        let mut answer = FlowListResult::default();
        while answer.flows.len() < ask.rows.len() {
            let next = tokio::time::timeout(PATIENCE, sent.message()).await.map_err(|_| format!("only {answer:?}"))?;
            answer.flows.extend(next.map_err(|status| status.to_string())?);
        }
        self.compare(ask, answer)
    }

    fn compare(&self, ask: &Ask, answer: FlowListResult) -> Result<(), String> {
        let flows: Vec<Flow> = answer.flows.into_iter().filter_map(|row| row.flow).collect();
        let mut rows: Vec<Row> = flows.iter().map(|flow| self.row(flow)).collect();
        let mut expected = ask.rows.clone();
        if !ask.ordered {
            rows.sort();
            expected.sort();
        }
        let totals = answer.meta.map(|ListMetadata { total_pages, total_results }| (total_pages, total_results));
        let multiples = |f: &Flow| {
            let counters = [f.packets_out, f.bytes_in, f.bytes_out, f.num_connections_started];
            let rest = [f.num_connections_completed, f.num_connections_live];
            counters.into_iter().chain(rest).zip(2..).all(|(counter, times)| counter == times * f.packets_in)
        };
        let is_right = rows == expected
            && flows.iter().all(multiples)
            && ask.totals.is_none_or(|expected| totals == Some(expected))
            && ask.labels.as_ref().is_none_or(|labels| flows.iter().all(|flow| flow.source_labels == *labels));
        if is_right { Ok(()) } else { Err(format!("rows {rows:?}, totals {totals:?}, of {flows:?}")) }
    }

    fn row(&self, flow: &Flow) -> Row {
        let source = flow.key.as_ref().map_or(String::new(), |key| key.source_name.clone());
        (source, flow.start_time - self.base, flow.end_time - self.base, flow.packets_in)
    }
}

fn text(name: &str) -> StringMatch {
    let (value, kind) = name.strip_prefix('~').map_or((name, MatchType::Exact), |part| (part, MatchType::Fuzzy));
    StringMatch { value: value.to_owned(), r#type: kind.into() }
}

fn wall_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_secs() as i64
}

/// The collector that the environment names.
fn real() -> Option<Endpoint> {
    let address = env::var("CATCHMENT_GOLDMANE").ok()?;
    let Ok(ca) = env::var("CATCHMENT_GOLDMANE_CA") else {
        return Some(Endpoint::from_shared(format!("http://{address}")).expect("host:port"));
    };
    let pem = |path: String| std::fs::read(path).expect("a PEM file");
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(ca)));
    if let (Ok(cert), Ok(key)) = (env::var("CATCHMENT_GOLDMANE_CERT"), env::var("CATCHMENT_GOLDMANE_KEY")) {
        tls = tls.identity(Identity::from_pem(pem(cert), pem(key)));
    }
    if let Ok(name) = env::var("CATCHMENT_GOLDMANE_NAME") {
        tls = tls.domain_name(name);
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("host:port");
    Some(endpoint.tls_config(tls).expect("certificates that fit together"))
}

#[tokio::test]
async fn a_collector_answers_as_the_vectors_say() {
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        flows_per_second: 1,
        start: EventTime::from_secs(wall_clock()),
        ..Options::default()
    };
    let simulated = serve(options).await.expect("a simulated collector");
    let (endpoint, which) = if let Some(endpoint) = real() {
        (endpoint, "the REAL collector that CATCHMENT_GOLDMANE names")
    } else {
        let address = format!("http://{}", simulated.local_addr());
        let which = "the SIMULATED collector; a real one was NOT asked: set CATCHMENT_GOLDMANE=host:port";
        (Endpoint::from_shared(address).expect("an address"), which)
    };
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).expect("vectors");
    // Straight to the descriptor: the harness hides what print macros of a passing test say.
    let said = writeln!(std::io::stderr(), "{} vectors of conformance ran on {which}", vectors.len());
    said.expect("standard error");
    for (number, vector) in vectors.iter().enumerate() {
        let now = wall_clock();
        let namespace = format!("conformance-{now}-{}-{number}", std::process::id());
        let place = Place { endpoint: &endpoint, namespace, base: bucket_of(now) - 75 };
        place.push(&vector.pushes).await;
        let _ = writeln!(std::io::stderr(), "  {}", vector.name);
        for ask in &vector.asks {
            place.ask(ask).await;
        }
    }
}
