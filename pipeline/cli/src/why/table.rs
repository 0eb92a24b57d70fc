//! The chain for people.

use std::fmt::Write as _;

use catchment_core::knowledge::policy::Action;
use catchment_stages::policy::{
    Chain, Decision, Direction, HostStage, PolicyStep, RuleMiss, RuleRef, StagedEffect, TierEnd, TierStep,
};

use super::Answer;

pub(super) fn render(answer: &Answer) -> String {
    let explanation = &answer.explanation;
    let port = explanation.port.map(|port| format!(" {port}")).unwrap_or_default();
    let mut text = format!(
        "{} -> {} {}{port}: {}\n",
        explanation.source, explanation.destination, explanation.protocol, explanation.verdict
    );
    chain(&mut text, &explanation.egress);
    chain(&mut text, &explanation.ingress);
    let notes = answer.notes.iter().cloned();
    let problems = answer.problems.iter().map(|problem| format!("{}: {}", problem.policy, problem.problem));
    let notes: Vec<_> = notes.chain(problems).collect();
    if !notes.is_empty() {
        line(&mut text, 0, "\nNotes");
        for note in notes {
            line(&mut text, 1, &note);
        }
    }
    text
}

fn line(text: &mut String, depth: usize, what: &str) {
    let _ = writeln!(text, "{:indent$}{what}", "", indent = depth * 2);
}

fn chain(text: &mut String, chain: &Chain) {
    let direction = match chain.direction {
        Direction::Egress => "Egress",
        Direction::Ingress => "Ingress",
    };
    let by = decision(&chain.decided_by);
    line(text, 0, &format!("\n{direction} of {}: {}, {by}", chain.endpoint, chain.verdict));
    if chain.tiers.is_empty() && chain.decided_by != Decision::NotGoverned {
        line(text, 1, "no policy selects it in this direction");
    }
    chain.tiers.iter().for_each(|step| tier(text, step));
    for miss in &chain.near_policies {
        let resembles = miss.term.resembles.as_deref().unwrap_or_default();
        line(
            text,
            1,
            &format!("{} nearly selects it: it asks for {}, here is {resembles}", miss.policy, miss.term.term),
        );
    }
    chain.staged.iter().for_each(|effect| staged(text, effect));
    if let Some(pending) = &chain.pending {
        line(text, 1, &format!("pending in flow logs: {}, {}", pending.verdict, decision(&pending.decided_by)));
    }
}

fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Rule(rule) => format!("by {rule}"),
        Decision::EndOfTier { tier, trigger } => {
            format!("at the end of tier {tier}: {trigger} selects it and no rule matches")
        }
        Decision::Profile { name } => format!("by profile {name}: no tier decides"),
        Decision::NoProfile => "because no tier decides and the host endpoint has no profile".to_owned(),
        Decision::UnknownProfile => "because no tier decides and the rules of its profiles are not known".to_owned(),
        Decision::NotGoverned => "because no policy governs it: it is no workload and no host endpoint".to_owned(),
    }
}

fn tier(text: &mut String, step: &TierStep) {
    let stage = match step.stage {
        HostStage::Untracked => ", before connection tracking",
        HostStage::PreDnat => ", before destination translation",
        HostStage::Normal => "",
    };
    let end = match &step.end {
        _ if !step.reached => "not reached".to_owned(),
        TierEnd::Rule(rule) => format!("{} by {rule}", done(rule.action)),
        TierEnd::EndOfTier { action, .. } => format!("no rule matches: {} by default", done(*action)),
        TierEnd::Open => "the next tier is asked".to_owned(),
    };
    line(text, 1, &format!("tier {}{stage}: {end}", step.tier));
    step.policies.iter().for_each(|policy_step| policy(text, policy_step));
}

fn done(action: Action) -> &'static str {
    match action {
        Action::Allow => "allowed",
        Action::Deny => "denied",
        Action::Log => "logged",
        Action::Pass => "passed on",
    }
}

fn policy(text: &mut String, step: &PolicyStep) {
    let order = step.order.map_or_else(|| "last".to_owned(), |order| format!("order {order}"));
    let staged = step.staged.map(|action| format!(", staged {action:?}")).unwrap_or_default();
    let outcome = match &step.matched {
        _ if !step.reached => "not reached".to_owned(),
        Some(rule) if step.staged.is_some() => format!("would be {} by {}", done(rule.action), rule.origin),
        Some(rule) => format!("{} by {}", done(rule.action), rule.origin),
        None => "no rule matches".to_owned(),
    };
    line(text, 2, &format!("{} ({order}{staged}): {outcome}", step.policy));
    if !step.reached {
        return;
    }
    line(text, 3, &format!("selects {}", step.selector));
    for rule in &step.logged {
        line(text, 3, &format!("{} logs it", rule.origin));
    }
    for unknown in &step.unknown {
        let RuleRef { origin, action, .. } = &unknown.rule;
        line(text, 3, &format!("{origin} {action:?}: not known whether it matches, for {}", unknown.fields.join(", ")));
    }
    step.near.iter().for_each(|miss| near(text, miss));
}

fn near(text: &mut String, miss: &RuleMiss) {
    let (unmet, rule) = (&miss.unmet, &miss.rule);
    line(
        text,
        3,
        &format!(
            "{} {:?} nearly matches: {} wants {}, here is {}",
            rule.origin, rule.action, unmet.field, unmet.wanted, unmet.found
        ),
    );
    for term in &unmet.terms {
        let found = term.found.as_ref().map_or_else(|| "missing".to_owned(), |found| format!("`{found}`"));
        let resembles = term.resembles.as_ref().map(|label| format!("; {label} looks like it")).unwrap_or_default();
        line(text, 4, &format!("only {} is in the way: the label is {found}{resembles}", term.term));
    }
}

fn staged(text: &mut String, effect: &StagedEffect) {
    let would = if effect.changes {
        format!("would change it to {}, {}", effect.preview.verdict, decision(&effect.preview.decided_by))
    } else {
        "would change nothing here".to_owned()
    };
    line(text, 1, &format!("{} ({:?}) {would}", effect.policy, effect.action));
}
