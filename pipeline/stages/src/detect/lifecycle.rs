//! What becomes of a finding: it opens, goes on, is over, comes back, is forgotten.
//!
//! A row is published where status, severity or order of magnitude change, not per window.

use std::collections::BTreeSet;

use catchment_core::{EventTime, Family, FindingId, FindingRow, Mute, Period, Resolution, Severity, Status, Subject};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::impact::Traffic;
use super::known::{Changed, chain, changed_before, policies_named};
use super::related::Relations;
use super::remedy::Observed;
use super::rule::{Story, Told};
use super::sightings::{Sighting, Sightings, Slot, Tally};
use super::view::View;
use crate::policy::Chain;

/// Without a sign for so long a finding is stale; over for so long it is forgotten.
const DAY: Period = Period::secs(24 * 3600);
/// Findings of one cause that open within this time may fold.
const FOLD: Period = Period::secs(300);
/// Children that a finding names.
const CHILDREN: usize = 50;

/// A finding with what is remembered of it beyond its newest row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finding {
    /// As it was published last, or would have been.
    pub(super) row: FindingRow,
    /// What it folds into where many open at once.
    pub(super) parent: Option<Subject>,
    /// It stands in its parent's evidence and is not published itself.
    folded: bool,
    /// Connections, packets and bytes over all windows.
    totals: [u64; 3],
    /// What changed shortly before it opened.
    changed: Vec<Changed>,
    /// When it was over; `None` while it is open.
    over_at: Option<EventTime>,
    /// Of a parent: when its last children opened.
    openings: Vec<EventTime>,
    /// Of a parent: the first children that folded.
    children: Vec<(FindingId, Subject)>,
    /// Of a parent: how many folded.
    child_count: u64,
    /// Of a parent: it has folded children and is published itself.
    is_stated: bool,
}

impl Finding {
    pub(super) const fn is_open(&self) -> bool {
        self.row.status.is_open()
    }

    pub(super) const fn is_published(&self) -> bool {
        !self.folded && self.is_stated
    }

    fn count(&mut self, tally: &Tally) {
        let seen = [tally.started, tally.packets, tally.bytes];
        for (total, seen) in self.totals.iter_mut().zip(seen) {
            *total = total.saturating_add(seen);
        }
    }

    /// The order of magnitude of what people count it by: connections, or packets where none begin.
    const fn magnitude(&self) -> u32 {
        let [started, packets, _] = self.totals;
        let size = if started > 0 { started } else { packets };
        match size.checked_ilog10() {
            Some(magnitude) => magnitude + 1,
            None => 0,
        }
    }
}

/// Tells the story of a finding.
pub(super) type Teller<'a> = &'a dyn Fn(&Told<'_>) -> Story;

/// What a window changes.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) rows: Vec<FindingRow>,
    pub(super) forgotten: Vec<FindingId>,
    /// Findings that did not open because too many are open.
    pub(super) refused: u64,
}

/// The end of a window: what its sightings make of the findings.
pub(super) struct Close<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) tell: Teller<'a>,
    /// Peers and ports that were observed, for policies that mend.
    pub(super) observed: &'a Observed,
    /// Findings that are open.
    pub(super) open: usize,
    /// The end of the last whole window before this one.
    pub(super) watched: EventTime,
    /// Findings to be published, with what the window shows of each.
    told: Vec<(u32, Sighting)>,
    /// Parents of folded children that ended in this window.
    left: BTreeSet<u32>,
    pub(super) out: Changes,
}

/// What a finding is to the rest of the window and to other findings.
struct Context {
    impact: Map<String, Value>,
    related: Vec<FindingId>,
}

impl<'a> Close<'a> {
    pub(super) fn new(
        view: &'a View<'a>,
        tell: Teller<'a>,
        observed: &'a Observed,
        (open, watched): (usize, EventTime),
    ) -> Self {
        let (told, left, out) = (Vec::new(), BTreeSet::new(), Changes::default());
        Self { view, tell, observed, open, watched, told, left, out }
    }

