//! `asymmetry.one-sided-report`: the source's node reports an answered exchange of which the destination's says nothing.
//!
//! The destination's node may have a reason: it may be silent altogether, so every node the destination may be on must
//! have reported something else in the window; and the exchange may reach it under the address of a node, so nothing from
//! a private network or a host may have reached the destination at that port lately. Three windows in a row are asked
//! for, so that both neighbours of a window have been seen.

use std::collections::HashMap;

use catchment_core::{FindingKind, FlowRow, Resolution, Subject};
use catchment_schemas::goldmane::Reporter;

use crate::detect::facts::{End, Facts, Signs, Talk, has_packets, reports_dest};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::{Sightings, Tally};
use crate::detect::story::count;
use crate::detect::view::View;

/// Every kubelet sets it.
const OS_LABEL: &str = "kubernetes.io/os";
/// The window, and a neighbour on either side.
const WINDOWS: u32 = 3;

/// Pairs of the newest window that wait for its end, when it is known which nodes reported.
#[derive(Default)]
pub(crate) struct OneSidedReport {
    waiting: Vec<Candidate>,
}

struct Candidate {
    subject: Subject,
    owner: Option<String>,
    /// Namespace and name of the destination.
    dest: (Box<str>, Box<str>),
    /// Nodes the destination may be on.
    nodes: Vec<std::sync::Arc<str>>,
    tally: Tally,
}

impl Rule for OneSidedReport {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::OneSidedReport]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        key.source.is_workload() && key.dest.is_workload()
    }

    fn wakes(&self) -> Signs {
        Signs::SOURCE_ALONE
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::OneSidedReport;
        if talk.seen(Reporter::Dst).is_some() {
            out.over(kind, &talk.subject(), Resolution::Fixed);
        } else if is_candidate(talk) {
            match talk.dest().who.nodes.as_deref() {
                Some(nodes) if !nodes.is_empty() && talk.is_whole() && talk.view.is_known() => {
                    self.waiting.push(candidate(talk, nodes));
                    out.may_state(kind);
                }
                _ => out.not_evaluable(kind),
            }
        }
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let kind = FindingKind::OneSidedReport;
        if self.waiting.is_empty() {
            return;
        }
        let reporting = reporting_nodes(view.flows);
        for candidate in self.waiting.drain(..) {
            let (namespace, name) = &candidate.dest;
            let is_other = |reported: &Name<'_>| *reported != (&**namespace, &**name);
            // A node that is known to report others, and whose pods are to be heard of.
            let is_heard = |node: &str| {
                let reported = reporting.get(node).into_iter().flatten().flatten();
                reported.into_iter().any(is_other) && is_linux(node, view)
            };
            if !candidate.nodes.iter().all(|node| is_heard(node)) {
                out.not_evaluable(kind);
                continue;
            }
            let nodes: Vec<_> = candidate.nodes.iter().map(|node| &**node).collect();
            let case = Case::new(kind, candidate.subject).owner(candidate.owner.as_deref());
            let nodes = nodes.join(", ");
            out.holds(case).tally(candidate.tally).detail("silent_nodes", nodes);
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let nodes = told.details.get("silent_nodes").and_then(|nodes| nodes.as_str()).unwrap_or("its node");
        Story {
            title: format!("Only {source} reports its exchange with {dest} on {port}"),
            explanation: format!(
                "{source} and {dest} exchanged {} on {port}, says the source's node. {nodes}, where {dest} runs, reported \
                 other pods in the same window and nothing of this exchange, for three windows. Suspected: the \
                 destination's node loses flow logs, or the traffic reaches the pod past the data plane that counts it.",
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "Look at the logs of calico-node on {nodes} for flow logs that were dropped, and whether the pods of \
                 {dest} have an interface that it does not manage."
            ),
            verify: "kubectl logs -n calico-system -l k8s-app=calico-node -c calico-node --tail=200 | grep -i flow"
                .to_owned(),
            ..Story::default()
        }
    }
}

/// Whether the source's side alone allowed and saw replies, long enough, and nothing may be the same traffic in disguise.
fn is_candidate(talk: &Talk<'_>) -> bool {
    let replied = talk.seen(Reporter::Src).is_some_and(|seen| seen.reply_packets > 0);
    replied
        && talk.signs.has(Signs::ALLOWED)
        && !talk.is_denied()
        && talk.windows_in_a_row(Signs::SOURCE_ALONE) >= WINDOWS
        && !may_be_disguised(talk)
}

/// Whether someone behind a node's address reached the destination in these windows or the one before.
fn may_be_disguised(talk: &Talk<'_>) -> bool {
    let window = talk.view.window;
    talk.peer.reached_from_hosts >= window.start.plus(-window.micros() * i64::from(WINDOWS))
}

fn candidate(talk: &Talk<'_>, nodes: &[std::sync::Arc<str>]) -> Candidate {
    let dest = talk.dest();
    let mut tally = Tally::default();
    talk.flows.iter().for_each(|row| tally.add(row));
    Candidate {
        subject: talk.subject(),
        owner: dest.who.owner.clone().map(|owner| owner.to_string()),
        dest: (dest.namespace().unwrap_or_default().into(), dest.endpoint.raw_name.as_ref().into()),
        nodes: nodes.to_vec(),
        tally,
    }
}

/// Nodes of other systems report nothing of their pods.
fn is_linux(node: &str, view: &View<'_>) -> bool {
    let node = view.state.and_then(|state| state.node(node));
    node.and_then(|node| node.metadata.labels.get(OS_LABEL)).is_none_or(|os| os.as_str() == "linux")
}

/// Namespace and name of an endpoint.
type Name<'a> = (&'a str, &'a str);

