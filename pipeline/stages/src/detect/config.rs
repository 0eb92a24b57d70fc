//! What is looked for, and from when on it is told.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use catchment_core::{EventTime, FindingId, FindingKind, Period, Severity};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::selector::Selector;

/// What is looked for in the flows of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether anything is looked for.
    pub enabled: bool,
    /// Kinds that are not looked for.
    #[schemars(with = "BTreeSet<String>")]
    pub disabled: BTreeSet<FindingKind>,
    /// Severities other than the default, by kind.
    #[schemars(with = "BTreeMap<String, String>")]
    pub severities: BTreeMap<FindingKind, Severity>,
    /// Namespaces that belong to the platform, with `*` at the end or the beginning: they cross environments and
    /// boundaries by design.
    pub platform_namespaces: Vec<NamePattern>,
    /// Namespaces of the platform whose findings are never above low.
    pub capped_namespaces: Vec<NamePattern>,
    /// Which environments must not reach which.
    pub environments: Environments,
    /// Backends that are worth guarding, over labels of pods and namespaces (`pcns.`), and over the names of namespace and
    /// service account (`projectcalico.org/namespace`, `projectcalico.org/serviceaccount`).
    pub critical: Vec<LabelRule>,
    /// Who may reach what, by service account.
    pub boundaries: Vec<Boundary>,
    /// Which service accounts backends run under.
    pub expected_accounts: Vec<ExpectedAccounts>,
    /// Namespaces that may be reached from those on their list only.
    pub isolated_namespaces: Vec<IsolatedNamespace>,
    /// Sources that may try many destinations.
    pub scanners: Vec<LabelRule>,
    /// Addresses of cloud metadata services and the like that a network set may name, beside the known ones.
    pub metadata_addresses: Vec<IpAddr>,
    /// Findings nobody wants to be told about, with the reason and until when.
    pub mutes: Vec<MuteRule>,
    /// From when on something is told.
    pub thresholds: Thresholds,
    /// Address of the folder of the pages that findings lead to: `policy.md`, `trust.md` and so on, with a heading for each
    /// kind. By default those of the project.
    pub runbooks: Runbooks,
    /// Findings that are open at once at most; beyond it no new one opens, and the number is counted.
    pub max_findings: u32,
    /// Pairs of workloads, port and protocol that are remembered for a day at most.
    pub max_pairs: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| NamePattern(name.to_owned())).collect();
        let capped = ["kube-system", "kube-public", "kube-node-lease", "calico-*", "tigera-*"];
        let shared = ["monitoring", "ingress*", "cert-manager", "istio-system", "linkerd"];
        Self {
            enabled: true,
            disabled: BTreeSet::new(),
            severities: BTreeMap::new(),
            platform_namespaces: names(&[&capped[..], &shared[..]].concat()),
            capped_namespaces: names(&capped),
            environments: Environments::default(),
            critical: vec![
                LabelRule::valid("catchment.dev/critical == 'true'"),
                LabelRule::valid("pcns.catchment.dev/critical == 'true'"),
            ],
            boundaries: Vec::new(),
            expected_accounts: Vec::new(),
            isolated_namespaces: Vec::new(),
            scanners: Vec::new(),
            metadata_addresses: Vec::new(),
            mutes: Vec::new(),
            thresholds: Thresholds::default(),
            runbooks: Runbooks::default(),
            max_findings: 20_000,
            max_pairs: 1_000_000,
        }
    }
}

impl Settings {
    /// Whether the kind is looked for.
    pub fn looks_for(&self, kind: FindingKind) -> bool {
        self.enabled && !self.disabled.contains(&kind)
    }

    /// Whether the namespace belongs to the platform.
    pub fn is_platform(&self, namespace: &str) -> bool {
        self.platform_namespaces.iter().any(|pattern| pattern.matches(namespace))
    }

    /// Whether findings of the namespace are never above low.
    pub fn is_capped(&self, namespace: &str) -> bool {
        self.capped_namespaces.iter().any(|pattern| pattern.matches(namespace))
    }
}

/// Environments and the edges between them that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Environments {
    /// Other words for an environment, by its name.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// The environment of namespaces without a label for it, by patterns of their names.
    pub namespaces: BTreeMap<String, Vec<NamePattern>>,
    /// Which must not reach which.
    pub forbidden: Vec<ForbiddenEdge>,
}

impl Default for Environments {
    fn default() -> Self {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let patterns = |words: &[&str]| words.iter().map(|&word| NamePattern(word.to_owned())).collect::<Vec<_>>();
        Self {
            aliases: BTreeMap::from([
                ("production".to_owned(), list(&["prod", "prd", "live"])),
                ("staging".to_owned(), list(&["stage", "stg", "preprod", "uat"])),
                ("test".to_owned(), list(&["testing", "qa"])),
                ("development".to_owned(), list(&["dev", "develop", "sandbox"])),
            ]),
            namespaces: BTreeMap::from([
                ("production".to_owned(), patterns(&["prod-*", "*-prod", "*-production"])),
                ("staging".to_owned(), patterns(&["staging-*", "*-staging"])),
                ("test".to_owned(), patterns(&["test-*", "*-test", "*-qa"])),
                ("development".to_owned(), patterns(&["dev-*", "*-dev"])),
            ]),
            forbidden: vec![ForbiddenEdge {
                from: list(&["development", "test", "staging"]),
                to: list(&["production"]),
            }],
        }
    }
}

