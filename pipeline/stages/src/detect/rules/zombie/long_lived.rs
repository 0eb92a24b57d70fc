//! `zombie.long-lived`: connections that are kept and serve nobody.
//!
//! Long life alone is none. It is told where not a byte has moved for long, where no endpoint of the destination's
//! services is ready any more, or where the connection lives by a verdict that has been replaced. The age is that of the
//! pair at each reporter: connections that live are at least as old as the last window in which one began, whatever
//! trace they are reported under.

use catchment_core::{EventTime, FindingKind, Period, Resolution};
use catchment_schemas::goldmane::{Action, Reporter};

use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::preview::is_denied_now;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;

/// It is stated once in this time: it lasts, and thousands of connections may be idle.
const EVERY: Period = Period::secs(600);
/// Pods become ready again after a moment.
const UNSERVED_WINDOWS: u32 = 3;

pub(crate) struct LongLived;

impl Rule for LongLived {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::LongLived]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        key.key.has_connections && matches!(&*key.key.key.protocol, "tcp" | "sctp")
    }

    fn wakes(&self) -> Signs {
        Signs::NOTHING_STARTED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::LongLived;
        match since(talk, out) {
            Some((reason, since)) if is_due(talk, since) => {
                let case = Case::new(kind, talk.subject()).owner(talk.source().who.owner.as_deref());
                let live = [Reporter::Src, Reporter::Dst].map(|side| talk.connections(side)[2]);
                let seen = out.holds(case).flows(talk.flows);
                seen.detail("reason", reason).detail("since", since.to_rfc3339());
                seen.detail("kept", live[0].max(live[1]));
                let oldest =
                    ["Src", "Dst"].into_iter().zip(talk.pair.began.map(|began| began.max(talk.pair.first_seen)));
                let oldest = oldest.map(|(side, began)| (side.to_owned(), began.to_rfc3339().into()));
                seen.detail("no_connection_began_since", oldest.collect::<serde_json::Map<_, _>>());
            }
            None if !talk.signs.has(Signs::IDLE) => out.over(kind, &talk.subject(), Resolution::Fixed),
            _ => {}
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let text = |name: &str| told.details.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let kept = told.details.get("kept").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let kept = count(kept, "connection");
        let since = text("since");
        let (what, mend) = match text("reason") {
            "idle" => (
                format!("no byte has moved on them since {since}"),
                "Close idle connections of the client's pool, or set TCP keepalive so that dead ones are noticed.",
            ),
            "not-serving" => (
                format!("no endpoint in front of {dest} is ready, and none began since {since}"),
                "Restart the clients so that they connect anew, and see why the destination is not ready.",
            ),
            _ => (
                format!("policies that were edited since would judge them otherwise; none began since {since}"),
                "Restart the clients so that the policies of today decide.",
            ),
        };
        Story {
            title: format!("{source} keeps {kept} to {dest} on {port} that serve nobody"),
            explanation: format!(
                "{source} keeps {kept} to {dest} on {port}, and {what}. Whoever holds them has \
                probably forgotten them, or does not know that the other end is gone."
            ),
            remediation: mend.to_owned(),
            verify: format!("catchment findings list --kind {} -o wide", told.kind),
            ..Story::default()
        }
    }
}

/// Why the connections serve nobody, and since when.
fn since(talk: &Talk<'_>, out: &Sightings) -> Option<(&'static str, EventTime)> {
    let pair = talk.pair;
    let horizon = talk.view.window.end.plus(-talk.view.settings.thresholds.idle_after.micros());
    if !talk.signs.has(Signs::NOTHING_STARTED) || pair.settled_since() > horizon || !is_kept(talk) {
        return None;
    }
    if talk.signs.has(Signs::IDLE) && pair.idle_since() <= horizon {
        Some(("idle", pair.idle_since()))
    } else if talk.signs.has(Signs::UNSERVED) && talk.windows_in_a_row(Signs::UNSERVED) >= UNSERVED_WINDOWS {
        Some(("not-serving", pair.settled_since()))
    } else if pair.was_stated(FindingKind::StaleVerdict) && is_denied_anew(talk, out) {
        Some(("stale-verdict", pair.settled_since()))
    } else {
        None
    }
}

/// Whether it lives by a verdict that has been replaced by a denial.
fn is_denied_anew(talk: &Talk<'_>, out: &Sightings) -> bool {
    talk.flows.iter().any(|row| is_denied_now(&row.key)) && out.is_open(FindingKind::StaleVerdict, &talk.subject())
}

