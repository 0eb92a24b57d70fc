//! One rule against one connection.

use std::fmt::Display;

use catchment_core::knowledge::policy::{Action, EntityRule, IcmpMatch, Port, Protocol, Rule, ServiceAccountMatch};
use ipnet::IpNet;
use serde::Serialize;

use super::compile::{all_of, in_namespace, optional};
use super::endpoint::{NAMESPACE, OF_NAMESPACE, OF_SERVICE_ACCOUNT, SERVICE_ACCOUNT};
use super::surroundings::net;
use super::traffic::{End, Traffic};
use crate::selector::{Selector, Term};

/// A condition of a rule that a connection does not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// The field, like `source.selector`.
    pub field: String,
    /// What it asks for.
    pub wanted: String,
    /// What the connection is.
    pub found: String,
    /// For selectors: the terms that alone are in the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<Term>,
}

/// How a connection fares with a rule.
#[derive(Default)]
pub(super) struct Judgement {
    /// Conditions it does not meet, at most [`Judgement::ENOUGH`].
    pub(super) unmet: Vec<Unmet>,
    /// Fields that cannot be judged by what is known.
    pub(super) unknown: Vec<String>,
}

impl Judgement {
    /// More are of no interest: the rule missed.
    const ENOUGH: usize = 2;

    /// `None` if it depends on what is not known.
    pub(super) fn matched(&self) -> Option<bool> {
        match (self.unmet.is_empty(), self.unknown.is_empty()) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        }
    }

    fn enough(&self) -> bool {
        self.unmet.len() >= Self::ENOUGH
    }

    /// Records what came of a condition; texts are made only for what is not met.
    fn check(
        &mut self,
        field: &str,
        holds: Option<bool>,
        wanted: impl FnOnce() -> String,
        found: impl FnOnce() -> String,
    ) {
        match holds {
            Some(true) => {}
            Some(false) if self.enough() => {}
            Some(false) => {
                self.unmet.push(Unmet { field: field.to_owned(), wanted: wanted(), found: found(), terms: Vec::new() });
            }
            None => self.unknown.push(field.to_owned()),
        }
    }
}

/// A rule in the form it is evaluated in.
#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    pub(super) action: Action,
    /// Where it stands in its object.
    pub(super) origin: String,
    /// What could not be read; such a rule is never judged.
    pub(super) problem: Option<String>,
    pub(super) rule: Rule,
    pub(super) source: Entity,
    pub(super) destination: Entity,
}

/// One end of a rule, parsed.
#[derive(Clone, Debug, Default)]
pub(super) struct Entity {
    nets: Vec<IpNet>,
    not_nets: Vec<IpNet>,
    pub(super) selector: Option<Selector>,
    /// Only where there is no selector; else it is part of that.
    not_selector: Option<Selector>,
    /// Namespace and name.
    service: Option<(String, String)>,
}

impl CompiledRule {
    pub(super) fn new(rule: &Rule, origin: String, namespace: &str) -> Self {
        let parsed = Entity::new(&rule.source, namespace)
            .and_then(|source| Ok((source, Entity::new(&rule.destination, namespace)?)));
        let (problem, (source, destination)) = match parsed {
            Ok(parsed) => (None, parsed),
            Err(problem) => (Some(format!("{origin}: {problem}: the rule cannot be judged")), Default::default()),
        };
        Self { action: rule.action, origin, problem, rule: rule.clone(), source, destination }
    }

    pub(super) fn judge(&self, traffic: &Traffic<'_>) -> Judgement {
        let mut judgement = Judgement::default();
        if self.problem.is_some() {
            judgement.unknown.push("rule".to_owned());
            return judgement;
        }
        self.judge_protocol(traffic, &mut judgement);
        for (side, rule, entity, end, port) in [
            ("source", &self.rule.source, &self.source, &traffic.source, traffic.connection.source_port),
            ("destination", &self.rule.destination, &self.destination, &traffic.destination, traffic.connection.port),
        ] {
            if judgement.enough() {
                break;
            }
            self.judge_ports(side, rule, end, port, traffic, &mut judgement);
            entity.judge(side, rule, end, traffic, &mut judgement);
        }
        if self.rule.http.is_some() {
            judgement.unknown.push("http".to_owned());
        }
        judgement
    }

