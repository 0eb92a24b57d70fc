//! Random clusters and connections.

use std::net::IpAddr;

use catchment_core::knowledge::policy::Protocol;
use catchment_stages::policy::Connection;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::Traffic;
use crate::world::{Body, End, Entity, Host, Labels, Pairs, Peer, PeerRule, Pod, Policy, Ports, Rule, Sel, Set, World};

const KEYS: [&str; 3] = ["app", "tier", "x"];
const VALUES: [&str; 4] = ["a", "b", "ab", ""];
const NAMESPACES: [&str; 2] = ["shop", "bank"];
const ACCOUNTS: [&str; 2] = ["default", "robot"];
const NETS: [&str; 7] =
    ["10.0.0.0/30", "10.0.0.0/8", "10.0.0.5", "203.0.113.0/24", "fd00::/64", "0.0.0.0/0", "fd00::3"];
const PORTS: [u16; 4] = [80, 53, 8080, 443];
const TIERS: [&str; 3] = ["first", "default", "last"];

pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())].clone()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn maybe<T>(&mut self, percent: u32, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance(percent).then(|| draw(self))
    }

    fn some<T>(&mut self, most: usize, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.0.random_range(0..=most)).map(|_| draw(self)).collect()
    }

    fn labels(&mut self) -> Pairs {
        KEYS.into_iter().filter_map(|key| self.maybe(60, |dice| (key, dice.one(&VALUES)))).collect()
    }

    fn sel(&mut self, depth: u32, global: bool) -> Sel {
        match self.0.random_range(0..if depth == 0 { 10 } else { 15 }) {
            0 => Sel::All,
            1 if global => Sel::Global,
            1 | 2 => Sel::Has(self.one(&KEYS)),
            3..=7 => Sel::Compare(
                self.one(&KEYS),
                self.one(&["==", "==", "!=", "contains", "starts with", "ends with"]),
                self.one(&VALUES),
            ),
            8 | 9 => Sel::Set(self.one(&KEYS), self.0.random(), self.some(3, |dice| dice.one(&VALUES))),
            10 => Sel::Not(Box::new(self.sel(depth - 1, global))),
            11 | 12 => Sel::Both(Box::new(self.sel(depth - 1, global)), Box::new(self.sel(depth - 1, global))),
            _ => Sel::Either(Box::new(self.sel(depth - 1, global)), Box::new(self.sel(depth - 1, global))),
        }
    }

    fn label_selector(&mut self) -> Labels {
        let equal = self.some(1, |dice| (dice.one(&KEYS), dice.one(&VALUES)));
        let terms = self.some(1, |dice| {
            let operator = dice.one(&["In", "NotIn", "Exists", "DoesNotExist"]);
            let values = if operator.contains("In") { vec![dice.one(&VALUES), dice.one(&VALUES)] } else { Vec::new() };
            (dice.one(&KEYS), operator, values)
        });
        Labels { equal, terms }
    }

    fn port(&mut self) -> Ports {
        match self.0.random_range(0..4) {
            0 => Ports::Range(50, 100),
            1 => Ports::Named(self.one(&["http", "dns", "alt", "gone"])),
            _ => Ports::Number(self.one(&PORTS)),
        }
    }

    fn entity(&mut self, with_ports: bool) -> Entity {
        if self.chance(8) {
            let service = Some((self.one(&NAMESPACES), self.one(&["web", "gone"])));
            return Entity { service, ..Entity::default() };
        }
        Entity {
            nets: self.maybe(10, |dice| vec![dice.one(&NETS), dice.one(&NETS)]).unwrap_or_default(),
            not_nets: self.maybe(6, |dice| vec![dice.one(&NETS)]).unwrap_or_default(),
            selector: self.maybe(30, |dice| dice.sel(2, false)),
            not_selector: self.maybe(12, |dice| dice.sel(1, false)),
            namespaces: self.maybe(18, |dice| dice.sel(1, true)),
            accounts: self.maybe(12, |dice| {
                (dice.some(1, |dice| dice.one(&ACCOUNTS)), dice.maybe(50, |dice| dice.sel(1, false)))
            }),
            ports: self
                .maybe(if with_ports { 40 } else { 0 }, |dice| vec![dice.port(), dice.port()])
                .unwrap_or_default(),
            not_ports: self.maybe(if with_ports { 10 } else { 0 }, |dice| vec![dice.port()]).unwrap_or_default(),
            service: None,
        }
    }

    fn rule(&mut self) -> Rule {
        let protocol = self.maybe(50, |dice| dice.one(&[6, 6, 17, 132, 1]));
        let with_ports = protocol.is_some_and(|protocol| protocol != 1);
        let action = self.one(&["Allow", "Allow", "Deny", "Pass", "Log"]);
        Rule {
            action,
            version: self.maybe(8, |dice| dice.one(&[4, 6])),
            protocol,
            not_protocol: self.maybe(8, |dice| dice.one(&[6, 17])),
            icmp: if protocol == Some(1) {
                self.maybe(50, |dice| (dice.one(&[0, 8]), dice.maybe(50, |dice| dice.one(&[0, 1]))))
            } else {
                None
            },
            source: self.entity(false),
            destination: self.entity(with_ports),
            http: action == "Allow" && self.chance(15),
        }
    }

    fn peer_rule(&mut self, cluster: bool) -> PeerRule {
        let peer = |dice: &mut Self| match dice.0.random_range(0..4) {
            0 if cluster => Peer::Namespaces(dice.label_selector()),
            0 | 1 => Peer::Block(
                dice.one(&["10.0.0.0/29", "10.0.0.0/8", "0.0.0.0/0", "fd00::/64"]),
                dice.some(1, |dice| dice.one(&["10.0.0.0/30", "10.0.0.5/32"])),
            ),
            _ => {
                let pods = dice.maybe(70, Self::label_selector);
                Peer::Pods(pods, dice.maybe(50, Self::label_selector))
            }
        };
        let mut peers = self.some(2, peer);
        if cluster && peers.is_empty() {
            peers.push(peer(self));
        }
        let ports = self.some(3, |dice| {
            let port = dice.maybe(75, Self::port).filter(|port| !cluster || !matches!(port, Ports::Named(_)));
            (dice.one(&[6, 6, 17, 132]), port)
        });
        let action = if cluster { self.one(&["Accept", "Deny", "Pass"]) } else { "Allow" };
        PeerRule { action, peers, ports }
    }

    fn policy(&mut self) -> Policy {
        let kind = self.0.random_range(0..10);
        let mut policy = Policy {
            namespace: self.one(&NAMESPACES),
            name: self.one(&["p", "q", "r"]).to_owned(),
            tier: self.one(&TIERS),
            order: self.maybe(70, |dice| dice.one(&[1.0, 2.0, 1000.0, 1500.0])),
            types: self.maybe(50, |dice| dice.one(&[[true, false], [false, true], [true, true]])),
            staged: self.maybe(25, |dice| dice.one(&["Set", "Set", "Delete", "Learn", "Ignore"])),
            body: Body::Kubernetes { pods: Labels::default(), rules: [Vec::new(), Vec::new()] },
        };
        policy.body = match kind {
            0..=2 => {
                (policy.tier, policy.order) = ("default", Some(1000.0));
                let rules = [self.some(2, |dice| dice.peer_rule(false)), self.some(2, |dice| dice.peer_rule(false))];
                Body::Kubernetes { pods: self.label_selector(), rules }
            }
            3 | 4 => {
                (policy.namespace, policy.staged, policy.types) = ("", None, None);
                policy.tier = self.one(&["kube-admin", "kube-baseline"]);
                policy.order = Some(self.one(&[1.0, 2.0]));
                let mut rules = [self.some(2, |dice| dice.peer_rule(true)), self.some(2, |dice| dice.peer_rule(true))];
                if rules.iter().all(Vec::is_empty) {
                    rules[0].push(self.peer_rule(true));
                }
                Body::Cluster { namespaces: self.label_selector(), pods: self.maybe(60, Self::label_selector), rules }
            }
            _ => {
                let global = self.chance(50);
                if global {
                    policy.namespace = "";
                }
                Body::Calico {
                    selector: self.maybe(50, |dice| dice.sel(2, false)),
                    namespaces: if global { self.maybe(40, |dice| dice.sel(1, false)) } else { None },
                    accounts: self.maybe(20, |dice| dice.sel(1, false)),
                    rules: [self.some(3, Self::rule), self.some(3, Self::rule)],
                }
            }
        };
        policy
    }

    pub(crate) fn world(&mut self) -> World {
        let namespaces = NAMESPACES.map(|name| (name, self.labels())).to_vec();
        let accounts = NAMESPACES.into_iter().flat_map(|namespace| ACCOUNTS.map(|name| (namespace, name)));
        let accounts = accounts.collect::<Vec<_>>().into_iter().map(|(ns, name)| (ns, name, self.labels())).collect();
        let pods = (1..=6_u8).map(|number| Pod {
            namespace: self.one(&NAMESPACES),
            labels: self.labels(),
            account: self.one(&ACCOUNTS),
            addresses: vec![IpAddr::from([10, 0, 0, number]), format!("fd00::{number}").parse().unwrap()],
        });
        let pods = pods.collect();
        let host =
            Host { labels: self.labels(), addresses: vec![IpAddr::from([10, 1, 0, 1])], allows: self.chance(50) };
        let sets = self.some(2, |dice| Set {
            namespace: dice.one(&["", "shop", "bank"]),
            labels: dice.labels(),
            nets: vec![dice.one(&NETS), dice.one(&NETS)],
        });
        let services =
            NAMESPACES.map(|namespace| (namespace, "web", vec![(0, 80), (self.0.random_range(0..6), 443)])).to_vec();
        let tiers =
            vec![("first", Some(10.0), self.one(&["Deny", "Pass"])), ("last", None, self.one(&["Deny", "Pass"]))];
        let mut policies: Vec<Policy> = Vec::new();
        for policy in self.some(9, Self::policy) {
            if policies.iter().all(|other| other.id() != policy.id()) {
                policies.push(policy);
            }
        }
        World { namespaces, accounts, pods, host, sets, services, tiers, policies }
    }

    fn end(&mut self) -> End {
        match self.0.random_range(0..12) {
            0 => End::Host,
            1 => End::Outside(self.one(&["203.0.113.9", "198.51.100.1", "10.0.0.9"]).parse().unwrap()),
            _ => End::Pod(self.0.random_range(0..6)),
        }
    }

    pub(crate) fn traffic(&mut self, world: &World) -> Traffic {
        let (source, destination) = (self.end(), self.end());
        let only_v4 = [&source, &destination].iter().any(|end| world.addresses(end).len() == 1);
        let protocol = Protocol(self.one(&[6, 6, 6, 17, 132, 1]));
        let version = if protocol == Protocol::ICMP || only_v4 { 4 } else { self.one(&[4, 6]) };
        let connection = Connection {
            protocol,
            port: (protocol != Protocol::ICMP).then(|| self.one(&PORTS)),
            source_port: None,
            icmp: (protocol == Protocol::ICMP).then(|| (self.one(&[0, 8]), self.one(&[0, 1]))),
            ip_version: Some(version),
        };
        Traffic { source, destination, connection }
    }
}
