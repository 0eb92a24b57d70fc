//! `asymmetry.no-response`: requests are allowed, and nothing ever comes back.
//!
//! Two nodes report at different times, so silence counts from its second window on; and of short connections some data
//! planes count the first packet only, so a connection counts from its second packet on. A denial explains silence and is
//! told elsewhere. UDP may be silent by design: there it is told only of a pair that was answered before, or where
//! others are answered now.

use catchment_core::{EventTime, FindingKind, Resolution, Severity};
use catchment_schemas::goldmane::Reporter;

use super::causes;
use crate::detect::facts::{Facts, Signs, Talk, are_counted};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;

/// UDP that nobody answers: traps, logs, metrics, traces, flow records, and tunnels, whose ways are flows of their own.
const ONE_WAY: [i64; 17] =
    [162, 514, 2055, 4729, 4739, 4789, 5140, 6081, 6343, 6831, 6832, 8125, 8126, 8472, 9995, 9996, 12201];

pub(crate) struct NoResponse;

impl Rule for NoResponse {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::NoResponse]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        let of = &key.key.key;
        match &*of.protocol {
            "tcp" | "sctp" => true,
            "udp" => !is_one_way(of.dest_port),
            _ => false,
        }
    }

    fn wakes(&self) -> Signs {
        Signs::UNANSWERED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::NoResponse;
        if talk.signs.has(Signs::REPLIED) {
            out.over(kind, &talk.subject(), Resolution::Fixed);
        } else if talk.signs.has(Signs::UNANSWERED) && !talk.is_denied() {
            if !talk.is_whole() {
                out.not_evaluable(kind);
            } else if is_silent(talk) {
                let case = Case::new(kind, talk.subject()).severity(severity(talk));
                let [begun, requests] = talk.asked();
                let seen = out.holds(case.owner(talk.dest().who.owner.as_deref())).flows(talk.flows);
                seen.detail("connections_begun", begun).detail("request_packets", requests);
                seen.detail("causes", causes::of_silence(talk)).detail("answers_others", talk.answers_somebody());
                if talk.pair.replied > EventTime::MIN {
                    seen.detail("answered_until", talk.pair.replied.to_rfc3339());
                }
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let before = match told.details.get("answered_until").and_then(|until| until.as_str()) {
            Some(until) => format!("The last reply was seen before {until}."),
            None => "No reply was ever seen.".to_owned(),
        };
        Story {
            title: format!("{dest} does not answer {source} on {port}"),
            explanation: format!(
                "{source} sends requests to {dest} on {port}, policies allow them, and no reply came back in the last \
                 two windows: {} began in the last one, with {}. {before} {}",
                count(told.number("connections_begun"), "connection"),
                count(told.number("request_packets"), "request packet"),
                causes::told(told.details.get("causes")),
            ),
            remediation: format!(
                "See whether pods of {dest} are ready and listen on {port}; then whether its service leads to them; \
                 then routes and firewalls between the nodes, for the way back.{}",
                told.let_through()
            ),
            verify: told.listed(),
            ..Story::default()
        }
    }
}

pub(crate) fn is_one_way(port: i64) -> bool {
    ONE_WAY.contains(&port)
}

fn is_silent(talk: &Talk<'_>) -> bool {
    let thresholds = &talk.view.settings.thresholds;
    let lasts = talk.windows_in_a_row(Signs::UNANSWERED) >= thresholds.no_response_windows;
    let begun = [Reporter::Src, Reporter::Dst].map(|reporter| (talk.connections(reporter)[0], talk.seen(reporter)));
    if talk.protocol() == "udp" {
        let enough = begun.iter().any(|(started, _)| *started >= thresholds.silent_by_design_started);
        return enough && (talk.pair.replied > EventTime::MIN || lasts && talk.answers_somebody());
    }
    // Each side by itself: one may count connections that the other reports a window later.
    let is_counted = |(started, seen): &(u64, Option<catchment_core::Exchange>)| {
        *started > 0 && seen.is_some_and(|seen| are_counted(seen.request_packets, *started))
    };
    lasts && begun.iter().any(is_counted)
}

/// Worse where it is DNS, or where a destination that has answered is silent to everybody.
fn severity(talk: &Talk<'_>) -> Severity {
    let all_silent = talk.peer.replied > EventTime::MIN && !talk.answers_somebody();
    if talk.port() == causes::DNS_PORT || all_silent { Severity::High } else { FindingKind::NoResponse.severity() }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};

    use crate::detect::testing::{Flow, Scene, end_of_tier, flow, rule};

    fn asked() -> Flow {
        flow("shop/web", "shop/db:5432").trace([rule("shop/out", "default", 0)]).packets(6, 0).connections(2, 0, 2)
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::NoResponse)
    }

    fn count(scene: &Scene) -> u64 {
        let counted = scene.detector().not_evaluable().find(|(of, _)| *of == FindingKind::NoResponse);
        counted.expect("counted").1
    }

    #[test]
    fn silence_over_two_windows_is_told_and_a_reply_ends_it() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window([asked()])), None);
        let silent = told(scene.window([asked()])).expect("told");
        assert_eq!((silent.status, silent.severity), (Status::Opened, Severity::Medium));
        assert!(silent.explanation.contains("a guess"), "{}", silent.explanation);
        let over = told(scene.window([asked().packets(6, 6)])).expect("it is over");
        assert_eq!(over.status, Status::Resolved);
    }

    #[test]
    fn one_request_packet_a_connection_may_be_all_that_was_counted() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(told(scene.window([asked().packets(2, 0)])), None);
        }
    }

    #[test]
    fn requests_that_arrive_unanswered_at_the_destination_are_enough() {
        let mut scene = Scene::new();
        let arrived = || [asked().packets(2, 0), asked().dst()];
        scene.window(arrived());
        let silent = told(scene.window(arrived())).expect("told");
        assert!(silent.evidence.contains("requests arrive at the destination's node"), "{}", silent.evidence);
    }

    #[test]
    fn connections_of_one_side_are_not_set_against_packets_of_the_other() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            let source = asked().packets(9, 0).connections(9, 0, 9);
            let dest = asked().dst().packets(1, 0).connections(1, 0, 1);
            assert_eq!(told(scene.window([source, dest])), None);
        }
    }

    #[test]
    fn a_reply_that_one_node_reports_later_ends_the_row_of_silent_windows() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(told(scene.window([asked()])), None);
            assert_eq!(told(scene.window([asked(), asked().dst().packets(6, 6)])), None);
        }
    }

    #[test]
    fn two_generations_of_pods_in_one_window_are_one_window() {
        let old = || flow("shop/web-7d4b9c6f5-*", "shop/db:5432").packets(6, 0).connections(2, 0, 2);
        let new = || flow("shop/web-5f6c8d9b7-*", "shop/db:5432").packets(6, 0).connections(2, 0, 2);
        let mut scene = Scene::new();
        assert_eq!(told(scene.window([old(), new()])), None);
        assert!(told(scene.window([old(), new()])).is_some());
    }

    #[test]
    fn a_denial_in_this_window_or_the_one_before_explains_the_silence() {
        let mut scene = Scene::new();
        for denies in [true, true, true, false] {
            let denied = asked().dst().deny().trace([end_of_tier("default", "shop/db")]);
            let denied = denies.then_some(denied);
            assert_eq!(told(scene.window(denied.into_iter().chain([asked()]))), None);
        }
        assert!(told(scene.window([asked()])).is_some());
    }

    #[test]
    fn a_window_with_a_hole_says_nothing_of_replies_and_does_not_count() {
        let mut scene = Scene::new();
        scene.coverage = 0.75;
        for _ in 0..3 {
            assert_eq!(told(scene.window([asked()])), None);
        }
        assert_eq!(count(&scene), 3);
        scene.coverage = 1.0;
        assert_eq!(told(scene.window([asked()])), None);
        assert!(told(scene.window([asked()])).is_some());
    }

    #[test]
    fn replies_that_come_late_are_replies() {
        let mut scene = Scene::new();
        let replies = || asked().dst().packets(6, 6);
        for _ in 0..6 {
            assert_eq!(told(scene.window([asked()])), None);
            scene.restart();
            scene.late(replies(), 1);
        }
        assert!(count(&scene) > 0);
    }

    #[test]
    fn a_node_that_was_late_once_is_waited_for_and_no_longer() {
        let mut scene = Scene::new();
        scene.window([asked()]);
        scene.late(asked().dst().packets(6, 6), 1);
        assert_eq!(told(scene.window([asked()])), None);
        assert_eq!(told(scene.window([asked()])), None);
        assert!(told(scene.window([asked()])).is_some());
    }

    #[test]
    fn what_comes_late_of_others_changes_nothing() {
        let mut scene = Scene::new();
        scene.window([asked(), flow("shop/job", "shop/db:5432")]);
        scene.late(flow("shop/job", "shop/db:5432").dst(), 1);
        assert!(told(scene.window([asked(), flow("shop/job", "shop/db:5432")])).is_some());
    }

    fn datagrams(source: &str, port: u16, replies: u64) -> Flow {
        flow(source, &format!("ops/server:{port}")).udp().packets(40, replies).connections(25, 0, 0)
    }

    #[test]
    fn datagrams_are_told_only_if_the_pair_was_answered_before() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(told(scene.window([datagrams("shop/web", 123, 0)])), None);
        }
        scene.window([datagrams("shop/web", 123, 40)]);
        scene.window([datagrams("shop/web", 123, 0)]);
        let silent = told(scene.window([datagrams("shop/web", 123, 0)])).expect("told");
        assert!(silent.evidence.contains("answered_until"), "{}", silent.evidence);
    }

    #[test]
    fn datagrams_are_told_if_another_client_gets_replies_now() {
        let mut scene = Scene::new();
        let both = || [datagrams("shop/web", 53, 0), datagrams("shop/other", 53, 40)];
        scene.window(both());
        let silent = told(scene.window(both())).expect("told");
        assert_eq!((silent.severity, silent.subject.get("source")), (Severity::High, Some("web")));
        assert!(silent.explanation.contains("the destination answers others"), "{}", silent.explanation);
    }

    #[test]
    fn few_datagrams_say_nothing() {
        let mut scene = Scene::new();
        let few = |replies| flow("shop/web", "ops/server:53").udp().packets(19, replies).connections(19, 0, 0);
        scene.window([few(19)]);
        for _ in 0..3 {
            assert_eq!(told(scene.window([few(0)])), None);
        }
    }

    #[test]
    fn what_nobody_answers_by_design_is_never_told() {
        let mut scene = Scene::new();
        scene.window([datagrams("shop/web", 514, 40)]);
        for _ in 0..3 {
            assert_eq!(told(scene.window([datagrams("shop/web", 514, 0)])), None);
        }
    }

    #[test]
    fn a_destination_that_fell_silent_to_everybody_is_worse() {
        let other = |replies| flow("shop/other", "shop/db:5432").packets(6, replies).connections(2, 0, 2);
        let mut scene = Scene::new();
        scene.window([other(6), asked().packets(6, 6)]);
        scene.window([other(0), asked()]);
        scene.window([other(0), asked()]);
        let silent = told(scene.window([other(0), asked()])).expect("told");
        assert_eq!(silent.severity, Severity::High);
    }

    #[test]
    fn a_restart_between_two_silent_windows_changes_nothing() {
        let mut scene = Scene::new();
        scene.window([asked()]);
        scene.restart();
        assert!(told(scene.window([asked()])).is_some());
    }
}
