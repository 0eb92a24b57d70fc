//! The services in front of a destination.

use std::collections::BTreeSet;

use catchment_core::knowledge::workload::{EndpointSlice, ServiceEndpoint};
use catchment_core::knowledge::{Key, Kind, Text};
use catchment_core::{Served, Service, ServicesFrom};

use super::knowledge::{Handle, SERVICE_NAME};
use super::look::{Look, alive};
use super::resolve::{End, pods_named};

/// What is asked about a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) end: End,
    pub(super) port: i64,
    pub(super) protocol: std::sync::Arc<str>,
    /// The service that the flow names.
    pub(super) service: Service,
}

/// The service that was addressed, else those that lead to pods of the name at the port.
pub(super) fn served(look: &Look<'_>, of: &Destination) -> Served {
    if let (Some(namespace), Some(name)) = (&of.service.namespace, &of.service.name) {
        let service = (Text::new(namespace), Text::new(name));
        let known = look.object(Kind::Service, namespace, name).is_some();
        let ready = ready(look, std::iter::once(&service));
        return Served {
            services: Some(vec![format!("{namespace}/{name}").into()]),
            from: Some(ServicesFrom::Flow),
            ready_endpoints: known.then_some(ready),
        };
    }
    leading_to_pods(look, of).unwrap_or_default()
}

/// `None` where no pod of the destination is known, so nothing can be said.
fn leading_to_pods(look: &Look<'_>, of: &Destination) -> Option<Served> {
    let namespace = of.end.namespace.as_deref()?;
    let pods = alive(&pods_named(look, namespace, &of.end.name), look.window);
    if pods.is_empty() {
        return None;
    }
    let names: BTreeSet<&Key> = pods.iter().map(|seen| seen.key).collect();
    let mut services = BTreeSet::new();
    for pod in names {
        for slice in look.slices(Handle::SlicesTo(pod.namespace.clone(), pod.name.clone())) {
            if answers(slice, of.port, &of.protocol)
                && let Some(service) = slice.metadata.labels.get(SERVICE_NAME)
            {
                services.insert((pod.namespace.clone(), service.clone()));
            }
        }
    }
    let ready = (!services.is_empty()).then(|| ready(look, services.iter()));
    Some(Served {
        from: (!services.is_empty()).then_some(ServicesFrom::Endpoints),
        services: Some(services.iter().map(|(namespace, name)| format!("{namespace}/{name}").into()).collect()),
        ready_endpoints: ready,
    })
}

fn answers(slice: &EndpointSlice, port: i64, protocol: &str) -> bool {
    let is_port = |number: Option<u16>| number.is_none_or(|number| i64::from(number) == port);
    slice.ports.iter().any(|open| is_port(open.port) && open.protocol.eq_ignore_ascii_case(protocol))
}

/// Distinct endpoints that are ready; what does not say is.
fn ready<'s>(look: &Look<'_>, services: impl Iterator<Item = &'s (Text, Text)>) -> u64 {
    let mut endpoints = BTreeSet::new();
    for (namespace, name) in services {
        for slice in look.slices(Handle::SlicesOf(namespace.clone(), name.clone())) {
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready.unwrap_or(true));
            endpoints.extend(ready.map(|endpoint| (namespace.clone(), name_of(endpoint))));
        }
    }
    endpoints.len() as u64
}

/// A pod with two address families is one endpoint.
fn name_of(endpoint: &ServiceEndpoint) -> Text {
    let target = &endpoint.target_ref;
    if target.name.is_empty() { endpoint.addresses.first().cloned().unwrap_or_default() } else { target.name.clone() }
}
