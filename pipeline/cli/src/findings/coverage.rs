//! Which kinds of findings can be told, of which source, and why others cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catchment_core::knowledge::Kind;
use catchment_core::{Error, FindingKind, Result};
use catchment_kubernetes::Cluster;
use catchment_runtime::detect::coverage::{Collector, Shown, coverage as shown, is_stated, needs};
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::table::{self, plain};
use crate::args::{CoverageArgs, OutputFormat};
use crate::config::{Config, SourceConfig};

/// Whether a kind is told of a source.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    /// The source of the configuration, or the collector.
    source: String,
    told: bool,
    /// Why not, or what keeps it from being certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) fn coverage(args: &CoverageArgs) -> Result<()> {
    let rows = match &args.config {
        Some(config) => of_sources(&Config::load(config)?)?,
        None => of_collectors(),
    };
    let text = match args.output {
        OutputFormat::Table => in_columns(&rows),
        OutputFormat::Json => crate::pretty(&serde_json::json!(rows)),
        OutputFormat::Yaml => {
            serde_saphyr::to_string(&rows).map_err(|e| Error::internal("cannot write YAML").caused_by(e))?
        }
    };
    crate::emit(&text)
}

/// What flows of each collector show, whatever is configured.
fn of_collectors() -> Vec<Row> {
    let rows = FindingKind::ALL.iter().flat_map(|&kind| {
        Collector::ALL.into_iter().map(move |collector| {
            let reason = match shown(kind, collector) {
                Shown::Yes => None,
                Shown::WithState => Some(format!("needs {}", names(needs(kind).iter().copied()))),
                Shown::No(why) => Some(why.to_owned()),
            };
            let told = !matches!(shown(kind, collector), Shown::No(_));
            Row { kind: kind.name(), source: collector.name().to_owned(), told, reason }
        })
    });
    rows.collect()
}

/// What is told of the configured sources.
fn of_sources(config: &Config) -> Result<Vec<Row>> {
    let knowledge = Knowledge::of(config)?;
    let rows = config.sources.iter().flat_map(|(name, source)| {
        let collector = collector(source);
        let knowledge = &knowledge;
        FindingKind::ALL.iter().map(move |&kind| {
            let (told, reason) = match judge(config, knowledge, kind, collector) {
                Ok(reservation) => (true, reservation),
                Err(why) => (false, Some(why)),
            };
            Row { kind: kind.name(), source: name.clone(), told, reason }
        })
    });
    Ok(rows.collect())
}

/// Files hold flows in the shapes of Calico's collector.
const fn collector(source: &SourceConfig) -> Collector {
    match source {
        SourceConfig::Goldmane(_) | SourceConfig::Files(_) => Collector::Goldmane,
    }
}

/// Whether the kind is told, with what it lacks; or why not.
fn judge(
    config: &Config,
    knowledge: &Knowledge,
    kind: FindingKind,
    collector: Collector,
) -> Result<Option<String>, String> {
    if !config.findings.looks_for(kind) {
        return Err("turned off under `findings`".to_owned());
    }
    let lacking = knowledge.lacking(needs(kind));
    match (shown(kind, collector), lacking) {
        (Shown::No(why), _) => Err(why.to_owned()),
        _ if !is_stated(kind) => Err("no rule of this release states it".to_owned()),
        (Shown::WithState, Some(lacking)) => Err(lacking),
        (Shown::Yes, Some(lacking)) => Ok(Some(format!("less certain: {lacking}"))),
        (_, None) => Ok(None),
    }
}

/// What is known of the cluster.
enum Knowledge {
    Nothing,
    /// All but these, each with the reason.
    AllBut(BTreeMap<Kind, Arc<str>>),
}

impl Knowledge {
    /// A cluster is asked once for all that findings need.
    fn of(config: &Config) -> Result<Self> {
        let Some(kubernetes) = &config.enrich.kubernetes else { return Ok(Self::Nothing) };
        if kubernetes.is_from_files() {
            return Ok(Self::AllBut(BTreeMap::new()));
        }
        let kinds: BTreeSet<_> = FindingKind::ALL.iter().flat_map(|kind| needs(*kind)).copied().collect();
        let kinds: Vec<_> = kinds.into_iter().collect();
        let look = crate::tokio_runtime()?
            .block_on(async { Cluster::new(kubernetes.clone(), &mut Registry::default()).await?.look(&kinds).await });
        Ok(Self::AllBut(look?.hidden))
    }

    /// What is not known of the kinds of objects that are needed.
    fn lacking(&self, needed: &[Kind]) -> Option<String> {
        match self {
            _ if needed.is_empty() => None,
            Self::Nothing => Some(format!("set enrich.kubernetes: it needs {}", names(needed.iter().copied()))),
            Self::AllBut(hidden) => {
                let hidden =
                    needed.iter().filter_map(|kind| Some(format!("{kind} cannot be read: {}", hidden.get(kind)?)));
                Some(hidden.collect::<Vec<_>>().join("; ")).filter(|hidden| !hidden.is_empty())
            }
        }
    }
}

fn names(kinds: impl Iterator<Item = Kind>) -> String {
    kinds.map(|kind| kind.to_string()).collect::<Vec<_>>().join(", ")
}

fn in_columns(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let told = if row.told { "yes" } else { "no" };
        vec![plain(row.kind), plain(&row.source), plain(told), plain(row.reason.as_deref().unwrap_or_default())]
    };
    table::render(&["KIND", "SOURCE", "TOLD", "REASON"], &rows.iter().map(line).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(further: &str, kind: FindingKind) -> Result<Option<String>, String> {
        let text = format!(
            "cluster: test\nsources: {{ f: {{ type: files, paths: ['-'] }} }}\nsinks: {{ out: {{ type: jsonl }} }}\n{further}"
        );
        let config = Config::parse(&text, &|_| None).expect("valid");
        judge(&config, &Knowledge::of(&config).expect("no cluster to ask"), kind, Collector::Goldmane)
    }

    #[test]
    fn a_kind_is_told_where_its_source_shows_it_and_what_it_needs_is_known() {
        let files = "enrich: { kubernetes: { snapshot: [objects.json] } }\n";
        assert_eq!(judged("", FindingKind::NoPolicy), Ok(None));
        assert_eq!(judged(files, FindingKind::CrossEnvironment), Ok(None));
        let why = |further, kind| judged(further, kind).expect_err("not told");
        assert!(why("", FindingKind::CrossEnvironment).starts_with("set enrich.kubernetes"));
        assert_eq!(why(files, FindingKind::Http5xx), "it carries no status of requests");
        assert!(why("findings: { disabled: [policy.no-policy] }\n", FindingKind::NoPolicy).contains("turned off"));
        let reservation = judged("", FindingKind::PublicExposure);
        assert!(
            reservation.is_err() || reservation.is_ok_and(|why| why.is_some_and(|why| why.starts_with("less certain")))
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_reason() {
        let knowledge = Knowledge::AllBut(BTreeMap::from([(Kind::Node, "forbidden".into())]));
        assert_eq!(knowledge.lacking(&[Kind::Pod, Kind::Node]).as_deref(), Some("nodes cannot be read: forbidden"));
        assert_eq!(knowledge.lacking(&[Kind::Pod]), None);
    }
}
