//! All kinds of one cluster, watched.

use std::sync::Arc;
use std::time::Duration;

use catchment_core::knowledge::{Kind, News};
use catchment_core::{Error, Result};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::Config;
use crate::api::{Api, Page};
use crate::catalog::Catalog;
use crate::fault::Fault;
use crate::line::Line;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::tiers::Tiers;

/// Watches a cluster through its API.
///
/// Every kind is listed and watched for itself: one that may not be read, or that the cluster does not have, keeps nobody
/// else from going on, and is asked for again.
pub struct Cluster {
    api: Api,
    config: Config,
    metrics: Metrics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

impl Cluster {
    /// Reads the credentials that `config` names; nothing is sent yet.
    pub async fn new(config: Config, registry: &mut Registry) -> Result<Self> {
        config.validate()?;
        let api = Api::new(&config).await?;
        Ok(Self { api, config, metrics: Metrics::register(registry) })
    }

    pub(crate) const fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) const fn look_again(&self) -> Duration {
        self.config.look_again.0
    }

    /// Sends what the cluster tells, in order and with times that never go back, until the receiver is dropped. Of each
    /// kind first what is there and then what changes; when all of it was told, its coverage says so. A receiver that does
    /// not keep up is waited for, and the server with it.
    pub async fn run(&self, news: mpsc::Sender<News>) {
        let look_again = self.config.look_again.0;
        let catalog = Arc::new(Catalog::new(self.api.clone(), look_again / 2));
        let (tell_tiers, tiers) = watch::channel(Tiers::default());
        let outlet = Outlet::new(news);
        let mut listeners = JoinSet::new();
        for &kind in Kind::ALL {
            let listener = Listener {
                api: self.api.clone(),
                catalog: catalog.clone(),
                line: Line::new(kind, outlet.clone(), self.metrics.clone(), &tell_tiers),
                look_again,
                tiers: tiers.clone(),
            };
            listeners.spawn(listener.run());
        }
        listeners.join_all().await;
    }

    /// Connects, asks for one object of every kind, and says in one line what it found: `catchment check`.
    pub async fn check(&self) -> Result<String> {
        let address = self.api.address();
        let version: Version = self.api.get("/version").await.map_err(|fault| unreachable(address, &fault))?;
        let catalog = Catalog::new(self.api.clone(), self.config.look_again.0);
        let (mut readable, mut absent, mut denied) = (0, Vec::new(), Vec::new());
        for &kind in Kind::ALL {
            let place = catalog.find(kind).await.map_err(|fault| unreachable(address, &fault))?;
            let Some(place) = place else {
                absent.push(kind.to_string());
                continue;
            };
            match self.api.get::<Page>(&format!("{}?limit=1", place.path())).await {
                Ok(_) => readable += 1,
                Err(Fault::Denied(_)) => denied.push(kind.to_string()),
                Err(fault) => return Err(unreachable(address, &fault)),
            }
        }
        let mut found = format!("Kubernetes {} at {address}: {readable} kinds can be read", version.git_version);
        for (what, kinds) in [("the cluster does not have", absent), ("may not be read:", denied)] {
            if !kinds.is_empty() {
                found = format!("{found}; {what} {}", kinds.join(", "));
            }
        }
        Ok(found)
    }
}

pub(crate) fn unreachable(address: &str, fault: &Fault) -> Error {
    let why: &str = match fault {
        Fault::Failed(why) | Fault::Denied(why) | Fault::NotUnderstood(why) => why,
        Fault::NotServed | Fault::Gone | Fault::Closed => "no API server answers there",
    };
    Error::external(format!("API server at {address}: {why}"))
}