    pub(super) fn run(&mut self, sightings: &mut Sightings) {
        // Children first: what folds is counted for its parent.
        let touched = std::mem::take(&mut sightings.touched);
        for &number in &touched {
            self.settle(sightings, number);
        }
        self.end_parents(sightings);
        let parents = std::mem::take(&mut sightings.touched);
        for number in parents {
            self.settle(sightings, number);
        }
        self.age(sightings);
        self.publish(sightings);
        self.out.rows.sort_unstable_by_key(|row| row.id);
        self.out.forgotten.sort_unstable();
    }

    /// What the last of many folded into is over with it.
    fn end_parents(&mut self, sightings: &mut Sightings) {
        let mut left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return;
        }
        let is_open = |slot: &&Slot| slot.finding.as_ref().is_some_and(|finding| finding.folded && finding.is_open());
        for parent in sightings.slots.iter().flatten().filter(is_open).filter_map(|slot| slot.parent) {
            left.remove(&parent);
        }
        for parent in left {
            sightings.touch(parent).now.over = Some(Resolution::Fixed);
        }
    }

    fn settle(&mut self, sightings: &mut Sightings, number: u32) {
        let seen = sightings.take(number);
        let slot = sightings.slot(number);
        let holds = seen.holds && self.view.settings.looks_for(slot.kind);
        let known = slot.finding.as_ref();
        match (holds, known.map(|finding| finding.is_open()), seen.over) {
            (true, Some(true), _) => self.go_on(sightings, number, seen),
            (true, ..) => self.open(sightings, number, seen),
            (false, Some(true), Some(why)) => self.end(sightings, number, Status::Resolved, why),
            _ => {}
        }
    }

    fn open(&mut self, sightings: &mut Sightings, number: u32, seen: Sighting) {
        if self.open >= self.view.settings.max_findings as usize {
            self.out.refused += 1;
            return;
        }
        self.open += 1;
        let parent = sightings.slot(number).parent;
        let folded = parent.is_some_and(|parent| self.fold(sightings, parent, number, &seen));
        let parent = parent.map(|parent| sightings.slot(parent).subject.clone());
        let horizon = self.horizon();
        let slot = sightings.slot_mut(number);
        // Where time passed without a window, what was over for long may not be forgotten yet.
        let finding = match slot.finding.take().filter(|back| back.over_at.is_none_or(|over| over > horizon)) {
            Some(mut back) => {
                let is_first = back.row.windows_seen == 0;
                back.row.reopen_count += u32::from(!is_first);
                if is_first {
                    back.row.first_seen = self.view.window.start;
                }
                back.row.status = Status::Opened;
                back.row.resolution = None;
                back.over_at = None;
                back.folded = folded;
                back.is_stated = true;
                back
            }
            None => Box::new(self.blank(slot.id, slot.kind, slot.subject.clone(), parent, folded, true)),
        };
        slot.finding = Some(finding);
        self.take_in(sightings, number, seen, true);
    }

    /// A finding that nothing is known of yet.
    fn blank(
        &self,
        id: FindingId,
        kind: catchment_core::FindingKind,
        subject: Subject,
        parent: Option<Subject>,
        folded: bool,
        is_stated: bool,
    ) -> Finding {
        let row = FindingRow {
            id,
            kind,
            status: if is_stated { Status::Opened } else { Status::Stale },
            severity: Severity::Info,
            confidence: kind.confidence(),
            mute: None,
            first_seen: self.view.window.start,
            last_seen: self.view.window.end,
            windows_seen: 0,
            reopen_count: 0,
            resolution: None,
            namespace: namespace_of(&subject).map(str::to_owned),
            owner: None,
            subject,
            impact: "{}".to_owned(),
            evidence: "{}".to_owned(),
            title: String::new(),
            explanation: String::new(),
            remediation: String::new(),
            verify: String::new(),
            related: Vec::new(),
            runbook: String::new(),
        };
        Finding {
            row,
            parent,
            folded,
            totals: [0; 3],
            changed: Vec::new(),
            over_at: None,
            openings: Vec::new(),
            children: Vec::new(),
            child_count: 0,
            is_stated,
        }
    }

    /// Notes that a child opens; returns whether it folds into its parent.
    fn fold(&mut self, sightings: &mut Sightings, parent: u32, child: u32, seen: &Sighting) -> bool {
        let now = self.view.window.end;
        let slot = sightings.slot(child);
        let (id, subject) = (slot.id, slot.subject.clone());
        let was_folded = slot.finding.as_ref().is_some_and(|finding| finding.folded);
        if sightings.slot(parent).finding.is_none() {
            let slot = sightings.slot(parent);
            let blank = self.blank(slot.id, slot.kind, slot.subject.clone(), None, false, false);
            sightings.slot_mut(parent).finding = Some(Box::new(blank));
        }
        let finding = sightings.slot_mut(parent).finding.as_mut().expect("it was just put there");
        finding.openings.retain(|opened| opened.plus(FOLD.micros()) > now);
        finding.openings.push(now);
        let goes_on = finding.is_stated && finding.is_open();
        let folds = goes_on || finding.openings.len() > self.view.settings.thresholds.deny_fold as usize;
        let surplus = finding.openings.len().saturating_sub(self.view.settings.thresholds.deny_fold as usize + 1);
        finding.openings.drain(..surplus);
        if folds {
            // One that comes back to a parent that is open is named by it already.
            if !(goes_on && was_folded) {
                finding.child_count += 1;
                if finding.children.len() < CHILDREN {
                    finding.children.push((id, subject));
                }
            }
            hold_parent(sightings, parent, seen);
        }
        folds
    }

    fn go_on(&mut self, sightings: &mut Sightings, number: u32, seen: Sighting) {
        let slot = sightings.slot(number);
        if slot.finding.as_ref().is_some_and(|finding| finding.folded)
            && let Some(parent) = slot.parent
        {
            hold_parent(sightings, parent, &seen);
        }
        self.take_in(sightings, number, seen, false);
    }

    /// Adds what a window showed; the finding is to be published if that is worth a row.
    fn take_in(&mut self, sightings: &mut Sightings, number: u32, seen: Sighting, opens: bool) {
        let slot = sightings.slot_mut(number);
        let owner = slot.owner.clone();
        let finding = slot.finding.as_mut().expect("who is taken in has a finding");
        let (magnitude, severity) = (finding.magnitude(), finding.row.severity);
        finding.count(&seen.tally);
        finding.row.windows_seen += 1;
        finding.row.last_seen = self.view.window.end;
        finding.row.confidence = seen.confidence;
        // Within its life a finding only becomes worse: one that wavers would be told at every turn.
        let judged = self.severity(finding, seen.severity);
        finding.row.severity = if opens { judged } else { judged.max(severity) };
        finding.row.owner = owner;
        if !opens && finding.row.severity == severity && finding.magnitude() == magnitude {
            return;
        }
        finding.row.status = if opens { Status::Opened } else { Status::Ongoing };
        if !finding.is_published() {
            return;
        }
        if opens {
            let edits = changed_before(self.view, &finding.row.subject);
            finding.changed = edits.into_iter().map(Changed::from).collect();
        }
        self.told.push((number, seen));
    }

    /// The severity as configured: of the kind where that is set, and not above low for what belongs to the platform.
    fn severity(&self, finding: &Finding, judged: Severity) -> Severity {
        let settings = self.view.settings;
        let severity = settings.severities.get(&finding.row.kind).copied().unwrap_or(judged);
        let is_capped = || is_of_platform(&finding.row.subject, self.view);
        if severity > Severity::Low && is_capped() { Severity::Low } else { severity }
    }

    /// Tells the stories of findings whose window has ended for all others too: they name each other.
    fn publish(&mut self, sightings: &mut Sightings) {
        let told = std::mem::take(&mut self.told);
        for ((number, seen), context) in told.iter().zip(self.contexts(sightings, &told)) {
            let finding = sightings.slot_mut(*number).finding.as_mut().expect("who is told of has a finding");
            self.tell(finding, seen, context);
            self.out.rows.push(finding.row.clone());
        }
    }

    fn contexts(&self, sightings: &Sightings, told: &[(u32, Sighting)]) -> Vec<Context> {
        if told.is_empty() {
            return Vec::new();
        }
        let slots = || told.iter().map(|(number, _)| sightings.slot(*number));
        let traffic = Traffic::of(self.view.flows, slots().map(|slot| (slot.kind, &slot.subject)));
        let relations = Relations::of(sightings);
        let context = |(slot, (_, seen)): (&Slot, &(u32, Sighting))| Context {
            impact: traffic.impact(slot.kind, &slot.subject, &seen.tally.sides),
            related: relations.to(slot),
        };
        slots().zip(told).map(context).collect()
    }

    fn tell(&self, finding: &mut Finding, seen: &Sighting, context: Context) {
        let Finding { row, children, child_count, totals, changed, .. } = finding;
        let told = Told {
            kind: row.kind,
            subject: &row.subject,
            tally: &seen.tally,
            details: &seen.details,
            children,
            child_count: *child_count,
            changed,
            view: self.view,
        };
        let story = (self.tell)(&told);
        row.impact = impact(totals, [context.impact, story.impact]);
        let mut evidence = evidence(&told, story.evidence);
        row.title = story.title;
        row.explanation = story.explanation;
        row.remediation = story.remediation;
        if let Some(policy) = self.observed.staged_policy(row.kind, &row.subject, self.view) {
            row.remediation.push_str(" `staged_policy` in the evidence is one for what was observed so far.");
            evidence.insert("staged_policy".to_owned(), policy.into());
        }
        row.evidence = Value::from(evidence).to_string();
        row.verify = story.verify;
        row.related = context.related;
        row.runbook = self.view.settings.runbooks.of(row.kind);
        row.mute = mute(row, self.view);
    }

    fn end(&mut self, sightings: &mut Sightings, number: u32, status: Status, why: Resolution) {
        let finding = sightings.slot_mut(number).finding.as_mut().expect("what ends has begun");
        finding.row.status = status;
        finding.row.resolution = Some(why);
        finding.over_at = Some(self.view.window.end);
        finding.children.clear();
        finding.child_count = 0;
        self.open = self.open.saturating_sub(1);
        if finding.is_published() {
            self.out.rows.push(finding.row.clone());
        }
        let folded = finding.folded;
        self.left.extend(sightings.slot(number).parent.filter(|_| folded));
    }

    fn horizon(&self) -> EventTime {
        self.view.window.end.plus(-DAY.micros())
    }

    /// What nothing has shown for a day is stale; what has been over for a day is forgotten.
    fn age(&mut self, sightings: &mut Sightings) {
        let horizon = self.horizon();
        let quiet = if self.watched <= horizon { Resolution::SourceLost } else { Resolution::Quiet };
        for number in 0..sightings.slots.len() as u32 {
            let Some(finding) = sightings.slots[number as usize].as_ref().and_then(|slot| slot.finding.as_ref()) else {
                continue;
            };
            if finding.over_at.is_some_and(|over| over <= horizon) || is_idle_parent(finding, horizon) {
                let was_published = finding.is_published();
                let slot = sightings.slot_mut(number);
                slot.finding = None;
                self.out.forgotten.extend(was_published.then_some(slot.id));
            } else if finding.is_open() && !self.view.settings.looks_for(finding.row.kind) {
                self.end(sightings, number, Status::Stale, Resolution::RuleChanged);
            } else if finding.is_open() && finding.row.last_seen <= horizon {
                self.end(sightings, number, Status::Stale, quiet);
            }
        }
    }
}

