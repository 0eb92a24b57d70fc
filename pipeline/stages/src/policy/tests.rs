use catchment_core::knowledge::LabelMap;
use catchment_core::knowledge::policy::{self as api, Action, EndpointPort, Protocol};
use serde_json::{Value, json};

use super::*;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(name: &str, own: &[(&str, &str)]) -> Endpoint {
    Workload {
        namespace: "shop".into(),
        name: name.into(),
        labels: labels(own),
        namespace_labels: labels(&[("team", "store")]),
        service_account: "robot".into(),
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::TCP, port: 8080 }],
        addresses: vec!["10.0.0.7".parse().unwrap()],
        ..Workload::default()
    }
    .into()
}

fn kubernetes(name: &str, spec: &Value) -> Compiled {
    Compiled::from(&read::<api::KubernetesNetworkPolicy>(
        json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}),
    ))
}

fn global(name: &str, spec: &Value) -> Compiled {
    Compiled::from(&read::<api::GlobalNetworkPolicy>(json!({"metadata": {"name": name}, "spec": spec})))
}

fn set(policies: Vec<Compiled>) -> PolicySet {
    let mut set = PolicySet::default();
    for policy in policies {
        set.set_policy(policy);
    }
    set
}

fn explained(policies: &PolicySet, source: &Endpoint, destination: &Endpoint, port: u16) -> Explanation {
    explain(policies, &Surroundings::default(), source, destination, &Connection::new(Protocol::TCP, port))
}

#[test]
fn a_workload_bears_the_labels_of_its_namespace_and_account() {
    let endpoint: Endpoint = Workload {
        namespace: "shop".into(),
        labels: labels(&[("app", "web"), ("pcns.team", "own")]),
        namespace_labels: labels(&[("team", "store")]),
        service_account: "robot".into(),
        service_account_labels: labels(&[("kind", "bot")]),
        ..Workload::default()
    }
    .into();
    let expected = labels(&[
        ("app", "web"),
        ("pcns.projectcalico.org/name", "shop"),
        ("pcns.team", "own"),
        ("pcsa.kind", "bot"),
        ("pcsa.projectcalico.org/name", "robot"),
        ("projectcalico.org/namespace", "shop"),
        ("projectcalico.org/orchestrator", "k8s"),
        ("projectcalico.org/serviceaccount", "robot"),
    ]);
    assert_eq!(endpoint.labels, expected);
}

#[test]
fn rules_of_kubernetes_are_numbered_by_protocol_and_peer() {
    let policy = kubernetes(
        "p",
        &json!({
            "podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {}}, {"namespaceSelector": {}}],
                 "ports": [{"protocol": "UDP", "port": 53}, {"port": 80}, {"port": 81, "endPort": 90}]},
                {},
                {"ports": [{"protocol": "SCTP"}]},
            ],
        }),
    );
    let origins: Vec<_> = (0..7).map_while(|index| policy.origin(Direction::Ingress, index)).collect();
    let expected = [
        "ingress[0].from[0] (TCP)",
        "ingress[0].from[1] (TCP)",
        "ingress[0].from[0] (UDP)",
        "ingress[0].from[1] (UDP)",
        "ingress[1]",
        "ingress[2] (SCTP)",
    ];
    assert_eq!(origins, expected);
}

#[test]
fn the_chain_names_what_decides_and_the_rule_that_came_nearest() {
    let policies = set(vec![kubernetes(
        "allow-web",
        &json!({
            "podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": "http"}]}],
        }),
    )]);
    let database = pod("db-0", &[("app", "db")]);
    let allowed = explained(&policies, &pod("web-0", &[("app", "web")]), &database, 8080);
    let Decision::Rule(rule) = &allowed.ingress.decided_by else { panic!("{:?}", allowed.ingress.decided_by) };
    assert_eq!((allowed.verdict, rule.origin.as_str()), (Verdict::Allow, "ingress[0].from[0] (TCP)"));
    assert_eq!(allowed.egress.decided_by, Decision::Profile { name: "kns.shop".into() });

    let denied = explained(&policies, &pod("web-0", &[("app", "Web")]), &database, 8080);
    let trigger = PolicyId { kind: PolicyKind::NetworkPolicy, namespace: "shop".into(), name: "allow-web".into() };
    assert_eq!(denied.verdict, Verdict::Deny);
    assert_eq!(denied.ingress.decided_by, Decision::EndOfTier { tier: "default".into(), trigger });
    let near = &denied.ingress.tiers[0].policies[0].near[0].unmet;
    assert_eq!((near.field.as_str(), near.terms[0].term.as_str()), ("source.selector", "app == \"web\""));
    assert_eq!(near.terms[0].resembles.as_deref(), Some("app=Web"));

    let other_port = explained(&policies, &pod("web-0", &[("app", "web")]), &database, 80);
    let near = &other_port.ingress.tiers[0].policies[0].near[0].unmet;
    assert_eq!((near.field.as_str(), near.wanted.as_str(), near.found.as_str()), ("destination.ports", "http", "80"));
}

