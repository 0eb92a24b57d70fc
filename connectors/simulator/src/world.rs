//! The simulated cluster: namespaces, workloads, the edges between them, and which node reports what.
//!
//! Everything is a function of the seed. What changes over event time (rolling updates, policy
//! edits) is a generation number that [`World::version`] computes from a moment.

use std::collections::HashSet;

use catchment_schemas::goldmane::{Action, EndpointType, FlowKey, Reporter};

use crate::dice::Dice;
use crate::draw::{
    Draw, Edge, Kind, Namespace, PORTS, Peer, Port, Workload, generation, namespaces, reporters, workload,
};
use crate::policy::{self, Stance};

/// One node's part of an edge: where reports come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Number of the edge.
    pub(crate) edge: u32,
    /// The end this node holds.
    pub(crate) reporter: Reporter,
    /// Share of the edge's traffic at this node.
    pub(crate) share: f64,
}

/// Which of its forms an edge has: a change of any part is a change of the flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    /// Generation of the source's pods.
    pub(crate) source: u8,
    /// Generation of the destination's pods.
    pub(crate) dest: u8,
    /// Generation of the policies at the reporting end.
    pub(crate) policy: u8,
}

/// The whole cluster.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) edges: Vec<Edge>,
    /// Per node.
    pub(crate) sites: Vec<Vec<Site>>,
    /// TCP flows name no service.
    hides_services: bool,
}

impl World {
    /// A cluster in which each flush of every node together makes `sites` reports.
    pub(crate) fn new(seed: u64, nodes: usize, sites: usize, hides_services: bool) -> Self {
        let mut dice = Dice::of(&[seed, 1]);
        let namespaces = namespaces(&mut dice);
        // Enough pairs that drawing edges rarely meets one twice.
        let count = (sites.isqrt() * 2).clamp(24, 4000);
        let workloads = (0..count).map(|i| workload(&mut dice, i, &namespaces)).collect();
        let mut world =
            Self { seed, namespaces, workloads, edges: Vec::new(), sites: vec![Vec::new(); nodes], hides_services };
        world.settle(&mut dice, sites);
        world
    }

    /// Draws edges and gives their ends to nodes in turn, until every node has its share.
    fn settle(&mut self, dice: &mut Dice, sites: usize) {
        let nodes = self.sites.len();
        let draw = Draw { namespaces: &self.namespaces, workloads: &self.workloads, nodes };
        let (mut next_node, mut placed, mut known) = (0, 0, HashSet::new());
        while placed < sites {
            let Some(edge) = draw.edge(dice) else { continue };
            // Whoever has two ends to report from has room for both.
            let fits = placed + reporters(&edge).count() <= sites;
            if !fits || !known.insert((edge.source, edge.dest, edge.port)) {
                continue;
            }
            let mut open = reporters(&edge).count();
            let number = self.edges.len() as u32;
            for reporter in reporters(&edge) {
                open -= 1;
                let spread = (1 + dice.index(3)).min(nodes).min(sites - placed - open);
                let home = self.home(&edge, reporter).map(|home| home % nodes);
                let spread = if home.is_some() { 1 } else { spread };
                for _ in 0..spread {
                    let share = 1.0 / spread as f64;
                    self.sites[home.unwrap_or(next_node % nodes)].push(Site { edge: number, reporter, share });
                    next_node += 1;
                }
                placed += spread;
            }
            self.edges.push(edge);
        }
    }

    /// What decides the node of an end that is a pod nobody owns: there is one of it.
    fn home(&self, edge: &Edge, reporter: Reporter) -> Option<usize> {
        match if reporter == Reporter::Src { edge.source } else { edge.dest } {
            Peer::Workload(number) => Some(number).filter(|number| self.workloads[*number].kind == Kind::BarePod),
            _ => None,
        }
    }

    /// The form of a site's edge at a moment.
    pub(crate) fn version(&self, site: Site, secs: i64) -> Version {
        let edge = &self.edges[site.edge as usize];
        let rollout = |peer| match peer {
            Peer::Workload(w) => generation(self.workloads[w].rollouts, secs),
            _ => 0,
        };
        let judge = self.judge(site).map(|w| &self.namespaces[w.namespace]);
        let edits = judge.and_then(|n| n.edits).filter(|_| !self.turns_away(site));
        Version { source: rollout(edge.source), dest: rollout(edge.dest), policy: generation(edits, secs) }
    }

