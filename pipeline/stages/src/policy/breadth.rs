//! How wide rules are, and which rules leave nothing to those behind them.

use catchment_core::knowledge::policy::{Action, EntityRule, Port, Protocol};

use super::compile::{Compiled, Direction};
use super::rule::CompiledRule;
use crate::selector::Selector;

/// How wide one rule is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breadth {
    /// What it does.
    pub action: Action,
    /// Where it stands in the object, like `ingress[0]`.
    pub origin: String,
    /// No peer is asked for: it is for anyone, outside the cluster too.
    pub anyone: bool,
    /// Anyone is asked for by a net of all addresses: whoever wrote it meant the public too.
    pub all_nets: bool,
    /// The peer is asked for by what it is: labels, namespace, account or service, and not by addresses alone.
    pub by_identity: bool,
    /// No port is asked for, of a protocol that has ports or of all protocols.
    pub any_port: bool,
}

/// The peers that a rule asks for by a selector.
#[derive(Clone, Debug)]
pub struct Peer<'a> {
    /// Where the rule stands in the object, like `ingress[0].from[1]`.
    pub origin: &'a str,
    /// The selector, narrowed to where it is looked for.
    pub selector: &'a Selector,
    /// Whether only the policy's own namespace is meant.
    pub own_namespace: bool,
}

impl Compiled {
    /// How wide rule number `index` of a flow log's trace is.
    pub fn breadth(&self, direction: Direction, index: usize) -> Option<Breadth> {
        let rule = self.rules(direction).get(index).filter(|rule| rule.problem.is_none())?;
        Some(Breadth {
            action: rule.action,
            origin: place(&rule.origin).to_owned(),
            anyone: rule.rule.http.is_none() && is_anyone(rule.peer(direction)),
            all_nets: has_all_nets(rule.peer(direction)),
            by_identity: is_by_identity(rule.peer(direction)),
            any_port: rule.is_any_port(),
        })
    }

    /// Whether any rule of a direction allows, or leaves the decision to the next tier.
    pub fn lets_through(&self, direction: Direction) -> bool {
        self.rules(direction).iter().any(|rule| matches!(rule.action, Action::Allow | Action::Pass))
    }

    /// What the rules of a direction do, in order.
    pub fn actions(&self, direction: Direction) -> impl Iterator<Item = Action> {
        self.rules(direction).iter().map(|rule| rule.action)
    }

    /// Where rule number `index` stands in the object, protocols that were told apart left out.
    pub fn place(&self, direction: Direction, index: usize) -> Option<&str> {
        self.origin(direction, index).map(place)
    }

    /// The first rule of a direction that asks for nothing and so leaves nothing to those behind it.
    pub fn settles_all(&self, direction: Direction) -> Option<usize> {
        self.rules(direction).iter().position(CompiledRule::settles_all)
    }

    /// Whether rule number `index` can match nothing that rule number `earlier` of `before` does not settle first.
    pub fn is_covered(&self, direction: Direction, index: usize, before: &Self, earlier: usize) -> bool {
        let rules = (self.rules(direction).get(index), before.rules(direction).get(earlier));
        let (Some(rule), Some(earlier)) = rules else { return false };
        // A rule of a namespace means its own endpoints: the same words mean others elsewhere.
        let same_scope = self.id.namespace == before.id.namespace;
        earlier.settles_all() || same_scope && earlier.covers(rule)
    }

    /// The peers that rules of a direction ask for by a selector.
    pub fn peers(&self, direction: Direction) -> impl Iterator<Item = Peer<'_>> {
        let readable = self.rules(direction).iter().filter(|rule| rule.problem.is_none());
        let sides = readable.flat_map(|rule| {
            [(rule, &rule.rule.source, &rule.source), (rule, &rule.rule.destination, &rule.destination)]
        });
        sides.filter_map(|(rule, written, entity)| {
            let selector = entity.selector.as_ref()?;
            let own_namespace = !self.id.namespace.is_empty() && written.namespace_selector.is_empty();
            Some(Peer { origin: place(&rule.origin), selector, own_namespace })
        })
    }
}

/// `ingress[0].from[1]` of `ingress[0].from[1] (TCP)`.
fn place(origin: &str) -> &str {
    origin.split_once(' ').map_or(origin, |(place, _)| place)
}

