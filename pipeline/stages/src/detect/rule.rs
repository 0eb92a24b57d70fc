//! What a rule is: it says which flows show a problem, about what, and tells the story of one that is to be published.

use catchment_core::{Confidence, Endpoint, FindingId, FindingKind, FlowKey, Period, Severity, Subject};
use catchment_schemas::goldmane::EndpointType;
use serde_json::{Map, Value};

use super::facts::{Facts, Signs, Talk};
use super::known::Changed;
use super::lifecycle::namespace_of;
use super::sightings::{Sightings, Tally};
use super::view::View;

/// How often rules meet a key again that remember it for days.
pub(crate) const HOURLY: Period = Period::secs(3600);

/// A rule sees flows in four ways, and uses those it needs:
///
/// - [`Rule::case`] is asked once per flow key and identity. What it returns holds (or is refuted) in every window in
///   which the key counts something; this costs next to nothing per row.
/// - [`Rule::talk`] is asked for conversations that show one of the signs of [`Rule::wakes`] and that
///   [`Rule::listens`] to, and for pairs about which a finding was once stated, so that it can be refuted.
/// - [`Rule::meet`] is told of keys once in every [`Rule::meets_every`] in which they count something: for what is
///   remembered for hours and days.
/// - [`Rule::close`] is asked once per window, behind all rows.
///
/// A rule may keep what it needs over windows; then it saves and restores it.
pub(crate) trait Rule: Send {
    /// The kinds it states.
    fn kinds(&self) -> &'static [FindingKind];

    /// What every counting row of this key shows.
    fn case(&self, _key: &Facts<'_>) -> Option<Case> {
        None
    }

    /// How often it is to [`Rule::meet`] a key that stays; `None` where it meets none.
    fn meets_every(&self) -> Option<Period> {
        None
    }

