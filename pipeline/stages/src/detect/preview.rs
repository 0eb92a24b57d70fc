//! What the pending trace of a flow says: the verdict if it were judged anew, and whose doing that is.

use catchment_core::{KeyRecord, PolicyHit, PolicyRef, VerdictReason};
use catchment_schemas::goldmane::Action;

/// A verdict that would be another one.
pub(crate) struct Preview<'a> {
    /// The step that would decide.
    pub(crate) hit: &'a PolicyHit,
    /// The staged policy that makes the difference, if any takes part.
    pub(crate) staged: Option<&'a PolicyRef>,
}

impl Preview<'_> {
    pub(crate) const fn denies(&self) -> bool {
        self.hit.action == Action::Deny as i32
    }
}

/// `None` where the verdict would be the same, or where nobody says.
pub(crate) fn preview(key: &KeyRecord) -> Option<Preview<'_>> {
    let (trace, action) = (&key.key.trace, key.key.action);
    let decides = |hit: &&PolicyHit| [Action::Allow as i32, Action::Deny as i32].contains(&hit.action);
    let hit = trace.pending.last().filter(decides).filter(|hit| hit.action != action)?;
    // A staged policy that passes makes a difference by what comes behind it.
    let staged = trace.pending.iter().rev().find_map(staged);
    Some(Preview { hit, staged })
}

/// The step that would decide now about traffic that was let in, if another than the policy that let it in would and no
/// staged policy takes part: that policy was edited behind it. Rules of one policy only change places.
pub(crate) fn replaced(key: &KeyRecord) -> Option<&PolicyHit> {
    let (trace, allow) = (&key.key.trace, Action::Allow as i32);
    let [enforced, pending] = [trace.enforced.last()?, trace.pending.last()?];
    let is_edited = trace.pending.iter().all(|hit| staged(hit).is_none());
    let decides_else = match pending.action {
        action if action == Action::Deny as i32 => true,
        action if action == allow => {
            [enforced, pending].iter().all(|hit| hit.reason() == VerdictReason::Rule)
                && enforced.policy != pending.policy
        }
        _ => false,
    };
    (key.key.action == allow && is_edited && decides_else).then_some(pending)
}

/// Whether traffic that was let in would be denied now, policies having been edited behind it.
pub(crate) fn is_denied_now(key: &KeyRecord) -> bool {
    replaced(key).is_some_and(|hit| hit.action == Action::Deny as i32)
}

/// The staged policy of a step: its own, or what makes its tier end.
fn staged(hit: &PolicyHit) -> Option<&PolicyRef> {
    let policies = [Some(&hit.policy), hit.trigger.as_ref()];
    policies.into_iter().flatten().find(|policy| policy.is_staged())
}