fn has_all_nets(peer: &EntityRule) -> bool {
    peer.nets.iter().any(|net| ["0.0.0.0/0", "::/0"].contains(&net.as_str()))
}

fn is_anyone(peer: &EntityRule) -> bool {
    let all_nets = peer.nets.is_empty() || has_all_nets(peer);
    let EntityRule { selector, not_selector, namespace_selector, not_nets, service_accounts, services, .. } = peer;
    let no_selector = selector.is_empty() && not_selector.is_empty() && namespace_selector.is_empty();
    all_nets && no_selector && not_nets.is_empty() && service_accounts.is_none() && services.is_none()
}

const fn is_by_identity(peer: &EntityRule) -> bool {
    let EntityRule { selector, not_selector, namespace_selector, service_accounts, services, .. } = peer;
    let by_label = !(selector.is_empty() && not_selector.is_empty() && namespace_selector.is_empty());
    by_label || service_accounts.is_some() || services.is_some()
}

impl CompiledRule {
    const fn peer(&self, direction: Direction) -> &EntityRule {
        match direction {
            Direction::Ingress => &self.rule.source,
            Direction::Egress => &self.rule.destination,
        }
    }

    fn is_any_port(&self) -> bool {
        let has_ports = self.rule.protocol.is_none_or(Protocol::has_ports) && self.rule.icmp.is_none();
        let ends = [&self.rule.source, &self.rule.destination];
        has_ports && ends.iter().all(|end| end.ports.is_empty() && end.not_ports.is_empty())
    }

    /// Whether it asks for nothing and the tier goes no further.
    fn settles_all(&self) -> bool {
        let rule = &self.rule;
        let nothing = rule.protocol.is_none() && rule.not_protocol.is_none() && rule.ip_version.is_none();
        let nothing = nothing && rule.icmp.is_none() && rule.not_icmp.is_none() && rule.http.is_none();
        let ends = [&rule.source, &rule.destination];
        self.action != Action::Log
            && self.problem.is_none()
            && nothing
            && ends.iter().all(|end| **end == EntityRule::default())
    }

    /// Whether everything that `later` matches is settled here: each condition is the same or was not asked for.
    fn covers(&self, later: &Self) -> bool {
        let (a, b) = (&self.rule, &later.rule);
        let settles = self.action != Action::Log && self.problem.is_none() && later.problem.is_none();
        let same = [
            wider(a.protocol.as_ref(), b.protocol.as_ref()),
            wider(a.not_protocol.as_ref(), b.not_protocol.as_ref()),
            wider(a.ip_version.as_ref(), b.ip_version.as_ref()),
            wider(a.icmp.as_ref(), b.icmp.as_ref()),
            wider(a.not_icmp.as_ref(), b.not_icmp.as_ref()),
            wider(a.http.as_ref(), b.http.as_ref()),
        ];
        let ends = covers_end(&a.source, &b.source) && covers_end(&a.destination, &b.destination);
        settles && same.into_iter().all(|same| same) && ends
    }
}

/// Whether a condition is the same, or was not asked for in the first place.
fn wider<T: PartialEq>(earlier: Option<&T>, later: Option<&T>) -> bool {
    earlier.is_none() || earlier == later
}

fn covers_end(a: &EntityRule, b: &EntityRule) -> bool {
    let is_anyone =
        EntityRule { ports: a.ports.clone(), not_ports: a.not_ports.clone(), ..EntityRule::default() } == *a;
    let peer = |end: &EntityRule| EntityRule { ports: Vec::new(), not_ports: Vec::new(), ..end.clone() };
    let ports = a.ports.is_empty() || !b.ports.is_empty() && b.ports.iter().all(|port| holds(&a.ports, port));
    let not_ports = a.not_ports.is_empty() || a.not_ports == b.not_ports;
    (is_anyone || peer(a) == peer(b)) && ports && not_ports
}

fn holds(ports: &[Port], wanted: &Port) -> bool {
    ports.iter().any(|port| match (port, wanted) {
        (Port::Range(first, last), Port::Range(from, to)) => first <= from && to <= last,
        _ => port == wanted,
    })
}
