//! The policies of a cluster, in order, and which of them select an endpoint.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use catchment_core::knowledge::LabelMap;
use catchment_core::knowledge::policy::{Action, Tier};

use super::compile::{Compiled, PolicyId};
use super::endpoint::{Endpoint, EndpointKind};
use super::label_index::LabelIndex;
use crate::selector::Anchor;

/// Where a tier stands and how it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TierState {
    /// Lower is asked first; infinite if none is given.
    pub order: f64,
    /// What happens to what no rule of it matches: deny or pass.
    pub default_action: Action,
}

/// Tiers that every cluster has.
const BUILT_IN: [(&str, TierState); 3] = [
    ("kube-admin", TierState { order: 1_000.0, default_action: Action::Pass }),
    ("default", TierState { order: 1_000_000.0, default_action: Action::Deny }),
    ("kube-baseline", TierState { order: 10_000_000.0, default_action: Action::Pass }),
];

/// All tiers and policies of a cluster. Every change costs time in proportion to what changed, not to what is there.
#[derive(Debug, Default)]
pub struct PolicySet {
    tiers: BTreeMap<String, TierState>,
    policies: Vec<Option<Compiled>>,
    free: Vec<usize>,
    places: HashMap<PolicyId, usize>,
    /// Policies under a label that all they select bear.
    anchored: LabelIndex<usize>,
    unanchored: BTreeSet<usize>,
}

impl PolicySet {
    /// Adds a tier or replaces the one of the same name.
    pub fn set_tier(&mut self, tier: &Tier) {
        let state = TierState {
            order: tier.spec.order.unwrap_or(f64::INFINITY),
            default_action: tier.spec.default_action.unwrap_or(Action::Deny),
        };
        self.tiers.insert(tier.metadata.name.clone(), state);
    }

    /// Removes a tier; its policies are asked no longer.
    pub fn remove_tier(&mut self, name: &str) {
        self.tiers.remove(name);
    }

    /// Adds a policy or replaces the one of the same identity.
    pub fn set_policy(&mut self, policy: Compiled) {
        self.remove_policy(&policy.id);
        let place = self.free.pop().unwrap_or_else(|| {
            self.policies.push(None);
            self.policies.len() - 1
        });
        self.anchor(&policy, place, LabelIndex::insert, |unanchored, place| {
            unanchored.insert(place);
        });
        self.places.insert(policy.id.clone(), place);
        self.policies[place] = Some(policy);
    }

    /// Removes a policy; whether there was one.
    pub fn remove_policy(&mut self, id: &PolicyId) -> bool {
        let Some(place) = self.places.remove(id) else { return false };
        if let Some(policy) = self.policies[place].take() {
            self.anchor(&policy, place, LabelIndex::remove, |unanchored, place| {
                unanchored.remove(&place);
            });
        }
        self.free.push(place);
        true
    }

    fn anchor(
        &mut self,
        policy: &Compiled,
        place: usize,
        under: fn(&mut LabelIndex<usize>, &str, Option<&str>, usize),
        beside: fn(&mut BTreeSet<usize>, usize),
    ) {
        match policy.selector.anchors() {
            None => beside(&mut self.unanchored, place),
            Some(anchors) => anchors.into_iter().for_each(|anchor| match anchor {
                Anchor::Value(key, value) => under(&mut self.anchored, key, Some(value), place),
                Anchor::Key(key) => under(&mut self.anchored, key, None, place),
            }),
        }
    }

    /// The policy of an identity.
    pub fn policy(&self, id: &PolicyId) -> Option<&Compiled> {
        self.places.get(id).and_then(|place| self.policies[*place].as_ref())
    }

    /// All policies, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &Compiled> {
        self.policies.iter().flatten()
    }

    /// The tier of a name. Tiers that every cluster has are there without their object.
    pub fn tier(&self, name: &str) -> Option<TierState> {
        let built_in = || BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, state)| *state);
        self.tiers.get(name).copied().or_else(built_in)
    }

    /// Policies of known tiers, staged ones included, that select `endpoint` in any direction, in the order they are asked.
    pub fn selecting(&self, endpoint: &Endpoint) -> Vec<&Compiled> {
        if !matches!(endpoint.kind, EndpointKind::Workload | EndpointKind::Host) {
            return Vec::new();
        }
        let found = self.candidates(&endpoint.labels).into_iter().filter_map(|place| self.policies[place].as_ref());
        let selecting = found.filter(|policy| policy.selector.matches(&endpoint.labels));
        let mut known: Vec<_> = selecting.filter_map(|policy| Some((self.tier(&policy.tier)?, policy))).collect();
        known.sort_by(|(tier, policy), (other_tier, other)| {
            order_of_tiers((tier, &policy.tier), (other_tier, &other.tier)).then_with(|| policy.sorting(other))
        });
        known.into_iter().map(|(_, policy)| policy).collect()
    }

    /// Problems of the policies, and policies that are not asked because their tier is not known.
    pub fn problems(&self) -> BTreeMap<PolicyId, Vec<String>> {
        let mut problems: BTreeMap<PolicyId, Vec<String>> = BTreeMap::new();
        for policy in self.policies() {
            let mut of_policy = policy.problems.clone();
            if self.tier(&policy.tier).is_none() {
                of_policy.push(format!("the tier `{}` is not known: the policy is not asked", policy.tier));
            }
            if !of_policy.is_empty() {
                problems.insert(policy.id.clone(), of_policy);
            }
        }
        problems
    }

    /// Policies that may select an endpoint with such labels; no other does.
    fn candidates(&self, labels: &LabelMap) -> Vec<usize> {
        let mut places: Vec<_> = self.unanchored.iter().copied().collect();
        for (key, value) in labels {
            places.extend(self.anchored.of_key(key));
            places.extend(self.anchored.of_value(key, value));
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

fn order_of_tiers((state, name): (&TierState, &str), (other, other_name): (&TierState, &str)) -> Ordering {
    state.order.total_cmp(&other.order).then_with(|| name.cmp(other_name))
}
