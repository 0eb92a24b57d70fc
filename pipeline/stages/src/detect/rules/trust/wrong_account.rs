//! `trust.wrong-service-account`: an account that a boundary does not list reaches what it guards.
//!
//! Where nobody declared a boundary around a critical backend, the accounts that reach it are learned from the first
//! window that shows it on; an account that comes later is suspected. One that stays for as long as learning takes belongs
//! to what is usual. Several accounts behind one name are all wrong, or nothing is told.

use std::collections::BTreeMap;

use catchment_core::{Confidence, EventTime, FindingKind, Period, Resolution, Severity};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::crossing::{Verdict, are_guarded, bounded, judge, may_be_listed};
use crate::detect::facts::{End, Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::count;
use crate::detect::view::View;

const KIND: FindingKind = FindingKind::WrongServiceAccount;
/// Critical backends whose accounts are learned at most; about others nothing is learned.
const BACKENDS: usize = 4096;
/// Accounts that are remembered of a backend at most; more than that are nothing one could learn.
const ACCOUNTS: usize = 256;
/// How long a backend is remembered that nobody reaches.
const REMEMBERED: Period = Period::secs(30 * 24 * 3600);

/// What was learned of a critical backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Usual {
    /// Start of the first window that showed it.
    since: EventTime,
    /// End of the last one.
    seen: EventTime,
    /// By the hash of an account, the first window that showed it.
    accounts: BTreeMap<u64, EventTime>,
}

/// How an account stands to what was learned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It was there while learning, or is not to be told from those that were.
    Usual,
    /// It came later and has stayed since.
    Settled,
    /// It came later.
    New,
    /// Learning goes on.
    Learning,
}

#[derive(Default)]
pub(crate) struct WrongAccount {
    backends: BTreeMap<u64, Usual>,
}

