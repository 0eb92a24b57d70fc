//! How much a finding concerns: pods, and a share of what its destination was sent.
//!
//! Only findings that are published are asked about, all of a window by one pass over its rows.

use std::collections::HashMap;

use catchment_core::{FindingKind, FlowRow, Subject};
use foldhash::fast::FixedState;
use serde_json::{Map, Value};

use super::facts::End;
use super::sightings::Sides;

/// Namespace and name, as subjects name ends.
type Name<'a> = (Option<&'a str>, &'a str);

/// The end whose pods a finding concerns: the source of a pair, or the workload it is about.
fn concerned(subject: &Subject) -> Option<Name<'_>> {
    let source = subject.get("source").map(|source| (subject.get("source_namespace"), source));
    source.or_else(|| workload(subject))
}

/// The destination of the flows that show a finding, where they have one in common.
fn destination(kind: FindingKind, subject: &Subject) -> Option<Name<'_>> {
    if let Some(dest) = subject.get("dest") {
        return Some((subject.get("dest_namespace"), dest));
    }
    let is_reached = kind == FindingKind::UnexpectedDestinationIdentity || subject.get("direction") == Some("ingress");
    workload(subject).filter(|_| is_reached)
}

fn workload(subject: &Subject) -> Option<Name<'_>> {
    Some((subject.get("namespace"), subject.get("workload")?))
}

/// What the rows of a window show of an end.
#[derive(Debug, Default)]
struct Seen<'a> {
    /// Pods, by the names that collectors give them: during a rollout a workload has two.
    pods: Vec<(&'a str, u64)>,
    /// What it was sent, and what it sent back.
    sent: Sides,
}

impl<'a> Seen<'a> {
    /// Labels of a row may narrow the pods of a name, so of several rows the widest counts.
    fn meet(&mut self, end: End<'a>) {
        let Some(pods) = end.who.pods.filter(|_| end.is_workload()) else { return };
        match self.pods.iter_mut().find(|(name, _)| *name == &*end.endpoint.raw_name) {
            Some((_, known)) => *known = pods.max(*known),
            None => self.pods.push((&end.endpoint.raw_name, pods)),
        }
    }
}

/// What the rows of a window show of the ends that somebody asks about.
#[derive(Debug, Default)]
pub(super) struct Traffic<'a>(HashMap<Name<'a>, Seen<'a>, FixedState>);

impl<'a> Traffic<'a> {
    /// Goes through the rows once for all of these findings.
    pub(super) fn of(flows: &'a [FlowRow], findings: impl Iterator<Item = (FindingKind, &'a Subject)>) -> Self {
        let names = findings.flat_map(|(kind, subject)| [concerned(subject), destination(kind, subject)]);
        let mut seen: HashMap<_, _, FixedState> = names.flatten().map(|name| (name, Seen::default())).collect();
        if seen.is_empty() {
            return Self::default();
        }
        for row in flows {
            let [source, dest] = End::both(row);
            if let Some(seen) = seen.get_mut(&(source.namespace(), source.name())) {
                seen.meet(source);
            }
            if let Some(seen) = seen.get_mut(&(dest.namespace(), dest.name())) {
                seen.meet(dest);
                seen.sent.add(row);
            }
        }
        Self(seen)
    }

    /// The members of the impact that flows with these counters have in the window.
    pub(super) fn impact(&self, kind: FindingKind, subject: &Subject, part: &Sides) -> Map<String, Value> {
        let seen = |name| self.0.get(&name);
        let mut impact = Map::new();
        if let Some(seen) = concerned(subject).and_then(seen).filter(|seen| !seen.pods.is_empty()) {
            impact.insert("pods".to_owned(), seen.pods.iter().map(|(_, pods)| pods).sum::<u64>().into());
        }
        let share = destination(kind, subject).and_then(seen).and_then(|seen| share(part, &seen.sent));
        impact.extend(share.map(|share| ("share_of_destination".to_owned(), share.into())));
        impact
    }
}

