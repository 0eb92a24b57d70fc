//! What the process serves: metrics as the documentation lists them, and whether it is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Running, binary, findings};

/// Long past anything a loaded machine needs.
const PATIENCE: Duration = Duration::from_mins(1);

/// The name of a metric, its type, and its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// Where nobody answers.
const KUBECONFIG: &str = "{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}], \
     users: [{name: x, user: {}}], contexts: [{name: x, context: {cluster: x, user: x}}]}";

/// A pipeline with every kind of source and sink, between a collector and a broker that do not answer.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "cluster: lab\nspool: {{ dir: {dir}/spool }}\nsources:\n  calico: {{ type: goldmane, address: 'http://127.0.0.1:9' }}\n  \
         lines: {{ type: files, paths: ['-'] }}\nsinks:\n  lake: {{ type: parquet, url: 'file://{dir}/lake' }}\n  \
         rows: {{ type: jsonl, path: '{dir}/{{source}}.jsonl', datasets: [flows, rejects] }}\n  \
         topics: {{ type: kafka, brokers: '127.0.0.1:9' }}\n  alerts: {{ type: alertmanager, url: 'http://127.0.0.1:9' }}\n  \
         hook: {{ type: webhook, url: 'http://127.0.0.1:9' }}\nhttp: {{ listen: '127.0.0.1:0' }}\n"
    )
}

/// Starts it with further configuration; returns the address of its pages.
fn start(dir: &Path, further: &str) -> (Running, String) {
    start_with(dir, &(configuration(dir) + further))
}

/// Starts one with this configuration.
pub(crate) fn start_with(dir: &Path, configuration: &str) -> (Running, String) {
    let config = dir.join("catchment.yaml");
    fs::write(&config, configuration).expect("written");
    let mut command = binary();
    command.args(["run", "--config"]).arg(&config).env("NO_COLOR", "1");
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let told = lines.find_map(|line| Some(line.split_once("http://")?.1.split_once("/metrics")?.0.to_owned()));
    thread::spawn(move || lines.for_each(drop));
    (Running(child), told.expect("it says where it listens"))
}

/// The status and the body of a page.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).expect("it listens");
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// What a page of metrics holds. A metric described twice, or a sample that stands elsewhere than
/// under its description, is refused.
fn served(page: &str) -> Metrics {
    let (mut metrics, mut family) = (Metrics::new(), String::new());
    for line in page.lines().filter(|line| !line.starts_with("# HELP") && !line.starts_with("# UNIT")) {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            family = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            let before = metrics.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
            assert!(before.is_none(), "{name} is described twice");
        } else if let Some((name, labels)) = line.split_once('{') {
            assert!(name.starts_with(&family), "{name} stands under {family}");
            let labels = labels.rsplit_once('}').expect("labels end").0.split("\",");
            let names = labels.map(|label| label.split_once('=').expect("a label has a value").0);
            let metric = metrics.get_mut(&family).expect("samples stand under a description");
            metric.1.extend(names.filter(|name| *name != "le").map(ToOwned::to_owned));
        }
    }
    metrics
}

/// What the tables of `docs/operating.md` say.
fn documented() -> Metrics {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let rows = page.lines().filter(|line| line.starts_with("| `catchment_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let further = cells[3].split(", ").filter(|label| !label.is_empty());
        // What is known of a cluster serves all its sources.
        let of_cluster =
            ["`catchment_knowledge_", "`catchment_kubernetes_"].iter().any(|part| cells[1].starts_with(part));
        let first: &[_] = if of_cluster { &["`cluster`"] } else { &["`cluster`", "`source`"] };
        let labels = first.iter().copied().chain(further).map(|label| label.replace('`', ""));
        (cells[1].replace('`', ""), (cells[2].to_owned(), labels.collect()))
    })
    .collect()
}

/// Metrics that are served only once something was found, or could not be looked for.
const OF_FINDINGS: [&str; 2] = ["catchment_findings_open", "catchment_findings_not_evaluable_total"];

/// What is served of findings once there are some.
fn served_of_findings(dir: &Path) -> Metrics {
    let (_running, address) = findings::running(dir);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut served = served(&get(&address, "/metrics").1);
        served.retain(|name, _| name.starts_with("catchment_findings_"));
        if OF_FINDINGS.iter().all(|name| served.contains_key(*name)) {
            return served;
        }
        assert!(Instant::now() < deadline, "nothing was found");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_documentation_lists_the_metrics_that_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    fs::write(&kubeconfig, KUBECONFIG).expect("written");
    let enrich = format!("enrich: {{ kubernetes: {{ kubeconfig: {} }} }}\n", kubeconfig.display());
    let (_running, address) = start(dir.path(), &enrich);
    let (status, page) = get(&address, "/metrics");
    let (mut served, documented) = (served(&page), documented());
    served.extend(served_of_findings(dir.path()));
    assert_eq!(status, 200);
    assert!(page.ends_with("# EOF\n"), "{page}");
    for (name, metric) in &served {
        assert_eq!(documented.get(name), Some(metric), "{name} as docs/operating.md has it, and as it is served");
    }
    let unknown: Vec<_> = documented.keys().filter(|name| !served.contains_key(*name)).collect();
    assert!(unknown.is_empty() && served.len() > 20, "documented and not served: {unknown:?}");
}

#[test]
fn a_process_whose_collector_and_broker_do_not_answer_is_not_ready_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, address) = start(dir.path(), "");
    let deadline = Instant::now() + PATIENCE;
    // What can be opened is not named once it is; what cannot be stays.
    while get(&address, "/readyz").1.contains("sink rows") || get(&address, "/readyz").1.contains("sink lake") {
        assert!(Instant::now() < deadline, "{}", get(&address, "/readyz").1);
        thread::sleep(Duration::from_millis(50));
    }
    let (status, missing) = get(&address, "/readyz");
    assert_eq!(status, 503);
    for part in ["stream lab/calico, sink topics: ", "stream lab/calico, source: ", "stream lab/lines, sink topics: "] {
        assert!(missing.contains(part), "{part} in {missing}");
    }
    assert_eq!(get(&address, "/healthz"), (200, "ok\n".to_owned()));
}
