//! The naive evaluator: no index, no conversion, no parsing; every question is asked of the trees themselves.

use std::net::IpAddr;

use catchment_stages::policy::{Direction, Verdict};

use crate::Traffic;
use crate::world::{Body, End, Entity, Labels, NAMED, Pairs, Peer, PeerRule, Policy, Ports, Rule, Sel, Set, World};

/// Something with labels that a selector may match.
#[derive(Clone, Copy)]
enum Thing<'a> {
    End(&'a End),
    Set(&'a Set),
}

/// One side of a connection.
pub(crate) struct Side<'a> {
    pub(crate) world: &'a World,
    pub(crate) traffic: &'a Traffic,
    pub(crate) direction: Direction,
}

/// What settled it.
#[derive(Debug)]
pub(crate) enum By<'a> {
    Rule(&'a Policy, String),
    EndOfTier(&'a Policy),
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) verdict: Verdict,
    pub(crate) by: By<'a>,
}

fn get(pairs: &Pairs, key: &str) -> Option<String> {
    pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| (*value).to_owned())
}

/// `all` is what `all()` says; `global` what `global()` says.
fn holds(sel: &Sel, label: &dyn Fn(&str) -> Option<String>, all: bool, global: bool) -> bool {
    match sel {
        Sel::All => all,
        Sel::Global => global,
        Sel::Has(key) => label(key).is_some(),
        Sel::Compare(key, "!=", value) => label(key).is_none_or(|found| found != *value),
        Sel::Compare(key, op, value) => label(key).is_some_and(|found| match *op {
            "==" => found == *value,
            "contains" => found.contains(value),
            "starts with" => found.starts_with(value),
            _ => found.ends_with(value),
        }),
        Sel::Set(key, within, values) => label(key).is_some_and(|found| values.contains(&found.as_str())) == *within,
        Sel::Not(inner) => !holds(inner, label, all, global),
        Sel::Both(a, b) => holds(a, label, all, global) && holds(b, label, all, global),
        Sel::Either(a, b) => holds(a, label, all, global) || holds(b, label, all, global),
    }
}

fn kubernetes(labels: &Labels, pairs: &Pairs) -> bool {
    labels.equal.iter().all(|(key, value)| get(pairs, key).as_deref() == Some(*value))
        && labels.terms.iter().all(|(key, operator, values)| {
            let found = get(pairs, key);
            let within = found.as_ref().is_some_and(|found| values.contains(&found.as_str()));
            match *operator {
                "In" => within,
                "NotIn" => !within,
                "Exists" => found.is_some(),
                _ => found.is_none(),
            }
        })
}

fn bits(address: IpAddr) -> (u32, u128) {
    match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address))),
        IpAddr::V6(address) => (128, u128::from(address)),
    }
}

fn inside(address: IpAddr, net: &str) -> bool {
    let (base, prefix) = net.split_once('/').unwrap_or((net, ""));
    let (width, base) = bits(base.parse().unwrap());
    let (own, address) = bits(address);
    let prefix: u32 = prefix.parse().unwrap_or(width);
    own == width && (prefix == 0 || (address ^ base) >> (width - prefix) == 0)
}

