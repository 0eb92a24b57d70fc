//! `policy.broad-allow`: a rule lets anyone through on every port, and traffic uses it.
//!
//! Which rule it was stands in the trace; how wide it is stands in the policy. It is worse where a narrower policy for the
//! same endpoint lies below and is never asked. Lookups of names, and policies that operators own, are left out.

use catchment_core::knowledge::policy::Action;
use catchment_core::{FindingKind, Resolution, Severity, Subject, VerdictReason};

use crate::cluster::ClusterState;
use crate::detect::facts::Facts;
use crate::detect::known::{direction, endpoint, policies_named, policy, policy_name};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;
use crate::detect::view::View;
use crate::policy::{Compiled, Direction};

const DNS: i64 = 53;
const KIND: FindingKind = FindingKind::BroadAllow;

pub(crate) struct BroadAllow;

impl Rule for BroadAllow {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let (trace, state) = (&key.key.key.trace, key.view.policed()?);
        if !key.is_allowed() || trace.verdict_reason() != Some(VerdictReason::Rule) || key.key.key.dest_port == DNS {
            return None;
        }
        let hit = trace.enforced.last()?;
        let policy = policy(state, &hit.policy)?;
        let place = broad(state, policy, direction(key.key), usize::try_from(hit.rule_index).ok()?)?;
        let subject = Subject::default().with("policy", Some(&policy_name(&policy.id))).with("rule", Some(&place));
        let shadows = !below(state, key, policy).is_empty();
        let case = Case::new(KIND, subject).owner(key.governed().who.owner.as_deref());
        Some(case.by_rules().severity(if shadows { Severity::Medium } else { Severity::Low }))
    }

    fn close(&mut self, view: &View<'_>, out: &mut Sightings) {
        let Some(state) = view.policed() else { return out.not_evaluable(KIND) };
        if !view.judged_anew {
            return;
        }
        for subject in out.open(KIND) {
            if let Some(why) = ended(state, &subject) {
                out.over(KIND, &subject, why);
            }
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (policy, rule) = (told.member("policy"), told.member("rule"));
        let flows = &told.tally.sample;
        let first = flows.first().map(|(key, _)| key);
        let shadowed = first.map(|key| shadowed(told, key)).unwrap_or_default();
        let (peer, end) = if rule.starts_with("egress") { ("destination", "to") } else { ("source", "from") };
        let mut story = Story {
            title: format!("Rule {rule} of {policy} allows everything"),
            explanation: format!(
                "{rule} of {policy} names no {peer} and no port, so it lets through whatever comes {end} anywhere, inside \
                 and outside the cluster. {} with {} used it in the window. {}",
                count(told.tally.rows, "flow"),
                count(told.tally.started, "new connection"),
                if shadowed.is_empty() {
                    String::new()
                } else {
                    format!(
                        "Narrower policies for the same endpoint lie below it and are never asked: {}.",
                        shadowed.join(", ")
                    )
                },
            ),
            remediation: format!(
                "Name the {peer} and the ports that are meant in {rule} of {policy}. Stage the narrower policy under the same \
                 name first, and ask `catchment why` for the pairs that matter what committing it changes: the pending \
                 trace does not tell, for the wide rule still stands in it."
            ),
            verify: format!("catchment findings list --kind {KIND}"),
            ..Story::default()
        };
        if !shadowed.is_empty() {
            story.evidence.insert("never_asked".to_owned(), shadowed.into());
        }
        story
    }
}

/// The place of a rule that allows anyone on any port, unless an operator owns its policy.
fn broad(state: &ClusterState, policy: &Compiled, direction: Direction, index: usize) -> Option<String> {
    let breadth = policy.breadth(direction, index)?;
    let is_broad = breadth.action == Action::Allow && breadth.anyone && breadth.any_port;
    let is_owned = state.policy_facts(&policy.id).is_some_and(|facts| facts.operator.is_some());
    (is_broad && !is_owned).then_some(breadth.origin)
}

/// Policies that select the governed endpoint, are asked behind `policy`, and have a rule that names a peer or a port.
fn below(state: &ClusterState, key: &Facts<'_>, policy: &Compiled) -> Vec<String> {
    narrower_below(state, key.governed().endpoint, direction(key.key), policy)
}

fn narrower_below(
    state: &ClusterState,
    governed: &catchment_core::Endpoint,
    direction: Direction,
    policy: &Compiled,
) -> Vec<String> {
    let Some(endpoint) = endpoint(state, governed) else { return Vec::new() };
    let selecting = state.policy().policies().selecting(&endpoint);
    let behind = selecting.into_iter().skip_while(|other| other.id != policy.id).skip(1);
    let enforced = behind.filter(|other| other.staged.is_none() && other.governs(direction));
    let narrow = enforced.filter(|other| {
        let mut rules = other.actions(direction).enumerate().filter_map(|(index, _)| other.breadth(direction, index));
        rules.any(|rule| !(rule.anyone && rule.any_port))
    });
    narrow.map(|other| policy_name(&other.id)).collect()
}

fn shadowed(told: &Told<'_>, key: &catchment_core::KeyRecord) -> Vec<String> {
    let found = told.view.policed().and_then(|state| {
        let policy = policy(state, &key.key.trace.enforced.last()?.policy)?;
        let direction = direction(key);
        let governed = if direction == Direction::Egress { &key.key.source } else { &key.key.dest };
        Some(narrower_below(state, governed, direction, policy))
    });
    found.unwrap_or_default()
}

