//! Findings compared with the truth.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use catchment_core::{Confidence, EventTime, FindingId, FindingKind, Severity, Status, Subject};
use catchment_simulator::Plant;
use serde_json::Value;

use crate::run::{CLUSTER, Outcome, Told, WINDOW_MICROS};

/// A finding may still open so long after its plant ends: the window in which that happens, and the next.
const AFTER_MICROS: i64 = 2 * WINDOW_MICROS;
/// Nodes report from their last flush on, into the bucket of that time: so long before its first packet a row may begin.
const EARLY_MICROS: i64 = 32_000_000;

/// How well one kind is found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Problems that were there.
    pub planted: usize,
    /// Of these, how many were found while they were there.
    pub found: usize,
    /// Findings of problems that were there.
    pub right: usize,
    /// Findings of problems that were not.
    pub wrong: usize,
    /// Seconds from a problem's first moment to the end of the window that opened its finding.
    delays: Vec<i64>,
}

impl Judged {
    /// Share of the problems that were found; all of none.
    pub fn recall(&self) -> f64 {
        share(self.found, self.planted)
    }

    /// Share of the findings that are of problems; all of none.
    pub fn precision(&self) -> f64 {
        share(self.right, self.right + self.wrong)
    }

    /// The delay that so many percent of the findings do not exceed, in seconds.
    pub fn delay(&self, percent: usize) -> Option<i64> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        delays.get((delays.len() * percent).div_ceil(100).saturating_sub(1)).copied()
    }

    /// Whether it is good enough for its kind: what is suspected may be wrong more often.
    pub fn passes(&self, kind: FindingKind) -> bool {
        let precision = if kind.confidence() == Confidence::Suspected { 0.9 } else { 0.99 };
        self.recall() >= 0.99 && self.precision() >= precision
    }

    fn add(&mut self, other: Self) {
        self.planted += other.planted;
        self.found += other.found;
        self.right += other.right;
        self.wrong += other.wrong;
        self.delays.extend(other.delays);
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Something that is not as it should be, for people who mend it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complaint {
    /// Nothing was found of it.
    Missed(String),
    /// It was found and is not there.
    MadeUp(String),
}

/// What came out by kind, over one cluster or several.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Kinds that were planted or found.
    pub kinds: BTreeMap<FindingKind, Judged>,
    /// Every miss and every finding that was made up.
    pub complaints: Vec<Complaint>,
    /// Findings that were at medium or above at any time.
    pub grave: usize,
    /// Windows that were looked at.
    pub windows: u64,
    /// Reports that were folded.
    pub flows: u64,
}

impl Scores {
    /// Compares what was found in a cluster with what was there.
    pub fn of(outcome: &Outcome) -> Self {
        let truth: Vec<_> = outcome.truth.iter().map(Problem::of).collect();
        let opened = openings(&outcome.told);
        let mut scores = Self { windows: outcome.windows, flows: outcome.flows, ..Self::default() };
        for problem in &truth {
            scores.look_for(problem, opened.get(&problem.id).map_or(&[], Vec::as_slice));
        }
        let mut by_id: HashMap<FindingId, Vec<&Problem<'_>>> = HashMap::new();
        for problem in &truth {
            by_id.entry(problem.id).or_default().push(problem);
        }
        for (id, openings) in &opened {
            let problems = by_id.get(id).map_or(&[][..], Vec::as_slice);
            scores.doubt(openings, problems);
        }
        let grave = outcome.told.iter().filter(|told| told.row.severity >= Severity::Medium);
        scores.grave = grave.map(|told| told.row.id).collect::<HashSet<_>>().len();
        scores.complaints.sort();
        scores
    }

