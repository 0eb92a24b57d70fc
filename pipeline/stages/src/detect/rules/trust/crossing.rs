//! What rules about trust share: whether a boundary lies between two ends, and what got through.

use catchment_core::{FindingKind, Resolution};
use serde_json::Value;

use crate::detect::config::{NamePattern, Settings};
use crate::detect::facts::{End, Facts, Talk, selectable};
use crate::detect::rule::Case;
use crate::detect::sightings::Sightings;

/// What a row that got through says of a boundary.
pub(super) enum Verdict {
    /// It was crossed; with members of the evidence.
    Crossed(Case, Vec<(&'static str, Value)>),
    /// It was not.
    Kept,
    /// Who stands at an end is not known well enough.
    Unknown,
    /// Nothing.
    Silent,
}

/// States that the boundary was crossed, or that it is kept now: what got through decides, and a denial keeps it too.
pub(super) fn judge(talk: &Talk<'_>, kind: FindingKind, out: &mut Sightings, say: impl Fn(&Facts<'_>) -> Verdict) {
    let (mut crossed, mut kept, mut passed) = (false, false, false);
    for row in talk.passed() {
        passed = true;
        match say(&Facts::new(row, talk.view)) {
            Verdict::Crossed(case, details) => {
                let sighting = out.holds(case).flow(row);
                for (name, value) in details {
                    sighting.detail(name, value);
                }
                crossed = true;
            }
            Verdict::Kept => kept = true,
            Verdict::Unknown => out.not_evaluable(kind),
            Verdict::Silent => {}
        }
    }
    let denied = !passed && talk.signs.has(crate::detect::facts::Signs::DENIED);
    if !crossed && (kept || denied) {
        out.over(kind, &talk.subject(), Resolution::Fixed);
    }
}

/// Both are workloads, and neither belongs to the platform.
pub(super) fn are_guarded(source: End<'_>, dest: End<'_>, settings: &Settings) -> bool {
    let guarded = |end: End<'_>| end.is_workload() && !end.namespace().is_some_and(|name| settings.is_platform(name));
    guarded(source) && guarded(dest)
}

/// Environment of an end, and whether only the name of its namespace tells.
pub(super) fn environment<'a>(end: End<'a>, settings: &'a Settings) -> Option<(&'a str, bool)> {
    match &end.who.environment {
        Some(word) => Some((settings.environments.named(word), false)),
        None => settings.environments.of_namespace(end.namespace()?).map(|name| (name, true)),
    }
}

/// The environments between which the source must not reach the destination.
pub(super) fn forbidden<'a>(source: End<'a>, dest: End<'a>, settings: &'a Settings) -> Option<[(&'a str, bool); 2]> {
    if !are_guarded(source, dest, settings) {
        return None;
    }
    let (from, to) = (environment(source, settings)?, environment(dest, settings)?);
    settings.environments.forbids(from.0, to.0).then_some([from, to])
}

/// Whether the destination's namespace is isolated and lists the source's; `None` where it is not isolated.
pub(super) fn isolation(source: End<'_>, dest: End<'_>, settings: &Settings) -> Option<bool> {
    if !are_guarded(source, dest, settings) || source.namespace() == dest.namespace() {
        return None;
    }
    let (from, to) = (source.namespace()?, dest.namespace()?);
    let of_dest = settings.isolated_namespaces.iter().filter(|isolated| isolated.namespace.matches(to));
    let listed = of_dest.map(|isolated| isolated.from.iter().any(|pattern| pattern.matches(from)));
    listed.reduce(|one, other| one || other)
}

/// What boundaries say of who reaches their destination.
pub(super) struct Bounded<'a> {
    /// Their names.
    pub(super) names: Vec<&'a str>,
    /// Accounts that one of them lists.
    pub(super) accounts: Vec<&'a NamePattern>,
}

/// The boundaries around the destination, if there are any.
pub(super) fn bounded<'a>(key: &Facts<'a>) -> Option<Bounded<'a>> {
    let settings = key.view.settings;
    if settings.boundaries.is_empty() || !are_guarded(key.source, key.dest, settings) {
        return None;
    }
    let labels = selectable(key.dest, key.dest_labels);
    let around = settings.boundaries.iter().filter(|boundary| boundary.destination.selector.matches(&labels));
    let around: Vec<_> = around.collect();
    (!around.is_empty()).then(|| Bounded {
        names: around.iter().map(|boundary| boundary.name.as_str()).collect(),
        accounts: around.iter().flat_map(|boundary| &boundary.accounts).collect(),
    })
}

/// Whether one of the accounts behind an end may be meant by the patterns; `None` where no account is known.
pub(super) fn may_be_listed(end: End<'_>, patterns: &[&NamePattern]) -> Option<bool> {
    let accounts = end.full_accounts();
    let listed = |account: &String| patterns.iter().any(|pattern| pattern.matches(account));
    (!accounts.is_empty()).then(|| accounts.iter().any(listed))
}

/// The boundaries of every sort that lie between the ends and that the source must not cross, in words.
pub(super) fn crossed(key: &Facts<'_>) -> Vec<String> {
    let settings = key.view.settings;
    let mut crossed = Vec::new();
    if let Some([(from, _), (to, _)]) = forbidden(key.source, key.dest, settings) {
        crossed.push(format!("environment {from} to {to}"));
    }
    if isolation(key.source, key.dest, settings) == Some(false) {
        crossed.push(format!("isolated namespace {}", key.dest.namespace().unwrap_or_default()));
    }
    if let Some(bounded) = bounded(key)
        && may_be_listed(key.source, &bounded.accounts) == Some(false)
    {
        crossed.push(format!("boundary {}", bounded.names.join(", ")));
    }
    crossed
}
