//! The whole chain of a connection: what is asked on each side, in order, and what decides.

use std::fmt;

use catchment_core::knowledge::policy::{Action, StagedAction};
use serde::Serialize;

use super::compile::{Direction, HostStage, PolicyId};
use super::endpoint::{Endpoint, EndpointKind};
use super::index::PolicySet;
use super::near::{PolicyMiss, near_policies};
use super::rule::Unmet;
use super::staged::staged_effects;
use super::surroundings::Surroundings;
use super::traffic::{Connection, Traffic};
use super::walk::{View, Walk, walk};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is let through.
    Allow,
    /// It is dropped.
    Deny,
    /// It depends on something that is not known, such as an HTTP request or an address.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Unknown => "unknown",
        })
    }
}

/// One rule of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// The policy.
    pub policy: PolicyId,
    /// Number of the rule, as in the trace of a flow log.
    pub rule_index: usize,
    /// Where it stands in the object, like `ingress[0].from[1] (TCP)`.
    pub origin: String,
    /// What it does.
    pub action: Action,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.origin)
    }
}

/// What settles one side of a connection. Where rules could not be judged, it is what decides if none of them matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Decision {
    /// A rule allows or denies.
    Rule(RuleRef),
    /// A policy of the tier selects the endpoint and no rule matches.
    EndOfTier {
        /// The tier.
        tier: String,
        /// The last such policy; in a preview the first, as in Calico's traces.
        trigger: PolicyId,
    },
    /// No tier decided: the profile of the endpoint does, which allows.
    Profile {
        /// The profile.
        name: String,
    },
    /// No tier decided, and a host endpoint has no profile: denied.
    NoProfile,
    /// No tier decided, and what the profile of a host endpoint says is not known.
    UnknownProfile,
    /// Policies govern workloads and host endpoints only.
    NotGoverned,
}

/// Everything about a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The source.
    pub source: String,
    /// The destination.
    pub destination: String,
    /// The protocol.
    pub protocol: String,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Both sides together.
    pub verdict: Verdict,
    /// What the source may send.
    pub egress: Chain,
    /// What the destination may receive.
    pub ingress: Chain,
}

/// One side of a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chain {
    /// Egress at the source, ingress at the destination.
    pub direction: Direction,
    /// The endpoint that is governed.
    pub endpoint: String,
    /// What this side says.
    pub verdict: Verdict,
    /// What settles it.
    pub decided_by: Decision,
    /// Tiers of which a policy selects the endpoint, in order; also those that come too late.
    pub tiers: Vec<TierStep>,
    /// What each staged policy of this endpoint would do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<StagedEffect>,
    /// What Calico's pending trace says, if staged policies select the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Preview>,
    /// Policies that select the endpoint but for one term, which looks like a slip.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near_policies: Vec<PolicyMiss>,
}

/// A verdict that would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The verdict.
    pub verdict: Verdict,
    /// What would settle it.
    pub decided_by: Decision,
}

/// One tier of a chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TierStep {
    /// Its name.
    pub tier: String,
    /// For host endpoints: when it is asked.
    pub stage: HostStage,
    /// Whether it is asked at all: an earlier tier may have decided.
    pub reached: bool,
    /// Policies that select the endpoint in this direction, in order.
    pub policies: Vec<PolicyStep>,
    /// How it ends.
    pub end: TierEnd,
}

/// How a tier ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum TierEnd {
    /// A rule allows, denies or passes.
    Rule(RuleRef),
    /// No rule matches, and the tier does what it does by default.
    EndOfTier {
        /// Deny or pass.
        action: Action,
        /// The last policy that selects the endpoint; in a preview the first.
        trigger: PolicyId,
    },
    /// Only staged policies select the endpoint, or the stage has no end of its own: the next tier is asked.
    Open,
}

/// One policy of a tier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyStep {
    /// Which policy.
    pub policy: PolicyId,
    /// Its order; none is last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// For staged policies, which decide nothing: what committing them would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<StagedAction>,
    /// Its effective selector.
    pub selector: String,
    /// Whether it is asked: an earlier rule of the tier may have settled it.
    pub reached: bool,
    /// The first rule that matches and settles the tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<RuleRef>,
    /// Rules before it that match and only log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logged: Vec<RuleRef>,
    /// Rules before it that depend on what is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownRule>,
    /// Rules before it that miss by one condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<RuleMiss>,
}

/// A rule that cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownRule {
    /// The rule.
    pub rule: RuleRef,
    /// The fields that depend on what is not known.
    pub fields: Vec<String>,
}

/// A rule that misses by one condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleMiss {
    /// The rule.
    pub rule: RuleRef,
    /// The condition.
    pub unmet: Unmet,
}

/// What one staged policy would do to a side of a connection, committed alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StagedEffect {
    /// The staged policy.
    pub policy: PolicyId,
    /// What committing it does. Learning and ignored policies change nothing.
    pub action: StagedAction,
    /// Whether the verdict would be another.
    pub changes: bool,
    /// The verdict that would be.
    #[serde(flatten)]
    pub preview: Preview,
}

/// Explains a connection from `source` to `destination`.
pub fn explain(
    policies: &PolicySet,
    surroundings: &Surroundings,
    source: &Endpoint,
    destination: &Endpoint,
    connection: &Connection,
) -> Explanation {
    let traffic = Traffic::new(source, destination, connection, surroundings);
    let egress = chain(policies, source, Direction::Egress, &traffic);
    let ingress = chain(policies, destination, Direction::Ingress, &traffic);
    Explanation {
        source: source.title(),
        destination: destination.title(),
        protocol: connection.protocol.to_string(),
        port: connection.port,
        verdict: both(egress.verdict, ingress.verdict),
        egress,
        ingress,
    }
}

fn both(egress: Verdict, ingress: Verdict) -> Verdict {
    match (egress, ingress) {
        (Verdict::Deny, _) | (_, Verdict::Deny) => Verdict::Deny,
        (Verdict::Allow, Verdict::Allow) => Verdict::Allow,
        _ => Verdict::Unknown,
    }
}

fn chain(policies: &PolicySet, endpoint: &Endpoint, direction: Direction, traffic: &Traffic<'_>) -> Chain {
    let mut selecting = policies.selecting(endpoint);
    selecting.retain(|policy| policy.governs(direction));
    let walked = |view| walk(&Walk { policies, selecting: &selecting, endpoint, direction, traffic, view });
    let enforced = walked(View::Enforced);
    let staged = staged_effects(policies, endpoint, &selecting, enforced.verdict, |view| walked(view).preview());
    let pending = selecting.iter().any(|policy| policy.staged.is_some()).then(|| walked(View::Pending).preview());
    let governed = matches!(endpoint.kind, EndpointKind::Workload | EndpointKind::Host);
    Chain {
        direction,
        endpoint: endpoint.title(),
        verdict: enforced.verdict,
        decided_by: enforced.decided_by,
        tiers: enforced.tiers,
        staged,
        pending,
        near_policies: if governed { near_policies(policies, endpoint, direction) } else { Vec::new() },
    }
}
