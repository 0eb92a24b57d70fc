//! `Ingress` of `networking.k8s.io/v1`, trimmed to the services it leads to.

use serde::{Deserialize, Serialize};

use super::ShortMeta;
use crate::knowledge::{Text, or_default};

/// Services that requests from outside the cluster are led to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Name, namespace, labels, owners.
    pub metadata: ShortMeta,
    /// What is asked for.
    #[serde(deserialize_with = "or_default")]
    pub spec: IngressSpec,
}

/// `spec` of an [`Ingress`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SpecOnWire", into = "SpecOnWire")]
pub struct IngressSpec {
    /// Names of the services of its namespace that it leads to, sorted.
    pub services: Box<[Text]>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecOnWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    default_backend: Option<Backend>,
    #[serde(deserialize_with = "or_default")]
    rules: Vec<Rule>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Rule {
    #[serde(deserialize_with = "or_default")]
    http: Http,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Http {
    #[serde(deserialize_with = "or_default")]
    paths: Vec<Path>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Path {
    #[serde(deserialize_with = "or_default")]
    backend: Backend,
}

/// A service, or another object, which is not read.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Backend {
    service: Option<Service>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Service {
    name: Text,
}

impl From<SpecOnWire> for IngressSpec {
    fn from(wire: SpecOnWire) -> Self {
        let paths = wire.rules.into_iter().flat_map(|rule| rule.http.paths);
        let backends = wire.default_backend.into_iter().chain(paths.map(|path| path.backend));
        let mut services: Vec<_> = backends.filter_map(|backend| Some(backend.service?.name)).collect();
        services.sort_unstable();
        services.dedup();
        Self { services: services.into() }
    }
}

impl From<IngressSpec> for SpecOnWire {
    fn from(spec: IngressSpec) -> Self {
        let backend = |name: &Text| Backend { service: Some(Service { name: name.clone() }) };
        let paths: Vec<_> = spec.services.iter().map(|name| Path { backend: backend(name) }).collect();
        let rules = if paths.is_empty() { Vec::new() } else { vec![Rule { http: Http { paths } }] };
        Self { default_backend: None, rules }
    }
}
