//! The command line.

mod findings;

use std::net::SocketAddr;
use std::path::PathBuf;

use catchment_core::{EventTime, Period};
use catchment_stages::detect::LabelRule;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

pub(crate) use self::findings::{
    CoverageArgs, ExplainArgs, FilterArgs, FindingsCommand, FindingsOutput, GetArgs, ListArgs, MuteArgs, Order,
    OriginArgs, StatusArg, WatchArgs, WatchOutput,
};

/// Streaming flow-log pipeline for Kubernetes.
#[derive(Parser)]
#[command(name = "catchment", version, about, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read flows, fold them into windows, publish them
    Run(RunArgs),
    /// Show the whole line over a simulated cluster: windows, Kafka, Parquet, and the comparison with the truth
    Demo(DemoArgs),
    /// Start a simulated collector over a simulated cluster
    Simulate(SimulateArgs),
    /// Validate a configuration, connect to everything it names, and say what was found
    Check(ConfigArgs),
    /// Say which labels a selector matches: labels as JSON objects on standard input, one a line
    Selector(SelectorArgs),
    /// Explain by the policies of a cluster why one end may talk to another, or why not
    Why(WhyArgs),
    /// What trouble was found: list it, explain it, watch it, mute it
    #[command(subcommand)]
    Findings(FindingsCommand),
    /// Print objects that make findings surer, for review and `kubectl apply`
    #[command(subcommand)]
    Setup(SetupCommand),
    /// Boundaries of trust between service accounts
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Print what the datasets look like
    Schema(SchemaArgs),
    /// Print the effective configuration, or the schema of the file
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Either a configuration file, or the short form over JSON files.
#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment run --config catchment.yaml
  catchment run --from flows.ndjson --to -
  catchment run --from flows.ndjson --knowledge cluster.json --to -
  kubectl ... | catchment run --from - --to windows.jsonl --window 5m")]
pub(crate) struct RunArgs {
    /// Configuration file
    #[arg(long, short, env = "CATCHMENT_CONFIG", conflicts_with_all = ["from", "to"])]
    pub(crate) config: Option<PathBuf>,
    /// JSON flows to read: a file, a pattern, or `-` for standard input; repeatable
    #[arg(long, required_unless_present = "config")]
    pub(crate) from: Vec<String>,
    /// Where to write rows as JSON lines: a file, or `-` for standard output
    #[arg(long, default_value = "-")]
    pub(crate) to: String,
    /// Length of a window
    #[arg(long, default_value = "60s", conflicts_with = "config")]
    pub(crate) window: Period,
    /// Name of the cluster the flows belong to
    #[arg(long, default_value = "default", conflicts_with = "config")]
    pub(crate) cluster: String,
    /// Objects of the cluster, to say who talked: what `kubectl get ... -o json` printed; repeatable
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) knowledge: Vec<String>,
    /// What to write
    #[arg(long = "dataset", value_enum, default_values = ["flows"], conflicts_with = "config")]
    pub(crate) datasets: Vec<DatasetArg>,
}

#[derive(ClapArgs)]
pub(crate) struct ConfigArgs {
    /// Configuration file
    #[arg(long, short, env = "CATCHMENT_CONFIG")]
    pub(crate) config: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// The effective configuration as YAML, defaults filled in and secrets masked
    Print(ConfigArgs),
    /// The JSON Schema of the configuration file, for editors
    Schema,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  echo '{\"app\": \"web\"}' | catchment selector \"app in {'web', 'api'} && !has(retired)\"
  kubectl get pods -A -o json | jq -c '.items[].metadata.labels // {}' | catchment selector 'has(app)'
  catchment selector --canonical \"a=='b'&&c notin {'d'}\"")]
