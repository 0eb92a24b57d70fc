//! What the pending trace of a flow says: the verdict if it were judged anew, and whose doing that is.

use catchment_core::{KeyRecord, PolicyHit, PolicyRef};
use catchment_schemas::goldmane::Action;

/// A verdict that would be another one.
pub(super) struct Preview<'a> {
    /// The step that would decide.
    pub(super) hit: &'a PolicyHit,
    /// The staged policy that makes the difference, if any takes part.
    pub(super) staged: Option<&'a PolicyRef>,
}

impl Preview<'_> {
    pub(super) const fn denies(&self) -> bool {
        self.hit.action == Action::Deny as i32
    }
}

/// `None` where the verdict would be the same, or where nobody says.
pub(super) fn preview(key: &KeyRecord) -> Option<Preview<'_>> {
    let (trace, action) = (&key.key.trace, key.key.action);
    let decides = |hit: &&PolicyHit| [Action::Allow as i32, Action::Deny as i32].contains(&hit.action);
    let hit = trace.pending.last().filter(decides).filter(|hit| hit.action != action)?;
    // A staged policy that passes makes a difference by what comes behind it.
    let staged = trace.pending.iter().rev().find_map(staged);
    Some(Preview { hit, staged })
}

/// The staged policy of a step: its own, or what makes its tier end.
fn staged(hit: &PolicyHit) -> Option<&PolicyRef> {
    let policies = [Some(&hit.policy), hit.trigger.as_ref()];
    policies.into_iter().flatten().find(|policy| policy.is_staged())
}
