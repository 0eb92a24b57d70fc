//! `asymmetry.never-established`: TCP connections begin, something comes back, and none is ever established.
//!
//! What comes back is a reset, or a SYN-ACK that is not acknowledged: fewer bytes than a handshake takes, on every side
//! that counts connections. Silence is another kind, and so is a denial. Of short connections some data planes count the
//! first packet only, without a reply and with fewer bytes than a handshake: such rows say nothing.

use catchment_core::{FindingKind, Resolution};

use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;

pub(crate) struct NeverEstablished;

impl Rule for NeverEstablished {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::NeverEstablished]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        &*key.key.key.protocol == "tcp"
    }

    fn wakes(&self) -> Signs {
        Signs::UNESTABLISHED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::NeverEstablished;
        if !talk.signs.has(Signs::UNESTABLISHED) {
            if talk.signs.has(Signs::STARTED) && talk.signs.has(Signs::REPLIED) {
                out.over(kind, &talk.subject(), Resolution::Fixed);
            }
        } else if !talk.is_denied() {
            if !talk.is_whole() {
                out.not_evaluable(kind);
            } else if talk.windows_in_a_row(Signs::UNESTABLISHED) >= talk.view.settings.thresholds.no_response_windows {
                let case = Case::new(kind, talk.subject()).owner(talk.dest().who.owner.as_deref());
                let ready = talk.ready_endpoints();
                let [begun, requests] = talk.asked();
                let seen = out.holds(case).flows(talk.flows);
                seen.detail("connections_begun", begun).detail("request_packets", requests);
                ready.map(|ready| seen.detail("ready_endpoints", ready));
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let none_ready = told.details.get("ready_endpoints").is_some_and(|ready| *ready == 0);
        let cause = if none_ready {
            "none of its endpoints is ready, so likely the process is not up"
        } else {
            "likely no process listens on the port, or one does on another address or port than the service says"
        };
        Story {
            title: format!("No connection of {source} to {dest} on {port} is established"),
            explanation: format!(
                "{source} opens connections to {dest} on {port}, policies allow them, and every one is turned away \
                 within its handshake, for two windows: {} with {} in the last one, which is what a SYN and its reset \
                 take. As a guess: {cause}.",
                count(told.number("connections_begun"), "connection"),
                count(told.number("request_packets"), "request packet"),
            ),
            remediation: format!(
                "See whether {dest} is ready and listens on {port} of its pod address; compare the port with `targetPort` of \
                 the service.{}",
                told.let_through()
            ),
            verify: told.listed(),
            ..Story::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Status};

    use crate::detect::testing::{Flow, Scene, end_of_tier, flow};

    /// A SYN and its reset each.
    fn refused() -> Flow {
        flow("shop/web", "shop/db:5432").packets(4, 4).bytes(60, 40).connections(4, 4, 4)
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::NeverEstablished)
    }

    fn never_told(windows: impl Fn() -> Vec<Flow>) {
        let mut scene = Scene::new();
        for _ in 0..4 {
            assert_eq!(told(scene.window(windows())), None);
        }
    }

    #[test]
    fn connections_that_are_refused_for_two_windows_are_told() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window(refused().both())), None);
        scene.restart();
        let opened = told(scene.window(refused().both())).expect("told");
        assert_eq!(opened.status, Status::Opened);
        let over = told(scene.window(flow("shop/web", "shop/db:5432").both())).expect("over");
        assert_eq!(over.status, Status::Resolved);
    }

    #[test]
    fn handshakes_that_are_not_finished_are_told() {
        let mut scene = Scene::new();
        let half_open = || refused().packets(4, 6).bytes(60, 40).connections(4, 0, 4);
        scene.window([half_open()]);
        assert!(told(scene.window([half_open()])).is_some());
    }

    #[test]
    fn first_packets_of_short_connections_beside_a_few_counted_ones_are_none() {
        never_told(|| vec![flow("shop/web", "shop/db:5432").packets(100, 0).bytes(60, 0).connections(100, 100, 0)]);
        never_told(|| vec![flow("shop/web", "shop/db:5432").packets(109, 60).bytes(60, 60).connections(100, 100, 1)]);
    }

    #[test]
    fn connections_that_stay_or_move_more_than_a_handshake_are_none() {
        never_told(|| vec![refused().packets(6, 4).connections(4, 0, 9)]);
        never_told(|| vec![refused().packets(10, 8).bytes(100, 100)]);
        // One side's short count is not believed against the other's full one.
        never_told(|| vec![refused(), refused().dst().packets(20, 20).bytes(100, 100)]);
    }

    #[test]
    fn silence_is_another_kind() {
        never_told(|| vec![refused().packets(8, 0).bytes(20, 0).connections(4, 0, 4)]);
    }

    #[test]
    fn a_denial_explains_it() {
        never_told(|| vec![refused(), refused().dst().deny().trace([end_of_tier("default", "shop/db")])]);
    }

    #[test]
    fn a_window_with_a_hole_says_nothing() {
        let mut scene = Scene::new();
        scene.coverage = 0.9;
        for _ in 0..3 {
            assert_eq!(told(scene.window([refused()])), None);
        }
    }
}