impl Rule for WrongAccount {
    fn kinds(&self) -> &'static [FindingKind] {
        &[KIND]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        let (source, dest, settings) = (key.source, key.dest, key.view.settings);
        are_guarded(source, dest, settings)
            && match bounded(key) {
                Some(bounded) => !are_all_listed(source, &bounded.accounts),
                None => key.is_critical_dest(),
            }
    }

    fn wakes(&self) -> Signs {
        Signs::ALLOWED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        if self.is_usual(talk) {
            return;
        }
        judge(talk, KIND, out, |key| match bounded(key) {
            Some(bounded) => match may_be_listed(key.source, &bounded.accounts) {
                Some(true) => Verdict::Kept,
                Some(false) => Verdict::Crossed(
                    case(talk, key),
                    vec![
                        ("source_accounts", key.source.full_accounts().into()),
                        ("boundaries", bounded.names.into()),
                        ("allowed_accounts", bounded.accounts.iter().map(|pattern| pattern.0.as_str()).collect()),
                    ],
                ),
                None => Verdict::Unknown,
            },
            None => Verdict::Silent,
        });
        let learns = talk.passed().map(|row| Facts::new(row, talk.view));
        for key in learns.filter(|key| bounded(key).is_none() && key.is_critical_dest()) {
            self.compare(talk, &key, out);
        }
    }

    fn close(&mut self, view: &View<'_>, _: &mut Sightings) {
        let horizon = view.window.end.plus(-REMEMBERED.micros());
        self.backends.retain(|_, usual| usual.seen > horizon);
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let list = |name: &str| {
            let words = told.details.get(name).and_then(|list| list.as_array()).into_iter().flatten();
            words.filter_map(|word| word.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (accounts, boundaries) = (list("source_accounts"), list("boundaries"));
        let counted = format!(
            "{} began with {} in the window",
            count(told.tally.started, "connection"),
            count(told.tally.packets, "packet")
        );
        let (why, remediation) = if boundaries.is_empty() {
            let since = told.details.get("learned_since").and_then(|since| since.as_str()).unwrap_or_default();
            (
                format!(
                    "who reaches {dest} has been watched since {since}, and no pod did under that account before. No \
                     boundary is declared around {dest}, so this is a suspicion: a new client looks the same as a stolen one"
                ),
                format!("If {accounts} may reach {dest}, declare it: `catchment trust propose` writes the boundary."),
            )
        } else {
            (
                format!(
                    "the boundary {boundaries} around {dest} lists only {}. The likely cause is a policy that selects pods \
                     by labels or namespace and not by their account",
                    list("allowed_accounts")
                ),
                format!(
                    "Let the ingress policy of {dest} name the accounts of the boundary (`serviceAccounts.names`). If \
                     {accounts} is meant to reach it, add it to `boundaries`."
                ),
            )
        };
        Story {
            title: format!("{source} reaches {dest} on {port} as {accounts}, which is not meant to"),
            explanation: format!("{source} runs as {accounts} and reached {dest} on {port}: {counted}. But {why}."),
            remediation,
            verify: told.why(),
            ..Story::default()
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(postcard::to_allocvec(&self.backends).expect("plain values serialize"))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.backends = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        Ok(())
    }
}

impl WrongAccount {
    /// Whether a glance shows that there is nothing to say, as there nearly always is: no boundary, and accounts that were
    /// learned.
    fn is_usual(&mut self, talk: &Talk<'_>) -> bool {
        let (settings, start) = (talk.view.settings, talk.view.window.start);
        if !settings.boundaries.is_empty() || talk.pair.stated() & 1 << KIND as u8 != 0 {
            return false;
        }
        let Some(usual) = self.backends.get_mut(&name_of(talk.dest())) else { return false };
        let learned = usual.since.plus(settings.thresholds.learning.micros());
        usual.seen = talk.view.window.end;
        let was_there = |account| usual.accounts.get(&account).is_some_and(|first| *first < learned);
        start >= learned && talk.passed().all(|row| hashes(Facts::new(row, talk.view).source).any(was_there))
    }

    /// Learns who reaches a backend, and tells of an account that is not usual.
    fn compare(&mut self, talk: &Talk<'_>, key: &Facts<'_>, out: &mut Sightings) {
        let accounts: Vec<_> = hashes(key.source).collect();
        if accounts.is_empty() {
            return out.not_evaluable(KIND);
        }
        let learning = talk.view.settings.thresholds.learning;
        let Some(usual) = self.usual(key.dest, talk.view) else { return out.not_evaluable(KIND) };
        let standings: Vec<_> = accounts.iter().map(|account| usual.meet(*account, talk.view, learning)).collect();
        let all = |wanted| standings.iter().all(|standing| *standing == wanted);
        if all(Standing::New) {
            let case = case(talk, key).confidence(Confidence::Suspected).severity(Severity::Medium);
            let sighting = out.holds(case);
            sighting.flows(talk.passed().take(1));
            sighting.detail("source_accounts", key.source.full_accounts());
            sighting.detail("learned_since", usual.since.to_rfc3339());
        } else if all(Standing::Learning) {
            out.not_evaluable(KIND);
        } else if standings.contains(&Standing::Usual) {
            out.over(KIND, &talk.subject(), Resolution::Fixed);
        }
    }

    /// What was learned of a backend; `None` where no more can be remembered.
    fn usual(&mut self, backend: End<'_>, view: &View<'_>) -> Option<&mut Usual> {
        let name = name_of(backend);
        if !self.backends.contains_key(&name) && self.backends.len() >= BACKENDS {
            return None;
        }
        let new = || Usual { since: view.window.start, seen: view.window.end, accounts: BTreeMap::new() };
        let usual = self.backends.entry(name).or_insert_with(new);
        usual.seen = view.window.end;
        Some(usual)
    }
}

impl Usual {
    /// Notes an account, and says how it stood before.
    fn meet(&mut self, account: u64, view: &View<'_>, learning: Period) -> Standing {
        let (start, learned) = (view.window.start, self.since.plus(learning.micros()));
        if self.accounts.len() >= ACCOUNTS {
            return Standing::Usual;
        }
        let first = *self.accounts.entry(account).or_insert(start);
        match () {
            () if start < learned => Standing::Learning,
            () if first < learned => Standing::Usual,
            () if start >= first.plus(learning.micros()) => Standing::Settled,
            () => Standing::New,
        }
    }
}

fn case(talk: &Talk<'_>, key: &Facts<'_>) -> Case {
    let sure = if key.source_labels.service_account.is_some() { Confidence::Certain } else { Confidence::Derived };
    Case::new(KIND, talk.subject()).owner(key.dest.who.owner.as_deref()).confidence(sure)
}

/// Whether every account behind the name is listed, so that no row can show another.
fn are_all_listed(source: End<'_>, patterns: &[&crate::detect::config::NamePattern]) -> bool {
    let accounts = source.full_accounts();
    let listed = |account: &String| patterns.iter().any(|pattern| pattern.matches(account));
    !accounts.is_empty() && accounts.iter().all(listed)
}

fn hashes(source: End<'_>) -> impl Iterator<Item = u64> {
    let namespace = source.namespace().unwrap_or_default();
    source.accounts().iter().map(move |account| hash(namespace, account))
}

fn name_of(backend: End<'_>) -> u64 {
    hash(backend.namespace().unwrap_or_default(), backend.name())
}

fn hash(namespace: &str, name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), xxh3_64_with_seed(namespace.as_bytes(), 0))
}

#[cfg(test)]
#[path = "wrong_account_tests.rs"]
mod tests;
