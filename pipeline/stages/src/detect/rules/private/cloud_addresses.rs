//! `private.metadata-access` and `private.workload-credentials`: addresses at which clouds hand out credentials.
//!
//! A collector without addresses shows them as public or private networks, so they are seen only behind a network set that
//! contains them. A set that contains half the internet says nothing: it has to be narrow, and no other set may name the
//! address more closely. Name and time services share these addresses at other ports and are left out by the ports.

use std::net::IpAddr;

use catchment_core::{Confidence, FindingKind, Severity, Subject};
use catchment_schemas::goldmane::Action;
use ipnet::IpNet;

use crate::detect::config::Settings;
use crate::detect::facts::Facts;
use crate::detect::ranges::{CREDENTIALS, HTTP, METADATA};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::story::count;
use crate::policy::AddressSet;

pub(crate) struct CloudAddresses {
    metadata: Vec<(IpAddr, &'static [i64])>,
}

impl CloudAddresses {
    pub(crate) fn new(settings: &Settings) -> Self {
        let further = settings.metadata_addresses.iter().map(|address| (*address, HTTP));
        Self { metadata: METADATA.into_iter().chain(further).collect() }
    }

    /// What a network set stands for at a port, and how closely it names it.
    fn kind(&self, key: &Facts<'_>, set: &AddressSet, sets: &[AddressSet]) -> Option<(FindingKind, u8)> {
        let port = key.key.key.dest_port;
        let metadata = self.metadata.iter().filter(|(_, ports)| ports.contains(&port));
        let named = metadata.filter_map(|(address, _)| closeness(*address, set, sets)).max();
        let credentials = CREDENTIALS.iter().filter(|_| HTTP.contains(&port));
        let agent = || credentials.filter_map(|address| closeness(*address, set, sets)).max();
        named
            .map(|close| (FindingKind::MetadataAccess, close))
            .or_else(|| agent().map(|close| (FindingKind::WorkloadCredentials, close)))
    }
}

impl Rule for CloudAddresses {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::MetadataAccess, FindingKind::WorkloadCredentials]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let (source, dest) = (key.source, key.dest);
        let namespace = source.namespace().filter(|_| source.is_workload() && key.is_egress())?;
        if !dest.is_network_set() || !matches!(&*key.key.key.protocol, "tcp") {
            return None;
        }
        let sets = &key.view.state?.surroundings().sets;
        let (of, name) = (dest.namespace().unwrap_or_default(), &*dest.endpoint.raw_name);
        let set = sets.iter().find(|set| set.namespace == of && set.name == name)?;
        let (kind, spare) = self.kind(key, set, sets)?;
        let subject = Subject::default().with("namespace", Some(namespace)).with("workload", Some(source.name()));
        let case = Case::new(kind, subject).owner(source.who.owner.as_deref());
        let case = case.confidence(if spare == 0 { Confidence::Certain } else { Confidence::Derived });
        let attempt = kind == FindingKind::MetadataAccess && key.is_denied();
        Some(if attempt { case.severity(Severity::Low) } else { case })
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (workload, namespace) = (told.workload(), told.member("namespace"));
        let allowed = told.tally.sample.iter().any(|(key, _)| key.key.action == Action::Allow as i32);
        let set = told.tally.sample.first().map(|(key, _)| key.key.dest.name()).unwrap_or_default();
        let counted = count(told.tally.packets, "packet");
        if told.kind == FindingKind::WorkloadCredentials {
            return credentials(&workload, namespace, set, &counted);
        }
        let reached = if allowed { "reaches" } else { "tries" };
        Story {
            title: format!("{workload} {reached} the cloud's metadata service"),
            explanation: format!(
                "{workload} sent {counted} to the network set {set}, which contains the address of the cloud's metadata \
                 service, and {}. Whoever asks there gets the credentials of the node, with all that the node may do in \
                 the cloud. Few workloads need it: agents of the cloud, and clients that were not given an identity of \
                 their own. A request that an attacker makes a server send looks the same.",
                if allowed { "policies allow it" } else { "a policy denies it" },
            ),
            remediation: if allowed {
                format!(
                    "Deny egress to the set {set} for all pods by a GlobalNetworkPolicy and except those that need it; give \
                     {workload} an identity of its own in the cloud. Then look at which process of {workload} asked."
                )
            } else {
                format!("Nothing got out. Look at which process of {workload} asks, and why.")
            },
            verify: format!("catchment findings list --kind {} --namespace {namespace}", told.kind),
            ..Story::default()
        }
    }
}

fn credentials(workload: &str, namespace: &str, set: &str, counted: &str) -> Story {
    Story {
        title: format!("{workload} asks the cloud's agent for credentials"),
        explanation: format!(
            "{workload} sent {counted} to the network set {set}, which contains the address at which the agent of the node \
             hands out the credentials of the pod's own account. That is how workloads are meant to get them; it says that \
             {workload} acts in the cloud."
        ),
        remediation: format!("Nothing, if {workload} is meant to act in the cloud; else take its role away."),
        verify: format!("catchment findings list --kind {} --namespace {namespace}", FindingKind::WorkloadCredentials),
        ..Story::default()
    }
}

/// By how many bits a set names an address less closely than alone; `None` where it does not stand for it.
fn closeness(address: IpAddr, set: &AddressSet, sets: &[AddressSet]) -> Option<u8> {
    let longest = |set: &AddressSet| {
        set.nets.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len()).copied()
    };
    let net = longest(set).filter(is_narrow)?;
    let closer = sets.iter().filter_map(longest).any(|other| other.prefix_len() > net.prefix_len());
    (!closer).then(|| net.max_prefix_len() - net.prefix_len())
}

