//! What staged policies would change.

use catchment_core::knowledge::policy::StagedAction;

use super::compile::{Compiled, PolicyId};
use super::endpoint::Endpoint;
use super::explain::{Preview, StagedEffect, Verdict};
use super::index::PolicySet;
use super::walk::View;

/// Whether committing `staged` takes the enforced `policy` away, be it for another of the same name.
pub(super) fn replaces(staged: &Compiled, policy: &Compiled) -> bool {
    let acts = matches!(staged.staged, Some(StagedAction::Set | StagedAction::Delete));
    let target = (staged.id.kind.enforced(), &staged.id.namespace, &staged.id.name);
    acts && target == (policy.id.kind, &policy.id.namespace, &policy.id.name)
}

/// The effect of each staged policy that selects the endpoint, or whose enforced policy does.
pub(super) fn staged_effects<'a>(
    policies: &'a PolicySet,
    endpoint: &Endpoint,
    selecting: &[&'a Compiled],
    now: Verdict,
    preview: impl Fn(View<'a>) -> Preview,
) -> Vec<StagedEffect> {
    let of_enforced = selecting.iter().filter_map(|policy| previewing(policies, policy));
    let elsewhere =
        of_enforced.filter(|staged| !staged.selector.matches(&endpoint.labels) || !among(selecting, staged));
    let here = selecting.iter().copied().filter(|policy| policy.staged.is_some());
    let mut staged: Vec<_> = here.chain(elsewhere).collect();
    staged.sort_by(|a, b| a.id.cmp(&b.id));
    let effects = staged.into_iter().filter_map(|policy| {
        let preview = preview(View::Committed(policy));
        let changes = preview.verdict != now;
        Some(StagedEffect { policy: policy.id.clone(), action: policy.staged?, changes, preview })
    });
    effects.collect()
}

fn among(selecting: &[&Compiled], policy: &Compiled) -> bool {
    selecting.iter().any(|selecting| selecting.id == policy.id)
}

/// The staged policy of the same name.
fn previewing<'a>(policies: &'a PolicySet, policy: &Compiled) -> Option<&'a Compiled> {
    let PolicyId { kind, namespace, name } = policy.id.clone();
    policies.policy(&PolicyId { kind: kind.preview()?, namespace, name })
}