    /// A key in the first window of a period that shows packets of it. What is noted of it is noted as of
    /// [`View::end_of`] the period.
    fn meet(&mut self, _key: &Facts<'_>) {}

    /// Whether conversations of this key may concern it.
    fn listens(&self, _key: &Facts<'_>) -> bool {
        false
    }

    /// Signs of a conversation that concern it.
    fn wakes(&self) -> Signs {
        Signs::NONE
    }

    /// Whether it wants conversations of pairs about which it once stated something, whatever their signs.
    fn refutes(&self) -> bool {
        false
    }

    /// A conversation that concerns it.
    fn talk(&mut self, _talk: &Talk<'_>, _out: &mut Sightings) {}

    /// The end of a window.
    fn close(&mut self, _view: &View<'_>, _out: &mut Sightings) {}

    /// What is told of a finding.
    fn story(&self, told: &Told<'_>) -> Story;

    /// What it remembers; `None` where it remembers nothing.
    fn save(&self) -> Option<Vec<u8>> {
        None
    }

    /// Takes back what [`Rule::save`] gave. What cannot be read is an error in a few words.
    fn restore(&mut self, _saved: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// A problem with its subject, as one window shows it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(super) kind: FindingKind,
    pub(super) subject: Subject,
    pub(super) severity: Severity,
    pub(super) confidence: Confidence,
    pub(super) owner: Option<String>,
    /// Whether it is shown, or its contrary.
    pub(super) holds: bool,
    /// Whether it depends on what rules of policies say.
    pub(super) by_rules: bool,
    /// What cases of one cause fold into where many open at once.
    pub(super) parent: Option<Subject>,
    /// It states nothing: conversations of the key are to be heard.
    pub(super) only_wakes: bool,
}

impl Case {
    /// A case that holds, with severity and confidence of its kind.
    pub(crate) const fn new(kind: FindingKind, subject: Subject) -> Self {
        let (severity, confidence) = (kind.severity(), kind.confidence());
        Self {
            kind,
            subject,
            severity,
            confidence,
            owner: None,
            holds: true,
            parent: None,
            by_rules: false,
            only_wakes: false,
        }
    }

    pub(crate) const fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(crate) const fn confidence(mut self, confidence: Confidence) -> Self {
        self.confidence = confidence;
        self
    }

    /// Owner or team of the subject.
    pub(crate) fn owner(mut self, owner: Option<&str>) -> Self {
        self.owner = owner.map(str::to_owned);
        self
    }

    /// Shown to be otherwise: what is open about this subject is over.
    pub(crate) const fn refuted(mut self) -> Self {
        self.holds = false;
        self
    }

    /// Rows of the key show it only together with the rest of their conversation: the rule is to hear that, if it
    /// [`Rule::refutes`], and says itself what holds.
    pub(crate) const fn only_wakes(mut self) -> Self {
        self.only_wakes = true;
        self
    }

    /// What it says depends on what rules of policies say, so rows of windows in which one is edited are no evidence.
    pub(crate) const fn by_rules(mut self) -> Self {
        self.by_rules = true;
        self
    }

    /// Many that open at once fold into one finding about `parent`.
    pub(crate) fn folds_into(mut self, parent: Subject) -> Self {
        self.parent = Some(parent);
        self
    }
}

/// What is known of a finding when its story is told.
pub(crate) struct Told<'a> {
    pub(crate) kind: FindingKind,
    pub(crate) subject: &'a Subject,
    /// What the window showed.
    pub(crate) tally: &'a Tally,
    /// What the rule added in the window.
    pub(crate) details: &'a Map<String, Value>,
    /// Findings that folded into this one, and how many there were in all.
    pub(crate) children: &'a [(FindingId, Subject)],
    pub(crate) child_count: u64,
    /// What changed shortly before it opened.
    pub(crate) changed: &'a [Changed],
    pub(crate) view: &'a View<'a>,
}

impl Told<'_> {
    /// A member of the subject, empty where it has none.
    pub(crate) fn member(&self, name: &str) -> &str {
        self.subject.get(name).unwrap_or_default()
    }

    /// `namespace/name` of an end of a pair: `source` or `dest`.
    pub(crate) fn end(&self, end: &str) -> String {
        let name = self.member(end);
        match self.subject.get(&format!("{end}_namespace")) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    /// `namespace/workload` of a subject that is one workload.
    pub(crate) fn workload(&self) -> String {
        match (self.subject.get("namespace"), self.subject.get("workload")) {
            (Some(namespace), Some(workload)) => format!("{namespace}/{workload}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => String::new(),
        }
    }

    /// The newest edit of a policy shortly before it opened, in a sentence; empty if there is none.
    pub(crate) fn blamed_edit(&self) -> String {
        let edit = self.changed.iter().find(|changed| changed.is_policy);
        edit.map(|edit| format!("Shortly before, {edit}. ")).unwrap_or_default()
    }

    /// A command that asks the policies of the cluster about the first flow between pods, by the names that collectors
    /// give; without such a flow, one that shows whether it is still found.
    pub(crate) fn why(&self) -> String {
        self.ask("").unwrap_or_else(|| self.listed())
    }

    /// A command that lists findings of the kind where this one belongs.
    pub(crate) fn listed(&self) -> String {
        match namespace_of(self.subject) {
            Some(namespace) => format!("catchment findings list --kind {} --namespace {namespace}", self.kind),
            None => format!("catchment findings list --kind {}", self.kind),
        }
    }

    /// As [`Told::why`], and the command fails for as long as policies deny.
    pub(crate) fn why_denied(&self) -> String {
        self.ask(" --fail-on deny").unwrap_or_else(|| self.why())
    }

    /// How to see by which policies it was let through, as a sentence behind others; empty without a flow between pods.
    pub(crate) fn let_through(&self) -> String {
        self.ask("").map(|why| format!(" `{why}` shows which policies let it through.")).unwrap_or_default()
    }

    fn ask(&self, option: &str) -> Option<String> {
        self.tally.sample.iter().find_map(|(key, _)| {
            let (source, dest) = (asked(&key.key.source)?, asked(&key.key.dest)?);
            let port = asked_port(&key.key);
            Some(format!("catchment why '{source}' '{dest}:{port}'{option}"))
        })
    }

    /// A number among the details, 0 where there is none.
    pub(crate) fn number(&self, detail: &str) -> u64 {
        self.details.get(detail).and_then(Value::as_u64).unwrap_or_default()
    }

    /// `port/protocol` of a pair.
    pub(crate) fn port(&self) -> String {
        let subject = self.subject.to_json();
        format!("{}/{}", subject["dest_port"], self.member("protocol"))
    }
}

/// A pod as it is asked for; a name that stands for many addresses has no policies of its own.
fn asked(end: &Endpoint) -> Option<String> {
    let is_pod = [0, EndpointType::WorkloadEndpoint as i32].contains(&end.kind);
    let namespace = end.namespace.as_deref().filter(|_| is_pod)?;
    Some(format!("{namespace}/{}", end.raw_name))
}

/// `443/tcp`, or the protocol alone where it has no ports.
fn asked_port(key: &FlowKey) -> String {
    match &*key.protocol {
        protocol @ ("tcp" | "udp" | "sctp") => format!("{}/{protocol}", key.dest_port),
        protocol => protocol.to_owned(),
    }
}

/// What people read of a finding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// One line.
    pub(crate) title: String,
    /// One paragraph.
    pub(crate) explanation: String,
    /// What to do.
    pub(crate) remediation: String,
    /// A command that shows whether it is fixed.
    pub(crate) verify: String,
    /// Further members of the impact.
    pub(crate) impact: Map<String, Value>,
    /// Further members of the evidence.
    pub(crate) evidence: Map<String, Value>,
}