    /// The workload whose policies the reporter judges by.
    fn judge(&self, site: Site) -> Option<&Workload> {
        self.held(site).map(|w| &self.workloads[w])
    }

    /// Whether this end turns the edge's packets away.
    fn turns_away(&self, site: Site) -> bool {
        self.edges[site.edge as usize].denied == Some(site.reporter)
    }

    /// The workload whose pods at the site's node report.
    pub(crate) fn held(&self, site: Site) -> Option<usize> {
        let edge = &self.edges[site.edge as usize];
        match if site.reporter == Reporter::Src { edge.source } else { edge.dest } {
            Peer::Workload(w) => Some(w),
            _ => None,
        }
    }

    /// The flow key of a site in one of its forms.
    pub(crate) fn key(&self, site: Site, version: Version) -> FlowKey {
        let edge = &self.edges[site.edge as usize];
        let (source_namespace, source_name, source_type) = self.endpoint(edge.source, version.source);
        let (dest_namespace, dest_name, dest_type) = self.endpoint(edge.dest, version.dest);
        let judge = self.judge(site).expect("every reporter holds a workload");
        let namespace = &self.namespaces[judge.namespace];
        let (action, trace) = if self.turns_away(site) {
            (Action::Deny, policy::denied(namespace.stance, namespace.name, &judge.app))
        } else {
            let rule = i64::from(version.policy) + rule_of(edge, namespace.stance, site.reporter);
            (Action::Allow, policy::allowed(namespace.stance, namespace.name, &judge.app, rule))
        };
        let key = FlowKey {
            source_name,
            source_namespace,
            source_type: source_type as i32,
            dest_name,
            dest_namespace,
            dest_type: dest_type as i32,
            dest_port: match edge.dest {
                Peer::Workload(_) => PORTS[edge.port].pod,
                _ => PORTS[edge.port].service,
            },
            proto: PORTS[edge.port].proto.to_owned(),
            reporter: site.reporter as i32,
            action: action as i32,
            policies: Some(trace),
            ..FlowKey::default()
        };
        self.with_service(key, edge)
    }

    fn with_service(&self, key: FlowKey, edge: &Edge) -> FlowKey {
        let Port { service: port, name: port_name, .. } = PORTS[edge.port];
        let served = match edge.dest {
            Peer::Workload(w) if matches!(edge.source, Peer::Workload(_)) => Some(&self.workloads[w]),
            _ => None,
        };
        let is_hidden = self.hides_services && PORTS[edge.port].proto == "tcp";
        let (namespace, name, port_name, port) = match served.filter(|w| w.kind != Kind::BarePod && !is_hidden) {
            Some(w) => (self.namespaces[w.namespace].name, w.app.as_str(), port_name, port),
            None => ("-", "-", "-", 0),
        };
        FlowKey {
            dest_service_namespace: namespace.to_owned(),
            dest_service_name: name.to_owned(),
            dest_service_port_name: port_name.to_owned(),
            dest_service_port: port,
            ..key
        }
    }

    fn endpoint(&self, peer: Peer, generation: u8) -> (String, String, EndpointType) {
        let everywhere = |name: &str, kind| ("-".to_owned(), name.to_owned(), kind);
        match peer {
            Peer::Workload(w) => {
                let workload = &self.workloads[w];
                let name = self.pod_name(w, generation);
                (self.namespaces[workload.namespace].name.to_owned(), name, EndpointType::WorkloadEndpoint)
            }
            Peer::Private => everywhere("pvt", EndpointType::Network),
            Peer::Public => everywhere("pub", EndpointType::Network),
            Peer::GlobalSet => everywhere("partner-networks", EndpointType::NetworkSet),
            Peer::NamespacedSet(n) => {
                (self.namespaces[n].name.to_owned(), "office-networks".to_owned(), EndpointType::NetworkSet)
            }
            Peer::Host(node) => everywhere(&format!("node-{node}"), EndpointType::HostEndpoint),
        }
    }