impl Environments {
    /// The name of the environment that `word` stands for.
    pub fn named<'a>(&'a self, word: &'a str) -> &'a str {
        let alias =
            self.aliases.iter().find(|(_, aliases)| aliases.iter().any(|alias| alias.eq_ignore_ascii_case(word)));
        alias.map_or(word, |(name, _)| name)
    }

    /// The environment of a namespace by its name.
    pub fn of_namespace(&self, namespace: &str) -> Option<&str> {
        let found = self.namespaces.iter().find(|(_, names)| names.iter().any(|name| name.matches(namespace)));
        found.map(|(environment, _)| environment.as_str())
    }

    /// Whether `from` must not reach `to`; both are names.
    pub fn forbids(&self, from: &str, to: &str) -> bool {
        let holds = |list: &[String], name: &str| list.iter().any(|one| one.eq_ignore_ascii_case(name));
        self.forbidden.iter().any(|edge| holds(&edge.from, from) && holds(&edge.to, to))
    }
}

/// Environments that must not reach others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForbiddenEdge {
    /// Environments of the source.
    pub from: Vec<String>,
    /// Environments of the destination.
    pub to: Vec<String>,
}

/// Who may reach a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// Its name, in findings.
    pub name: String,
    /// The backends.
    pub destination: LabelRule,
    /// Accounts that may reach them, `namespace/name`, with `*` at the end or the beginning.
    pub accounts: Vec<NamePattern>,
}

/// Which accounts a backend runs under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedAccounts {
    /// The backends.
    pub destination: LabelRule,
    /// Their accounts, `namespace/name`, with `*` at the end or the beginning.
    pub accounts: Vec<NamePattern>,
}

/// A namespace that may be reached from some others only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IsolatedNamespace {
    /// The namespace.
    pub namespace: NamePattern,
    /// Namespaces that may reach it beside itself and the platform.
    pub from: Vec<NamePattern>,
}

/// Findings nobody wants to be told about. What is absent matches everything, but one of the three must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MuteRule {
    /// One finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding_id: Option<String>,
    /// A kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub kind: Option<FindingKind>,
    /// A namespace of subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamePattern>,
    /// Why.
    pub reason: String,
    /// Until when, RFC 3339.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub until: EventTime,
}

impl MuteRule {
    /// Whether the finding is meant; for how long is asked elsewhere.
    pub fn matches(&self, id: FindingId, kind: FindingKind, namespace: Option<&str>) -> bool {
        let by_id = self.finding_id.as_ref().is_none_or(|wanted| *wanted == id.to_string());
        let by_kind = self.kind.is_none_or(|wanted| wanted == kind);
        let by_place = self.namespace.as_ref().is_none_or(|wanted| namespace.is_some_and(|name| wanted.matches(name)));
        let says_one = self.finding_id.is_some() || self.kind.is_some() || self.namespace.is_some();
        says_one && by_id && by_kind && by_place
    }
}

/// From when on something is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Windows in a row without any reply before `asymmetry.no-response`.
    pub no_response_windows: u32,
    /// Connections that must have begun without a reply where a protocol may stay silent by design.
    pub silent_by_design_started: u64,
    /// Distinct destinations of one source before `private.scan`.
    pub scan_destinations: u32,
    /// Share of them that refused or stayed silent, in percent.
    pub scan_failed_percent: u32,
    /// Denies of one policy that fold into one finding when more than this open within five minutes.
    pub deny_fold: u32,
    /// Age of the last change of a staged policy before `policy.staged-forgotten`.
    pub staged_forgotten_after: Period,
    /// Time without a hit before `policy.unused`.
    pub unused_after: Period,
    /// Time a selector must have matched nothing before `policy.label-mismatch`.
    pub mismatch_after: Period,
    /// Time without a byte before `zombie.long-lived`.
    pub idle_after: Period,
    /// What may still be on its way after the last pod of a name was deleted.
    pub gone_grace: Period,
    /// How long who reaches what is watched before something new about it is told.
    pub learning: Period,
}

impl Default for Thresholds {
    fn default() -> Self {
        let (hour, day) = (3600, 24 * 3600);
        Self {
            no_response_windows: 2,
            silent_by_design_started: 20,
            scan_destinations: 50,
            scan_failed_percent: 70,
            deny_fold: 5,
            staged_forgotten_after: Period::secs(7 * day),
            unused_after: Period::secs(7 * day),
            mismatch_after: Period::secs(hour),
            idle_after: Period::secs(hour),
            gone_grace: Period::secs(90),
            learning: Period::secs(day),
        }
    }
}

/// A name, with `*` at its end or its beginning for all names that begin or end so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NamePattern(pub String);

