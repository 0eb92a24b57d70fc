//! Boundaries of trust as observed traffic suggests them: which accounts reach which critical backends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use catchment_core::knowledge::LabelMap;
use serde::{Deserialize, Serialize};

use crate::detect::Settings;

/// Labels that name a workload, the best first.
const NAMING: [&str; 4] = ["app.kubernetes.io/name", "app", "k8s-app", "component"];
const NAMESPACE: &str = "projectcalico.org/namespace";

/// What of a row of `flows` tells who reached what.
#[derive(Deserialize)]
struct Row {
    source_namespace: Option<String>,
    source_name: String,
    #[serde(default)]
    source_service_accounts: Option<Vec<String>>,
    dest_namespace: Option<String>,
    dest_type: Option<String>,
    dest_labels: Vec<String>,
    #[serde(default)]
    dest_namespace_labels: Option<Vec<String>>,
    action: Option<String>,
    packets_in: u64,
    packets_out: u64,
}

/// Why a line is no row that tells anything.
#[derive(Debug)]
pub struct RowError(serde_json::Error);

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is no row of the dataset `flows` ({}); rows of other datasets carry no labels", self.0)
    }
}

impl std::error::Error for RowError {}

/// A boundary to be declared, as `boundaries` of the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// Its name.
    pub name: String,
    /// The selector of the backend.
    pub destination: String,
    /// Accounts that reached it, `namespace/name`.
    pub accounts: BTreeSet<String>,
}

/// Who reached critical backends, from row to row.
#[derive(Debug)]
pub struct Observed<'a> {
    settings: &'a Settings,
    /// By namespace and naming label, the accounts.
    backends: BTreeMap<(String, Option<String>), BTreeSet<String>>,
    /// Sources that could not be told from others.
    unclear: BTreeSet<String>,
}

impl<'a> Observed<'a> {
    /// Nothing yet; `settings` say what is critical and what belongs to the platform.
    pub const fn new(settings: &'a Settings) -> Self {
        Self { settings, backends: BTreeMap::new(), unclear: BTreeSet::new() }
    }

    /// Takes in a row of `flows` as JSON.
    pub fn row(&mut self, line: &str) -> Result<(), RowError> {
        let row: Row = serde_json::from_str(line).map_err(RowError)?;
        self.learn(&row);
        Ok(())
    }

    fn learn(&mut self, row: &Row) {
        let (Some(from), Some(to)) = (&row.source_namespace, &row.dest_namespace) else { return };
        let is_platform = self.settings.is_platform(from) || self.settings.is_platform(to);
        let got_through = row.action.as_deref() == Some("Allow") && row.packets_in + row.packets_out > 0;
        let is_workload = row.dest_type.as_deref() == Some("WorkloadEndpoint");
        if is_platform || !got_through || !is_workload || !self.is_critical(row, to) {
            return;
        }
        let naming = NAMING.iter().find_map(|key| row.dest_labels.iter().find(|label| names(label, key)));
        let accounts = self.backends.entry((to.clone(), naming.cloned())).or_default();
        match row.source_service_accounts.as_deref() {
            Some([account]) => drop(accounts.insert(format!("{from}/{account}"))),
            Some(several) if !several.is_empty() => {
                self.unclear.insert(format!("{from}/{}: one of {}", row.source_name, several.join(", ")));
            }
            _ => drop(self.unclear.insert(format!("{from}/{}: no account is known", row.source_name))),
        }
    }

    fn is_critical(&self, row: &Row, namespace: &str) -> bool {
        let split = |prefix: &str, label: &String| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            (format!("{prefix}{key}"), value.to_owned())
        };
        let of_namespace = row.dest_namespace_labels.iter().flatten().map(|label| split("pcns.", label));
        let mut labels: LabelMap = row.dest_labels.iter().map(|label| split("", label)).chain(of_namespace).collect();
        labels.insert(NAMESPACE.to_owned(), namespace.to_owned());
        self.settings.critical.iter().any(|rule| rule.selector.matches(&labels))
    }

    /// The boundaries, in the order of their backends.
    pub fn proposals(&self) -> Vec<Proposal> {
        let known = self.backends.iter().filter(|(_, accounts)| !accounts.is_empty());
        known.map(|((namespace, naming), accounts)| proposal(namespace, naming.as_deref(), accounts)).collect()
    }

    /// What to look at before the boundaries are declared, for people.
    pub fn notes(&self) -> Vec<String> {
        let of_source = self.unclear.iter().map(|source| format!("left out, for its account is not clear: {source}"));
        let unnamed = self.backends.keys().filter(|(_, naming)| naming.is_none());
        let of_backend = unnamed.map(|(namespace, _)| {
            format!("pods of {namespace} carry none of {}: the boundary is around the namespace", NAMING.join(", "))
        });
        of_source.chain(of_backend).collect()
    }
}

