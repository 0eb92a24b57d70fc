//! Words that stories share.

use catchment_core::{Counters, KeyRecord, PolicyHit, Trace};
use catchment_schemas::goldmane::names;
use serde_json::{Value, json};

use crate::policy::{Chain, Decision, PolicyStep, RuleMiss, Unmet};
use crate::selector::Term;

/// A flow as evidence: who, where, what the trace on the wire says, what was counted.
pub(super) fn flow(key: &KeyRecord, counters: &Counters) -> Value {
    let of = &key.key;
    json!({
        "source": end(&of.source),
        "dest": end(&of.dest),
        "dest_port": of.dest_port,
        "protocol": &*of.protocol,
        "reporter": names::reporter(of.reporter),
        "action": names::action(of.action),
        "enforced": of.trace.enforced.iter().map(hit).collect::<Vec<_>>(),
        "pending": of.trace.pending.iter().map(hit).collect::<Vec<_>>(),
        "packets_in": counters.packets_in,
        "packets_out": counters.packets_out,
        "bytes_in": counters.bytes_in,
        "bytes_out": counters.bytes_out,
        "connections_started": counters.started,
        "connections_live": counters.live,
    })
}

fn end(end: &catchment_core::Endpoint) -> String {
    match &end.namespace {
        Some(namespace) => format!("{namespace}/{}", end.name()),
        None => end.name().to_owned(),
    }
}

/// A step of a trace in a line, such as `default/allow-web rule 0: Allow`.
pub(crate) fn hit(hit: &PolicyHit) -> String {
    let action = names::action(hit.action);
    let action = action.as_deref().unwrap_or("?");
    let kind = names::policy_kind(hit.policy.kind);
    let name = |policy: &catchment_core::PolicyRef| match (&policy.namespace, &policy.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_string(),
        _ => String::new(),
    };
    let tier = hit.policy.tier.as_deref().unwrap_or_default();
    match (&hit.trigger, hit.rule_index) {
        (Some(trigger), _) => format!("end of tier {tier} after {}: {action}", name(trigger)),
        (None, index) if index >= 0 && !tier.is_empty() => {
            format!(
                "{} {} in tier {tier}, rule {index}: {action}",
                kind.as_deref().unwrap_or("policy"),
                name(&hit.policy)
            )
        }
        _ => format!("{} {}: {action}", kind.as_deref().unwrap_or("policy"), name(&hit.policy)),
    }
}

/// A trace in a line.
pub(crate) fn chain(hits: &[PolicyHit]) -> String {
    hits.iter().map(hit).collect::<Vec<_>>().join(", then ")
}

/// The policy that decided, for people.
pub(crate) fn deciding_policy(trace: &Trace) -> String {
    trace.enforced_policy().unwrap_or_else(|| "no policy".to_owned())
}

/// Steps of a computed chain that evidence lists.
const STEPS: usize = 20;

/// A computed chain as evidence: the verdict, what settles it, and what each policy on the way says.
pub(super) fn computed(chain: &Chain) -> Value {
    let steps = chain.tiers.iter().filter(|tier| tier.reached).flat_map(|tier| {
        let asked = tier.policies.iter().filter(|policy| policy.reached || policy.staged.is_some());
        asked.map(|policy| step(&tier.tier, policy))
    });
    json!({
        "verdict": chain.verdict,
        "decided_by": decision(&chain.decided_by),
        "steps": steps.take(STEPS).collect::<Vec<_>>(),
    })
}

fn step(tier: &str, policy: &PolicyStep) -> String {
    let staged = if policy.staged.is_some() { "staged " } else { "" };
    let what = match &policy.matched {
        Some(rule) => format!("{} matches: {:?}", rule.origin, rule.action),
        None => match policy.near.first() {
            Some(near) => format!("no rule matches; {}", missed(near)),
            None if policy.unknown.is_empty() => "no rule matches".to_owned(),
            None => "no rule matches for sure: some depend on what flows do not show".to_owned(),
        },
    };
    format!("tier {tier}: {staged}{} selects it, {what}", policy.policy)
}

/// What settles a side, for people.
pub(crate) fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Rule(rule) => format!("{rule}: {:?}", rule.action),
        Decision::EndOfTier { tier, trigger } => format!("end of tier {tier} after {trigger}"),
        Decision::Profile { name } => format!("profile {name}"),
        Decision::NoProfile => "no profile".to_owned(),
        Decision::UnknownProfile => "a profile that is not known".to_owned(),
        Decision::NotGoverned => "nothing: policies do not govern it".to_owned(),
    }
}

/// The one condition by which a rule missed.
pub(crate) fn missed(near: &RuleMiss) -> String {
    let Unmet { field, wanted, found, terms } = &near.unmet;
    let terms: Vec<_> = terms.iter().map(term).collect();
    let terms = if terms.is_empty() { String::new() } else { format!(": {}", terms.join(", ")) };
    format!("{} misses by {field} alone, which asks for {wanted} and finds {found}{terms}", near.rule.origin)
}

/// The term by which a selector missed, with the label that was probably meant.
pub(crate) fn term(term: &Term) -> String {
    let found = term.found.as_ref().map_or_else(|| "no such label".to_owned(), |found| format!("{}={found}", term.key));
    match &term.resembles {
        Some(meant) if *meant != found => format!("{} against {found} (the label may be {meant})", term.term),
        _ => format!("{} against {found}", term.term),
    }
}

/// A number with its noun, such as `1 connection`, `20 connections`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Bytes for people.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)], ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([count(0, "row"), count(1, "row"), count(2, "row")], ["0 rows", "1 row", "2 rows"]);
    }
}