/// Whether an allowed connection lives.
fn is_kept(talk: &Talk<'_>) -> bool {
    talk.row.halves.iter().any(|half| half.action == Action::Allow as i32 && half.counters.live > 0)
}

/// Whether the window is one of those that state it.
fn is_due(talk: &Talk<'_>, since: EventTime) -> bool {
    let after = talk.view.settings.thresholds.idle_after.micros();
    let over = talk.view.window.end.0 - since.0 - after;
    over % EVERY.micros() < talk.view.window.micros()
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Status};

    use crate::detect::testing::{Flow, Scene, end_of_tier, flow};

    fn kept() -> Flow {
        flow("shop/web", "shop/db:5432").connections(0, 0, 3).packets(0, 0)
    }

    fn busy() -> Flow {
        kept().packets(10, 10)
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::LongLived)
    }

    fn windows(scene: &mut Scene, number: usize, row: impl Fn() -> Flow) -> Option<FindingRow> {
        (0..number).find_map(|_| told(scene.window(row().both())))
    }

    #[test]
    fn connections_without_a_byte_for_an_hour_are_told_until_one_moves() {
        let mut scene = Scene::new();
        scene.window(flow("shop/web", "shop/db:5432").connections(3, 0, 3).both());
        assert_eq!(windows(&mut scene, 59, kept), None);
        scene.restart();
        let opened = windows(&mut scene, 1, kept).expect("told");
        assert!(opened.explanation.contains("keeps 3 connections"), "{}", opened.explanation);
        assert!(opened.explanation.contains("since 2026-01-01T00:01:00Z"), "{}", opened.explanation);
        assert_eq!(windows(&mut scene, 30, kept), None);
        let over = windows(&mut scene, 1, busy).expect("over");
        assert_eq!(over.status, Status::Resolved);
    }

    #[test]
    fn long_life_alone_is_none() {
        let mut scene = Scene::new();
        assert_eq!(windows(&mut scene, 130, busy), None);
    }

    #[test]
    fn one_byte_in_an_hour_is_life() {
        let mut scene = Scene::new();
        for _ in 0..4 {
            assert_eq!(windows(&mut scene, 50, kept), None);
            assert_eq!(windows(&mut scene, 1, busy), None);
        }
    }

    #[test]
    fn a_rule_with_another_trace_does_not_make_the_connection_younger() {
        let mut scene = Scene::new();
        let edited = |name: &'static str| move || kept().trace([crate::detect::testing::rule(name, "default", 0)]);
        assert_eq!(windows(&mut scene, 40, edited("shop/one")), None);
        assert!(windows(&mut scene, 20, edited("shop/two")).is_some());
    }

    #[test]
    fn a_rollout_of_the_client_makes_connections_young_again() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(windows(&mut scene, 50, kept), None);
            assert_eq!(windows(&mut scene, 1, || kept().connections(3, 3, 3).packets(9, 9)), None);
        }
    }

    #[test]
    fn a_connection_that_lives_by_a_replaced_rule_is_told() {
        let by = |name| crate::detect::testing::rule(name, "default", 0);
        let replaced = || busy().trace([by("shop/old")]).pending([end_of_tier("default", "shop/new")]);
        let mut scene = Scene::new();
        assert_eq!(windows(&mut scene, 58, busy), None);
        let opened = windows(&mut scene, 13, replaced).expect("told");
        assert!(opened.evidence.contains("stale-verdict"), "{}", opened.evidence);
        let renamed = || busy().trace([by("shop/old")]).pending([by("shop/new")]);
        let mut scene = Scene::new();
        assert_eq!(windows(&mut scene, 58, busy), None);
        assert_eq!(windows(&mut scene, 60, renamed), None);
    }

    #[test]
    fn connections_to_what_serves_no_more_are_told_but_not_in_a_moment_of_unreadiness() {
        let mut scene = Scene::new();
        let served = |ready| move || busy().ready_endpoints(ready);
        assert_eq!(windows(&mut scene, 61, served(1)), None);
        assert_eq!(windows(&mut scene, 2, served(0)), None);
        assert_eq!(windows(&mut scene, 1, served(1)), None);
        let opened = windows(&mut scene, 30, served(0)).expect("told");
        assert!(opened.evidence.contains("not-serving"), "{}", opened.evidence);
    }
}
