//! `asymmetry.no-response`: requests are allowed, and nothing ever comes back.
//!
//! Both windows of a conversation are looked at, because two nodes report at different times. A denial explains silence
//! and is told elsewhere. What stays silent by design, such as logs over UDP, is told only where the same pair was
//! answered before.

use catchment_core::{FindingKind, Resolution};
use catchment_schemas::goldmane::Reporter;

use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;

/// Request packets per connection without which silence says nothing: a first packet may still be on its way.
const REQUESTS_PER_CONNECTION: u64 = 2;

pub(crate) struct NoResponse;

impl Rule for NoResponse {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::NoResponse]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        matches!(&*key.key.key.protocol, "tcp" | "udp" | "sctp")
    }

    fn wakes(&self) -> Signs {
        Signs::UNANSWERED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let (kind, subject) = (FindingKind::NoResponse, talk.subject());
        if talk.signs.has(Signs::REPLIED) {
            out.over(kind, &subject, Resolution::Fixed);
        } else if talk.signs.has(Signs::UNANSWERED) && !talk.signs.has(Signs::DENIED) {
            if !talk.view.is_whole() {
                out.not_evaluable(kind);
            } else if is_silent(talk) {
                let case = Case::new(kind, subject).owner(talk.dest().who.owner.as_deref());
                out.holds(case).flows(talk.flows);
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        Story {
            title: format!("{dest} does not answer {source} on {port}"),
            explanation: format!(
                "{source} sends requests to {dest} on {port}, policies allow them, and no reply was seen for two windows: \
                 {} began with {} in the last one. The likely causes are a process that does not listen, a firewall on \
                 the way back, or a route that leads nowhere; which of them is a guess.",
                count(told.tally.started, "connection"),
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "Look whether {dest} listens on {port} and is ready, then at routes and firewalls between the two nodes."
            ),
            verify: format!("catchment why {source} {dest}:{port}"),
            ..Story::default()
        }
    }
}

fn is_silent(talk: &Talk<'_>) -> bool {
    let thresholds = &talk.view.settings.thresholds;
    let started = [Reporter::Src, Reporter::Dst].map(|reporter| talk.connections(reporter)[0]);
    let started = started[0].max(started[1]);
    if talk.protocol() == "udp" {
        let answered_before = talk.pair.replied > catchment_core::EventTime::MIN;
        return started >= thresholds.silent_by_design_started && answered_before;
    }
    let views = [talk.row.source_view(), talk.row.dest_view()];
    let requests = views.into_iter().filter_map(|view| view.seen).map(|seen| seen.request_packets).max().unwrap_or(0);
    let lasts = talk.pair.silent_windows + 1 >= thresholds.no_response_windows;
    lasts && started > 0 && requests >= REQUESTS_PER_CONNECTION * started
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, Status};

    use crate::detect::testing::{Flow, Scene, end_of_tier, flow, rule};

    fn asked() -> Flow {
        flow("shop/web", "shop/db:5432").trace([rule("shop/out", "default", 0)]).packets(6, 0).connections(2, 0, 2)
    }

    fn kinds(told: &[catchment_core::FindingRow]) -> Vec<FindingKind> {
        told.iter().map(|row| row.kind).collect()
    }

    #[test]
    fn silence_over_two_windows_is_told_and_a_reply_ends_it() {
        let mut scene = Scene::new();
        assert_eq!(scene.window([asked()]), []);
        let told = scene.window([asked()]);
        assert!(kinds(&told).contains(&FindingKind::NoResponse), "{:?}", kinds(&told));
        let over = scene.window([asked().packets(6, 6)]);
        let over = over.iter().find(|row| row.kind == FindingKind::NoResponse).expect("it is over");
        assert_eq!(over.status, Status::Resolved);
    }

    #[test]
    fn one_request_packet_a_connection_may_be_on_its_way() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            let told = scene.window([asked().packets(2, 0)]);
            assert!(!kinds(&told).contains(&FindingKind::NoResponse));
        }
    }

    #[test]
    fn a_denial_at_the_destination_explains_the_silence() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            let denied = asked().dst().deny().trace([end_of_tier("default", "shop/db")]);
            let told = scene.window([asked(), denied]);
            assert!(!kinds(&told).contains(&FindingKind::NoResponse));
        }
    }

    #[test]
    fn a_window_with_a_hole_says_nothing_of_replies() {
        let mut scene = Scene::new();
        scene.window([asked()]);
        scene.coverage = 0.75;
        assert!(!kinds(&scene.window([asked()])).contains(&FindingKind::NoResponse));
    }

    #[test]
    fn what_is_silent_by_design_is_told_only_if_it_was_answered_before() {
        let logs = |replies| flow("shop/web", "ops/syslog:514").udp().packets(40, replies).connections(25, 0, 0);
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert!(!kinds(&scene.window([logs(0)])).contains(&FindingKind::NoResponse));
        }
        scene.window([logs(40)]);
        scene.window([logs(0)]);
        assert!(kinds(&scene.window([logs(0)])).contains(&FindingKind::NoResponse));
    }
}
