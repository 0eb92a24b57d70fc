use catchment_core::knowledge::Object;
use catchment_core::{FindingKind, FindingRow};
use catchment_schemas::goldmane::PolicyKind;
use serde_json::{Value, json};

use crate::detect::Settings;
use crate::detect::objects::{pod, policy};
use crate::detect::testing::{Flow, Scene, flow, profile, rule};

/// The policy that a finding of this kind offers.
fn offered(rows: &[FindingRow], kind: FindingKind) -> Option<Value> {
    let row = rows.iter().find(|row| row.kind == kind).expect("told");
    let evidence: Value = serde_json::from_str(&row.evidence).expect("evidence is JSON");
    let yaml = evidence.get("staged_policy")?.as_str().expect("a text").to_owned();
    assert!(row.remediation.contains("staged_policy"), "{}", row.remediation);
    let object: Value = serde_saphyr::from_str(&yaml).expect("it is YAML");
    assert!(Object::from_json(&object.to_string()).expect("an API server takes it").is_some());
    Some(object)
}

fn to_web(source: &str) -> Flow {
    let labels = ["app=api", "pod-template-hash=5f7d9c4b8"];
    flow(source, "shop/web-7d4b9c6f5-*:8080").dst().trace([profile("shop")]).labels(&labels, &["app=web", "version=3"])
}

#[test]
fn a_workload_without_policy_gets_one_for_the_peers_and_ports_that_were_observed() {
    let mut scene = Scene::new();
    let rows = scene.window([
        to_web("shop/api"),
        to_web("ops/api"),
        to_web("pub"),
        to_web("set:office").labels(&["role=office"], &["app=web"]),
    ]);
    let policy = offered(&rows, FindingKind::NoPolicy).expect("a policy");
    assert_eq!(
        (&policy["kind"], &policy["apiVersion"]),
        (&json!("StagedNetworkPolicy"), &json!("projectcalico.org/v3"))
    );
    assert_eq!(policy["metadata"]["namespace"], "shop");
    assert_eq!(policy["metadata"]["name"], "catchment-web-ingress");
    let ports = json!({"ports": [8080]});
    let from = |source: Value| json!({"action": "Allow", "protocol": "TCP", "source": source, "destination": ports});
    assert_eq!(
        policy["spec"],
        json!({"stagedAction": "Set", "tier": "default", "selector": "app == 'web'", "types": ["Ingress"], "ingress": [
            from(json!({"selector": "app == 'api'", "namespaceSelector": "projectcalico.org/name == 'ops'"})),
            from(json!({"selector": "app == 'api'"})),
            from(json!({"selector": "role == 'office'", "namespaceSelector": "global()"})),
            from(json!({"notNets": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]})),
        ]})
    );
}

