//! `policy.public-exposure`: the public reaches a workload, and no rule that names a peer lets it in.
//!
//! The profile of the namespace decided, or a rule for anyone. Where a node translates the source address on the way, the
//! client looks like a node or a private network: then it is derived from a service that is reached from outside.

use catchment_core::{Confidence, FindingKind, FlowRow, Resolution, Severity, Subject, VerdictReason};
use catchment_schemas::goldmane::{Action, Reporter};

use crate::cluster::{ClusterState, Exposure};
use crate::detect::facts::{Facts, Talk, has_packets, reports_dest};
use crate::detect::known::policy;
use crate::detect::parts::{PartKey, Parts, is_plain, listed, named};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{count, hit};
use crate::detect::view::View;
use crate::policy::Direction;

const KIND: FindingKind = FindingKind::PublicExposure;

#[derive(Default)]
pub(crate) struct PublicExposure {
    pairs: Parts,
}

impl Rule for PublicExposure {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        exposed(key).map(Case::only_wakes)
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let mut still = Vec::new();
        for row in talk.rows(Reporter::Dst, Action::Allow).filter(|row| is_evidence(row)) {
            let facts = Facts::new(row, talk.view);
            let Some(case) = exposed(&facts) else { continue };
            let subject = case.subject.clone();
            let key = PartKey::of(talk, Reporter::Dst);
            let why = || row.key.key.trace.enforced.last().map(hit).unwrap_or_default();
            self.pairs.show((KIND, &subject), key, &row.counters, talk.view.window.end, || (talk.title(), why()));
            let ways = ways(&facts).map(|(service, exposure)| describe(&service, &exposure));
            let sighting = out.holds(case).flow(row);
            if let Some(ways) = ways {
                sighting.detail("reached_by", ways);
            }
            still.push((KIND, subject));
        }
        let of_dest = || talk.flows.iter().filter(|row| reports_dest(row));
        if of_dest().any(is_plain) {
            for (kind, subject) in self.pairs.refute(PartKey::of(talk, Reporter::Dst), &still) {
                out.over(kind, &subject, Resolution::Fixed);
            }
        }
    }

    fn close(&mut self, view: &View<'_>, _: &mut Sightings) {
        self.pairs.age(view.window.end);
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let workload = told.workload();
        let pairs = self.pairs.of(KIND, told.subject);
        let first = told.tally.sample.first().map(|(key, _)| key);
        let by = first.and_then(|key| key.key.trace.enforced.last()).map(hit).unwrap_or_default();
        let hidden = first.is_some_and(|key| &*key.key.source.raw_name != "pub");
        let reached = told.details.get("reached_by").and_then(serde_json::Value::as_str);
        let from = if hidden {
            "The client's address is hidden by a node on the way, so that it is the public is derived from the service in front."
        } else {
            "The source is the public network."
        };
        let mut story = Story {
            title: format!("{workload} is open to the public"),
            explanation: format!(
                "Traffic from outside reaches {workload} ({}) and no rule that names a peer lets it in: what decided is {by}. \
                 {from} {}{} with {} in the window.",
                named(&pairs),
                reached.map(|way| format!("It is reached by {way}. ")).unwrap_or_default(),
                count(told.tally.rows, "flow"),
                count(told.tally.started, "new connection"),
            ),
            remediation: format!(
                "If the public is meant to reach {workload}, say so: a rule that allows 0.0.0.0/0 on the ports it serves and \
                 nothing else. If not, take the service in front of it off the outside, or allow the peers that are meant."
            ),
            verify: format!("catchment findings list --kind {KIND} --namespace {}", told.member("namespace")),
            ..Story::default()
        };
        story.impact.insert("pairs".to_owned(), pairs.len().into());
        story.evidence.insert("pairs".to_owned(), listed(&pairs));
        story
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(self.pairs.save())
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.pairs = Parts::restored(saved)?;
        Ok(())
    }
}

