//! Tier by tier, policy by policy, rule by rule.

use catchment_core::knowledge::policy::{Action, StagedAction};

use super::compile::{Compiled, Direction, HostStage};
use super::endpoint::{Endpoint, EndpointKind};
use super::explain::{Decision, PolicyStep, Preview, RuleMiss, RuleRef, TierEnd, TierStep, UnknownRule, Verdict};
use super::index::PolicySet;
use super::staged::replaces;
use super::traffic::Traffic;

/// Which policies count.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    /// Those that are enforced; staged ones are looked at beside.
    Enforced,
    /// Staged ones too, each in its place, as in Calico's pending trace. A deletion is never previewed there.
    Pending,
    /// Those that are enforced once this staged policy is committed.
    Committed(&'a Compiled),
}

impl View<'_> {
    fn counts(self, policy: &Compiled) -> bool {
        match self {
            Self::Enforced => policy.staged.is_none(),
            Self::Pending => policy.staged != Some(StagedAction::Delete),
            Self::Committed(staged) if policy.id == staged.id => staged.staged == Some(StagedAction::Set),
            Self::Committed(staged) => policy.staged.is_none() && !replaces(staged, policy),
        }
    }
}

/// One side of a connection that is walked.
pub(super) struct Walk<'a> {
    pub(super) policies: &'a PolicySet,
    /// Policies that select the endpoint in this direction, in order.
    pub(super) selecting: &'a [&'a Compiled],
    pub(super) endpoint: &'a Endpoint,
    pub(super) direction: Direction,
    pub(super) traffic: &'a Traffic<'a>,
    pub(super) view: View<'a>,
}

/// Where a walk came to.
pub(super) struct Walked {
    pub(super) tiers: Vec<TierStep>,
    pub(super) verdict: Verdict,
    pub(super) decided_by: Decision,
}

impl Walked {
    pub(super) fn preview(self) -> Preview {
        Preview { verdict: self.verdict, decided_by: self.decided_by }
    }
}

/// How a connection may leave a tier, depending on what the rules that could not be judged say.
#[derive(Clone, Copy, Default)]
struct Exits {
    allow: bool,
    deny: bool,
    pass: bool,
}

impl Exits {
    fn add(&mut self, action: Action) {
        match action {
            Action::Allow => self.allow = true,
            Action::Deny => self.deny = true,
            Action::Pass => self.pass = true,
            Action::Log => {}
        }
    }
}

pub(super) fn walk(walk: &Walk<'_>) -> Walked {
    let mut tiers = Vec::new();
    let mut decided = None;
    // What may become of the connection, and whether it may get as far as the next tier.
    let mut may = Exits { pass: true, ..Exits::default() };
    for stage in stages(walk.endpoint.kind) {
        let of_stage: Vec<_> = walk.selecting.iter().copied().filter(|policy| policy.stage == *stage).collect();
        for policies in of_stage.chunk_by(|a, b| a.tier == b.tier) {
            let (step, exits) = walk.tier(policies, *stage, decided.is_none());
            if may.pass {
                may = Exits { allow: may.allow || exits.allow, deny: may.deny || exits.deny, pass: exits.pass };
            }
            decided = decided.or_else(|| decision(&step));
            tiers.push(step);
        }
    }
    let (profile, action) = profile(walk.endpoint);
    if may.pass {
        may.allow |= action != Some(Action::Deny);
        may.deny |= action != Some(Action::Allow);
    }
    let verdict = match (may.allow, may.deny) {
        (true, false) => Verdict::Allow,
        (false, true) => Verdict::Deny,
        _ => Verdict::Unknown,
    };
    Walked { tiers, verdict, decided_by: decided.unwrap_or(profile) }
}

/// Policies of the first two stages do not concern workloads.
fn stages(kind: EndpointKind) -> &'static [HostStage] {
    match kind {
        EndpointKind::Host => &[HostStage::Untracked, HostStage::PreDnat, HostStage::Normal],
        _ => &[HostStage::Normal],
    }
}