/// Whether a network holds little else than what a cloud keeps for itself.
fn is_narrow(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() >= if net.addr().is_link_local() { 16 } else { 24 },
        IpNet::V6(net) => net.prefix_len() >= 64,
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{Confidence, FindingKind, FindingRow, Severity};
    use serde_json::{Value, json};

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, Scene, deny_rule, flow, rule};

    type Told = Vec<(FindingKind, Severity, Confidence)>;

    fn set(name: &str, nets: &[&str]) -> (i64, Value) {
        let set = json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
            "metadata": {"name": name}, "spec": {"nets": nets}});
        (0, set)
    }

    fn scene(sets: impl IntoIterator<Item = (i64, Value)>) -> Scene {
        Scene::with_cluster(Settings::default(), sets)
    }

    fn asks(set: &str, port: i64) -> Flow {
        flow("shop/web-7d4b9c6f5-*", &format!("set:{set}:{port}")).trace([rule("shop/out", "default", 0)])
    }

    fn of(told: Vec<FindingRow>) -> Told {
        let kinds = [FindingKind::MetadataAccess, FindingKind::WorkloadCredentials];
        let told = told.into_iter().filter(|row| kinds.contains(&row.kind));
        told.map(|row| (row.kind, row.severity, row.confidence)).collect()
    }

    const REACHED: (FindingKind, Severity, Confidence) =
        (FindingKind::MetadataAccess, Severity::High, Confidence::Certain);

    #[test]
    fn a_set_with_a_metadata_address_shows_who_asks_there() {
        for address in ["169.254.169.254/32", "fd00:ec2::254/128", "100.100.100.200", "192.0.0.192/32", "168.63.129.16"]
        {
            assert_eq!(of(scene([set("metadata", &[address])]).window([asks("metadata", 80)])), [REACHED], "{address}");
        }
        let told = scene([set("metadata", &["169.254.169.254/32"])]).window([asks("metadata", 80)]);
        assert_eq!(told[0].subject.to_json(), json!({"namespace": "shop", "workload": "web"}));
        assert!(told[0].explanation.contains("network set metadata"), "{}", told[0].explanation);
    }

    #[test]
    fn names_and_time_are_asked_for_at_other_ports() {
        let mut scene = scene([set("metadata", &["169.254.169.254/32", "168.63.129.16/32"])]);
        assert_eq!(
            of(scene.window([asks("metadata", 53), asks("metadata", 53).udp(), asks("metadata", 123).udp()])),
            []
        );
        assert_eq!(of(scene.window([asks("metadata", 32_526)])), [REACHED]);
    }

    #[test]
    fn a_port_of_one_cloud_is_none_of_another() {
        assert_eq!(of(scene([set("metadata", &["169.254.169.254/32"])]).window([asks("metadata", 32_526)])), []);
    }

    #[test]
    fn an_attempt_that_a_policy_denies_is_low() {
        let denied = asks("metadata", 80).deny().trace([deny_rule("no-metadata", "security", 0)]).packets(2, 0);
        let told = scene([set("metadata", &["169.254.169.254/32"])]).window([denied]);
        assert_eq!(of(told), [(FindingKind::MetadataAccess, Severity::Low, Confidence::Certain)]);
    }

    #[test]
    fn credentials_agents_are_another_kind() {
        for address in ["169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::23/128"] {
            let told = of(scene([set("agents", &[address])]).window([asks("agents", 80)]));
            assert_eq!(told, [(FindingKind::WorkloadCredentials, Severity::Info, Confidence::Certain)], "{address}");
        }
    }

    #[test]
    fn all_of_link_local_is_less_sure_and_half_the_internet_says_nothing() {
        let link_local = of(scene([set("local", &["169.254.0.0/16"])]).window([asks("local", 80)]));
        assert_eq!(link_local, [(FindingKind::MetadataAccess, Severity::High, Confidence::Derived)]);
        assert_eq!(of(scene([set("all", &["0.0.0.0/0", "::/0", "168.0.0.0/8"])]).window([asks("all", 80)])), []);
    }

    #[test]
    fn a_closer_set_takes_the_address_from_a_wider_one() {
        let mut scene = scene([
            set("local", &["169.254.0.0/16"]),
            set("metadata", &["169.254.169.254/32", "fd00:ec2::254"]),
            set("agents", &["169.254.170.2/32", "169.254.170.23/32"]),
        ]);
        assert_eq!(of(scene.window([asks("local", 80)])), []);
    }

    #[test]
    fn the_cache_of_names_on_every_node_is_no_metadata_service() {
        let mut scene = scene([set("dns", &["169.254.20.10/32"])]);
        assert_eq!(of(scene.window([asks("dns", 53).udp(), asks("dns", 53), asks("dns", 80), asks("dns", 9253)])), []);
    }

    #[test]
    fn further_addresses_may_be_configured() {
        let settings = serde_json::from_str(r#"{"metadata_addresses": ["10.1.2.3"]}"#).expect("these are settings");
        let mut scene = Scene::with_cluster(settings, [set("own", &["10.1.2.3/32"])]);
        assert_eq!(of(scene.window([asks("own", 80)])), [REACHED]);
        let error = serde_json::from_str::<Settings>(r#"{"metadata_addresses": ["10.1.2"]}"#);
        assert!(error.expect_err("that is no address").to_string().contains("IP address"));
    }

    #[test]
    fn a_set_that_is_not_known_says_nothing() {
        assert_eq!(of(scene([]).window([asks("metadata", 80)])), []);
    }
}