/// The case that a key makes, if the public may be behind it and nothing that names a peer let it in.
fn exposed(key: &Facts<'_>) -> Option<Case> {
    let namespace = key.dest.namespace().filter(|_| key.dest.is_workload() && !key.is_egress() && key.is_allowed())?;
    let hides = key.source.is_private_network() || key.source.is_host();
    let confidence = match () {
        () if key.source.is_public_network() => Confidence::Certain,
        () if hides && ways(key).is_some() => Confidence::Derived,
        () => return None,
    };
    if !lets_anyone_in(key) {
        return None;
    }
    let subject = Subject::default().with("namespace", Some(namespace)).with("workload", Some(key.dest.name()));
    let case = Case::new(KIND, subject.with("direction", Some("ingress"))).confidence(confidence);
    let severity = if key.is_critical_dest() { Severity::High } else { Severity::Medium };
    Some(case.severity(severity).owner(key.dest.who.owner.as_deref()))
}

/// Whether packets passed, and not in the window of an edit, of which the rules are known before or after only.
fn is_evidence(row: &FlowRow) -> bool {
    let by_profile = row.key.key.trace.verdict_reason() == Some(VerdictReason::Profile);
    has_packets(row) && (by_profile || !row.trace_split)
}

/// Whether the profile decided, or a rule that names no peer: one that names all addresses says that the public is meant.
fn lets_anyone_in(key: &Facts<'_>) -> bool {
    let trace = &key.key.key.trace;
    match trace.verdict_reason() {
        Some(VerdictReason::Profile) => true,
        Some(VerdictReason::Rule) => trace.enforced.last().is_some_and(|hit| {
            let policy = key.view.policed().and_then(|state| policy(state, &hit.policy));
            let index = usize::try_from(hit.rule_index).ok();
            let breadth = policy.zip(index).and_then(|(policy, index)| policy.breadth(Direction::Ingress, index));
            breadth.is_some_and(|breadth| breadth.anyone && !breadth.all_nets)
        }),
        _ => false,
    }
}

/// The first service in front of the destination that is reached from outside the cluster, and how.
fn ways(key: &Facts<'_>) -> Option<(String, Exposure)> {
    let state = key.view.state?;
    let services = key.services.served.services.iter().flatten();
    let mut exposed = services.filter_map(|name| Some((name.to_string(), exposure(state, name)?)));
    exposed.next()
}

/// How a service is reached from outside at an address of its own or of a node; behind an ingress stands a pod.
fn exposure(state: &ClusterState, name: &str) -> Option<Exposure> {
    let (namespace, name) = name.split_once('/')?;
    let exposure = state.exposure(state.service(namespace, name)?);
    let outside = exposure.load_balancer || !exposure.node_ports.is_empty() || !exposure.external_ips.is_empty();
    outside.then_some(exposure)
}