fn names(label: &str, key: &str) -> bool {
    label.split_once('=').is_some_and(|(name, value)| name == key && !value.contains('\''))
}

fn proposal(namespace: &str, naming: Option<&str>, accounts: &BTreeSet<String>) -> Proposal {
    let of_namespace = format!("{NAMESPACE} == '{namespace}'");
    let (name, destination) = match naming.and_then(|label| label.split_once('=')) {
        Some((key, value)) => (format!("{namespace}-{value}"), format!("{of_namespace} && {key} == '{value}'")),
        None => (namespace.to_owned(), of_namespace),
    };
    Proposal { name, destination, accounts: accounts.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(source: &str, accounts: &[&str], labels: &[&str]) -> serde_json::Value {
        let (namespace, name) = source.split_once('/').expect("a namespace and a name");
        json!({"source_namespace": namespace, "source_name": name, "source_service_accounts": accounts,
            "dest_namespace": "pay", "dest_type": "WorkloadEndpoint", "dest_labels": labels,
            "action": "Allow", "packets_in": 3, "packets_out": 2})
    }

    fn observed(settings: &Settings, rows: impl IntoIterator<Item = serde_json::Value>) -> Observed<'_> {
        let mut observed = Observed::new(settings);
        for row in rows {
            observed.row(&row.to_string()).expect("it is a row");
        }
        observed
    }

    const LEDGER: &[&str] = &["app=ledger", "catchment.dev/critical=true"];

    #[test]
    fn accounts_that_reach_a_critical_backend_become_its_boundary() {
        let settings = Settings::default();
        let rows = [row("pay/api-*", &["api"], LEDGER), row("shop/web-*", &["checkout"], LEDGER)];
        let proposals = observed(&settings, rows).proposals();
        let [one] = &proposals[..] else { panic!("{proposals:?}") };
        assert_eq!((one.name.as_str(), one.accounts.len()), ("pay-ledger", 2));
        assert_eq!(one.destination, "projectcalico.org/namespace == 'pay' && app == 'ledger'");
        let declared: Settings =
            serde_json::from_value(json!({"boundaries": proposals})).expect("the configuration reads what is proposed");
        assert_eq!(declared.boundaries[0].accounts.len(), 2);
    }

    #[test]
    fn what_is_not_critical_was_denied_or_belongs_to_the_platform_is_left_out() {
        let settings = Settings::default();
        let mut denied = row("shop/web", &["web"], LEDGER);
        denied["action"] = "Deny".into();
        let mut idle = row("shop/job", &["job"], LEDGER);
        (idle["packets_in"], idle["packets_out"]) = (0.into(), 0.into());
        let rows =
            [row("shop/web", &["web"], &["app=cart"]), denied, idle, row("monitoring/prometheus", &["p"], LEDGER)];
        assert_eq!(observed(&settings, rows).proposals(), []);
    }

    #[test]
    fn an_account_that_is_not_clear_is_left_out_and_named() {
        let settings = Settings::default();
        let rows = [row("shop/web-*", &["default", "web"], LEDGER), row("pay/api", &["api"], LEDGER)];
        let observed = observed(&settings, rows);
        assert_eq!(observed.proposals()[0].accounts.iter().collect::<Vec<_>>(), ["pay/api"]);
        assert_eq!(observed.notes(), ["left out, for its account is not clear: shop/web-*: one of default, web"]);
    }

    #[test]
    fn pods_without_a_name_among_their_labels_are_bounded_by_their_namespace() {
        let settings = Settings::default();
        let observed = observed(&settings, [row("pay/api", &["api"], &["catchment.dev/critical=true"])]);
        assert_eq!(observed.proposals()[0].destination, "projectcalico.org/namespace == 'pay'");
        assert!(observed.notes()[0].contains("around the namespace"), "{:?}", observed.notes());
    }

    #[test]
    fn a_row_of_another_dataset_is_refused_with_what_it_lacks() {
        let error = Observed::new(&Settings::default()).row(r#"{"source_name": "web"}"#).expect_err("it lacks labels");
        assert!(error.to_string().contains("no row of the dataset `flows`"), "{error}");
    }
}