/// By node, up to two endpoints of which it must have reported: of two, one is not the endpoint that is asked about.
fn reporting_nodes(flows: &[FlowRow]) -> HashMap<&str, [Option<Name<'_>>; 2]> {
    let mut nodes: HashMap<_, [Option<Name<'_>>; 2]> = HashMap::new();
    for (node, name) in flows.iter().filter(|row| has_packets(row)).filter_map(reported_by) {
        let [first, second] = nodes.entry(node).or_default();
        if first.is_none_or(|first| first == name) {
            *first = Some(name);
        } else {
            second.get_or_insert(name);
        }
    }
    nodes
}

/// The node that must have reported the row, and the endpoint there.
fn reported_by(row: &FlowRow) -> Option<(&str, Name<'_>)> {
    let [source, dest] = End::both(row);
    let end = if reports_dest(row) { dest } else { source };
    match end.who.nodes.as_deref()? {
        [node] => Some((node, (end.namespace().unwrap_or_default(), &*end.endpoint.raw_name))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Status};

    use crate::detect::testing::{Flow, Scene, flow};

    fn on(node: &'static str) -> impl Fn(&mut catchment_core::Who) {
        move |who| who.nodes = Some(node.split(',').map(Into::into).collect())
    }

    /// The destination may be on two nodes.
    fn alone() -> Flow {
        flow("shop/web", "shop/db:5432").source_who(on("n1")).dest_who(on("n2,n3"))
    }

    /// Another pod on the node, which reports.
    fn other(node: &'static str) -> Flow {
        flow(&format!("ops/agent-{node}"), "pub:443").source_who(on(node))
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::OneSidedReport)
    }

    fn never_told(windows: impl Fn() -> Vec<Flow>) {
        let mut scene = Scene::new();
        for _ in 0..6 {
            assert_eq!(told(scene.window(windows())), None);
        }
    }

    #[test]
    fn a_destination_that_its_reporting_nodes_do_not_mention_is_told() {
        let mut scene = Scene::new();
        let rows = || [alone(), other("n2"), other("n3")];
        assert_eq!(told(scene.window(rows())), None);
        assert_eq!(told(scene.window(rows())), None);
        scene.restart();
        let opened = told(scene.window(rows())).expect("told");
        assert!(opened.explanation.contains("n2, n3, where shop/db runs"), "{}", opened.explanation);
        let over = told(scene.window(alone().both())).expect("over");
        assert_eq!(over.status, Status::Resolved);
    }

    #[test]
    fn a_node_that_reports_nothing_else_may_be_silent() {
        never_told(|| vec![alone(), other("n2")]);
    }

    #[test]
    fn nodes_of_other_systems_report_no_pods() {
        let windows = serde_json::json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n3", "labels": {"kubernetes.io/os": "windows"}}});
        let mut scene = Scene::with_cluster(crate::detect::Settings::default(), [(0, windows)]);
        for _ in 0..6 {
            assert_eq!(told(scene.window([alone(), other("n2"), other("n3")])), None);
        }
    }

    #[test]
    fn what_the_destination_reports_of_others_is_no_sign_of_its_node() {
        let third = || flow("ops/x", "shop/db:5432").dst().dest_who(on("n3"));
        never_told(|| vec![alone(), other("n2"), third()]);
    }

    #[test]
    fn a_node_reports_others_beside_the_destination_whatever_it_names_first() {
        for beside in ["aaa/first", "zzz/last"] {
            let own = || flow("shop/db", "pub:443").source_who(on("n3"));
            let rows = || [alone(), other("n2"), own(), own().dst(), flow(beside, "pub:443").source_who(on("n3"))];
            let mut scene = Scene::new();
            assert!((0..3).find_map(|_| told(scene.window(rows()))).is_some(), "{beside}");
        }
    }

    #[test]
    fn traffic_behind_the_address_of_a_node_is_the_other_half() {
        never_told(|| vec![alone(), other("n2"), other("n3"), flow("pvt", "shop/db:5432").dst()]);
        never_told(|| vec![alone(), other("n2"), other("n3"), flow("host:n1", "shop/db:5432").dst()]);
    }

    #[test]
    fn such_traffic_in_a_neighbouring_window_is_too() {
        let mut scene = Scene::new();
        let rows = || vec![alone(), other("n2"), other("n3")];
        for window in 0..9 {
            let disguised = (window % 3 == 0).then(|| flow("pvt", "shop/db:5432").dst());
            assert_eq!(told(scene.window(rows().into_iter().chain(disguised))), None);
        }
    }

    #[test]
    fn a_half_that_comes_a_window_later_is_there() {
        let mut scene = Scene::new();
        for window in 0..6 {
            let late = (window % 2 == 1).then(|| alone().dst());
            assert_eq!(told(scene.window([alone(), other("n2"), other("n3")].into_iter().chain(late))), None);
        }
    }

    #[test]
    fn a_half_that_comes_late_is_there() {
        let mut scene = Scene::new();
        let rows = || [alone(), other("n2"), other("n3")];
        for _ in 0..6 {
            assert_eq!(told(scene.window(rows())), None);
            scene.late(alone().dst(), 1);
        }
        // A node that comes back with several windows is waited for as long again.
        let mut scene = Scene::new();
        for _ in 0..4 {
            scene.window(rows());
            scene.window(rows());
            (1..=2).for_each(|ago| scene.late(alone().dst(), ago));
            assert_eq!(told(scene.window(rows())), None);
        }
    }

    #[test]
    fn networks_and_unanswered_exchanges_have_no_second_half() {
        never_told(|| vec![flow("shop/web", "pub:443"), other("n2"), other("n3")]);
        never_told(|| vec![alone().packets(2, 0), other("n2"), other("n3")]);
    }
}