/// A parent that never had to be stated and whose children opened long ago.
fn is_idle_parent(finding: &Finding, horizon: EventTime) -> bool {
    !finding.is_stated && finding.openings.iter().all(|opened| *opened <= horizon)
}

/// What a folded child shows is shown of its parent.
fn hold_parent(sightings: &mut Sightings, parent: u32, seen: &Sighting) {
    let now = &mut sightings.touch(parent).now;
    now.holds = true;
    now.severity = now.severity.max(seen.severity);
    now.confidence = now.confidence.max(seen.confidence);
    now.tally.add_counts(&seen.tally);
    if now.tally.sample.is_empty() {
        now.tally.sample.clone_from(&seen.tally.sample);
    }
}

/// Whether nobody but the platform is concerned: an operator owns the policy, or all namespaces are of the platform. Those
/// who ask its name servers without an answer are not.
fn is_of_platform(subject: &Subject, view: &View<'_>) -> bool {
    let mut namespaces = namespaces(subject).peekable();
    let all_capped = namespaces.peek().is_some() && namespaces.all(|namespace| view.settings.is_capped(namespace));
    all_capped || is_operated(subject.get("policy"), view)
}

fn is_operated(policy: Option<&str>, view: &View<'_>) -> bool {
    let (Some(state), Some(policy)) = (view.state, policy) else { return false };
    let mut policies = policies_named(state, policy);
    policies.any(|policy| state.policy_facts(&policy.id).is_some_and(|facts| facts.operator.is_some()))
}