fn decision(step: &TierStep) -> Option<Decision> {
    match &step.end {
        TierEnd::Rule(rule) if rule.action != Action::Pass => Some(Decision::Rule(rule.clone())),
        TierEnd::EndOfTier { action: Action::Deny, trigger } => {
            Some(Decision::EndOfTier { tier: step.tier.clone(), trigger: trigger.clone() })
        }
        _ => None,
    }
}

/// What is asked when no tier has decided, and what it says if that is known.
fn profile(endpoint: &Endpoint) -> (Decision, Option<Action>) {
    const ALLOWS: &str = "projectcalico-default-allow";
    match endpoint.kind {
        EndpointKind::Workload => {
            (Decision::Profile { name: format!("kns.{}", endpoint.namespace) }, Some(Action::Allow))
        }
        EndpointKind::Host if endpoint.profiles.is_empty() => (Decision::NoProfile, Some(Action::Deny)),
        EndpointKind::Host if endpoint.profiles.iter().any(|name| name == ALLOWS) => {
            (Decision::Profile { name: ALLOWS.to_owned() }, Some(Action::Allow))
        }
        EndpointKind::Host => (Decision::UnknownProfile, None),
        EndpointKind::NetworkSet | EndpointKind::Address => (Decision::NotGoverned, Some(Action::Allow)),
    }
}

impl Walk<'_> {
    /// `policies` are those of one tier; `reached` tells whether the line comes here if no unknown rule matches.
    fn tier(&self, policies: &[&Compiled], stage: HostStage, reached: bool) -> (TierStep, Exits) {
        let mut exits = Exits::default();
        let mut steps = Vec::new();
        let mut settled: Option<RuleRef> = None;
        for policy in policies {
            let step = self.policy(policy, reached && settled.is_none());
            if self.view.counts(policy) && settled.is_none() {
                step.unknown.iter().for_each(|unknown| exits.add(unknown.rule.action));
                settled.clone_from(&step.matched);
            }
            steps.push(step);
        }
        let name = policies[0].tier.clone();
        let end = settled.map_or_else(|| self.end(policies, stage), TierEnd::Rule);
        exits.add(match &end {
            TierEnd::Rule(rule) => rule.action,
            TierEnd::EndOfTier { action, .. } => *action,
            TierEnd::Open => Action::Pass,
        });
        (TierStep { tier: name, stage, reached, policies: steps, end }, exits)
    }

    /// What happens where no rule matches. Only the normal stage denies for want of a match.
    fn end(&self, policies: &[&Compiled], stage: HostStage) -> TierEnd {
        let mut counting = policies.iter().filter(|policy| self.view.counts(policy));
        let trigger = if matches!(self.view, View::Pending) { counting.next() } else { counting.next_back() };
        match (trigger, policies.first().and_then(|policy| self.policies.tier(&policy.tier))) {
            (Some(trigger), Some(tier)) if stage == HostStage::Normal => {
                TierEnd::EndOfTier { action: tier.default_action, trigger: trigger.id.clone() }
            }
            _ => TierEnd::Open,
        }
    }

    fn policy(&self, policy: &Compiled, reached: bool) -> PolicyStep {
        let mut step = PolicyStep {
            policy: policy.id.clone(),
            order: policy.order.is_finite().then_some(policy.order),
            staged: policy.staged,
            selector: policy.selector.to_string(),
            reached,
            matched: None,
            logged: Vec::new(),
            unknown: Vec::new(),
            near: Vec::new(),
        };
        for (rule_index, rule) in policy.rules(self.direction).iter().enumerate() {
            let judgement = rule.judge(self.traffic);
            let here =
                || RuleRef { policy: policy.id.clone(), rule_index, origin: rule.origin.clone(), action: rule.action };
            match judgement.matched() {
                Some(true) if rule.action == Action::Log => step.logged.push(here()),
                Some(true) => {
                    step.matched = Some(here());
                    break;
                }
                None => step.unknown.push(UnknownRule { rule: here(), fields: judgement.unknown }),
                Some(false) => {
                    if let [unmet] = &judgement.unmet[..] {
                        step.near.push(RuleMiss { rule: here(), unmet: unmet.clone() });
                    }
                }
            }
        }
        step
    }
}