    /// The aggregated name: what pods of one owner have in common, and a star.
    pub(crate) fn pod_name(&self, workload: usize, generation: u8) -> String {
        let app = &self.workloads[workload].app;
        match self.workloads[workload].kind {
            Kind::Deployment => format!("{app}-{}-*", self.template_hash(workload, generation)),
            Kind::DaemonSet | Kind::StatefulSet => format!("{app}-*"),
            Kind::BarePod => app.clone(),
        }
    }

    /// What tells the generations of a deployment apart.
    pub(crate) fn template_hash(&self, workload: usize, generation: u8) -> String {
        drawn(Dice::of(&[self.seed, 2, workload as u64, u64::from(generation)]), 10)
    }

    /// The labels of both ends as `node` sees them: pods of a stateful set differ by one label.
    pub(crate) fn labels(&self, site: Site, version: Version, node: usize) -> (Vec<String>, Vec<String>) {
        let edge = &self.edges[site.edge as usize];
        (self.labels_of(edge.source, version.source, node), self.labels_of(edge.dest, version.dest, node))
    }

    pub(crate) fn labels_of(&self, peer: Peer, generation: u8, node: usize) -> Vec<String> {
        let Peer::Workload(w) = peer else { return Vec::new() };
        let workload = &self.workloads[w];
        let mut labels = vec![
            format!("app.kubernetes.io/name={}", workload.app),
            format!("team={}", self.namespaces[workload.namespace].name),
        ];
        match workload.kind {
            Kind::Deployment => labels.push(format!("pod-template-hash={}", self.template_hash(w, generation))),
            Kind::StatefulSet => labels.push(format!("apps.kubernetes.io/pod-index={node}")),
            Kind::DaemonSet | Kind::BarePod => {}
        }
        labels
    }
}

/// The rule that lets an edge through at an end whose policies were never edited.
fn rule_of(edge: &Edge, stance: Stance, reporter: Reporter) -> i64 {
    match reporter {
        Reporter::Src => policy::rule_for(Stance::Kubernetes, edge.port, edge.dest == Peer::Private),
        _ => policy::rule_for(stance, edge.port, edge.source == Peer::Private),
    }
}

