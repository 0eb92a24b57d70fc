//! What a cluster is made of, drawn by chance: namespaces, workloads, and the edges between them.

use catchment_schemas::goldmane::Reporter;

use crate::dice::Dice;
use crate::policy::Stance;

const APPS: [&str; 12] =
    ["web", "api", "cart", "checkout", "search", "mail", "auth", "billing", "queue", "cache", "report", "gateway"];
/// Namespaces, their environment, and how each is protected.
const NAMESPACES: [(&str, &str, Stance); 10] = [
    ("shop", "production", Stance::Open),
    ("payments", "production", Stance::Kubernetes),
    ("search", "production", Stance::Tiered),
    ("media", "staging", Stance::StagedAllow),
    ("warehouse", "staging", Stance::StagedDeny),
    ("ingress", SHARED, Stance::Ingress),
    ("data", "production", Stance::Open),
    ("identity", "production", Stance::Kubernetes),
    ("support", "development", Stance::Tiered),
    ("monitoring", SHARED, Stance::Kubernetes),
];
/// The environment of what serves all others, and may cross between them.
pub(crate) const SHARED: &str = "shared";
/// What nobody may reach who runs as nobody in particular.
const CRITICAL: &str = "identity";
pub(crate) const PORTS: [Port; 6] = [
    Port { service: 80, pod: 8080, name: "http", proto: "tcp" },
    Port { service: 443, pod: 8443, name: "https", proto: "tcp" },
    Port { service: 5432, pod: 5432, name: "-", proto: "tcp" },
    Port { service: 6379, pod: 6379, name: "redis", proto: "tcp" },
    Port { service: 9090, pod: 9090, name: "metrics", proto: "tcp" },
    Port { service: 53, pod: 5353, name: "dns", proto: "udp" },
];
/// Generations come round again, as roll-backs do, so a long run knows a finite number of keys.
const GENERATIONS: i64 = 4;

/// What a workload serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) service: i64,
    pub(crate) pod: i64,
    pub(crate) name: &'static str,
    pub(crate) proto: &'static str,
}

/// A namespace with its policies.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) name: &'static str,
    pub(crate) environment: &'static str,
    pub(crate) stance: Stance,
    pub(crate) edits: Option<Cycle>,
}

impl Namespace {
    pub(crate) fn is_critical(&self) -> bool {
        self.name == CRITICAL
    }

    /// Environments that its policies let in.
    pub(crate) fn lets_in(&self) -> Vec<&'static str> {
        let mut others = if self.environment == SHARED {
            vec!["production", "staging", "development"]
        } else {
            vec![self.environment]
        };
        others.push(SHARED);
        others
    }
}

/// What owns a workload's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployment,
    DaemonSet,
    StatefulSet,
    /// A pod nobody owns: its name is whole.
    BarePod,
}

/// Pods of one owner.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) namespace: usize,
    /// No other workload of the cluster has this name.
    pub(crate) app: String,
    pub(crate) kind: Kind,
    pub(crate) rollouts: Option<Cycle>,
    /// The place in [`PORTS`] that its policy keeps closed, both ways.
    pub(crate) closed: Option<usize>,
}

impl Workload {
    /// The service account of its pods: every third app runs as nobody in particular.
    pub(crate) fn account(&self) -> &str {
        if self.app.len().is_multiple_of(3) { "default" } else { &self.app }
    }
}

/// Something that changes every `period` seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cycle {
    period: i64,
    phase: i64,
}

impl Cycle {
    fn some(dice: &mut Dice, one_in: u64) -> Option<Self> {
        let period = 600 + dice.below(3000) as i64;
        let phase = dice.below(period as u64) as i64;
        (dice.below(one_in) == 0).then_some(Self { period, phase })
    }
}

/// The moments in `[from, until)` at which it changes.
pub(crate) fn turns(cycle: Option<Cycle>, from: i64, until: i64) -> impl Iterator<Item = i64> {
    let first = cycle.map(|c| (from, c)).map(|(from, c)| (from + (-from - c.phase).rem_euclid(c.period), c.period));
    first.into_iter().flat_map(move |(first, period)| (first..until).step_by(period as usize))
}

/// How often it has changed at a moment, coming round again.
pub(crate) fn generation(cycle: Option<Cycle>, secs: i64) -> u8 {
    cycle.map_or(0, |c| (secs + c.phase).div_euclid(c.period).rem_euclid(GENERATIONS) as u8)
}

/// An end of a conversation; numbers are places in the world's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    Workload(usize),
    Private,
    Public,
    GlobalSet,
    NamespacedSet(usize),
    Host(usize),
}

/// A conversation that goes on for the whole run.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) source: Peer,
    pub(crate) dest: Peer,
    pub(crate) port: usize,
    /// The end that turns the packets away.
    pub(crate) denied: Option<Reporter>,
    /// Packets of requests per second, over all nodes.
    pub(crate) rate: f64,
    /// Packets of replies for one of requests.
    pub(crate) replies: f64,
    /// Bytes per packet.
    pub(crate) packet_bytes: f64,
}

