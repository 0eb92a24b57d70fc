//! Which findings help to understand another: open ones about the same pair, policy or workload.

use std::collections::HashMap;

use catchment_core::{FindingId, Subject};

use super::sightings::{Sightings, Slot};

/// Findings that one names.
const MOST: usize = 10;

/// What a finding may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Topic<'a> {
    Pair { source: Name<'a>, dest: Name<'a>, port: Option<i64>, protocol: Option<&'a str> },
    Policy(&'a str),
    Workload(Name<'a>),
}

/// Namespace and name.
type Name<'a> = (Option<&'a str>, &'a str);

/// Everything that a subject names, nearest first.
fn topics(subject: &Subject) -> impl Iterator<Item = Topic<'_>> {
    let end = |namespace: &str, name: &str| Some((subject.get(namespace), subject.get(name)?));
    let ends = (end("source_namespace", "source"), end("dest_namespace", "dest"));
    let (port, protocol) = (subject.get_number("dest_port"), subject.get("protocol"));
    let pair = ends.0.zip(ends.1).map(|(source, dest)| Topic::Pair { source, dest, port, protocol });
    let policy = subject.get("policy").map(Topic::Policy);
    let other = ends.1.filter(|_| ends.0 != ends.1);
    let workloads = [end("namespace", "workload"), ends.0, other].into_iter().flatten().map(Topic::Workload);
    pair.into_iter().chain(policy).chain(workloads)
}

/// Findings that are open and published, by what each is about: the nearest that its subject names.
#[derive(Debug)]
pub(super) struct Relations<'a>(HashMap<Topic<'a>, Vec<FindingId>>);

impl<'a> Relations<'a> {
    pub(super) fn of(sightings: &'a Sightings) -> Self {
        let mut by_topic: HashMap<_, Vec<_>> = HashMap::new();
        for slot in sightings.slots.iter().flatten() {
            let is_told = slot.finding.as_ref().is_some_and(|finding| finding.is_open() && finding.is_published());
            if is_told && let Some(topic) = topics(&slot.subject).next() {
                by_topic.entry(topic).or_default().push(slot.id);
            }
        }
        for ids in by_topic.values_mut() {
            ids.sort_unstable();
        }
        Self(by_topic)
    }

    /// Ids of others, in order; where they are too many, those about the nearest.
    pub(super) fn to(&self, slot: &Slot) -> Vec<FindingId> {
        let about = topics(&slot.subject).flat_map(|topic| self.0.get(&topic).into_iter().flatten());
        let mut related: Vec<_> = about.copied().filter(|id| *id != slot.id).take(MOST).collect();
        related.sort_unstable();
        related
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingId, FindingKind, FindingRow};

    use super::MOST;
    use crate::detect::testing::{Flow, HitExt as _, Scene, deny_rule, end_of_tier, flow, profile};

    fn ids(rows: &[FindingRow], of: impl Fn(&FindingRow) -> bool) -> Vec<FindingId> {
        rows.iter().filter(|row| of(row)).map(|row| row.id).collect()
    }

    fn find(rows: &[FindingRow], kind: FindingKind) -> &FindingRow {
        rows.iter().find(|row| row.kind == kind).expect("it is told")
    }

    /// The source's side allows, a policy of the destination denies.
    fn refused(source: &str) -> [Flow; 2] {
        let [source, dest] = flow(source, "shop/db:5432").both();
        [source.packets(3, 0), dest.deny().trace([deny_rule("shop/db", "default", 0)]).packets(3, 0)]
    }

    #[test]
    fn findings_of_one_pair_name_each_other_though_they_open_in_one_window() {
        let told = Scene::new().window([refused("shop/web"), refused("shop/job")].concat());
        let (deny, asymmetry) = (FindingKind::ExplicitDeny, FindingKind::DeniedAtDestination);
        for source in ["web", "job"] {
            let of = |row: &FindingRow| row.subject.get("source") == Some(source);
            let of_pair: Vec<_> = told.iter().filter(|row| of(row)).cloned().collect();
            let [deny, asymmetry] = [deny, asymmetry].map(|kind| find(&of_pair, kind));
            assert_eq!((&deny.related[..], &asymmetry.related[..]), (&[asymmetry.id][..], &[deny.id][..]));
        }
    }

    #[test]
    fn a_denial_names_what_is_wrong_with_its_policy_and_not_the_other_denials_of_it() {
        let pending = [end_of_tier("default", "shop/db").after_staged()];
        let preview = flow("shop/api", "shop/db:5432").dst().trace([profile("shop")]).pending(pending);
        let told = Scene::new().window([preview].into_iter().chain(refused("shop/web")).chain(refused("shop/job")));
        let would = ids(&told, |row| row.kind == FindingKind::StagedWouldDeny);
        assert_eq!(would.len(), 1, "{told:?}");
        let denies: Vec<_> = told.iter().filter(|row| row.kind == FindingKind::ExplicitDeny).collect();
        let [one, other] = denies[..] else { panic!("{told:?}") };
        for (of, not) in [(one, other), (other, one)] {
            assert!(of.related.contains(&would[0]) && !of.related.contains(&not.id), "{:?}", of.related);
        }
    }

    #[test]
    fn what_is_over_is_named_no_more_and_a_restart_changes_nothing() {
        let exposed = || flow("pub", "shop/db:443").dst().trace([profile("shop")]);
        let mut scene = Scene::new();
        let first = scene.window([exposed()]);
        let open = ids(&first, |_| true);
        assert!(open.len() > 1 && first.iter().all(|row| row.related.len() == open.len() - 1), "{first:?}");
        scene.restart();
        let later = scene.window(refused("shop/web"));
        assert!(open.iter().all(|id| find(&later, FindingKind::ExplicitDeny).related.contains(id)));
        scene.window([flow("pub", "shop/db:443").dst()]);
        let after = scene.window(refused("shop/job"));
        let named = &find(&after, FindingKind::ExplicitDeny).related;
        let over = find(&first, FindingKind::NoPolicy).id;
        assert!(!named.contains(&over), "{named:?}");
    }

    #[test]
    fn no_more_are_named_than_people_look_at_and_the_nearest_first() {
        let many = (0..20).map(|n| {
            let trace = [deny_rule(&format!("shop/p{n}"), "default", 0)];
            flow("shop/web", "shop/db:5432").dst().deny().trace(trace).packets(3, 0)
        });
        let told = Scene::new().window(many);
        assert_eq!(told.len(), 20);
        assert!(told.iter().all(|row| row.related.len() == MOST && row.related.is_sorted()));
    }
}
