//! What a cluster is made of, drawn by chance: namespaces, workloads, and the edges between them.

use catchment_schemas::goldmane::Reporter;

use crate::dice::Dice;
use crate::policy::Stance;

const APPS: [&str; 12] =
    ["web", "api", "cart", "checkout", "search", "mail", "auth", "billing", "queue", "cache", "report", "gateway"];
pub(crate) const TEAMS: [&str; 8] = ["shop", "payments", "search", "media", "platform", "data", "identity", "support"];
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
pub(crate) struct Port {
    pub(crate) service: i64,
    pub(crate) pod: i64,
    pub(crate) name: &'static str,
    pub(crate) proto: &'static str,
}

/// A namespace with its policies.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) stance: Stance,
    pub(crate) edits: Option<Cycle>,
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
    /// The place in [`PORTS`] that its policy lets nobody reach.
    pub(crate) closed: Option<usize>,
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
    /// The destination's node turns the packets away.
    pub(crate) denied: bool,
    /// Packets of requests per second, over all nodes.
    pub(crate) rate: f64,
    /// Packets of replies for one of requests.
    pub(crate) replies: f64,
    /// Bytes per packet.
    pub(crate) packet_bytes: f64,
}

pub(crate) fn namespace(dice: &mut Dice, number: usize) -> Namespace {
    let stance = Stance::ALL[number % Stance::ALL.len()];
    // Whatever the seed, someone edits rules within the hour.
    let edits = Cycle::some(dice, if stance == Stance::Kubernetes { 1 } else { 3 });
    Namespace { name: TEAMS[number].to_owned(), stance, edits }
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
    let namespace = dice.index(namespaces.len());
    let closed = (dice.below(2) == 0).then(|| dice.index(PORTS.len()));
    let closed = closed.filter(|_| namespaces[namespace].stance.denies());
    Workload { namespace, app, kind, rollouts, closed }
}

pub(crate) fn draw_edge(dice: &mut Dice, workloads: &[Workload], nodes: usize) -> Edge {
    let here = Peer::Workload(dice.index(workloads.len()));
    let (source, dest) = match dice.below(100) {
        0..72 => (here, Peer::Workload(dice.index(workloads.len()))),
        72..80 => (here, Peer::Public),
        80..86 => (here, Peer::Private),
        86..90 => (here, Peer::GlobalSet),
        90..92 => (here, Peer::NamespacedSet(dice.index(TEAMS.len()))),
        92..94 => (here, Peer::Host(dice.index(nodes))),
        94..98 => (Peer::Public, here),
        _ => (Peer::Private, here),
    };
    let port = dice.index(PORTS.len());
    Edge {
        source,
        dest,
        port,
        denied: matches!(dest, Peer::Workload(w) if workloads[w].closed == Some(port)),
        // Most talk little and a few talk much: 1 to 1,000 packets a second.
        rate: 10f64.powf(dice.unit() * 3.0),
        replies: 0.5 + dice.unit(),
        packet_bytes: 60.0 + dice.unit() * 1300.0,
    }
}

/// Nodes report for the workloads they hold, and for nothing else.
pub(crate) fn reporters(edge: &Edge) -> impl Iterator<Item = Reporter> {
    let source = matches!(edge.source, Peer::Workload(_)).then_some(Reporter::Src);
    let dest = matches!(edge.dest, Peer::Workload(_)).then_some(Reporter::Dst);
    source.into_iter().chain(dest)
}