impl<'a> Side<'a> {
    fn governed(&self) -> &'a End {
        if self.direction == Direction::Egress { &self.traffic.source } else { &self.traffic.destination }
    }

    fn index(&self) -> usize {
        usize::from(self.direction == Direction::Egress)
    }

    fn own_label(&self, thing: Thing<'_>, key: &str) -> Option<String> {
        match thing {
            Thing::End(End::Pod(pod)) => get(&self.world.pods[*pod].labels, key),
            Thing::End(End::Host) => get(&self.world.host.labels, key),
            Thing::End(End::Outside(_)) => None,
            Thing::Set(set) => get(&set.labels, key),
        }
    }

    fn namespace(&self, thing: Thing<'_>) -> Option<&'static str> {
        match thing {
            Thing::End(End::Pod(pod)) => Some(self.world.pods[*pod].namespace),
            Thing::Set(set) if !set.namespace.is_empty() => Some(set.namespace),
            _ => None,
        }
    }

    fn account(&self, thing: Thing<'_>) -> Option<(&'static str, &Pairs)> {
        let Thing::End(End::Pod(pod)) = thing else { return None };
        let pod = &self.world.pods[*pod];
        Some((pod.account, self.world.account(pod.namespace, pod.account)))
    }

    fn by_namespace(&self, sel: &Sel, thing: Thing<'_>) -> bool {
        let namespace = self.namespace(thing);
        let label = |key: &str| namespace.and_then(|name| get(self.world.namespace(name), key));
        holds(sel, &label, namespace.is_some(), namespace.is_none())
    }

    fn by_account(&self, sel: &Sel, thing: Thing<'_>, all: bool) -> bool {
        holds(sel, &|key| self.account(thing).and_then(|(_, labels)| get(labels, key)), all, true)
    }

    fn selects(&self, policy: &Policy, end: &End) -> bool {
        let thing = Thing::End(end);
        if matches!(end, End::Outside(_)) {
            return false;
        }
        let in_namespace = self.namespace(thing).is_some();
        match &policy.body {
            Body::Kubernetes { pods, .. } => self.namespace(thing) == Some(policy.namespace) && self.is_pod(pods, end),
            Body::Cluster { namespaces, pods, .. } => {
                self.is_pod(pods.as_ref().unwrap_or(&Labels::default()), end)
                    && kubernetes(namespaces, self.world.namespace(self.namespace(thing).unwrap()))
            }
            Body::Calico { selector, namespaces, accounts, .. } => {
                let has_account = self.account(thing).is_some();
                let global = policy.namespace.is_empty();
                // How Calico reads `all()` in a global policy depends on what stands beside it.
                let all = match (global, namespaces, accounts) {
                    (true, Some(_), _) => in_namespace,
                    (true, None, Some(_)) => has_account,
                    _ => true,
                };
                let label = |key: &str| self.own_label(thing, key);
                (global || self.namespace(thing) == Some(policy.namespace))
                    && selector.as_ref().is_none_or(|sel| holds(sel, &label, all, true))
                    && namespaces.as_ref().is_none_or(|sel| self.by_namespace(sel, thing))
                    && accounts.as_ref().is_none_or(|sel| self.by_account(sel, thing, !global || has_account))
            }
        }
    }

    fn is_pod(&self, labels: &Labels, end: &End) -> bool {
        matches!(end, End::Pod(pod) if kubernetes(labels, &self.world.pods[*pod].labels))
    }

    fn governs(&self, policy: &Policy) -> bool {
        let index = self.index();
        match (&policy.body, policy.types) {
            (Body::Cluster { rules, .. }, _) => !rules[index].is_empty(),
            (_, Some(types)) => types[index],
            (Body::Kubernetes { .. }, None) => index == 0,
            (Body::Calico { rules, .. }, None) if index == 1 => !rules[1].is_empty(),
            (Body::Calico { rules, .. }, None) => !rules[0].is_empty() || rules[1].is_empty(),
        }
    }

    fn applies(&self, policy: &Policy) -> bool {
        self.governs(policy) && self.selects(policy, self.governed())
    }

    /// Whether a staged policy says anything of this side.
    pub(crate) fn touched_by(&self, policy: &Policy) -> bool {
        let replaced = |enforced: &&Policy| policy.previews(enforced) && self.applies(enforced);
        policy.staged.is_some() && (self.applies(policy) || self.world.policies.iter().any(|other| replaced(&other)))
    }

    fn tier(&self, name: &str) -> (f64, &'static str) {
        match name {
            "kube-admin" => (1_000.0, "Pass"),
            "default" => (1_000_000.0, "Deny"),
            "kube-baseline" => (10_000_000.0, "Pass"),
            _ => {
                let tier = self.world.tiers.iter().find(|tier| tier.0 == name).unwrap();
                (tier.1.unwrap_or(f64::INFINITY), tier.2)
            }
        }
    }

    fn sorting(&self, policy: &Policy) -> (f64, String, f64, String) {
        let kind = match policy.kind() {
            catchment_stages::policy::PolicyKind::CalicoNetworkPolicy => "NetworkPolicy".to_owned(),
            catchment_stages::policy::PolicyKind::NetworkPolicy => "KubernetesNetworkPolicy".to_owned(),
            catchment_stages::policy::PolicyKind::ClusterNetworkPolicy => "KubernetesClusterNetworkPolicy".to_owned(),
            other => format!("{other:?}"),
        };
        let name = format!("{}/{}/{kind}", policy.name, policy.namespace);
        (self.tier(policy.tier).0, policy.tier.to_owned(), policy.order.unwrap_or(f64::INFINITY), name)
    }

    /// Tries all that the rules about HTTP may say, and tells whether it makes a difference.
    pub(crate) fn outcome(&self, policies: &[&'a Policy], pending: bool) -> Outcome<'a> {
        let mut policies: Vec<_> = policies.iter().copied().filter(|policy| self.applies(policy)).collect();
        policies.sort_by(|a, b| self.sorting(a).partial_cmp(&self.sorting(b)).unwrap());
        let unknown = policies.iter().map(|policy| self.http_rules(policy)).sum::<u32>();
        let (allowed, by) = self.run(&policies, 0, pending);
        let differs = (1..1_u32 << unknown).any(|says| self.run(&policies, says, pending).0 != allowed);
        let verdict = match (differs, allowed) {
            (true, _) => Verdict::Unknown,
            (false, true) => Verdict::Allow,
            (false, false) => Verdict::Deny,
        };
        Outcome { verdict, by }
    }

    fn http_rules(&self, policy: &Policy) -> u32 {
        let Body::Calico { rules, .. } = &policy.body else { return 0 };
        rules[self.index()].iter().filter(|rule| rule.http).count() as u32
    }

    /// `says` has a bit for every rule about HTTP: whether it matches.
    fn run(&self, policies: &[&'a Policy], says: u32, pending: bool) -> (bool, By<'a>) {
        let mut bit = 0;
        let mut skip = "";
        for (place, policy) in policies.iter().enumerate() {
            let first_bit = bit;
            bit += self.http_rules(policy);
            if policy.tier == skip {
                continue;
            }
            if let Some((action, at)) = self.first_match(policy, says >> first_bit) {
                match action {
                    "Pass" => {
                        skip = policy.tier;
                        continue;
                    }
                    action => return (action == "Allow", By::Rule(policy, at)),
                }
            }
            let last = policies.get(place + 1).is_none_or(|next| next.tier != policy.tier);
            if last && self.tier(policy.tier).1 == "Deny" {
                let first = policies.iter().find(|other| other.tier == policy.tier).unwrap();
                return (false, By::EndOfTier(if pending { first } else { policy }));
            }
        }
        (self.unselected(), By::Nothing)
    }

    fn unselected(&self) -> bool {
        !matches!(self.governed(), End::Host) || self.world.host.allows
    }

    /// The first rule that matches, and where it stands.
    fn first_match(&self, policy: &Policy, mut says: u32) -> Option<(&'static str, String)> {
        let list = if self.index() == 0 { "ingress" } else { "egress" };
        match &policy.body {
            Body::Calico { rules, .. } => rules[self.index()].iter().enumerate().find_map(|(at, rule)| {
                let mut matches = rule.action != "Log" && self.rule(rule, policy.namespace);
                if rule.http {
                    matches &= says & 1 == 1;
                    says >>= 1;
                }
                matches.then(|| (rule.action, format!("{list}[{at}]")))
            }),
            Body::Kubernetes { rules, .. } | Body::Cluster { rules, .. } => {
                let found = rules[self.index()].iter().enumerate().find(|(_, rule)| self.peer_rule(rule, policy))?;
                let action = if found.1.action == "Accept" { "Allow" } else { found.1.action };
                Some((action, format!("{list}[{}]", found.0)))
            }
        }
    }

    fn peer_rule(&self, rule: &PeerRule, policy: &Policy) -> bool {
        let ports = rule.ports.is_empty() || rule.ports.iter().any(|port| self.peer_port(port));
        ports && (rule.peers.is_empty() || rule.peers.iter().any(|peer| self.peer(peer, policy)))
    }

    fn peer_port(&self, (protocol, port): &(u8, Option<Ports>)) -> bool {
        let connection = &self.traffic.connection;
        connection.protocol.0 == *protocol && port.as_ref().is_none_or(|port| self.port(port, *protocol))
    }

    /// Whether the destination port is `port` of `protocol`.
    fn port(&self, port: &Ports, protocol: u8) -> bool {
        let connection = &self.traffic.connection;
        let Some(actual) = connection.port else { return false };
        match port {
            Ports::Number(number) => actual == *number,
            Ports::Range(first, last) => actual >= *first && actual <= *last,
            Ports::Named(name) => {
                let declares = !matches!(self.traffic.destination, End::Outside(_));
                declares && connection.protocol.0 == protocol && NAMED.contains(&(*name, protocol, actual))
            }
        }
    }

    fn peer(&self, peer: &Peer, policy: &Policy) -> bool {
        let other = if self.index() == 0 { &self.traffic.source } else { &self.traffic.destination };
        let namespace = self.namespace(Thing::End(other));
        match peer {
            Peer::Block(net, except) => {
                let address = self.address(other);
                let cluster = matches!(policy.body, Body::Cluster { .. });
                inside(address, net) && (cluster || !except.iter().any(|except| inside(address, except)))
            }
            Peer::Pods(pods, namespaces) => {
                let in_namespace = |name: &str| match (&policy.body, namespaces) {
                    (_, Some(labels)) => kubernetes(labels, self.world.namespace(name)),
                    (Body::Cluster { .. }, None) => true,
                    (_, None) => name == policy.namespace,
                };
                self.is_pod(pods.as_ref().unwrap_or(&Labels::default()), other) && namespace.is_some_and(in_namespace)
            }
            // Calico takes all that bears such labels of a namespace: network sets too and, where labels must only be
            // missing, also what is in no namespace.
            Peer::Namespaces(labels) => self.things(other).into_iter().any(|thing| match self.namespace(thing) {
                Some(name) => kubernetes(labels, self.world.namespace(name)),
                None => labels.equal.len() + labels.terms.len() > 0 && kubernetes(labels, &Pairs::new()),
            }),
        }
    }

    fn address(&self, end: &End) -> IpAddr {
        let version = self.traffic.connection.ip_version;
        let addresses = self.world.addresses(end);
        addresses.into_iter().find(|address| address.is_ipv4() == (version == Some(4))).unwrap()
    }

    /// All that a selector may match at an end: the endpoint, and the sets that hold its address.
    fn things<'b>(&'b self, end: &'b End) -> Vec<Thing<'b>> {
        let address = self.address(end);
        let sets = self.world.sets.iter().filter(|set| set.nets.iter().any(|net| inside(address, net)));
        let own = (!matches!(end, End::Outside(_))).then_some(Thing::End(end));
        own.into_iter().chain(sets.map(Thing::Set)).collect()
    }

    fn rule(&self, rule: &Rule, namespace: &str) -> bool {
        let connection = &self.traffic.connection;
        let protocol = connection.protocol.0;
        let icmp = |(kind, code): (u8, Option<u8>)| {
            connection.icmp.is_some_and(|actual| actual.0 == kind && code.is_none_or(|code| actual.1 == code))
        };
        rule.version.is_none_or(|version| connection.ip_version == Some(version))
            && rule.protocol.is_none_or(|wanted| wanted == protocol)
            && rule.not_protocol.is_none_or(|unwanted| unwanted != protocol)
            && rule.icmp.is_none_or(icmp)
            && self.entity(&rule.source, &self.traffic.source, rule, namespace, true)
            && self.entity(&rule.destination, &self.traffic.destination, rule, namespace, false)
    }

    fn entity(&self, entity: &Entity, end: &End, rule: &Rule, namespace: &str, is_source: bool) -> bool {
        let address = self.address(end);
        let port = |port: &Ports| self.port(port, rule.protocol.unwrap_or(6));
        (entity.nets.is_empty() || entity.nets.iter().any(|net| inside(address, net)))
            && !entity.not_nets.iter().any(|net| inside(address, net))
            && (entity.ports.is_empty() || entity.ports.iter().any(port))
            && !entity.not_ports.iter().any(port)
            && self.selected(entity, end, namespace)
            && entity.service.is_none_or(|(namespace, name)| self.behind(namespace, name, end, is_source))
    }

    fn selected(&self, entity: &Entity, end: &End, namespace: &str) -> bool {
        let things = self.things(end);
        let matches = |sel: &Sel, thing| holds(sel, &|key| self.own_label(thing, key), true, true);
        let accounts = entity.accounts.as_ref().filter(|(names, sel)| !names.is_empty() || sel.is_some());
        let means_endpoints = entity.selector.is_some() || accounts.is_some();
        let scoped =
            entity.namespaces.is_none() && !namespace.is_empty() && (means_endpoints || entity.not_selector.is_some());
        let not = |thing| entity.not_selector.as_ref().is_some_and(|sel| matches(sel, thing));
        if !means_endpoints && entity.namespaces.is_none() && !scoped {
            return !things.into_iter().any(not);
        }
        things.into_iter().any(|thing| {
            entity.selector.as_ref().is_none_or(|sel| matches(sel, thing))
                && entity.namespaces.as_ref().is_none_or(|sel| self.by_namespace(sel, thing))
                && (!scoped || self.namespace(thing) == Some(self.known(namespace)))
                && accounts.is_none_or(|(names, sel)| {
                    let named = || self.account(thing).is_some_and(|(name, _)| names.contains(&name));
                    (names.is_empty() || named()) && sel.as_ref().is_none_or(|sel| self.by_account(sel, thing, true))
                })
                && !not(thing)
        })
    }

    fn known(&self, namespace: &str) -> &'static str {
        self.world.namespaces.iter().map(|(name, _)| *name).find(|name| *name == namespace).unwrap()
    }

    fn behind(&self, namespace: &str, name: &str, end: &End, is_source: bool) -> bool {
        let End::Pod(pod) = end else { return false };
        let service = self.world.services.iter().find(|service| (service.0, service.1) == (namespace, name));
        let connection = &self.traffic.connection;
        service.is_some_and(|(_, _, pods)| {
            let at = |port: u16| is_source || (connection.protocol.0 == 6 && connection.port == Some(port));
            pods.iter().any(|(behind, port)| behind == pod && at(*port))
        })
    }

    /// Whether a place like `ingress[0].from[1] (TCP)` stands in the first rule that matches, at a peer and a protocol
    /// that match.
    pub(crate) fn is_first_place(&self, policy: &Policy, origin: &str, first: &str) -> bool {
        let (Body::Kubernetes { rules, .. } | Body::Cluster { rules, .. }) = &policy.body else {
            return origin == first;
        };
        let Some(rest) = origin.strip_prefix(first) else { return false };
        let number = |text: &str| text.split(['[', ']']).nth(1).and_then(|number| number.parse::<usize>().ok());
        let rule = &rules[self.index()][number(first).unwrap()];
        let (peer, protocol) = rest.split_once(" (").unwrap_or((rest, ""));
        let peer = match number(peer) {
            Some(peer) => self.peer(&rule.peers[peer], policy),
            None => rule.peers.is_empty(),
        };
        let protocol = protocol.trim_end_matches(')');
        peer && (protocol.is_empty() == rule.ports.is_empty())
            && (protocol.is_empty() || protocol == self.traffic.connection.protocol.to_string())
    }
}