impl NamePattern {
    /// Whether the name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match (self.0.strip_suffix('*'), self.0.strip_prefix('*')) {
            (Some(prefix), _) => name.starts_with(prefix),
            (None, Some(suffix)) => name.ends_with(suffix),
            (None, None) => self.0 == name,
        }
    }
}

/// A selector in Calico's language with the text it was written as.
#[derive(Clone, Debug)]
pub struct LabelRule {
    text: String,
    /// What it selects.
    pub selector: Selector,
}

impl LabelRule {
    fn valid(text: &str) -> Self {
        text.parse().expect("selectors of the defaults can be read")
    }
}

impl PartialEq for LabelRule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LabelRule {}

impl FromStr for LabelRule {
    type Err = <Selector as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { text: text.to_owned(), selector: text.parse()? })
    }
}

impl fmt::Display for LabelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for LabelRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for LabelRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|e| serde::de::Error::custom(format!("`{text}` is no selector: {e}")))
    }
}

impl JsonSchema for LabelRule {
    fn schema_name() -> Cow<'static, str> {
        "LabelRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A selector in Calico's language" })
    }
}

/// Where the pages are that explain kinds: an address without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Runbooks(String);

impl Runbooks {
    /// The page of a kind, at its heading.
    pub fn of(&self, kind: FindingKind) -> String {
        format!("{}/{}", self.0, kind.page())
    }
}

impl Default for Runbooks {
    fn default() -> Self {
        Self(concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/findings").to_owned())
    }
}

impl FromStr for Runbooks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.trim_end_matches('/');
        let place = ["https://", "http://"].into_iter().find_map(|scheme| address.strip_prefix(scheme));
        let is_none = |c: char| c.is_whitespace() || c.is_control() || "?#".contains(c);
        match place.filter(|place| !place.is_empty() && !place.starts_with('/') && !place.contains(is_none)) {
            Some(_) => Ok(Self(address.to_owned())),
            None => Err(format!(
                "`{text}` is no address of a folder; write it like https://wiki.example.com/runbooks, without ? and #"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Runbooks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Runbooks {
    fn schema_name() -> Cow<'static, str> {
        "Runbooks".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uri", "pattern": "^https?://" })
    }
}

mod rfc3339 {
    use catchment_core::EventTime;
    use serde::{Deserialize, Deserializer, Serializer};

    // Serde hands over a reference, whatever the size.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.to_rfc3339())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        EventTime::parse_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no time; write it like 2026-01-31T12:00:00Z")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_name_its_beginning_or_its_end() {
        let matches = |pattern: &str, name| NamePattern(pattern.to_owned()).matches(name);
        assert!(matches("shop", "shop") && !matches("shop", "shop-dev"));
        assert!(matches("calico-*", "calico-system") && !matches("calico-*", "calico"));
        assert!(matches("*-prod", "shop-prod") && !matches("*-prod", "prod"));
        assert!(matches("*", "anything"));
    }

    #[test]
    fn environments_are_known_by_other_words_and_by_names_of_namespaces() {
        let environments = Environments::default();
        assert_eq!(environments.named("PROD"), "production");
        assert_eq!(environments.named("blue"), "blue");
        assert_eq!(environments.of_namespace("shop-staging"), Some("staging"));
        assert_eq!(environments.of_namespace("shop"), None);
        assert!(environments.forbids("development", "production"));
        assert!(!environments.forbids("production", "development"));
    }

    #[test]
    fn a_mute_that_says_nothing_mutes_nothing() {
        let id = FindingId(7);
        let mute = |kind, namespace: Option<&str>| MuteRule {
            finding_id: None,
            kind,
            namespace: namespace.map(|name| NamePattern(name.to_owned())),
            reason: "known".to_owned(),
            until: EventTime::MAX,
        };
        assert!(!mute(None, None).matches(id, FindingKind::NoPolicy, Some("shop")));
        assert!(mute(Some(FindingKind::NoPolicy), None).matches(id, FindingKind::NoPolicy, None));
        assert!(mute(None, Some("sh*")).matches(id, FindingKind::Scan, Some("shop")));
        assert!(!mute(Some(FindingKind::Scan), Some("sh*")).matches(id, FindingKind::NoPolicy, Some("shop")));
    }

    #[test]
    fn a_page_is_found_below_the_address_that_is_configured() {
        let page = |text: &str| text.parse::<Runbooks>().map(|runbooks| runbooks.of(FindingKind::NoPolicy));
        assert_eq!(page("https://wiki/run/"), Ok("https://wiki/run/policy.md#policyno-policy".to_owned()));
        let default = Runbooks::default();
        assert_eq!(default.0.parse(), Ok(default.clone()), "the default is one that may be written");
        for text in ["", "docs/findings", "https://", "https:///x", "ftp://wiki", "https://wiki/a b", "https://wiki/#a"]
        {
            assert!(page(text).expect_err("no folder").starts_with(&format!("`{text}` is no address of a folder")));
        }
    }

    #[test]
    fn a_selector_that_is_none_is_refused_with_its_text() {
        let error =
            serde_json::from_str::<Settings>(r#"{"critical": ["app = web"]}"#).expect_err("one sign is missing");
        assert!(error.to_string().contains("`app = web` is no selector"), "{error}");
    }
}