/// The namespace a finding belongs to: of the subject itself, or of the end that is reached.
pub(super) fn namespace_of(subject: &Subject) -> Option<&str> {
    namespaces(subject).next()
}

/// All namespaces that a subject names; without one of its own that of its policy.
fn namespaces(subject: &Subject) -> impl Iterator<Item = &str> {
    let members = ["namespace", "dest_namespace", "source_namespace"];
    let mut named = members.into_iter().filter_map(|member| subject.get(member)).peekable();
    let of_policy = || Some(subject.get("policy")?.split_once('/')?.0);
    let of_policy = if named.peek().is_none() { of_policy() } else { None };
    named.chain(of_policy)
}

fn mute(row: &FindingRow, view: &View<'_>) -> Option<Mute> {
    let matching = view.settings.mutes.iter().filter(|rule| rule.until > view.window.start);
    let mut matching = matching.filter(|rule| rule.matches(row.id, row.kind, row.namespace.as_deref()));
    matching.next().map(|rule| Mute { reason: rule.reason.clone(), until: rule.until })
}

fn impact(totals: &[u64; 3], further: [Map<String, Value>; 2]) -> String {
    let mut impact = Map::new();
    for (name, value) in ["connections", "packets", "bytes"].into_iter().zip(totals) {
        impact.insert(name.to_owned(), (*value).into());
    }
    impact.extend(further.into_iter().flatten());
    Value::from(impact).to_string()
}

