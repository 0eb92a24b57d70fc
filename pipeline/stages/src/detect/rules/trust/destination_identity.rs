//! `trust.unexpected-destination-identity`: pods behind a backend run under an account that is not expected there.
//!
//! Any row shows who answers, whatever the verdict. Where several accounts stand behind one name, one that is expected
//! leaves it open, and nothing is told.

use catchment_core::{Confidence, FindingKind, Subject};

use crate::detect::config::NamePattern;
use crate::detect::facts::{Facts, selectable};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::story::count;

const KIND: FindingKind = FindingKind::UnexpectedDestinationIdentity;

pub(crate) struct DestinationIdentity;

impl Rule for DestinationIdentity {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let (dest, settings) = (key.dest, key.view.settings);
        let namespace = dest.namespace().filter(|name| dest.is_workload() && !settings.is_platform(name))?;
        let expected = expected(key)?;
        let accounts = dest.full_accounts();
        let is_expected = |account: &&String| expected.iter().any(|pattern| pattern.matches(account));
        let right = accounts.iter().filter(is_expected).count();
        let subject = Subject::default().with("namespace", Some(namespace)).with("workload", Some(dest.name()));
        let sure = if key.dest_labels.service_account.is_some() { Confidence::Certain } else { Confidence::Derived };
        let case = Case::new(KIND, subject).owner(dest.who.owner.as_deref()).confidence(sure);
        match right {
            _ if accounts.is_empty() => None,
            0 => Some(case),
            right if right == accounts.len() => Some(case.refuted()),
            _ => None,
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (workload, namespace) = (told.workload(), told.member("namespace"));
        Story {
            title: format!("{workload} does not run under an account that is expected of it"),
            explanation: format!(
                "`expected_accounts` lists the accounts of the backend that {workload} is selected as, and none of the \
                 accounts its pods run under is among them. {} reached it in the window ({}): they may talk to somebody \
                 else than they think. The likely cause is a pod template that lost its `serviceAccountName`, or other \
                 pods that bear the labels of the backend.",
                count(told.tally.rows, "flow"),
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "Look at which pods of {namespace} bear those labels and why, give {workload} its account back, or correct \
                 `expected_accounts`."
            ),
            verify: format!(
                "kubectl get pods -n {namespace} -o custom-columns=POD:.metadata.name,ACCOUNT:.spec.serviceAccountName"
            ),
            ..Story::default()
        }
    }
}

/// Accounts that are expected of the destination; `None` where nobody said.
fn expected<'a>(key: &Facts<'a>) -> Option<Vec<&'a NamePattern>> {
    let all = &key.view.settings.expected_accounts;
    if all.is_empty() {
        return None;
    }
    let labels = selectable(key.dest, key.dest_labels);
    let mut of_dest = all.iter().filter(|expected| expected.destination.selector.matches(&labels)).peekable();
    of_dest.peek().is_some().then(|| of_dest.flat_map(|expected| &expected.accounts).collect())
}

#[cfg(test)]
mod tests {
    use catchment_core::{Confidence, FindingKind, FindingRow, Severity, Status};
    use serde_json::json;

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, Scene, flow, rule};

    fn scene() -> Scene {
        let settings = r#"{"expected_accounts": [{"destination": "app == 'ledger'", "accounts": ["pay/ledger", "pay/ledger-*"]}]}"#;
        Scene::with(serde_json::from_str::<Settings>(settings).expect("these are settings"))
    }

    fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
        told.into_iter().filter(|row| row.kind == FindingKind::UnexpectedDestinationIdentity).collect()
    }

    fn reach(accounts: &[&str], labels: &[&str]) -> Flow {
        let accounts = accounts.iter().map(|&name| name.into()).collect();
        let flow = flow("shop/web", "pay/ledger-6c8b7d5f9-*:5432").dst().trace([rule("pay/db", "default", 0)]);
        flow.dest_who(|who| who.service_accounts = Some(accounts)).labels(&[], labels)
    }

    #[test]
    fn another_account_behind_a_backend_is_told_about_the_workload() {
        let mut scene = scene();
        let told = of(scene.window([reach(&["default"], &["app=ledger"])]));
        assert_eq!((told.len(), told[0].severity, told[0].confidence), (1, Severity::Medium, Confidence::Derived));
        assert_eq!(told[0].subject.to_json(), json!({"namespace": "pay", "workload": "ledger"}));
        let over = of(scene.window([reach(&["ledger-eu"], &["app=ledger"])]));
        assert_eq!(over[0].status, Status::Resolved);
    }

    #[test]
    fn an_account_that_the_flow_itself_carries_is_certain() {
        let carried = reach(&["intruder"], &["app=ledger", "projectcalico.org/serviceaccount=intruder"]);
        assert_eq!(of(scene().window([carried]))[0].confidence, Confidence::Certain);
    }

    #[test]
    fn one_expected_account_among_several_leaves_it_open() {
        assert_eq!(of(scene().window([reach(&["default", "ledger"], &["app=ledger"])])), []);
    }

    #[test]
    fn who_is_not_selected_or_whose_account_is_not_known_is_not_told() {
        for told in [reach(&["default"], &["app=cart"]), reach(&[], &["app=ledger"])] {
            assert_eq!(of(scene().window([told])), []);
        }
    }
}
