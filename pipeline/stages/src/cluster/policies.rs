//! Since when a policy is as it is, and whose it is.

use std::collections::HashMap;

use catchment_core::EventTime;
use catchment_core::knowledge::{Kind, Meta, Object, Text};

use super::objects::Step;
use crate::policy::{PolicyId, PolicyKind};

/// Tiers that Calico's operator fills.
const OPERATOR_TIERS: [&str; 2] = ["calico-system", "allow-tigera"];
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What is known of a policy beside its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFacts {
    /// When it was made, if it says so.
    pub created: Option<EventTime>,
    /// When what it asks for changed last. Of a policy that was edited before it was first seen it is the last edit of any
    /// kind: it is at least as old as that.
    pub spec_since: EventTime,
    /// Who edited it last, where the API says so.
    pub editor: Option<Text>,
    /// Whose it is, if an operator made it: the tier, the owner, or what its labels or its editor say.
    pub operator: Option<Text>,
}

/// Facts by policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Policies(HashMap<PolicyId, PolicyFacts>);

impl Policies {
    pub(super) fn get(&self, id: &PolicyId) -> Option<&PolicyFacts> {
        self.0.get(id)
    }

    pub(super) fn learn(&mut self, step: &Step<'_>) {
        let Some(id) = PolicyId::of(step.key) else { return };
        let Some((after, meta)) = step.after.and_then(|after| Some((after, meta(after)?))) else {
            self.0.remove(&id);
            return;
        };
        let known = self.0.get(&id).zip(step.before);
        let spec_since = match known {
            Some((facts, before)) if same_spec(before, after) => facts.spec_since,
            Some((_, before)) => edited_at(step.at, before, after),
            None => first_since(step, meta),
        };
        let facts =
            PolicyFacts { created: meta.created(), spec_since, editor: editor(after), operator: operator(after) };
        self.0.insert(id, facts);
    }
}

/// What a policy that is seen for the first time says of its last change. One whose changes are counted and that never
/// changed is as it was made.
fn first_since(step: &Step<'_>, meta: &Meta) -> EventTime {
    let edited = meta.edited.as_ref().filter(|_| meta.generation != Some(1));
    edited.map_or(step.appeared(), |edited| edited.at.max(step.appeared()).min(step.at))
}

/// Whether objects of a kind decide what other objects may do, or are named by what decides.
pub(super) fn governs(kind: Kind) -> bool {
    PolicyKind::of(kind).is_some() || matches!(kind, Kind::Tier | Kind::NetworkSet | Kind::GlobalNetworkSet)
}

pub(super) fn editor(object: &Object) -> Option<Text> {
    meta(object)?.edited.as_ref().map(|edited| edited.manager.clone())
}

/// When an edit that was observed at `at` was made: as the object says, if it says anything new.
pub(super) fn edited_at(at: EventTime, before: &Object, after: &Object) -> EventTime {
    let edited = |object| meta(object).and_then(|meta| meta.edited.as_ref()).map(|edited| edited.at);
    match (edited(before), edited(after)) {
        (before, Some(after)) if before.is_none_or(|before| before < after) => after.min(at),
        _ => at,
    }
}

pub(super) fn same_labels(before: &Object, after: &Object) -> bool {
    meta(before).map(|meta| &meta.labels) == meta(after).map(|meta| &meta.labels)
}

/// One arm for each kind with `spec` and the full `metadata`.
macro_rules! governing {
    ($($kind:ident),*) => {
        fn meta(object: &Object) -> Option<&Meta> {
            match object {
                $(Object::$kind(object) => Some(&object.metadata),)*
                _ => None,
            }
        }

        /// Whether two states of an object ask for the same.
        pub(super) fn same_spec(before: &Object, after: &Object) -> bool {
            match (before, after) {
                $((Object::$kind(before), Object::$kind(after)) => before.spec == after.spec,)*
                _ => before == after,
            }
        }
    };
}
governing!(
    Tier,
    KubernetesNetworkPolicy,
    ClusterNetworkPolicy,
    NetworkPolicy,
    GlobalNetworkPolicy,
    StagedNetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    NetworkSet,
    GlobalNetworkSet
);

fn tier(object: &Object) -> &str {
    match object {
        Object::NetworkPolicy(policy) => &policy.spec.tier,
        Object::GlobalNetworkPolicy(policy) => &policy.spec.tier,
        Object::StagedNetworkPolicy(policy) => &policy.spec.policy.tier,
        Object::StagedGlobalNetworkPolicy(policy) => &policy.spec.policy.tier,
        _ => "",
    }
}

fn operator(object: &Object) -> Option<Text> {
    let meta = meta(object)?;
    let tier = Some(tier(object)).filter(|tier| OPERATOR_TIERS.contains(tier));
    let owner = || meta.owner_references.first().map(|owner| owner.kind.as_str());
    let managers = meta.labels.get(MANAGED_BY).map(String::as_str).into_iter();
    let managers = managers.chain(meta.edited.as_ref().map(|edited| edited.manager.as_str()));
    let mut operators = managers.filter(|manager| manager.to_ascii_lowercase().contains("operator"));
    tier.or_else(owner).or_else(|| operators.next()).map(Text::new)
}