fn describe(service: &str, exposure: &Exposure) -> String {
    let ports: Vec<_> = exposure.node_ports.iter().map(ToString::to_string).collect();
    let ways = [
        exposure.load_balancer.then(|| "a load balancer".to_owned()),
        (!ports.is_empty()).then(|| format!("port {} of every node", ports.join(", "))),
        (!exposure.external_ips.is_empty()).then(|| "external addresses".to_owned()),
        (!exposure.ingresses.is_empty()).then(|| format!("ingress {}", exposure.ingresses.join(", "))),
    ];
    format!("service {service} ({})", ways.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "values are written where they are used")]

    use catchment_core::{Confidence, FindingKind, FindingRow, Severity, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::objects::{pod, policy, service};
    use crate::detect::testing::{Flow, Scene, deny_rule, flow, profile, rule};

    fn told(rows: &[FindingRow]) -> Vec<(Status, Severity, Confidence)> {
        let exposed = rows.iter().filter(|row| row.kind == FindingKind::PublicExposure);
        exposed.map(|row| (row.status, row.severity, row.confidence)).collect()
    }

    fn scene(rules: Value) -> Scene {
        let spec = json!({"selector": "app == 'web'", "types": ["Ingress"], "ingress": rules});
        let changes = [
            pod("shop/web", json!({"app": "web"})),
            policy("shop/web", spec),
            service("shop/web", "LoadBalancer", "web"),
        ];
        Scene::with_cluster(Settings::default(), changes.into_iter().map(|object| (-60, object)))
    }

    fn open() -> Value {
        json!([{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}])
    }

    fn from(source: &str) -> Flow {
        flow(source, "shop/web:80").dst().served(&["shop/web"])
    }

    const CERTAIN: (Status, Severity, Confidence) = (Status::Opened, Severity::Medium, Confidence::Certain);
    const DERIVED: (Status, Severity, Confidence) = (Status::Opened, Severity::Medium, Confidence::Derived);

    #[test]
    fn the_public_that_only_the_profile_lets_in_is_told_of_the_workload() {
        let rows = Scene::new().window([flow("pub", "shop/web-7d4b9c6f5-*:80").dst().trace([profile("shop")])]);
        assert_eq!(told(&rows), [CERTAIN]);
        let row = rows.iter().find(|row| row.kind == FindingKind::PublicExposure).expect("told");
        let subject = json!({"namespace": "shop", "workload": "web", "direction": "ingress"});
        assert_eq!(row.subject.to_json(), subject);
    }

    #[test]
    fn a_rule_for_anyone_is_told_and_one_that_names_peers_is_not() {
        let allowed = || from("pub").trace([rule("shop/web", "default", 0)]);
        assert_eq!(told(&scene(open()).window([allowed()])), [CERTAIN]);
        let narrow = json!([{"action": "Allow", "source": {"nets": ["203.0.113.0/24"]}}]);
        assert_eq!(told(&scene(narrow).window([allowed()])), []);
    }

    #[test]
    fn who_names_all_addresses_means_the_public() {
        let meant = json!([{"action": "Allow", "source": {"nets": ["0.0.0.0/0"]}, "destination": {"ports": [80]}}]);
        let allowed = from("pub").trace([rule("shop/web", "default", 0)]);
        assert_eq!(told(&scene(meant).window([allowed])), []);
    }

    #[test]
    fn in_the_window_of_an_edit_it_is_not_known_which_rule_let_the_public_in() {
        let allowed = || from("pub").trace([rule("shop/web", "default", 0)]);
        let mut scene = scene(open());
        assert_eq!(told(&scene.window([allowed().split()])), []);
        assert_eq!(told(&scene.window([allowed()])), [CERTAIN]);
    }

    #[test]
    fn a_client_that_a_node_hides_is_derived_from_the_service_in_front() {
        let hidden = |source| from(source).trace([rule("shop/web", "default", 0)]);
        for source in ["pvt", "host:n1"] {
            let rows = scene(open()).window([hidden(source)]);
            assert_eq!(told(&rows), [DERIVED]);
            let row = rows.iter().find(|row| row.kind == FindingKind::PublicExposure).expect("told");
            assert!(row.evidence.contains("service shop/web (a load balancer"), "{}", row.evidence);
        }
        let inside = flow("pvt", "shop/web:80").dst().trace([rule("shop/web", "default", 0)]);
        assert_eq!(told(&scene(open()).window([inside])), [], "no service leads there from outside");
    }

    #[test]
    fn a_denial_what_the_source_decides_and_what_pods_send_are_none() {
        let mut scene = scene(open());
        let denied = from("pub").deny().trace([deny_rule("shop/web", "default", 1)]);
        let at_source = flow("pub", "shop/web:80").trace([profile("shop")]);
        assert_eq!(told(&scene.window([denied, at_source, from("shop/api").trace([profile("shop")])])), []);
    }

    #[test]
    fn a_port_that_is_denied_does_not_close_the_one_that_is_open() {
        let exposed = |port| flow("pub", &format!("shop/web:{port}")).dst().trace([profile("shop")]);
        let denied =
            |port| flow("pub", &format!("shop/web:{port}")).dst().deny().trace([deny_rule("shop/web", "default", 1)]);
        let mut scene = Scene::new();
        scene.window([exposed(80), exposed(8080)]);
        scene.restart();
        assert_eq!(told(&scene.window([denied(8080)])), []);
        assert_eq!(told(&scene.window([denied(80)]))[0].0, Status::Resolved);
    }

    #[test]
    fn a_backend_that_is_worth_guarding_makes_it_worse() {
        let exposed =
            flow("pub", "shop/db:5432").dst().trace([profile("shop")]).labels(&[], &["catchment.dev/critical=true"]);
        assert_eq!(told(&Scene::new().window([exposed]))[0].1, Severity::High);
    }
}