#[test]
fn a_policy_that_misses_by_a_slip_is_named() {
    let policies = set(vec![kubernetes("p", &json!({"podSelector": {"matchLabels": {"app": "databse"}}}))]);
    let found = explained(&policies, &pod("web-0", &[]), &pod("db-0", &[("app", "database")]), 80);
    let [miss] = &found.ingress.near_policies[..] else { panic!("{:?}", found.ingress.near_policies) };
    assert_eq!((miss.policy.name.as_str(), miss.term.resembles.as_deref()), ("p", Some("app=database")));
    assert_eq!(found.egress.near_policies, []);
}

#[test]
fn a_staged_policy_decides_nothing_and_tells_what_it_would() {
    let staged = |name: &str, action: &str, spec: Value| {
        let mut object = json!({"metadata": {"name": name}, "spec": spec});
        object["spec"]["stagedAction"] = json!(action);
        Compiled::from(&read::<api::StagedGlobalNetworkPolicy>(object))
    };
    let allow = json!({"selector": "app == 'db'", "ingress": [{"action": "Allow"}]});
    let deny = json!({"selector": "app == 'db'", "ingress": [{"action": "Deny"}]});
    let (web, database) = (pod("web-0", &[]), pod("db-0", &[("app", "db")]));
    for (action, spec, changes) in [
        ("Set", &deny, true),
        ("Set", &allow, false),
        ("Set", &json!({"selector": "app == 'other'"}), false),
        ("Learn", &deny, false),
        ("Ignore", &deny, false),
        ("Delete", &json!({}), false),
    ] {
        let policies = set(vec![global("p", &allow), staged("p", action, spec.clone())]);
        let found = explained(&policies, &web, &database, 80);
        let [effect] = &found.ingress.staged[..] else { panic!("{action}: {:?}", found.ingress.staged) };
        assert_eq!((found.verdict, effect.changes), (Verdict::Allow, changes), "{action} {spec}");
    }
    let policies = set(vec![global("p", &deny), staged("p", "Delete", json!({}))]);
    let found = explained(&policies, &web, &database, 80);
    assert_eq!((found.verdict, found.ingress.staged[0].preview.verdict), (Verdict::Deny, Verdict::Allow));
}

#[test]
fn what_is_not_known_is_no_verdict_unless_it_makes_no_difference() {
    let rule = |field: &str, value: Value| {
        let mut rule = json!({"action": "Allow", "source": {}});
        match field {
            "http" => rule["http"] = value,
            field => rule["source"][field] = value,
        }
        global("p", &json!({"selector": "all()", "ingress": [rule], "types": ["Ingress"]}))
    };
    let (hidden, database) = (Endpoint::address("PRIVATE NETWORK", Vec::new()), pod("db-0", &[]));
    for (field, value) in [
        ("http", json!({"methods": ["GET"]})),
        ("nets", json!(["10.0.0.0/8"])),
        ("notNets", json!(["10.0.0.0/8"])),
        ("services", json!({"name": "web", "namespace": "shop"})),
        ("selector", json!("app = 'x'")),
    ] {
        let found = explained(&set(vec![rule(field, value.clone())]), &hidden, &database, 80);
        assert_eq!(found.ingress.verdict, Verdict::Unknown, "{field}");
        let deny = global("z", &json!({"selector": "all()", "ingress": [{"action": "Allow"}]}));
        let found = explained(&set(vec![rule(field, value), deny]), &hidden, &database, 80);
        assert_eq!(found.ingress.verdict, Verdict::Allow, "{field}: allowed either way");
    }
    let endpoints = set(vec![rule("selector", json!("has(app)"))]);
    assert_eq!(
        explained(&endpoints, &hidden, &database, 80).verdict,
        Verdict::Deny,
        "what is no endpoint has no labels"
    );
}

