//! What the server serves, asked rarely and for all kinds together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use catchment_core::knowledge::{CALICO, CALICO_STORAGE, Kind};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::Api;
use crate::fault::Fault;

/// Where a kind can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
}

impl Place {
    /// The path of the resource in all namespaces.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", group_path(self.group, self.version), self.kind.plural())
    }

    /// Whether no other place would be preferred to it.
    pub(crate) fn is_best(&self) -> bool {
        Self::candidates(self.kind).first() == Some(self)
    }

    /// Every place that may serve `kind`, the best one first. Calico serves its objects under `v3`, through a server of its
    /// own or as plain resources; a cluster without either only has what its server would store.
    fn candidates(kind: Kind) -> Vec<Self> {
        let at = |group, version| Self { kind, group, version };
        let own = at(kind.group(), kind.version());
        match kind {
            Kind::ServiceCIDR => vec![own, at(kind.group(), "v1beta1")],
            _ if kind.group() == CALICO => vec![own, at(CALICO_STORAGE, "v1")],
            _ => vec![own],
        }
    }
}

fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// Answers are good for a while.
pub(crate) struct Catalog {
    api: Api,
    good_for: Duration,
    answers: Mutex<HashMap<String, Answer>>,
}

#[derive(Clone)]
struct Answer {
    asked: Instant,
    resources: Arc<HashSet<String>>,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
}

#[derive(Deserialize)]
struct ApiService {
    spec: ApiServiceSpec,
}

#[derive(Deserialize)]
struct ApiServiceSpec {
    service: Option<serde::de::IgnoredAny>,
}

impl Catalog {
    pub(crate) fn new(api: Api, good_for: Duration) -> Self {
        Self { api, good_for, answers: Mutex::default() }
    }

    /// The best place that serves `kind` now; `None` if the cluster does not have it.
    pub(crate) async fn find(&self, kind: Kind) -> Result<Option<Place>, Fault> {
        for place in Place::candidates(kind) {
            if self.resources(&group_path(place.group, place.version)).await?.contains(kind.plural()) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Names of the resources under a group and version; none where the server does not have it. The lock is held while
    /// one asks, so that the others need not.
    async fn resources(&self, path: &str) -> Result<Arc<HashSet<String>>, Fault> {
        let mut answers = self.answers.lock().await;
        if let Some(answer) = answers.get(path).filter(|answer| answer.asked.elapsed() < self.good_for) {
            return Ok(answer.resources.clone());
        }
        let resources = match self.api.get::<ResourceList>(path).await {
            Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
            Err(Fault::NotServed) => HashSet::new(),
            Err(fault) => return Err(fault),
        };
        let answer = Answer { asked: Instant::now(), resources: Arc::new(resources) };
        answers.insert(path.to_owned(), answer.clone());
        Ok(answer.resources)
    }

    /// Asks again next time: an answer has proved wrong.
    pub(crate) async fn doubt(&self, place: &Place) {
        self.answers.lock().await.remove(&group_path(place.group, place.version));
    }

    /// Whether a server of its own stands behind the place, which may show less than it has. Where that may not be asked,
    /// it is taken to be so.
    pub(crate) async fn is_aggregated(&self, place: &Place) -> Result<bool, Fault> {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{}.{}", place.version, place.group);
        match self.api.get::<ApiService>(&path).await {
            Ok(service) => Ok(service.spec.service.is_some()),
            Err(Fault::Denied(_)) => Ok(true),
            Err(Fault::NotServed) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_asked_in_order_of_worth() {
        let paths = |kind| Place::candidates(kind).iter().map(Place::path).collect::<Vec<_>>();
        assert_eq!(paths(Kind::Pod), ["/api/v1/pods"]);
        assert_eq!(paths(Kind::Tier), ["/apis/projectcalico.org/v3/tiers", "/apis/crd.projectcalico.org/v1/tiers"]);
        assert_eq!(paths(Kind::KubernetesNetworkPolicy), ["/apis/networking.k8s.io/v1/networkpolicies"]);
    }
}
