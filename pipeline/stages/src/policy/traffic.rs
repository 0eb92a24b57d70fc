//! One connection as rules see it.

use std::net::IpAddr;

use catchment_core::knowledge::policy::Protocol;

use super::endpoint::{Endpoint, EndpointKind};
use super::surroundings::{AddressSet, Surroundings};
use crate::selector::Selector;

/// What is known of a connection besides its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The protocol.
    pub protocol: Protocol,
    /// Destination port behind any translation; `None` for protocols without ports.
    pub port: Option<u16>,
    /// Source port, if known.
    pub source_port: Option<u16>,
    /// Type and code of the ICMP message, if known.
    pub icmp: Option<(u8, u8)>,
    /// 4 or 6; `None` takes the version that both ends have an address of, 4 before 6.
    pub ip_version: Option<u8>,
}

impl Connection {
    /// A connection to a port.
    pub fn new(protocol: Protocol, port: u16) -> Self {
        Self { protocol, port: Some(port), source_port: None, icmp: None, ip_version: None }
    }
}

/// One end as rules see it.
pub(super) struct End<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) address: Option<IpAddr>,
    sets: Vec<&'a AddressSet>,
}

impl<'a> End<'a> {
    fn new(endpoint: &'a Endpoint, version: u8, surroundings: &'a Surroundings) -> Self {
        let address = endpoint.addresses.iter().copied().find(|address| version_of(*address) == version);
        let holding = |address| surroundings.sets.iter().filter(|set| set.contains(address)).collect();
        Self { endpoint, address, sets: address.map(holding).unwrap_or_default() }
    }

    /// Whether the endpoint itself or a network set that holds its address matches: rules know addresses only, and a
    /// selector stands for all addresses of what it matches.
    pub(super) fn matches(&self, selector: &Selector) -> bool {
        let named = self.endpoint.kind != EndpointKind::Address && selector.matches(&self.endpoint.labels);
        named || self.sets.iter().any(|set| selector.matches(&set.labels))
    }
}

/// A connection and its ends.
pub(super) struct Traffic<'a> {
    pub(super) connection: &'a Connection,
    pub(super) version: u8,
    pub(super) source: End<'a>,
    pub(super) destination: End<'a>,
    pub(super) surroundings: &'a Surroundings,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(
        source: &'a Endpoint,
        destination: &'a Endpoint,
        connection: &'a Connection,
        surroundings: &'a Surroundings,
    ) -> Self {
        let version = connection.ip_version.unwrap_or_else(|| common_version(source, destination, connection));
        let end = |endpoint| End::new(endpoint, version, surroundings);
        Self { connection, version, source: end(source), destination: end(destination), surroundings }
    }
}

fn version_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

fn common_version(source: &Endpoint, destination: &Endpoint, connection: &Connection) -> u8 {
    match connection.protocol {
        Protocol::ICMP => return 4,
        Protocol::ICMP_V6 => return 6,
        _ => {}
    }
    let may_be = |endpoint: &Endpoint, version| {
        endpoint.addresses.is_empty() || endpoint.addresses.iter().any(|address| version_of(*address) == version)
    };
    if may_be(source, 4) && may_be(destination, 4) { 4 } else { 6 }
}