#[test]
fn policies_of_host_endpoints_are_asked_before_all_tiers() {
    let host = |profiles: &[&str]| -> Endpoint {
        Endpoint::from(&read::<api::HostEndpoint>(json!({
            "metadata": {"name": "eth0", "labels": {"role": "node"}},
            "spec": {"node": "n", "interfaceName": "eth0", "profiles": profiles},
        })))
    };
    let web = pod("web-0", &[]);
    let stage = |name: &str, flag: &str, action: &str, ports: &[u16]| {
        let rule = json!({"action": action, "protocol": "TCP", "destination": {"ports": ports}});
        let mut spec = json!({"selector": "has(role)", "ingress": [rule], "applyOnForward": true});
        spec[flag] = json!(true);
        global(name, &spec)
    };
    let policies = set(vec![
        stage("untracked", "doNotTrack", "Allow", &[1]),
        stage("early", "preDNAT", "Deny", &[1, 2]),
        global("normal", &json!({"selector": "has(role)", "ingress": [{"action": "Allow"}]})),
    ]);
    let verdict = |port| explained(&policies, &web, &host(&[]), port).ingress.verdict;
    assert_eq!((verdict(1), verdict(2), verdict(3)), (Verdict::Allow, Verdict::Deny, Verdict::Allow));
    let stages: Vec<_> =
        explained(&policies, &web, &host(&[]), 3).ingress.tiers.iter().map(|tier| tier.stage).collect();
    assert_eq!(stages, [HostStage::Untracked, HostStage::PreDnat, HostStage::Normal]);

    let none = PolicySet::default();
    let unselected = |profiles: &[&str]| explained(&none, &web, &host(profiles), 80).ingress.verdict;
    assert_eq!(unselected(&[]), Verdict::Deny);
    assert_eq!(unselected(&["projectcalico-default-allow"]), Verdict::Allow);
    assert_eq!(unselected(&["custom"]), Verdict::Unknown);
    let workloads = set(vec![stage("untracked", "doNotTrack", "Deny", &[80])]);
    assert_eq!(explained(&workloads, &web, &pod("db-0", &[("role", "x")]), 80).verdict, Verdict::Allow);
}

#[test]
fn policies_of_a_tier_that_is_not_known_are_not_asked() {
    let policy = global("p", &json!({"tier": "security", "selector": "all()", "ingress": [{"action": "Deny"}]}));
    let mut policies = set(vec![policy.clone()]);
    let (web, database) = (pod("web-0", &[]), pod("db-0", &[]));
    assert_eq!(explained(&policies, &web, &database, 80).verdict, Verdict::Allow);
    assert!(policies.problems()[&policy.id][0].contains("`security` is not known"));

    policies.set_tier(&read(json!({"metadata": {"name": "security"}, "spec": {"order": 1, "defaultAction": "Pass"}})));
    assert_eq!(explained(&policies, &web, &database, 80).verdict, Verdict::Deny);
    assert_eq!(policies.tier("security"), Some(TierState { order: 1.0, default_action: Action::Pass }));
    policies.remove_tier("security");
    assert_eq!(explained(&policies, &web, &database, 80).verdict, Verdict::Allow);
}

#[test]
fn what_cannot_be_converted_fails_closed_and_is_told() {
    let policy = kubernetes(
        "p",
        &json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}, {"ports": [{"port": 9, "endPort": 8}]}]}),
    );
    assert_eq!((policy.problems.len(), policy.origin(Direction::Ingress, 0)), (2, None));

    let cluster = |action: &str| {
        Compiled::from(&read::<api::ClusterNetworkPolicy>(json!({
            "metadata": {"name": "p"},
            "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                     "egress": [{"name": "n", "action": action, "to": [{"nodes": {}}]}]},
        })))
    };
    let denied = |action| explained(&set(vec![cluster(action)]), &pod("a", &[]), &pod("b", &[]), 80).verdict;
    assert_eq!((denied("Accept"), denied("Pass"), denied("Deny")), (Verdict::Allow, Verdict::Deny, Verdict::Deny));
    assert_eq!(cluster("Pass").origin(Direction::Egress, 0), Some("egress[0] `n`"));
    assert!(cluster("Pass").problems[0].contains("egress[0]"));
}

#[test]
fn a_policy_whose_selector_is_none_selects_nothing_and_is_told() {
    let policies = set(vec![global("p", &json!({"selector": "app = 'x'", "ingress": [{"action": "Deny"}]}))]);
    assert_eq!(explained(&policies, &pod("a", &[]), &pod("b", &[]), 80).verdict, Verdict::Allow);
    assert!(policies.problems().into_values().next().unwrap()[0].contains("at byte 4"));
}
