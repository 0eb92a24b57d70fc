//! The command line of `catchment findings`.

use std::path::PathBuf;
use std::str::FromStr;

use catchment_core::{EventTime, Family, FindingKind, Period, Severity, Status};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::OutputFormat;
use crate::nearest::word;

#[derive(Subcommand)]
pub(crate) enum FindingsCommand {
    /// List findings: those that are open and not muted, unless asked otherwise
    List(ListArgs),
    /// Print findings by their ids, or by beginnings of ids that are no other's
    Get(GetArgs),
    /// Tell the whole story of a finding, or what a kind of finding means
    Explain(ExplainArgs),
    /// Print what becomes of findings as it is told, until Ctrl-C
    Watch(WatchArgs),
    /// Say which kinds of findings can be told of the configured sources, and why others cannot
    Coverage(CoverageArgs),
    /// Print what to add to the configuration so that findings are not told
    Mute(MuteArgs),
}

/// Where findings are read.
#[derive(ClapArgs)]
pub(crate) struct OriginArgs {
    /// Address of a running process; by default `http.listen` of --config, else `http://127.0.0.1:9464`
    #[arg(long, conflicts_with = "from")]
    pub(crate) url: Option<String>,
    /// Rows as the sink for JSON lines writes them, `-` for standard input; repeatable. The newest row of each finding
    /// counts, rows of other datasets are passed over
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<String>,
    /// Configuration file of the running process
    #[arg(long, short, env = "CATCHMENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// Which findings are meant, their status aside.
#[derive(ClapArgs)]
pub(crate) struct FilterArgs {
    /// Of these families
    #[arg(long, value_parser = word::<Family>, value_delimiter = ',')]
    pub(crate) family: Vec<Family>,
    /// Of these kinds
    #[arg(long, value_parser = word::<FindingKind>, value_delimiter = ',')]
    pub(crate) kind: Vec<FindingKind>,
    /// At least so bad
    #[arg(long, value_parser = word::<Severity>, value_name = "LEVEL")]
    pub(crate) severity: Option<Severity>,
    /// Of these namespaces, with `*` at the end or the beginning
    #[arg(long, short, value_delimiter = ',')]
    pub(crate) namespace: Vec<String>,
    /// Of these owners, as labels name them
    #[arg(long, value_delimiter = ',')]
    pub(crate) owner: Vec<String>,
    /// Muted ones too
    #[arg(long)]
    pub(crate) muted: bool,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment findings list
  catchment findings list --severity medium -n shop -o wide
  catchment findings list --from rows.jsonl --status all --sort last_seen
  catchment findings list --fail-on high >report.txt || exit

Exit codes: 0 listed, 1 findings cannot be read, 2 a mistake in arguments or input, 10 for --fail-on.")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// In these states of their life, or `all`
    #[arg(long, value_parser = word::<StatusArg>, value_delimiter = ',', default_values = ["opened", "ongoing"])]
    pub(crate) status: Vec<StatusArg>,
    /// In which order
    #[arg(long, value_enum, default_value_t = Order::Severity)]
    pub(crate) sort: Order,
    /// How to print them
    #[arg(long, short, value_enum, default_value_t = FindingsOutput::Table)]
    pub(crate) output: FindingsOutput,
    /// Exit with 10 if one that is listed is open, not muted and at least so bad
    #[arg(long, value_parser = word::<Severity>, value_name = "LEVEL")]
    pub(crate) fail_on: Option<Severity>,
}

/// A status, or all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusArg {
    All,
    One(Status),
}

impl FromStr for StatusArg {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "all" => Ok(Self::All),
            _ => word.parse().map(Self::One).map_err(|e: String| format!("{e}, all")),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The worst first
    Severity,
    /// The one shown last first
    LastSeen,
    /// By the names of kinds
    Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FindingsOutput {
    /// For people
    Table,
    /// For people, with more columns
    Wide,
    /// One JSON array
    Json,
    /// One JSON object a line
    Jsonl,
    /// YAML
    Yaml,
    /// The ids, one a line
    Name,
    /// One event of the Open Cybersecurity Schema Framework a line
    Ocsf,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Example:
  catchment findings get 3fa9c1d2 -o yaml")]
pub(crate) struct GetArgs {
    /// Ids of findings, or beginnings of them
    #[arg(required = true)]
    pub(crate) id: Vec<String>,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    /// How to print them
    #[arg(long, short, value_enum, default_value_t = FindingsOutput::Table)]
    pub(crate) output: FindingsOutput,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment findings explain 3fa9c1d2
  catchment findings explain policy.no-policy")]
pub(crate) struct ExplainArgs {
    /// The id of a finding or its beginning, or a kind such as policy.no-policy
    #[arg(value_name = "ID|KIND")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
}

#[derive(ClapArgs)]
#[command(after_help = "\
A running process is asked every second: of several changes of a finding within it the last is printed. Files are \
followed as they grow, and no change is left out.

Examples:
  catchment findings watch --severity medium
  catchment findings watch --from rows.jsonl -o jsonl
  kcat -b kafka:9092 -t catchment.findings.v1 -C -q -u | catchment findings watch --from -")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// What becomes of them, or `all`
    #[arg(long, value_parser = word::<StatusArg>, value_delimiter = ',', default_values = ["all"])]
    pub(crate) status: Vec<StatusArg>,
    /// How to print changes
    #[arg(long, short, value_enum, default_value_t = WatchOutput::Text)]
    pub(crate) output: WatchOutput,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum WatchOutput {
    /// For people
    Text,
    /// One JSON object a line
    Jsonl,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Examples:
  catchment findings coverage
  catchment findings coverage --config catchment.yaml")]
pub(crate) struct CoverageArgs {
    /// Configuration file: its sources are judged, with what it knows of the cluster and may read there. Without it, all
    /// collectors are
    #[arg(long, short, env = "CATCHMENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Mutes live in the configuration, under `findings.mutes`: this prints what to add there. A muted finding is looked for and
published as before, with `muted` set; it is not listed and notifies nobody.

Examples:
  catchment findings mute 3fa9c1d2 --reason 'replaced in May' --until 2026-06-01T00:00:00Z
  catchment findings mute --kind policy.no-policy -n 'sandbox-*' --reason 'by design' --until 2160h")]
pub(crate) struct MuteArgs {
    /// One finding: its id or its beginning
    #[arg(required_unless_present_any = ["kind", "namespace"])]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    /// All of a kind
    #[arg(long, value_parser = word::<FindingKind>)]
    pub(crate) kind: Option<FindingKind>,
    /// All of a namespace, with `*` at the end or the beginning
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Why nobody needs to be told
    #[arg(long)]
    pub(crate) reason: String,
    /// Until when: an RFC 3339 time, or a duration from now such as 720h
    #[arg(long, value_parser = parse_until)]
    pub(crate) until: EventTime,
}

fn parse_until(text: &str) -> Result<EventTime, String> {
    let in_a_while = |period: Period| EventTime::from_secs(super::now().plus(period.micros()).secs());
    let time = EventTime::parse_rfc3339(text).or_else(|| text.parse().ok().map(in_a_while));
    time.ok_or_else(|| format!("`{text}` is no time; write it like 2026-01-31T12:00:00Z, or 720h from now"))
}