/// The chain that the policies of the cluster give for the first flow: the wire lists the steps that decide only.
fn computed(told: &Told<'_>) -> Option<Chain> {
    let (key, _) = told.tally.sample.first().filter(|_| told.kind.family() == Family::Policy)?;
    chain(told.view.policed()?, key)
}

fn evidence(told: &Told<'_>, further: Map<String, Value>) -> Map<String, Value> {
    let (view, tally) = (told.view, told.tally);
    let mut evidence = Map::new();
    evidence.insert("window".to_owned(), json!([view.window.start.to_rfc3339(), view.window.end.to_rfc3339()]));
    evidence.insert("coverage".to_owned(), view.coverage.into());
    if tally.rows > 0 {
        let counted = json!({"rows": tally.rows, "connections": tally.started, "live": tally.live,
            "packets": tally.packets, "bytes": tally.bytes});
        evidence.insert("counted".to_owned(), counted);
        let flows = tally.sample.iter().map(|(key, counters)| super::story::flow(key, counters)).collect();
        evidence.insert("flows".to_owned(), Value::Array(flows));
    }
    if told.child_count > 0 {
        let children = told
            .children
            .iter()
            .map(|(id, subject)| json!({"finding_id": id.to_string(), "subject": subject.to_json()}));
        evidence.insert("children".to_owned(), children.collect());
        evidence.insert("child_count".to_owned(), told.child_count.into());
    }
    if !told.changed.is_empty() {
        evidence.insert("changed_before".to_owned(), json!(told.changed));
    }
    if let Some(chain) = computed(told) {
        evidence.insert("computed".to_owned(), super::story::computed(&chain));
    }
    evidence.extend(told.details.clone());
    evidence.extend(further);
    evidence
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
