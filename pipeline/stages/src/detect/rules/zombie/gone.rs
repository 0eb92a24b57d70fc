//! `zombie.source-gone` and `zombie.destination-gone`: a connection whose other end is gone.
//!
//! A collector goes on to report connections under the name of a pod that was deleted. None begins any more, some live,
//! and what is counted comes from the survivor alone. It is told of a name that nobody has borne since long before the
//! window. A rollout leaves the workload and its ordinary traffic under a new name, so only the conversation of the old
//! name says anything; once it is reported no more, the connection is closed.

use std::collections::BTreeMap;

use catchment_core::knowledge::Kind;
use catchment_core::{FindingKind, Resolution, Severity, Subject};
use catchment_schemas::goldmane::Reporter;

use super::silence::Silence;
use crate::cluster::GonePod;
use crate::detect::bounded::put;
use crate::detect::facts::{End, Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;
use crate::detect::view::View;

/// Connections that live are reported in every window; without them in so many whole windows they are closed.
const CLOSED_AFTER: u32 = 2;
/// Subjects that wait to be closed, at most.
const MOST: usize = 20_000;

/// For how long each open finding was not shown.
#[derive(Default)]
pub(crate) struct Gone {
    shown: BTreeMap<(FindingKind, Subject), Silence>,
}

impl Rule for Gone {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::SourceGone, FindingKind::DestinationGone]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        is_unborne(key.source) != is_unborne(key.dest)
    }

    fn wakes(&self) -> Signs {
        Signs::NOTHING_STARTED
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let (kind, end) = if is_unborne(talk.source()) {
            (FindingKind::SourceGone, talk.source())
        } else {
            (FindingKind::DestinationGone, talk.dest())
        };
        let live = [Reporter::Src, Reporter::Dst].into_iter().map(|side| talk.connections(side)[2]).max();
        let [survivor, gone] = packets(talk, kind);
        if live == Some(0) || gone > 0 {
            return;
        }
        let state = talk.view.state.filter(|state| talk.view.is_known() && state.unseen(&[Kind::Pod]).is_empty());
        let Some(state) = state else { return out.not_evaluable(kind) };
        let bearers = state.bearers(end.namespace().unwrap_or_default(), &end.endpoint.raw_name);
        let Some(last) = bearers.and_then(|bearers| bearers.last()) else { return };
        if last.deleted.plus(talk.view.settings.thresholds.gone_grace.micros()) >= talk.view.window.start {
            return;
        }
        let severity = if survivor == 0 { Severity::Info } else { kind.severity() };
        let case = Case::new(kind, talk.subject()).severity(severity).owner(end.who.owner.as_deref());
        let seen = out.holds(case).flows(talk.flows);
        seen.detail("reason", if survivor == 0 { "idle-remnant" } else { "survivor-sends" });
        seen.detail("kept", live).detail("survivor_packets", survivor).detail("gone", tombstone(last));
        put(&mut self.shown, (kind, talk.subject()), Silence::broken(talk.view), MOST);
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        self.shown.retain(|(kind, subject), silence| {
            let is_closed = silence.pass(view) >= CLOSED_AFTER;
            if is_closed {
                out.over(*kind, subject, Resolution::Fixed);
            }
            !is_closed
        });
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let (survivor, gone) = match told.kind {
            FindingKind::SourceGone => (&dest, &source),
            _ => (&source, &dest),
        };
        let pod = told.details.get("gone").cloned().unwrap_or_default();
        let of = |name: &str| pod[name].as_str().unwrap_or("?").to_owned();
        let (name, node, deleted) = (of("pod"), of("node"), of("deleted"));
        let number = |name: &str| told.details.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
        let sends = match number("survivor_packets") {
            0 => "Nothing moves on it: it is a remnant in a connection table.".to_owned(),
            packets => format!("{survivor} still sent {} into it in the window.", count(packets, "packet")),
        };
        Story {
            title: format!("{survivor} keeps connections on {port} with a pod of {gone} that is gone"),
            explanation: format!(
                "The last pod that bore the name, {name} of {}, on node {node}, was deleted at {deleted}, and no other bears \
                 it. {} between {source} and {dest} on {port} still lives. {sends} Nobody answers any more; the survivor \
                 learns it from its own timeouts only.",
                of("workload"),
                count(number("kept"), "connection"),
            ),
            remediation: format!(
                "Let {survivor} notice dead peers: TCP keepalive or TCP_USER_TIMEOUT, and deadlines for requests. Restart its \
                 pods to be rid of these connections now. If the pod was killed before it could close them, give it a longer \
                 termination grace."
            ),
            verify: format!("catchment findings list --kind {} -o wide", told.kind),
            ..Story::default()
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(postcard::to_allocvec(&self.shown.iter().collect::<Vec<_>>()).expect("plain values serialize"))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let shown: Vec<((FindingKind, Subject), Silence)> = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        self.shown = shown.into_iter().collect();
        Ok(())
    }
}

/// Whether no pod bore the name in the window.
fn is_unborne(end: End<'_>) -> bool {
    end.is_workload() && end.who.pods == Some(0)
}

/// Packets from the survivor, and from the end that is gone.
fn packets(talk: &Talk<'_>, kind: FindingKind) -> [u64; 2] {
    let seen = [Reporter::Src, Reporter::Dst].into_iter().filter_map(|side| talk.seen(side));
    let [requests, replies] = seen.fold([0, 0], |[requests, replies], seen| {
        [requests.max(seen.request_packets), replies.max(seen.reply_packets)]
    });
    if kind == FindingKind::SourceGone { [replies, requests] } else { [requests, replies] }
}