/// The share of bytes, or of connections that began where no bytes moved: as the destination's nodes counted, or as those
/// of the sources did where only they tell of the part. Three digits are enough for people.
fn share(part: &Sides, whole: &Sides) -> Option<f64> {
    const DIGITS: f64 = 1000.0;
    let side = usize::from(part.0[1] != [0; 2]);
    let unit = usize::from(whole.0[side][0] == 0);
    let [part, whole] = [part, whole].map(|sides| sides.0[side][unit] as f64);
    (whole > 0.0).then(|| ((part / whole).min(1.0) * DIGITS).round() / DIGITS)
}

#[cfg(test)]
mod tests {
    use catchment_core::FindingRow;
    use serde_json::{Value, json};

    use crate::detect::testing::{Flow, Scene, end_of_tier, flow, profile};

    fn impact(row: &FindingRow) -> Value {
        serde_json::from_str(&row.impact).expect("an impact is JSON")
    }

    fn open_to_all() -> Flow {
        flow("shop/web-7d4b9c6f5-*", "shop/db-0:5432").dst().trace([profile("shop")])
    }

    #[test]
    fn the_share_is_of_the_bytes_that_the_destinations_node_counted() {
        let guarded = flow("shop/job", "shop/db-0:8080").dst().packets(15, 15);
        let by_source = flow("shop/job", "shop/db-0:9090").packets(1000, 1000);
        let told = Scene::new().window([open_to_all(), guarded, by_source]);
        let row = told.iter().find(|row| row.subject.get("direction") == Some("ingress")).expect("told");
        assert_eq!(impact(row)["share_of_destination"], json!(0.4));
    }

    #[test]
    fn where_no_bytes_moved_it_is_of_the_connections() {
        let denied = |from: &str, started| {
            let trace = [end_of_tier("default", "shop/db")];
            flow(from, "shop/db:5432").dst().deny().trace(trace).bytes(0, 0).connections(started, 0, 0)
        };
        let told = Scene::new().window([denied("shop/web", 1), denied("shop/job", 3)]);
        let mut shares: Vec<_> = told.iter().map(|row| impact(row)["share_of_destination"].clone()).collect();
        shares.sort_by_key(Value::to_string);
        assert_eq!(shares, [json!(0.25), json!(0.75)]);
    }

    #[test]
    fn where_only_the_source_tells_it_is_of_what_sources_told() {
        let denied = flow("shop/web", "shop/db:5432").deny().trace([end_of_tier("default", "shop/out")]).packets(5, 0);
        let others = flow("shop/job", "shop/db:5432").both().map(|flow| flow.packets(15, 0));
        let [source, dest] = others;
        let told = Scene::new().window([denied, source, dest]);
        let row = told.iter().find(|row| row.subject.get("source") == Some("web")).expect("told");
        assert_eq!(impact(row)["share_of_destination"], json!(0.25));
    }

    #[test]
    fn pods_are_those_of_all_names_of_the_workload_and_left_out_where_nobody_knows() {
        let denied = |from: &str| {
            flow(from, "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]).packets(3, 0)
        };
        let of = |revision: &str, pods| {
            denied(&format!("shop/web-{revision}-*")).source_who(move |who| who.pods = Some(pods))
        };
        let told = Scene::new().window([of("7d4b9c6f5", 2), of("5f7d9c4b8", 1), denied("shop/job")]);
        let pods = |source: &str| {
            let row = told.iter().find(|row| row.subject.get("source") == Some(source)).expect("told");
            impact(row)["pods"].clone()
        };
        assert_eq!([pods("web"), pods("job")], [json!(3), Value::Null]);
    }

    #[test]
    fn what_leaves_a_namespace_has_no_destination_to_share() {
        let told = Scene::new().window([flow("shop/web", "shop/db:5432").trace([profile("shop")])]);
        assert_eq!(told[0].subject.get("direction"), Some("egress"));
        assert_eq!(impact(&told[0])["share_of_destination"], Value::Null);
    }
}