    fn look_for(&mut self, problem: &Problem<'_>, openings: &[Opening<'_>]) {
        let judged = self.kinds.entry(problem.kind).or_default();
        judged.planted += 1;
        if let Some(opening) = openings.iter().find(|opening| problem.explains(opening)) {
            judged.found += 1;
            judged.delays.push((opening.at.secs() - problem.plant.from.secs()).max(0));
        } else if openings.iter().any(|opening| opening.is_there_in(problem)) {
            judged.found += 1;
        } else {
            self.complaints.push(Complaint::Missed(problem.plant.to_line()));
        }
    }

    /// A finding is wrong if it ever opens without a reason.
    fn doubt(&mut self, openings: &[Opening<'_>], problems: &[&Problem<'_>]) {
        let reasonless = openings.iter().find(|opening| !problems.iter().any(|problem| problem.explains(opening)));
        let judged = self.kinds.entry(openings[0].told.row.kind).or_default();
        match reasonless {
            None => judged.right += 1,
            Some(opening) => {
                judged.wrong += 1;
                let row = &opening.told.row;
                let (kind, severity, subject) = (row.kind, row.severity, row.subject.to_json());
                let at = opening.at.to_rfc3339();
                self.complaints.push(Complaint::MadeUp(format!("{kind} {severity} {at} {subject}: {}", row.title)));
            }
        }
    }

    /// Adds what came out for another cluster.
    pub fn add(&mut self, other: Self) {
        for (kind, judged) in other.kinds {
            self.kinds.entry(kind).or_default().add(judged);
        }
        self.complaints.extend(other.complaints);
        self.grave += other.grave;
        self.windows += other.windows;
        self.flows += other.flows;
    }

    /// Kinds that are not good enough.
    pub fn failing(&self) -> Vec<FindingKind> {
        self.kinds.iter().filter(|(kind, judged)| !judged.passes(**kind)).map(|(kind, _)| *kind).collect()
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed(text) => write!(f, "missed: {text}"),
            Self::MadeUp(text) => write!(f, "false: {text}"),
        }
    }
}

/// Something that is there, and by what finding it should be told.
struct Problem<'a> {
    id: FindingId,
    kind: FindingKind,
    plant: &'a Plant,
}

impl<'a> Problem<'a> {
    fn of(plant: &'a Plant) -> Self {
        let kind = plant.kind.parse().expect("the simulator plants kinds that there are");
        Self { id: FindingId::of(kind, CLUSTER, &subject(&plant.subject)), kind, plant }
    }

    /// Whether a finding that opens then says what is there.
    fn explains(&self, opening: &Opening<'_>) -> bool {
        opening.at.plus(EARLY_MICROS) > self.plant.from
            && self.plant.until.is_none_or(|until| opening.at <= until.plus(AFTER_MICROS))
    }
}

fn subject(members: &Value) -> Subject {
    let members = members.as_object().expect("a subject is an object");
    members.iter().fold(Subject::default(), |subject, (name, value)| match value.as_i64() {
        Some(number) => subject.number(name, number),
        None => subject.with(name, value.as_str()),
    })
}

/// When a finding opened, and how long it stayed so.
struct Opening<'a> {
    at: EventTime,
    closed: EventTime,
    told: &'a Told,
}

impl Opening<'_> {
    fn is_there_in(&self, problem: &Problem<'_>) -> bool {
        self.closed > problem.plant.from && problem.plant.until.is_none_or(|until| self.at < until)
    }
}

/// The openings of every finding. One that others folded into stands for them.
fn openings(told: &[Told]) -> BTreeMap<FindingId, Vec<Opening<'_>>> {
    let mut openings: BTreeMap<FindingId, Vec<Opening<'_>>> = BTreeMap::new();
    for told in told {
        let opening = Opening { at: told.at, closed: EventTime::MAX, told };
        let folded = told.row.folded();
        for child in &folded {
            let known = openings.entry(*child).or_default();
            if known.is_empty() {
                known.push(Opening { ..opening });
            }
        }
        if !folded.is_empty() {
            continue;
        }
        let known = openings.entry(told.row.id).or_default();
        match told.row.status {
            Status::Opened => known.push(opening),
            Status::Ongoing => {}
            Status::Resolved | Status::Stale => {
                if let Some(last) = known.last_mut() {
                    last.closed = told.at;
                }
            }
        }
    }
    openings.retain(|_, openings| !openings.is_empty());
    openings
}

#[cfg(test)]
mod tests {
    use catchment_core::FindingRow;
    use serde_json::json;

    use super::*;

    const MINUTE: i64 = 60;

    fn plant(workload: &str, from: i64, until: Option<i64>) -> Plant {
        Plant {
            kind: "private.scan",
            subject: json!({"namespace": "shop", "workload": workload}),
            from: EventTime::from_secs(from),
            until: until.map(EventTime::from_secs),
            scenario: "scan",
        }
    }

