//! The two ends as they are written on the command line.

use std::net::{IpAddr, SocketAddr};

use catchment_core::knowledge::policy::Protocol;
use catchment_core::{Error, Result};
use catchment_stages::policy::{Connection, Endpoint, State};

/// In front of the name of a host endpoint.
const HOST: &str = "hostendpoint:";

/// `namespace/pod`, an address, or `hostendpoint:name`.
pub(super) fn endpoint(state: &State, text: &str) -> Result<Endpoint> {
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return match state.service_at(address) {
            None => Ok(state.owner(address)),
            Some((namespace, name)) => Err(Error::user(format!(
                "{address} is the service {namespace}/{name}: policies see the pod behind it, so ask for one, with its own port"
            ))),
        };
    }
    if let Some(name) = text.strip_prefix(HOST) {
        let missing = || Error::user(format!("there is no host endpoint `{name}`"));
        return state.host_endpoint(name).ok_or_else(missing);
    }
    let Some((namespace, name)) = text.split_once('/') else {
        return Err(Error::user(format!("`{text}` is no end: write namespace/pod, an address, or {HOST}name")));
    };
    pod(state, namespace, name).ok_or_else(|| no_pod(state, namespace, name))
}

/// An end and the port at it: `:8080`, `:53/udp` or `:icmp` behind it.
pub(super) fn destination(state: &State, text: &str) -> Result<(Endpoint, Connection)> {
    let parts = match text.parse::<SocketAddr>() {
        Ok(address) => Some((address.ip().to_string(), address.port().to_string())),
        Err(_) => text.rsplit_once(':').map(|(end, port)| (end.to_owned(), port.to_owned())),
    };
    let known = parts.and_then(|(end, port)| Some((end, connection(&port)?)));
    let Some((end, connection)) = known else {
        return Err(Error::user(format!(
            "`{text}` has no port: write it behind the name, like :8080, :53/udp or :icmp"
        )));
    };
    Ok((endpoint(state, &end)?, connection))
}

fn connection(text: &str) -> Option<Connection> {
    if let Some(protocol) = text.parse().ok().filter(|p| [Protocol::ICMP, Protocol::ICMP_V6].contains(p)) {
        return Some(Connection { port: None, ..Connection::new(protocol, 0) });
    }
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol: Protocol = protocol.parse().ok().filter(|protocol: &Protocol| protocol.has_ports())?;
    Some(Connection::new(protocol, port.parse().ok()?))
}

/// By its name, or by the name that flow logs give all pods of an owner, like `web-7d4b9c6f5-*`.
fn pod(state: &State, namespace: &str, name: &str) -> Option<Endpoint> {
    let Some(prefix) = name.strip_suffix('*') else { return state.pod(namespace, name) };
    let mut pods = state.pods().filter(|pod| pod.metadata.namespace == *namespace);
    let pod = pods.find(|pod| pod.metadata.name.starts_with(prefix))?;
    state.pod(namespace, &pod.metadata.name)
}

fn no_pod(state: &State, namespace: &str, name: &str) -> Error {
    let stem = name.trim_end_matches('*');
    let names = state.pods().map(|pod| format!("{}/{}", pod.metadata.namespace, pod.metadata.name));
    let wanted = format!("{namespace}/{stem}");
    let mut near: Vec<_> = names.map(|name| (strsim::jaro_winkler(&wanted, &name), name)).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let near: Vec<_> = near.into_iter().take(3).map(|(_, name)| name).collect();
    let mend =
        if near.is_empty() { "there are no pods at all".to_owned() } else { format!("nearest: {}", near.join(", ")) };
    Error::user(format!("there is no pod `{namespace}/{name}`; {mend}"))
}