    fn judge_protocol(&self, traffic: &Traffic<'_>, judgement: &mut Judgement) {
        let (rule, connection) = (&self.rule, traffic.connection);
        let protocol = || connection.protocol.to_string();
        if let Some(version) = rule.ip_version {
            let version_of_traffic = || traffic.version.to_string();
            judgement.check("ipVersion", Some(version == traffic.version), || version.to_string(), version_of_traffic);
        }
        if let Some(wanted) = rule.protocol {
            judgement.check("protocol", Some(wanted == connection.protocol), || wanted.to_string(), protocol);
        }
        if let Some(unwanted) = rule.not_protocol {
            judgement.check(
                "notProtocol",
                Some(unwanted != connection.protocol),
                || format!("not {unwanted}"),
                protocol,
            );
        }
        let message = || connection.icmp.map_or_else(protocol, |(kind, code)| format!("type {kind} code {code}"));
        if let Some(icmp) = rule.icmp {
            judgement.check("icmp", icmp_matches(icmp, traffic), || icmp_text(icmp), message);
        }
        if let Some(icmp) = rule.not_icmp {
            let holds = icmp_matches(icmp, traffic).map(|matches| !matches);
            judgement.check("notICMP", holds, || format!("not {}", icmp_text(icmp)), message);
        }
    }

    fn judge_ports(
        &self,
        side: &str,
        rule: &EntityRule,
        end: &End<'_>,
        port: Option<u16>,
        traffic: &Traffic<'_>,
        judgement: &mut Judgement,
    ) {
        let within = |ports: &[Port]| {
            if !traffic.connection.protocol.has_ports() {
                return Some(false);
            }
            port.map(|port| ports.iter().any(|wanted| self.is_port(wanted, port, end, traffic)))
        };
        let found = || port.map_or_else(|| "no port".to_owned(), |port| port.to_string());
        if !rule.ports.is_empty() {
            judgement.check(&format!("{side}.ports"), within(&rule.ports), || listed(&rule.ports), found);
        }
        if !rule.not_ports.is_empty() {
            let holds = within(&rule.not_ports).map(|within| !within);
            judgement.check(&format!("{side}.notPorts"), holds, || format!("not {}", listed(&rule.not_ports)), found);
        }
    }

    /// A name stands for the port that the endpoint declares under it, for the rule's protocol or else TCP.
    fn is_port(&self, wanted: &Port, port: u16, end: &End<'_>, traffic: &Traffic<'_>) -> bool {
        match wanted {
            Port::Range(first, last) => (*first..=*last).contains(&port),
            Port::Named(name) => {
                let named = self.rule.protocol.filter(|p| [Protocol::UDP, Protocol::SCTP].contains(p));
                let protocol = named.unwrap_or(Protocol::TCP);
                let declared = |p: &catchment_core::knowledge::policy::EndpointPort| {
                    p.name == *name && p.protocol == protocol && p.port == port
                };
                protocol == traffic.connection.protocol && end.endpoint.ports.iter().any(declared)
            }
        }
    }
}

impl Entity {
    fn new(rule: &EntityRule, namespace: &str) -> Result<Self, String> {
        let selector = endpoint_selector(rule, namespace)?;
        let not_selector = optional("notSelector", &rule.not_selector)?;
        // Beside a selector, `notSelector` narrows it; alone, it also lets through what is no endpoint at all.
        let (selector, not_selector) = match (selector, not_selector) {
            (Some(selector), Some(not)) => (Some(selector.and(not.negated())), None),
            other => other,
        };
        let own = |given: &str| if given.is_empty() { namespace.to_owned() } else { given.to_owned() };
        Ok(Self {
            nets: nets(&rule.nets)?,
            not_nets: nets(&rule.not_nets)?,
            selector,
            not_selector,
            service: rule.services.as_ref().map(|service| (own(&service.namespace), service.name.clone())),
        })
    }