/// Why a finding is over, if its rule is gone or has become narrower.
fn ended(state: &ClusterState, subject: &Subject) -> Option<Resolution> {
    let (name, place) = (subject.get("policy")?, subject.get("rule")?);
    let direction = if place.starts_with("egress") { Direction::Egress } else { Direction::Ingress };
    let mut there = false;
    for policy in policies_named(state, name) {
        there = true;
        let mut rules = policy.actions(direction).enumerate();
        if rules.any(|(index, _)| broad(state, policy, direction, index).as_deref() == Some(place)) {
            return None;
        }
    }
    Some(if there { Resolution::Fixed } else { Resolution::SubjectGone })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "values are written where they are used")]

    use catchment_core::knowledge::Kind;
    use catchment_core::{FindingKind, FindingRow, Severity, Status};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::objects::{pod, policy};
    use crate::detect::testing::{Flow, Scene, flow, rule};

    fn spec(order: u32, rules: Value) -> Value {
        json!({"selector": "app == 'db'", "order": order, "types": ["Ingress"], "ingress": rules})
    }

    fn scene(changes: impl IntoIterator<Item = (i64, Value)>) -> Scene {
        let pods = [(-60, pod("shop/web", json!({"app": "web"}))), (-60, pod("shop/db", json!({"app": "db"})))];
        Scene::with_cluster(Settings::default(), pods.into_iter().chain(changes))
    }

    fn used(name: &str, index: i64) -> Flow {
        flow("shop/web", "shop/db:5432").dst().trace([rule(name, "default", index)])
    }

    fn told(rows: &[FindingRow]) -> Vec<(Status, Severity, String)> {
        let broad = rows.iter().filter(|row| row.kind == FindingKind::BroadAllow);
        broad.map(|row| (row.status, row.severity, row.subject.to_json().to_string())).collect()
    }

    fn subject() -> String {
        r#"{"policy":"shop/open","rule":"ingress[0]"}"#.to_owned()
    }

    #[test]
    fn a_rule_without_peer_and_ports_that_traffic_uses_is_told() {
        let mut scene = scene([(-60, policy("shop/open", spec(10, json!([{"action": "Allow"}]))))]);
        assert_eq!(told(&scene.window([used("shop/open", 0)])), [(Status::Opened, Severity::Low, subject())]);
    }

    #[test]
    fn all_addresses_are_no_peer_and_a_protocol_is_no_port() {
        let everything = json!([{"action": "Allow", "protocol": "TCP", "source": {"nets": ["0.0.0.0/0"]}}]);
        let mut scene = scene([(-60, policy("shop/open", spec(10, everything)))]);
        assert_eq!(told(&scene.window([used("shop/open", 0)])).len(), 1);
    }

    #[test]
    fn it_is_worse_where_a_narrower_policy_lies_below() {
        let narrow = json!([{"action": "Allow", "source": {"selector": "app == 'web'"}}]);
        let mut scene = scene([
            (-60, policy("shop/open", spec(10, json!([{"action": "Allow"}])))),
            (-60, policy("shop/narrow", spec(20, narrow))),
        ]);
        let rows = scene.window([used("shop/open", 0)]);
        assert_eq!(told(&rows), [(Status::Opened, Severity::Medium, subject())]);
        let row = rows.iter().find(|row| row.kind == FindingKind::BroadAllow).expect("told");
        assert!(row.explanation.contains("never asked: shop/narrow"), "{}", row.explanation);
    }

    #[test]
    fn rules_that_name_a_peer_or_a_port_are_not_broad() {
        let rules = json!([
            {"action": "Allow", "source": {"selector": "app == 'web'"}},
            {"action": "Allow", "protocol": "TCP", "destination": {"ports": [5432]}},
            {"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}},
            {"action": "Allow", "protocol": "ICMP"},
        ]);
        let mut scene = scene([(-60, policy("shop/open", spec(10, rules)))]);
        for index in 0..4 {
            assert_eq!(told(&scene.window([used("shop/open", index)])), []);
        }
    }

    #[test]
    fn policies_of_operators_and_lookups_of_names_are_left_out() {
        let system = json!({"tier": "calico-system", "selector": "all()", "ingress": [{"action": "Allow"}]});
        let mut scene = scene([
            (-60, policy("shop/sys", system)),
            (-60, policy("shop/open", spec(10, json!([{"action": "Allow"}])))),
        ]);
        let of_operator = flow("shop/web", "shop/db:5432").dst().trace([rule("shop/sys", "calico-system", 0)]);
        let lookup = flow("shop/web", "shop/db:53").udp().dst().trace([rule("shop/open", "default", 0)]);
        assert_eq!(told(&scene.window([of_operator, lookup])), []);
    }

    #[test]
    fn it_is_over_when_the_rule_becomes_narrower_though_the_trace_stays_the_same() {
        let narrow = json!([{"action": "Allow", "source": {"selector": "app == 'web'"}}]);
        let mut scene = scene([
            (-60, policy("shop/open", spec(10, json!([{"action": "Allow"}])))),
            (1, policy("shop/open", spec(10, narrow))),
        ]);
        scene.window([used("shop/open", 0)]);
        scene.restart();
        let over = scene.window([used("shop/open", 0)]);
        assert_eq!(told(&over), [(Status::Resolved, Severity::Low, subject())]);
    }

    #[test]
    fn where_tiers_may_not_be_read_nothing_is_told_and_that_is_counted() {
        let mut scene = scene([(-60, policy("shop/open", spec(10, json!([{"action": "Allow"}]))))]);
        scene.hides(Kind::NetworkPolicy);
        assert_eq!(told(&scene.window([used("shop/open", 0)])), []);
        let counted = scene.detector().not_evaluable().find(|(kind, _)| *kind == FindingKind::BroadAllow);
        assert_eq!(counted, Some((FindingKind::BroadAllow, 1)));
    }
}