#[test]
fn the_policy_says_for_how_long_was_watched_and_grows_with_what_is_seen() {
    let mut scene = Scene::new();
    scene.window([to_web("shop/api")]);
    scene.restart();
    scene.skip_minutes(88);
    let more = scene.window([to_web("shop/api").connections(500, 500, 0), to_web("ops/api")]);
    let policy = offered(&more, FindingKind::NoPolicy).expect("a policy");
    assert_eq!(policy["metadata"]["labels"]["catchment.dev/observed-hours"], "1.5");
    assert_eq!(policy["spec"]["ingress"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_a_namespace_sends_gets_lookups_of_names_too() {
    let sent = flow("shop/web", "shop/db:5432").trace([profile("shop")]).labels(&["app=web"], &["app=db"]);
    let policy = offered(&Scene::new().window([sent]), FindingKind::NoPolicy).expect("a policy");
    assert_eq!((&policy["spec"]["selector"], &policy["spec"]["types"]), (&json!("all()"), &json!(["Egress"])));
    let rules = policy["spec"]["egress"].as_array().expect("rules");
    assert_eq!(rules[0]["destination"], json!({"selector": "app == 'db'", "ports": [5432]}));
    let resolver = json!({"selector": "k8s-app == 'kube-dns'", "namespaceSelector": "projectcalico.org/name == 'kube-system'", "ports": [53]});
    let lookups: Vec<_> = rules[1..].iter().map(|rule| (&rule["protocol"], &rule["destination"])).collect();
    assert_eq!(lookups, [(&json!("UDP"), &resolver), (&json!("TCP"), &resolver)]);
}

#[test]
fn all_that_a_workload_sends_is_in_the_policy_for_its_private_networks() {
    let labels = |flow: Flow, dest: &[&str]| flow.trace([profile("shop")]).labels(&["app=web"], dest);
    let sent = [labels(flow("shop/web", "pvt:1521"), &[]), labels(flow("shop/web", "shop/db:5432"), &["app=db"])];
    let policy = offered(&Scene::new().window(sent), FindingKind::UnpolicedEgress).expect("a policy");
    assert_eq!(policy["spec"]["selector"], "app == 'web'");
    let rules = policy["spec"]["egress"].to_string();
    assert!(rules.contains("app == 'db'") && rules.contains("10.0.0.0/8") && rules.contains("1521"), "{rules}");
}

#[test]
fn a_rule_that_is_too_wide_is_replaced_by_what_used_it_and_the_others_stay() {
    let spec = json!({"tier": "default", "order": 7.0, "selector": "app == 'web'", "types": ["Ingress"], "ingress": [
        {"action": "Deny", "source": {"selector": "app == 'old'"}}, {"action": "Allow"}]});
    let changes = [pod("shop/web", json!({"app": "web"})), policy("shop/open", spec)].map(|object| (-60, object));
    let used = to_web("shop/api").trace([rule("shop/open", "default", 1)]);
    let rows = Scene::with_cluster(Settings::default(), changes).window([used]);
    let policy = offered(&rows, FindingKind::BroadAllow).expect("a policy");
    assert_eq!((&policy["metadata"]["name"], &policy["spec"]["order"]), (&json!("open"), &json!(7.0)));
    let rules = &policy["spec"]["ingress"];
    assert_eq!((&rules[0]["action"], &rules[1]["source"]["selector"]), (&json!("Deny"), &json!("app == 'api'")));
    assert_eq!(rules[1]["destination"]["ports"], json!([8080]));
}

#[test]
fn a_wide_rule_of_kubernetes_is_not_mended_in_a_policy_of_calico_with_its_name() {
    let calico = json!({"tier": "default", "selector": "app == 'web'", "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": {"selector": "app == 'old'"}}]});
    let kubernetes = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "open"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": [{}]}});
    let cluster = [pod("shop/web", json!({"app": "web"})), policy("shop/open", calico), kubernetes.clone()];
    let mut used = rule("shop/open", "default", 0);
    used.policy.kind = PolicyKind::NetworkPolicy as i32;
    let rows = Scene::with_cluster(Settings::default(), cluster.map(|object| (-60, object)))
        .window([to_web("shop/api").trace([used])]);
    assert_eq!(offered(&rows, FindingKind::BroadAllow), None);

    let wide =
        json!({"tier": "default", "selector": "app == 'web'", "types": ["Ingress"], "ingress": [{"action": "Allow"}]});
    let cluster = [pod("shop/web", json!({"app": "web"})), policy("shop/open", wide), kubernetes];
    let rows = Scene::with_cluster(Settings::default(), cluster.map(|object| (-60, object)))
        .window([to_web("shop/api").trace([rule("shop/open", "default", 0)])]);
    assert!(offered(&rows, FindingKind::BroadAllow).is_some());
}

#[test]
fn denied_traffic_and_what_asks_for_metadata_is_not_in_it() {
    let metadata = json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
        "metadata": {"name": "metadata", "labels": {"role": "metadata"}}, "spec": {"nets": ["169.254.169.254/32"]}});
    let mut scene = Scene::with_cluster(Settings::default(), [(-60, metadata)]);
    let sent =
        |dest: &str, labels: &[&str]| flow("shop/web", dest).trace([profile("shop")]).labels(&["app=web"], labels);
    let denied = sent("shop/secret:80", &["app=secret"]).deny();
    let rows = scene.window([sent("shop/db:5432", &["app=db"]), sent("set:metadata:80", &["role=metadata"]), denied]);
    let policy = offered(&rows, FindingKind::NoPolicy).expect("a policy").to_string();
    assert!(policy.contains("app == 'db'"), "{policy}");
    assert!(!policy.contains("metadata'") && !policy.contains("secret"), "{policy}");
}