/// Characters of the alphabet that Kubernetes draws names from.
pub(crate) fn drawn(mut dice: Dice, characters: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..characters).map(|_| char::from(ALPHABET[dice.index(ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::draw::SHARED;

    const START: i64 = 1_767_225_600;

    fn all_keys(world: &World, secs: i64) -> Vec<FlowKey> {
        world.sites.iter().flatten().map(|&site| world.key(site, world.version(site, secs))).collect()
    }

    #[test]
    fn every_node_has_its_share_of_the_sites() {
        let world = World::new(1, 4, 1001, false);
        let counts: Vec<_> = world.sites.iter().map(Vec::len).collect();
        assert_eq!(counts.iter().sum::<usize>(), 1001);
        assert!(counts.iter().all(|&n| (230..=270).contains(&n)), "{counts:?}");
    }

    #[test]
    fn a_pod_nobody_owns_is_on_one_node() {
        let world = World::new(1, 4, 1001, false);
        let bare = |w: &usize| world.workloads[*w].kind == Kind::BarePod;
        let mut nodes: std::collections::BTreeMap<usize, BTreeSet<usize>> = std::collections::BTreeMap::new();
        for (node, sites) in world.sites.iter().enumerate() {
            for workload in sites.iter().filter_map(|site| world.held(*site)).filter(bare) {
                nodes.entry(workload).or_default().insert(node);
            }
        }
        assert!(!nodes.is_empty() && nodes.values().all(|nodes| nodes.len() == 1), "{nodes:?}");
    }

    #[test]
    fn a_node_never_reports_one_key_twice() {
        let world = World::new(1, 3, 2000, false);
        for sites in &world.sites {
            let ends: BTreeSet<_> = sites.iter().map(|s| (s.edge, s.reporter as i32)).collect();
            assert_eq!(ends.len(), sites.len());
        }
    }

    #[test]
    fn the_cluster_shows_what_real_ones_show() {
        let keys = all_keys(&World::new(1, 3, 4000, false), START);
        let any = |test: &dyn Fn(&FlowKey) -> bool| keys.iter().any(test);
        assert!(any(&|k| k.dest_name == "pub") && any(&|k| k.source_name == "pvt"));
        assert!(any(&|k| k.dest_type() == EndpointType::NetworkSet && k.dest_namespace == "-"));
        assert!(any(&|k| k.dest_type() == EndpointType::HostEndpoint));
        assert!(any(&|k| k.action() == Action::Deny && k.reporter() == Reporter::Src));
        assert!(any(&|k| k.action() == Action::Deny && k.reporter() == Reporter::Dst && k.source_name == "pub"));
        assert!(any(&|k| k.dest_service_name == "web" && k.dest_service_port_name == "-"));
        assert!(any(&|k| k.proto == "udp"));
        // Only nodes that hold a workload report.
        assert!(keys.iter().all(|k| match k.reporter() {
            Reporter::Src => k.source_type() == EndpointType::WorkloadEndpoint,
            _ => k.dest_type() == EndpointType::WorkloadEndpoint,
        }));
    }

    #[test]
    fn nothing_crosses_an_environment_but_what_serves_all() {
        for seed in 0..20 {
            let world = World::new(seed, 3, 1500, false);
            let namespace = |peer| match peer {
                Peer::Workload(w) => Some(&world.namespaces[world.workloads[w].namespace]),
                _ => None,
            };
            for edge in &world.edges {
                let (Some(from), Some(to)) = (namespace(edge.source), namespace(edge.dest)) else { continue };
                let is_shared = [from, to].iter().any(|n| n.environment == SHARED);
                assert!(is_shared || from.environment == to.environment, "{} -> {}", from.name, to.name);
            }
        }
    }

    #[test]
    fn the_internet_comes_in_at_the_ingress_only() {
        let world = World::new(1, 3, 4000, false);
        let public = all_keys(&world, START).into_iter().filter(|k| k.source_name == "pub");
        let allowed: Vec<_> = public.filter(|k| k.action() == Action::Allow).collect();
        assert!(!allowed.is_empty() && allowed.iter().all(|k| k.dest_namespace == "ingress"));
    }

    #[test]
    fn nobody_in_particular_reaches_nothing_critical() {
        let world = World::new(1, 3, 4000, false);
        let reached = |edge: &&Edge| match (edge.source, edge.dest) {
            (Peer::Workload(from), Peer::Workload(to)) => {
                let critical = world.namespaces[world.workloads[to].namespace].is_critical();
                critical.then(|| world.workloads[from].account()) == Some("default")
            }
            _ => false,
        };
        assert_eq!(world.edges.iter().find(reached).map(|edge| (edge.source, edge.dest)), None);
    }

    #[test]
    fn whoever_sends_to_a_workload_is_seen_at_both_ends() {
        let world = World::new(1, 3, 1501, false);
        let mut seen: BTreeSet<(u32, i32)> = BTreeSet::new();
        seen.extend(world.sites.iter().flatten().map(|site| (site.edge, site.reporter as i32)));
        let ends: usize = world.edges.iter().map(|edge| reporters(edge).count()).sum();
        assert_eq!(seen.len(), ends);
    }

    #[test]
    fn a_rolling_update_changes_the_hash_in_the_name_and_nothing_before_it() {
        let world = World::new(1, 3, 4000, false);
        let number = world.workloads.iter().position(|w| w.rollouts.is_some()).expect("some deployment rolls");
        let (before, after) = (world.pod_name(number, 0), world.pod_name(number, 1));
        let app = &world.workloads[number].app;
        assert_ne!(before, after);
        assert!([before, after].iter().all(|name| name.starts_with(&format!("{app}-")) && name.ends_with("-*")));
        let names = |secs| all_keys(&world, secs).into_iter().map(|k| k.source_name).collect::<BTreeSet<_>>();
        assert_ne!(names(START), names(START + 3600));
    }

    #[test]
    fn pods_of_a_stateful_set_differ_by_a_label_from_node_to_node() {
        let world = World::new(1, 3, 500, false);
        let set = world.workloads.iter().position(|w| w.kind == Kind::StatefulSet).expect("some are stateful sets");
        assert_ne!(world.labels_of(Peer::Workload(set), 0, 0), world.labels_of(Peer::Workload(set), 0, 1));
    }
}