    fn told(workload: &str, status: Status, at: i64) -> Told {
        let subject = Subject::default().with("workload", Some(workload)).with("namespace", Some("shop"));
        let at = EventTime::from_secs(at);
        let row = FindingRow {
            id: FindingId::of(FindingKind::Scan, CLUSTER, &subject),
            kind: FindingKind::Scan,
            status,
            severity: Severity::Medium,
            confidence: Confidence::Suspected,
            mute: None,
            first_seen: at,
            last_seen: at,
            windows_seen: 1,
            reopen_count: 0,
            resolution: None,
            namespace: None,
            owner: None,
            subject,
            impact: String::new(),
            evidence: String::new(),
            title: String::new(),
            explanation: String::new(),
            remediation: String::new(),
            verify: String::new(),
            related: Vec::new(),
            runbook: String::new(),
        };
        Told { at, row }
    }

    fn scan(truth: Vec<Plant>, told: Vec<Told>) -> (usize, usize, usize, usize) {
        let scores = Scores::of(&Outcome { truth, told, flows: 0, windows: 0 });
        let scan = &scores.kinds[&FindingKind::Scan];
        (scan.planted, scan.found, scan.right, scan.wrong)
    }

    #[test]
    fn a_plant_is_found_where_its_subject_is_told_while_it_lasts() {
        let truth = || vec![plant("web", 600, Some(1200)), plant("api", 600, None)];
        let both = [told("web", Status::Opened, 660), told("api", Status::Opened, 9000)];
        assert_eq!(scan(truth(), both.to_vec()), (2, 2, 2, 0));
        assert_eq!(scan(truth(), both[..1].to_vec()), (2, 1, 1, 0));
        assert_eq!(scan(truth(), vec![told("db", Status::Opened, 660)]), (2, 0, 0, 1));
    }

    #[test]
    fn what_opens_before_the_plant_or_long_after_it_is_made_up() {
        let truth = || vec![plant("web", 600, Some(1200))];
        assert_eq!(scan(truth(), vec![told("web", Status::Opened, 1200 + 2 * MINUTE)]), (1, 1, 1, 0));
        assert_eq!(scan(truth(), vec![told("web", Status::Opened, 1200 + 3 * MINUTE)]), (1, 0, 0, 1));
        let early = [told("web", Status::Opened, 300), told("web", Status::Resolved, 360)];
        assert_eq!(scan(truth(), early.to_vec()), (1, 0, 0, 1));
    }

    #[test]
    fn one_that_opens_again_without_a_reason_is_wrong_although_the_plant_was_found() {
        let rows = [(Status::Opened, 660), (Status::Resolved, 1260), (Status::Opened, 7200)];
        let rows = rows.map(|(status, at)| told("web", status, at));
        assert_eq!(scan(vec![plant("web", 600, Some(1200))], rows.to_vec()), (1, 1, 0, 1));
    }

    #[test]
    fn what_folds_into_another_finding_is_judged_by_itself() {
        let mut parent = told("", Status::Opened, 660);
        let child = |workload| json!({"finding_id": told(workload, Status::Opened, 0).row.id.to_string()});
        parent.row.evidence = json!({"children": [child("web"), child("db")]}).to_string();
        assert_eq!(scan(vec![plant("web", 600, None)], vec![parent]), (1, 1, 1, 1));
    }

    #[test]
    fn what_another_finding_names_beside_it_is_not_found_by_that() {
        let mut row = told("web", Status::Opened, 660);
        row.row.related = vec![told("db", Status::Opened, 0).row.id];
        let truth = || vec![plant("web", 600, None), plant("db", 600, None)];
        assert_eq!(scan(truth(), vec![row]), (2, 1, 1, 0));
    }

    #[test]
    fn delays_are_of_the_windows_that_opened() {
        let truth = vec![plant("web", 600, None), plant("api", 600, None)];
        let told = vec![told("web", Status::Opened, 660), told("api", Status::Opened, 900)];
        let scores = Scores::of(&Outcome { truth, told, flows: 0, windows: 0 });
        let scan = &scores.kinds[&FindingKind::Scan];
        assert_eq!((scan.delay(50), scan.delay(95)), (Some(60), Some(300)));
    }
}
