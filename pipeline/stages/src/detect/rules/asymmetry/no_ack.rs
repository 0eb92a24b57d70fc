//! `asymmetry.no-ack`: replies leave the destination's node and never reach the source's.
//!
//! Two halves are set side by side. The source's must count packets of connections, not first packets alone, and must
//! have seen no reply for two windows, because the nodes report at different times.

use catchment_core::{FindingKind, Resolution};
use catchment_schemas::goldmane::Reporter;

use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;

pub(crate) struct NoAck;

impl Rule for NoAck {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::NoAck]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        key.source.is_workload() && key.dest.is_workload()
    }

    fn wakes(&self) -> Signs {
        Signs::REPLY_LOST
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::NoAck;
        let replies = [Reporter::Src, Reporter::Dst].map(|side| talk.seen(side).map_or(0, |seen| seen.reply_packets));
        if replies[0] > 0 {
            out.over(kind, &talk.subject(), Resolution::Fixed);
        } else if talk.signs.has(Signs::REPLY_LOST) && !talk.is_denied() {
            if !talk.is_whole() {
                out.not_evaluable(kind);
            } else if talk.windows_in_a_row(Signs::REPLY_LOST) >= talk.view.settings.thresholds.no_response_windows {
                let case = Case::new(kind, talk.subject()).owner(talk.dest().who.owner.as_deref());
                let seen = out.holds(case).flows(talk.flows);
                seen.detail("replies_sent", replies[1]).detail("replies_received", replies[0]);
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let sent = told.details.get("replies_sent").and_then(serde_json::Value::as_u64).unwrap_or_default();
        Story {
            title: format!("Replies of {dest} do not reach {source} from {port}"),
            explanation: format!(
                "{source} asks {dest} on {port}. The destination's node saw {} leave for it in the last window, the \
                 source's node saw none arrive, for two windows. Something between the two nodes drops the way back: \
                 likely a route that differs from the way there, a firewall that has not seen the request, or an MTU \
                 that is too small for the replies; which of them is a guess.",
                count(sent, "reply packet"),
            ),
            remediation: format!(
                "Compare routes and firewalls between the nodes of {dest} and {source} for the way back, and try a \
                 packet with the don't-fragment bit in the size of the replies.{}",
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

    use crate::detect::testing::{Flow, Scene, flow};

    fn lost() -> [Flow; 2] {
        let asks = || flow("shop/web", "shop/db:5432").connections(2, 0, 2);
        [asks().packets(8, 0), asks().packets(8, 8).dst()]
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::NoAck)
    }

    #[test]
    fn replies_that_only_the_destination_sees_for_two_windows_are_told() {
        let mut scene = Scene::new();
        assert_eq!(told(scene.window(lost())), None);
        scene.restart();
        let opened = told(scene.window(lost())).expect("told");
        assert!(opened.explanation.contains("8 reply packets leave"), "{}", opened.explanation);
        let arrives = flow("shop/web", "shop/db:5432").both();
        assert_eq!(told(scene.window(arrives)).expect("over").status, Status::Resolved);
    }

    #[test]
    fn a_source_that_counts_first_packets_only_says_nothing_of_replies() {
        let asks = || flow("shop/web", "shop/db:5432").connections(8, 8, 0);
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(told(scene.window([asks().packets(8, 0), asks().packets(40, 40).dst()])), None);
        }
    }

    #[test]
    fn replies_reported_a_window_later_are_not_lost() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(told(scene.window(lost())), None);
            assert_eq!(told(scene.window(flow("shop/web", "shop/db:5432").both())), None);
        }
    }

    #[test]
    fn replies_that_the_source_reports_late_are_not_lost() {
        let mut scene = Scene::new();
        for _ in 0..6 {
            assert_eq!(told(scene.window(lost())), None);
            scene.late(flow("shop/web", "shop/db:5432"), 1);
        }
    }

    #[test]
    fn a_missing_half_or_a_window_with_a_hole_shows_no_loss() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            let [source, _] = lost();
            assert_eq!(told(scene.window([source])), None);
        }
        scene.coverage = 0.5;
        for _ in 0..3 {
            assert_eq!(told(scene.window(lost())), None);
        }
    }
}