#[test]
fn what_public_networks_stand_for_holds_no_address_of_metadata() {
    let settings = Settings { metadata_addresses: vec!["203.0.113.9".parse().expect("one")], ..Settings::default() };
    let rows =
        Scene::with(settings).window([flow("shop/web", "pub:80").trace([profile("shop")]).labels(&["app=web"], &[])]);
    let policy = offered(&rows, FindingKind::NoPolicy).expect("a policy");
    let rule = &policy["spec"]["egress"][0];
    let excluded = rule["destination"]["notNets"].as_array().expect("networks");
    for address in
        ["169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "168.63.129.16/32", "203.0.113.9/32"]
    {
        assert!(excluded.contains(&json!(address)), "{address} is let in by {rule}");
    }
    assert_eq!(rule["ipVersion"], 4, "no address of the other version is left out");
}

#[test]
fn a_private_address_of_metadata_is_not_let_in_with_private_networks() {
    let settings = Settings { metadata_addresses: vec!["10.1.2.3".parse().expect("one")], ..Settings::default() };
    let rows =
        Scene::with(settings).window([flow("shop/web", "pvt:80").trace([profile("shop")]).labels(&["app=web"], &[])]);
    let rule = &offered(&rows, FindingKind::NoPolicy).expect("a policy")["spec"]["egress"][0]["destination"];
    assert_eq!(rule["notNets"], json!(["10.1.2.3/32"]), "{rule}");
    assert_eq!(rule["nets"].as_array().map(Vec::len), Some(3), "{rule}");
}

#[test]
fn what_a_scan_reached_is_not_offered_when_the_scan_is_over() {
    let sent = |dest: &str| {
        let labels = [format!("app={dest}")];
        flow("shop/web", &format!("shop/{dest}:80")).trace([profile("shop")]).labels(&["app=web"], &[&labels[0]])
    };
    let mut scene = Scene::new();
    let scan: Vec<_> = (0..60).map(|n| sent(&format!("w{n}")).packets(3, 0).connections(1, 0, 1)).collect();
    let rows: Vec<_> = (0..20).flat_map(|_| scene.window(scan.iter().cloned().chain([sent("db")]))).collect();
    assert!(rows.iter().any(|row| row.kind == FindingKind::Scan), "it scans");
    // For two days there is what is wanted, and in the end more of it than ever.
    for hour in 0..48 {
        if hour % 7 == 3 {
            scene.restart();
        }
        scene.skip_minutes(49);
        (0..11).for_each(|_| drop(scene.window([sent("db")])));
    }
    let rows = scene.window([sent("db").connections(1 << 40, 0, 1)]);
    let policy = offered(&rows, FindingKind::NoPolicy).expect("a policy").to_string();
    assert!(policy.contains("app == 'db'") && !policy.contains("app == 'w"), "{policy}");
}

#[test]
fn a_wide_rule_that_a_scan_used_is_not_narrowed_to_what_the_scan_reached() {
    let spec =
        json!({"tier": "default", "selector": "app == 'web'", "types": ["Egress"], "egress": [{"action": "Allow"}]});
    let changes = [pod("shop/web", json!({"app": "web"})), policy("shop/open", spec)].map(|object| (-60, object));
    let sent = |n: u32| {
        let used = flow("shop/web", &format!("shop/w{n}:80")).trace([rule("shop/open", "default", 0)]);
        used.labels(&["app=web"], &[&format!("app=w{n}")])
    };
    let mut scene = Scene::with_cluster(Settings::default(), changes.clone());
    assert!(offered(&scene.window([sent(0)]), FindingKind::BroadAllow).is_some());

    let mut scene = Scene::with_cluster(Settings::default(), changes);
    let scan = (0..60).map(|n| sent(n).packets(3, 0).connections(1, 0, 1));
    let rows: Vec<_> = (0..20).flat_map(|_| scene.window(scan.clone())).collect();
    assert!(rows.iter().any(|row| row.kind == FindingKind::Scan), "it scans");
    let newest: Vec<_> = rows.into_iter().filter(|row| row.kind == FindingKind::BroadAllow).collect();
    assert_eq!(offered(&newest[newest.len() - 1..], FindingKind::BroadAllow), None);
}

#[test]
fn namespaces_of_operators_and_peers_that_no_rule_can_name_get_advice_only() {
    let system = flow("ops/api", "calico-system/typha:5473")
        .dst()
        .trace([profile("calico-system")])
        .labels(&["app=api"], &["app=typha"]);
    assert_eq!(offered(&Scene::new().window([system]), FindingKind::NoPolicy), None);
    let nameless = to_web("shop/api").labels(&[], &["app=web"]);
    assert_eq!(offered(&Scene::new().window([nameless]), FindingKind::NoPolicy), None);
}

#[test]
fn a_source_that_scans_is_not_let_in() {
    let mut observed = super::Observed::default();
    let scan = catchment_core::Subject::default().with("namespace", Some("shop")).with("workload", Some("api"));
    assert!(!observed.age(catchment_core::EventTime::from_secs(0), &[scan]));
    let contact = |workload: &str| {
        let labels = vec![("app".to_owned(), workload.to_owned())];
        (
            super::Peer::Workload { namespace: "shop".to_owned(), workload: workload.to_owned(), labels },
            80,
            "tcp".to_owned(),
        )
    };
    let watched = super::Watched {
        first: catchment_core::EventTime::MIN,
        last: catchment_core::EventTime::MAX,
        labels: Vec::new(),
        contacts: [contact("api"), contact("web")].into(),
        users: std::collections::BTreeSet::new(),
        incomplete: false,
    };
    let own = super::Own { namespace: "shop", excluded: Vec::new() };
    let rules = observed.rules(&[&watched], super::Direction::Ingress, &own).expect("rules");
    assert_eq!(rules.iter().map(|rule| &*rule.source.selector).collect::<Vec<_>>(), ["app == 'web'"]);
}

#[test]
fn more_ports_than_a_rule_holds_are_in_several() {
    let mut scene = Scene::new();
    let rows = scene.window((0..60).map(|port| {
        let web = format!("shop/web-7d4b9c6f5-*:{}", 8000 + port);
        flow("shop/api", &web).dst().trace([profile("shop")]).labels(&["app=api"], &["app=web"])
    }));
    let policy = offered(&rows, FindingKind::NoPolicy).expect("a policy");
    let rules = policy["spec"]["ingress"].as_array().expect("rules");
    let ports: Vec<_> = rules.iter().map(|rule| rule["destination"]["ports"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(ports, [50, 10]);
    assert!(rules.iter().all(|rule| rule["source"] == json!({"selector": "app == 'api'"})), "{policy}");
}

#[test]
fn addresses_of_a_node_are_in_a_rule_for_each_version_of_ip_and_each_once() {
    let address = |kind: &str, address: &str| json!({"type": kind, "address": address});
    let addresses = [
        address("InternalIP", "10.0.0.11"),
        address("InternalIP", "fd00::11"),
        address("ExternalIP", "10.0.0.11"),
        address("Hostname", "n1"),
    ];
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": addresses}});
    let mut scene = Scene::with_cluster(Settings::default(), [(-60, node)]);
    let rows = scene.window([to_web("host:n1")]);
    let policy = offered(&rows, FindingKind::NoPolicy).expect("a policy");
    let rules = policy["spec"]["ingress"].as_array().expect("rules");
    let sources: Vec<_> = rules.iter().map(|rule| &rule["source"]).collect();
    assert_eq!(sources, [&json!({"nets": ["10.0.0.11/32"]}), &json!({"nets": ["fd00::11/128"]})]);
}

#[test]
fn a_policy_that_no_server_would_take_is_not_offered() {
    let long: Vec<_> = (0..20).map(|n| format!("purpose-{n}={}", "x".repeat(60))).collect();
    let long: Vec<_> = long.iter().map(String::as_str).collect();
    let set = to_web("set:office").labels(&long, &["app=web"]);
    assert_eq!(offered(&Scene::new().window([set]), FindingKind::NoPolicy), None);
    let name = format!("shop/{}:80", "w".repeat(240));
    let named = flow("shop/api", &name).dst().trace([profile("shop")]).labels(&["app=api"], &["app=web"]);
    assert_eq!(offered(&Scene::new().window([named]), FindingKind::NoPolicy), None);
}