pub(crate) fn namespaces(dice: &mut Dice) -> Vec<Namespace> {
    let namespace = |(name, environment, stance)| {
        // Whatever the seed, someone edits rules within the hour.
        let edits = Cycle::some(dice, if stance == Stance::Kubernetes { 1 } else { 3 });
        Namespace { name, environment, stance, edits }
    };
    NAMESPACES.into_iter().map(namespace).collect()
}

pub(crate) fn workload(dice: &mut Dice, number: usize, namespaces: &[Namespace]) -> Workload {
    let round = number / APPS.len();
    let app = APPS[number % APPS.len()];
    let app = if round == 0 { app.to_owned() } else { format!("{app}-{round}") };
    let kind = match dice.below(20) {
        0..14 => Kind::Deployment,
        14..17 => Kind::StatefulSet,
        17..19 => Kind::DaemonSet,
        _ => Kind::BarePod,
    };
    let rollouts = Cycle::some(dice, 8).filter(|_| kind == Kind::Deployment);
    // No namespace is empty.
    let namespace = if number < namespaces.len() { number } else { dice.index(namespaces.len()) };
    let closed = (dice.below(2) == 0).then(|| dice.index(PORTS.len()));
    let closed = closed.filter(|_| namespaces[namespace].stance.closes());
    Workload { namespace, app, kind, rollouts, closed }
}

/// Who may be drawn into a conversation, and with whom.
pub(crate) struct Draw<'a> {
    pub(crate) namespaces: &'a [Namespace],
    pub(crate) workloads: &'a [Workload],
    pub(crate) nodes: usize,
}

impl Draw<'_> {
    /// An edge of a healthy cluster; `None` if what came up would be no such.
    pub(crate) fn edge(&self, dice: &mut Dice) -> Option<Edge> {
        let number = dice.index(self.workloads.len());
        let here = Peer::Workload(number);
        let (source, dest) = match dice.below(100) {
            0..72 => (here, Peer::Workload(dice.index(self.workloads.len()))),
            72..80 => (here, Peer::Public),
            80..86 => (here, Peer::Private),
            86..90 => (here, Peer::GlobalSet),
            90..92 => (here, Peer::NamespacedSet(self.workloads[number].namespace)),
            92..94 => (here, Peer::Host(dice.index(self.nodes))),
            94..98 => (Peer::Public, here),
            _ => (Peer::Private, here),
        };
        let port = dice.index(PORTS.len());
        let edge = Edge {
            source,
            dest,
            port,
            denied: self.denied(source, dest, port),
            // Most talk little and a few talk much: 4 to 1,000 packets a second.
            rate: 10f64.powf(0.6 + dice.unit() * 2.4),
            replies: 0.5 + dice.unit(),
            packet_bytes: 60.0 + dice.unit() * 1300.0,
        };
        self.is_healthy(&edge, dice).then_some(edge)
    }

    fn namespace(&self, peer: Peer) -> Option<&Namespace> {
        match peer {
            Peer::Workload(number) => Some(&self.namespaces[self.workloads[number].namespace]),
            _ => None,
        }
    }

    /// A port that is closed is closed to what leaves; the internet knocks where nobody lets it in.
    fn denied(&self, source: Peer, dest: Peer, port: usize) -> Option<Reporter> {
        match (source, dest) {
            (Peer::Workload(w), _) if dest != Peer::Private && self.workloads[w].closed == Some(port) => {
                Some(Reporter::Src)
            }
            (Peer::Public, _) if self.namespace(dest).is_some_and(|n| n.stance != Stance::Ingress) => {
                Some(Reporter::Dst)
            }
            _ => None,
        }
    }

    fn is_healthy(&self, edge: &Edge, dice: &mut Dice) -> bool {
        match (edge.source, edge.dest) {
            (Peer::Workload(from), Peer::Workload(to)) => from != to && self.may_talk(from, to, edge.port),
            // Only what a policy names.
            (Peer::Workload(_), Peer::Private) => self.namespace(edge.source).is_some_and(|n| n.stance.denies()),
            (Peer::Workload(_), _) => true,
            (Peer::Public, dest) if edge.denied.is_some() => {
                self.namespace(dest).is_some_and(|n| n.stance.denies()) && dice.below(4) == 0
            }
            (Peer::Public, _) => Stance::is_web(edge.port),
            (_, dest) => self.namespace(dest).is_some_and(|n| n.stance != Stance::Ingress),
        }
    }

    fn may_talk(&self, from: usize, to: usize, port: usize) -> bool {
        let (source, dest) = (&self.workloads[from], &self.workloads[to]);
        let (here, there) = (&self.namespaces[source.namespace], &self.namespaces[dest.namespace]);
        there.stance != Stance::Ingress
            && there.lets_in().contains(&here.environment)
            && dest.closed != Some(port)
            && !(there.is_critical() && source.account() == "default")
    }
}

/// Nodes report for the workloads they hold, and for nothing else.
pub(crate) fn reporters(edge: &Edge) -> impl Iterator<Item = Reporter> {
    let source = matches!(edge.source, Peer::Workload(_)).then_some(Reporter::Src);
    // What the source's node turns away never arrives.
    let arrives = edge.denied != Some(Reporter::Src);
    let dest = (arrives && matches!(edge.dest, Peer::Workload(_))).then_some(Reporter::Dst);
    source.into_iter().chain(dest)
}