pub(crate) struct SelectorArgs {
    /// A selector in Calico's language; empty matches everything
    pub(crate) selector: String,
    /// Print the selector as Calico writes it, and read nothing
    #[arg(long)]
    pub(crate) canonical: bool,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment why shop/web-7d4b-x2x9p shop/db-0:5432
  catchment why shop/web-7d4b-x2x9p shop/db-0:5432 --context staging
  kubectl get namespaces,serviceaccounts,pods,services,endpointslices,networkpolicies,\\
    tiers.projectcalico.org,globalnetworkpolicies.projectcalico.org,networkpolicies.projectcalico.org \\
    -A -o yaml > state.yaml
  catchment why shop/web-7d4b-x2x9p shop/db-0:5432 --snapshot state.yaml --fail-on deny
  catchment why 203.0.113.9 'shop/web-7d4b-*:443' --snapshot state.yaml -o json
  catchment why shop/web-7d4b-x2x9p 203.0.113.9:53/udp --snapshot state.yaml")]
pub(crate) struct WhyArgs {
    /// The source: namespace/pod, an address, or hostendpoint:name
    pub(crate) source: String,
    /// The destination in the same words, with a port: :8080, :53/udp or :icmp
    pub(crate) destination: String,
    /// Objects of the cluster as kubectl prints them, YAML or JSON, instead of its API: a file or a pattern; repeatable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) snapshot: Vec<String>,
    /// The kubeconfig file to reach the API with; by default KUBECONFIG, ~/.kube/config, or the service account of the pod
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file; by default its current one
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// Exit with 10 if this is the verdict
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub(crate) fail_on: Option<FailOn>,
    /// How to print the answer
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
}

#[derive(Subcommand)]
pub(crate) enum SetupCommand {
    /// Network sets for nodes, API server, services and pods of a cluster, and for the metadata services of clouds
    Networksets(NetworksetsArgs),
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment setup networksets > networksets.yaml
  catchment setup networksets --service-range 10.96.0.0/12
  kubectl get nodes,endpointslices,servicecidrs,ippools.projectcalico.org -A -o json > state.json
  catchment setup networksets --snapshot state.json | kubectl apply -f -")]
pub(crate) struct NetworksetsArgs {
    /// Objects of the cluster as kubectl prints them, YAML or JSON, instead of its API: a file or a pattern; repeatable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) snapshot: Vec<String>,
    /// The kubeconfig file to reach the API with; by default KUBECONFIG, ~/.kube/config, or the service account of the pod
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file; by default its current one
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// A range of service addresses, where the cluster has no `ServiceCIDR` to tell it; repeatable
    #[arg(long, value_name = "CIDR")]
    pub(crate) service_range: Vec<IpNet>,
}

#[derive(Subcommand)]
pub(crate) enum TrustCommand {
    /// Write boundaries from who reached critical backends, for review
    Propose(ProposeArgs),
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment trust propose flows.jsonl > boundaries.yaml
  catchment run --from flows.ndjson --knowledge cluster.json | catchment trust propose -
  catchment trust propose flows.jsonl --critical \"tier == 'database'\"")]
pub(crate) struct ProposeArgs {
    /// Rows of the dataset `flows` as JSON lines: a file, or `-` for standard input; repeatable
    #[arg(required = true, value_name = "FILE")]
    pub(crate) rows: Vec<PathBuf>,
    /// Which backends are critical, instead of those with the label catchment.dev/critical=true; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) critical: Vec<LabelRule>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum FailOn {
    /// The connection is denied
    Deny,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Table,
    /// For scripts
    Json,
    /// For people and scripts
    Yaml,
}

#[derive(ClapArgs)]
pub(crate) struct SchemaArgs {
    /// The dataset
    #[arg(value_enum, required_unless_present = "reference")]
    pub(crate) dataset: Option<DatasetArg>,
    /// Print the reference page of all datasets instead
    #[arg(long, conflicts_with = "dataset")]
    pub(crate) reference: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DatasetArg {
    Flows,
    Conversations,
    Late,
    Rejects,
    Gaps,
    Findings,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment demo
  catchment demo --kafka 127.0.0.1:9092 --seconds 120")]
pub(crate) struct DemoArgs {
    /// A broker to publish to as well; plaintext
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,
    /// Where everything is kept; an earlier demo in it is removed
    #[arg(long, default_value = "catchment-demo")]
    pub(crate) dir: PathBuf,
    /// How long to run
    #[arg(long, env = "DEMO_SECONDS", default_value_t = 60)]
    pub(crate) seconds: u64,
    /// The same seed gives the same cluster
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Reports per second of event time, all nodes together
    #[arg(long, default_value_t = 200)]
    pub(crate) flows_per_second: u32,
    /// Seconds of event time per second of wall time
    #[arg(long, default_value_t = 15.0)]
    pub(crate) speed: f64,
}

#[derive(ClapArgs)]
pub(crate) struct SimulateArgs {
    #[command(subcommand)]
    pub(crate) target: SimulateTarget,
}

#[derive(Subcommand)]
pub(crate) enum SimulateTarget {
    /// Calico's Goldmane, with the semantics measured on the real one
    Goldmane(GoldmaneArgs),
}

#[derive(ClapArgs)]
#[command(after_help = "\
Example:
  catchment simulate goldmane --listen 127.0.0.1:7443 --seed 7 --nodes 50 --flows-per-second 2000 --speed 20 \\
    --truth truth.ndjson
  catchment simulate goldmane --scenario no-response,policy.no-policy --plants 10 --plants-truth plants.ndjson")]
pub(crate) struct GoldmaneArgs {
    /// Address to listen on, without encryption
    #[arg(long, default_value = "127.0.0.1:7443")]
    pub(crate) listen: SocketAddr,
    /// The same seed gives the same flows
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Nodes that report
    #[arg(long, default_value_t = 5)]
    pub(crate) nodes: u32,
    /// Reports per second of event time, all nodes together
    #[arg(long, default_value_t = 200)]
    pub(crate) flows_per_second: u32,
    /// Seconds of event time per second of wall time
    #[arg(long, default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// What the simulated clock shows at first, RFC 3339
    #[arg(long, value_parser = parse_time, default_value = "2026-01-01T00:00:00Z")]
    pub(crate) start: EventTime,
    /// Event time after which nodes fall silent; the collector goes on answering
    #[arg(long)]
    pub(crate) duration: Option<Period>,
    /// History that is there at first, counted back from the start
    #[arg(long, default_value = "0s")]
    pub(crate) backfill: Period,
    /// Where to write what the cluster really produced
    #[arg(long)]
    pub(crate) truth: Option<PathBuf>,
    /// Folder for the cluster's objects (`objects.json`) and their changes (`changes.jsonl`), of the duration or of a day
    #[arg(long, value_name = "DIR")]
    pub(crate) knowledge: Option<PathBuf>,
    /// Share of the flushes that reach the collector one to four minutes late, 0 to 1
    #[arg(long, default_value_t = 0.01)]
    pub(crate) late_share: f64,
    /// Nodes reconnect now and then and send five minutes again, which the collector counts twice
    #[arg(long)]
    pub(crate) resend: bool,
    /// When the collector restarts, counted from the start: all is forgotten, nodes send five minutes again
    #[arg(long)]
    pub(crate) restart_after: Option<Period>,
    /// Trouble to plant among ordinary traffic, by name; `list` prints what there is, `all` is everything
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    pub(crate) scenarios: Vec<String>,
    /// How often each scenario is planted, one time after the other
    #[arg(long, default_value_t = 1, requires = "scenarios")]
    pub(crate) plants: u32,
    /// Where to write what was planted, and when
    #[arg(long, value_name = "FILE", requires = "scenarios")]
    pub(crate) plants_truth: Option<PathBuf>,
}

/// The clock of this machine.
pub(crate) fn now() -> EventTime {
    std::time::SystemTime::now().into()
}

fn parse_time(text: &str) -> Result<EventTime, String> {
    EventTime::parse_rfc3339(text).ok_or_else(|| format!("`{text}` is no RFC 3339 time, like 2026-01-01T00:00:00Z"))
}