fn tombstone(pod: &GonePod) -> serde_json::Value {
    serde_json::json!({
        "pod": pod.name.as_str(),
        "workload": pod.workload.to_string(),
        "node": pod.node.as_str(),
        "deleted": pod.deleted.to_rfc3339(),
    })
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, Scene, flow};

    const OLD: &str = "shop/web-7d4b9c6f5-*";
    const NEW: &str = "shop/web-5f6c8d9b7-*";

    fn pod(hash: &str, suffix: &str) -> Value {
        let set = format!("web-{hash}");
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": format!("{set}-{suffix}"),
            "generateName": format!("{set}-"), "uid": suffix},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}})
    }

    /// Two pods that go in minutes 1 and 2.
    fn rolled_out() -> Scene {
        let (first, last) = (pod("7d4b9c6f5", "a"), pod("7d4b9c6f5", "b"));
        let mut scene = Scene::with_cluster(Settings::default(), [(0, first.clone()), (0, last.clone())]);
        scene.gone([(1, first), (2, last)]);
        scene
    }

    /// What the server still sends to the client that is gone.
    fn left(pods: u64) -> Flow {
        let left = flow(OLD, "shop/db:5432").dst().connections(0, 0, 2).packets(0, 24);
        left.source_who(|who| who.pods = Some(pods))
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind.name().ends_with("-gone"))
    }

    fn never_told(mut scene: Scene, windows: usize, row: impl Fn() -> Flow) {
        for _ in 0..windows {
            assert_eq!(told(scene.window([row()])), None);
        }
    }

    #[test]
    fn what_is_still_sent_to_a_source_that_is_gone_is_told_with_its_last_pod() {
        let mut scene = rolled_out();
        // The last pod went in minute 2, and what is on its way may take 90 seconds more.
        for _ in 0..4 {
            assert_eq!(told(scene.window([left(0)])), None);
        }
        let opened = told(scene.window([left(0)])).expect("told");
        assert_eq!((opened.kind, opened.severity), (FindingKind::SourceGone, Severity::Low));
        assert_eq!(opened.subject.get("source"), Some("web"));
        let says = ["web-7d4b9c6f5-b", "node n1", "2026-01-01T00:02:00Z", "24 packets", "2 connections"];
        assert!(says.iter().all(|word| opened.explanation.contains(word)), "{}", opened.explanation);
    }

    #[test]
    fn it_is_over_once_the_connection_is_reported_no_more_and_not_for_the_new_generation() {
        let mut scene = rolled_out();
        let new = || flow(NEW, "shop/db:5432").dst();
        let told_of = |scene: &mut Scene, rows: Vec<Flow>| told(scene.window(rows)).map(|row| row.status);
        let all: Vec<_> = (0..8).filter_map(|_| told_of(&mut scene, vec![left(0), new()])).collect();
        assert_eq!(all, [Status::Opened]);
        scene.restart();
        assert_eq!(told_of(&mut scene, vec![new()]), None);
        assert_eq!(told_of(&mut scene, vec![new()]), Some(Status::Resolved));
    }

    #[test]
    fn a_window_with_a_hole_does_not_close_it() {
        let mut scene = rolled_out();
        assert!((0..8).any(|_| told(scene.window([left(0)])).is_some()));
        scene.coverage = 0.5;
        assert_eq!(told(scene.window([])), None);
        scene.coverage = 1.0;
        assert_eq!(told(scene.window([])), None);
        assert_eq!(told(scene.window([])).map(|row| row.status), Some(Status::Resolved));
    }

    #[test]
    fn what_a_survivor_sends_to_a_destination_that_is_gone_is_told() {
        let mut scene = rolled_out();
        let left = || {
            let left = flow("shop/cart", &format!("{OLD}:80")).connections(0, 0, 1).packets(9, 0);
            left.dest_who(|who| who.pods = Some(0))
        };
        let opened = (0..6).find_map(|_| told(scene.window([left()]))).expect("told");
        assert_eq!((opened.kind, opened.subject.get("dest")), (FindingKind::DestinationGone, Some("web")));
    }

    #[test]
    fn a_remnant_on_which_nothing_moves_is_worth_knowing_only() {
        let mut scene = rolled_out();
        let opened = (0..6).find_map(|_| told(scene.window([left(0).packets(0, 0)]))).expect("told");
        assert_eq!(opened.severity, Severity::Info);
        assert!(opened.evidence.contains("idle-remnant"), "{}", opened.evidence);
    }

    #[test]
    fn packets_of_the_end_that_should_be_gone_or_new_connections_are_another_story() {
        never_told(rolled_out(), 8, || left(0).packets(1, 24));
        never_told(rolled_out(), 8, || left(0).connections(1, 0, 2));
        never_told(rolled_out(), 8, || left(0).connections(0, 2, 0));
    }

    #[test]
    fn a_name_that_a_pod_still_bears_is_not_gone() {
        let (first, last) = (pod("7d4b9c6f5", "a"), pod("7d4b9c6f5", "b"));
        let mut scene = Scene::with_cluster(Settings::default(), [(0, first.clone()), (0, last)]);
        scene.gone([(1, first)]);
        never_told(scene, 8, || left(0));
    }

    #[test]
    fn a_name_that_nobody_is_known_to_have_borne_says_nothing() {
        never_told(Scene::new(), 8, || left(0));
    }
}
