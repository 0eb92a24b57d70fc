//! What a user writes under `enrich.kubernetes`.

use std::path::PathBuf;

use catchment_core::{Error, Period, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where knowledge of the cluster comes from: its API, or files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The kubeconfig file to connect with. Without it: `KUBECONFIG`, `~/.kube/config`, and inside a cluster the service
    /// account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file; its current one if none is named.
    pub context: Option<String>,
    /// Files that `kubectl get ... -o json` or `-o yaml` wrote, and patterns such as `cluster/*.json`: read once, instead of
    /// a cluster.
    pub snapshot: Vec<String>,
    /// Files of changes over time, one as JSON on each line; they go on from the snapshot.
    pub changes: Vec<String>,
    /// How long until what was refused or not there is asked for again, and the longest wait after an error.
    pub look_again: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self { kubeconfig: None, context: None, snapshot: vec![], changes: vec![], look_again: Period::secs(30) }
    }
}

impl Config {
    /// Whether files take the place of the cluster.
    pub const fn is_from_files(&self) -> bool {
        !self.snapshot.is_empty() || !self.changes.is_empty()
    }

    /// Refuses what cannot work, before anything is read.
    pub fn validate(&self) -> Result<()> {
        if self.is_from_files() && (self.kubeconfig.is_some() || self.context.is_some()) {
            return Err(Error::user(
                "`snapshot` and `changes` stand in for a cluster: remove `kubeconfig` and `context`",
            ));
        }
        if self.look_again.0.is_zero() {
            return Err(Error::user("`look_again` must be above zero"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_its_mend() {
        let refusal = |config: Config| config.validate().map_or_else(|e| e.message, |()| String::new());
        assert_eq!(refusal(Config::default()), "");
        let files = Config { snapshot: vec!["a.json".into()], ..Config::default() };
        assert_eq!(refusal(files.clone()), "");
        assert!(refusal(Config { context: Some("prod".into()), ..files }).contains("remove `kubeconfig`"));
        assert!(refusal(Config { look_again: Period::secs(0), ..Config::default() }).contains("above zero"));
    }
}