    fn judge(&self, side: &str, rule: &EntityRule, end: &End<'_>, traffic: &Traffic<'_>, judgement: &mut Judgement) {
        let field = |name: &str| format!("{side}.{name}");
        let address = || end.address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let within = |nets: &[IpNet]| end.address.map(|address| nets.iter().any(|net| net.contains(&address)));
        if !self.nets.is_empty() {
            judgement.check(&field("nets"), within(&self.nets), || listed(&rule.nets), address);
        }
        if !self.not_nets.is_empty() {
            let holds = within(&self.not_nets).map(|within| !within);
            judgement.check(&field("notNets"), holds, || format!("not {}", listed(&rule.not_nets)), address);
        }
        if let Some(selector) = &self.selector
            && !judgement.enough()
            && !end.matches(selector)
        {
            judgement.unmet.push(Unmet {
                field: field("selector"),
                wanted: selector.to_string(),
                found: end.endpoint.title(),
                terms: selector.missed(&end.endpoint.labels),
            });
        }
        if let Some(selector) = &self.not_selector {
            let holds = Some(!end.matches(selector));
            judgement.check(&field("notSelector"), holds, || format!("not {selector}"), || end.endpoint.title());
        }
        if let Some(service) = &self.service {
            let holds = behind(service, side, end, traffic);
            judgement.check(&field("services"), holds, || format!("{}/{}", service.0, service.1), address);
        }
    }
}

/// All endpoints that one end of a rule may be, as one selector; `None` for anyone.
fn endpoint_selector(rule: &EntityRule, namespace: &str) -> Result<Option<Selector>, String> {
    let in_namespaces = optional("namespaceSelector", &rule.namespace_selector)?
        .map(|selector| selector.prefixed(OF_NAMESPACE).all_means_has(NAMESPACE).global_means_without(NAMESPACE));
    let selector = all_of([account(rule.service_accounts.as_ref())?, optional("selector", &rule.selector)?]);
    if in_namespaces.is_some() {
        return Ok(all_of([in_namespaces, selector]));
    }
    // A policy of a namespace means its own endpoints as soon as it means endpoints at all.
    let own = !namespace.is_empty() && (selector.is_some() || !rule.not_selector.is_empty());
    Ok(all_of([own.then(|| in_namespace(namespace)), selector]))
}

fn account(accounts: Option<&ServiceAccountMatch>) -> Result<Option<Selector>, String> {
    let Some(accounts) = accounts else { return Ok(None) };
    let labelled = optional("serviceAccounts.selector", &accounts.selector)?.map(|s| s.prefixed(OF_SERVICE_ACCOUNT));
    let named = (!accounts.names.is_empty()).then(|| Selector::one_of(SERVICE_ACCOUNT, &accounts.names));
    Ok(all_of([labelled, named]))
}

/// Whether the end is behind the service; at the destination, with protocol and port.
fn behind(service: &(String, String), side: &str, end: &End<'_>, traffic: &Traffic<'_>) -> Option<bool> {
    let services = traffic.surroundings.services.as_ref()?;
    let address = end.address?;
    let connection = traffic.connection;
    let endpoints = services.get(service).map(Vec::as_slice).unwrap_or_default();
    Some(endpoints.iter().any(|endpoint| {
        let port =
            side == "source" || (endpoint.protocol == connection.protocol && Some(endpoint.port) == connection.port);
        endpoint.address == address && port
    }))
}

fn icmp_matches(icmp: IcmpMatch, traffic: &Traffic<'_>) -> Option<bool> {
    if ![Protocol::ICMP, Protocol::ICMP_V6].contains(&traffic.connection.protocol) {
        return Some(false);
    }
    if icmp.kind.is_none() {
        return Some(true);
    }
    let (kind, code) = traffic.connection.icmp?;
    Some(icmp.kind == Some(kind) && icmp.code.is_none_or(|wanted| wanted == code))
}

fn icmp_text(icmp: IcmpMatch) -> String {
    let part = |name: &str, value: Option<u8>| value.map(|value| format!("{name} {value}"));
    let parts: Vec<_> = [part("type", icmp.kind), part("code", icmp.code)].into_iter().flatten().collect();
    if parts.is_empty() { "any message".to_owned() } else { parts.join(" ") }
}

fn nets(texts: &[String]) -> Result<Vec<IpNet>, String> {
    texts.iter().map(|text| net(text).ok_or_else(|| format!("`{text}` is no network like 10.0.0.0/8"))).collect()
}

fn listed(values: &[impl Display]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
