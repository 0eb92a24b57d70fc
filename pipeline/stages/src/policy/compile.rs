//! Policies in the form they are evaluated in.

use std::cmp::Ordering;
use std::fmt;

use catchment_core::knowledge::policy::{
    ClusterNetworkPolicy, GlobalNetworkPolicy, KubernetesNetworkPolicy, NetworkPolicy, PolicySpec, PolicyType, Rule,
    StagedAction, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy,
};
use catchment_core::knowledge::{Key, Kind, Meta};
use serde::{Deserialize, Serialize};

use super::endpoint::{NAMESPACE, OF_NAMESPACE, OF_SERVICE_ACCOUNT, SERVICE_ACCOUNT};
use super::kubernetes::{self, Origin};
use super::rule::CompiledRule;
use crate::selector::Selector;

/// Kind of a policy, by the names flow logs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of the kinds themselves")]
pub enum PolicyKind {
    CalicoNetworkPolicy,
    GlobalNetworkPolicy,
    StagedNetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    NetworkPolicy,
    ClusterNetworkPolicy,
}

impl PolicyKind {
    /// All kinds.
    pub const ALL: &[Self] = &[
        Self::CalicoNetworkPolicy,
        Self::GlobalNetworkPolicy,
        Self::StagedNetworkPolicy,
        Self::StagedGlobalNetworkPolicy,
        Self::StagedKubernetesNetworkPolicy,
        Self::NetworkPolicy,
        Self::ClusterNetworkPolicy,
    ];

    /// Whether policies of this kind are evaluated and not enforced.
    pub fn staged(self) -> bool {
        self.enforced() != self
    }

    /// The kind that a staged policy becomes.
    #[must_use]
    pub fn enforced(self) -> Self {
        match self {
            Self::StagedNetworkPolicy => Self::CalicoNetworkPolicy,
            Self::StagedGlobalNetworkPolicy => Self::GlobalNetworkPolicy,
            Self::StagedKubernetesNetworkPolicy => Self::NetworkPolicy,
            enforced => enforced,
        }
    }

    /// What flow logs call policies of a kind; `None` if it is no policy.
    pub fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::KubernetesNetworkPolicy => Some(Self::NetworkPolicy),
            Kind::ClusterNetworkPolicy => Some(Self::ClusterNetworkPolicy),
            Kind::NetworkPolicy => Some(Self::CalicoNetworkPolicy),
            Kind::GlobalNetworkPolicy => Some(Self::GlobalNetworkPolicy),
            Kind::StagedNetworkPolicy => Some(Self::StagedNetworkPolicy),
            Kind::StagedGlobalNetworkPolicy => Some(Self::StagedGlobalNetworkPolicy),
            Kind::StagedKubernetesNetworkPolicy => Some(Self::StagedKubernetesNetworkPolicy),
            _ => None,
        }
    }

    /// The kind of the objects that flow logs call so.
    pub fn object_kind(self) -> Kind {
        match self {
            Self::CalicoNetworkPolicy => Kind::NetworkPolicy,
            Self::GlobalNetworkPolicy => Kind::GlobalNetworkPolicy,
            Self::StagedNetworkPolicy => Kind::StagedNetworkPolicy,
            Self::StagedGlobalNetworkPolicy => Kind::StagedGlobalNetworkPolicy,
            Self::StagedKubernetesNetworkPolicy => Kind::StagedKubernetesNetworkPolicy,
            Self::NetworkPolicy => Kind::KubernetesNetworkPolicy,
            Self::ClusterNetworkPolicy => Kind::ClusterNetworkPolicy,
        }
    }

    /// The kind that previews policies of this one, if there is any.
    pub(super) fn preview(self) -> Option<Self> {
        match self {
            Self::CalicoNetworkPolicy => Some(Self::StagedNetworkPolicy),
            Self::GlobalNetworkPolicy => Some(Self::StagedGlobalNetworkPolicy),
            Self::NetworkPolicy => Some(Self::StagedKubernetesNetworkPolicy),
            _ => None,
        }
    }

    /// The name Calico sorts by.
    fn sorted_as(self) -> &'static str {
        match self {
            Self::CalicoNetworkPolicy => "NetworkPolicy",
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Self::StagedNetworkPolicy => "StagedNetworkPolicy",
            Self::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            Self::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
            Self::NetworkPolicy => "KubernetesNetworkPolicy",
            Self::ClusterNetworkPolicy => "KubernetesClusterNetworkPolicy",
        }
    }
}

/// Which policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PolicyId {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; empty for policies of the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PolicyId {
    /// The policy that an object is; `None` if it is none.
    pub fn of(key: &Key) -> Option<Self> {
        let kind = PolicyKind::of(key.kind)?;
        Some(Self { kind, namespace: key.namespace.to_string(), name: key.name.to_string() })
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{:?} {}{separator}{}", self.kind, self.namespace, self.name)
    }
}

/// A direction of traffic, seen from the endpoint that a policy governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What arrives.
    Ingress,
    /// What leaves.
    Egress,
}

/// When a policy is asked. All but the last concern host endpoints only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostStage {
    /// Before connection tracking.
    Untracked,
    /// Before destination addresses are translated.
    PreDnat,
    /// In its turn.
    Normal,
}

/// A policy in the form it is evaluated in.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Which policy.
    pub id: PolicyId,
    /// Its tier.
    pub tier: String,
    /// Lower is asked first; infinite if none is given.
    pub order: f64,
    /// When it is asked.
    pub stage: HostStage,
    /// Whether it is asked for forwarded traffic of host endpoints too.
    pub apply_on_forward: bool,
    /// What committing it would do; `None` for enforced policies.
    pub staged: Option<StagedAction>,
    /// What it applies to, narrowed to its namespace.
    pub selector: Selector,
    /// What is wrong with it. Rules that cannot be read are never taken for a match or a mismatch.
    pub problems: Vec<String>,
    /// What decides between policies of the same order.
    sorted_as: String,
    governs: [bool; 2],
    ingress: Vec<CompiledRule>,
    egress: Vec<CompiledRule>,
}

impl Compiled {
    /// Whether it governs `direction`.
    pub fn governs(&self, direction: Direction) -> bool {
        self.governs[direction as usize]
    }

    /// Where rule number `index` of a flow log's trace stands in the object, like `ingress[0].from[1] (TCP)`.
    pub fn origin(&self, direction: Direction, index: usize) -> Option<&str> {
        self.rules(direction).get(index).map(|rule| rule.origin.as_str())
    }

    pub(super) fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// The order within a tier.
    pub(super) fn sorting(&self, other: &Self) -> Ordering {
        self.order.total_cmp(&other.order).then_with(|| self.sorted_as.cmp(&other.sorted_as))
    }

    fn new(kind: PolicyKind, meta: &Meta, spec: &PolicySpec, origins: Option<[Vec<Origin>; 2]>) -> Self {
        let mut problems = Vec::new();
        let namespace = meta.namespace.as_str();
        let selector = effective_selector(spec, namespace).unwrap_or_else(|problem| {
            problems.push(format!("{problem}: it selects nothing"));
            Selector::all().negated()
        });
        let [ingress, egress] =
            origins.unwrap_or_else(|| [written("ingress", &spec.ingress), written("egress", &spec.egress)]);
        let mut rules = |rules: &[Rule], origins: Vec<Origin>| -> Vec<CompiledRule> {
            let compiled = rules.iter().zip(origins).map(|(rule, origin)| CompiledRule::new(rule, origin, namespace));
            compiled.inspect(|rule| problems.extend(rule.problem.clone())).collect()
        };
        let (ingress, egress) = (rules(&spec.ingress, ingress), rules(&spec.egress, egress));
        let name = &meta.name;
        Self {
            sorted_as: format!("{name}/{namespace}/{}", kind.sorted_as()),
            id: PolicyId { kind, namespace: namespace.to_owned(), name: name.clone() },
            tier: if spec.tier.is_empty() { "default".to_owned() } else { spec.tier.clone() },
            order: spec.order.unwrap_or(f64::INFINITY),
            stage: stage(spec),
            apply_on_forward: spec.apply_on_forward,
            staged: None,
            selector,
            problems,
            governs: governs(spec),
            ingress,
            egress,
        }
    }

    fn staged(mut self, action: StagedAction) -> Self {
        self.staged = Some(action);
        self
    }
}

impl From<&NetworkPolicy> for Compiled {
    fn from(policy: &NetworkPolicy) -> Self {
        Self::new(PolicyKind::CalicoNetworkPolicy, &policy.metadata, &policy.spec, None)
    }
}

impl From<&GlobalNetworkPolicy> for Compiled {
    fn from(policy: &GlobalNetworkPolicy) -> Self {
        Self::new(PolicyKind::GlobalNetworkPolicy, &policy.metadata, &policy.spec, None)
    }
}

impl From<&StagedNetworkPolicy> for Compiled {
    fn from(policy: &StagedNetworkPolicy) -> Self {
        Self::new(PolicyKind::StagedNetworkPolicy, &policy.metadata, &policy.spec.policy, None)
            .staged(policy.spec.staged_action)
    }
}

impl From<&StagedGlobalNetworkPolicy> for Compiled {
    fn from(policy: &StagedGlobalNetworkPolicy) -> Self {
        Self::new(PolicyKind::StagedGlobalNetworkPolicy, &policy.metadata, &policy.spec.policy, None)
            .staged(policy.spec.staged_action)
    }
}

impl From<&KubernetesNetworkPolicy> for Compiled {
    fn from(policy: &KubernetesNetworkPolicy) -> Self {
        kubernetes::network_policy(&policy.spec).compile(PolicyKind::NetworkPolicy, &policy.metadata)
    }
}

impl From<&StagedKubernetesNetworkPolicy> for Compiled {
    fn from(policy: &StagedKubernetesNetworkPolicy) -> Self {
        kubernetes::network_policy(&policy.spec.policy)
            .compile(PolicyKind::StagedKubernetesNetworkPolicy, &policy.metadata)
            .staged(policy.spec.staged_action)
    }
}

impl From<&ClusterNetworkPolicy> for Compiled {
    fn from(policy: &ClusterNetworkPolicy) -> Self {
        kubernetes::cluster_policy(&policy.spec).compile(PolicyKind::ClusterNetworkPolicy, &policy.metadata)
    }
}

impl kubernetes::Converted {
    fn compile(self, kind: PolicyKind, meta: &Meta) -> Compiled {
        let mut compiled = Compiled::new(kind, meta, &self.spec, Some(self.origins));
        compiled.problems.extend(self.problems);
        compiled
    }
}

/// The rules as they stand in a policy of Calico.
fn written(list: &str, rules: &[Rule]) -> Vec<Origin> {
    (0..rules.len()).map(|index| format!("{list}[{index}]")).collect()
}

fn stage(spec: &PolicySpec) -> HostStage {
    match (spec.do_not_track, spec.pre_dnat) {
        (true, _) => HostStage::Untracked,
        (_, true) => HostStage::PreDnat,
        _ => HostStage::Normal,
    }
}

/// Ingress and egress; without `types`, what the rules suggest.
fn governs(spec: &PolicySpec) -> [bool; 2] {
    if spec.types.is_empty() {
        return [!spec.ingress.is_empty() || spec.egress.is_empty(), !spec.egress.is_empty()];
    }
    [spec.types.contains(&PolicyType::Ingress), spec.types.contains(&PolicyType::Egress)]
}

fn effective_selector(spec: &PolicySpec, namespace: &str) -> Result<Selector, String> {
    let own = optional("selector", &spec.selector)?;
    let of_namespace = optional("namespaceSelector", &spec.namespace_selector)?.map(|s| s.prefixed(OF_NAMESPACE));
    let of_account = optional("serviceAccountSelector", &spec.service_account_selector)?;
    let of_account = of_account.map(|s| s.prefixed(OF_SERVICE_ACCOUNT));
    if !namespace.is_empty() {
        let own = [own, Some(in_namespace(namespace)), of_account];
        return Ok(all_of(own).unwrap_or_else(Selector::all));
    }
    // Calico reads `all()` anywhere in what it has put together so far as "in a namespace", then as "with an account".
    let mut selector = own;
    for (part, key) in [(of_namespace, NAMESPACE), (of_account, SERVICE_ACCOUNT)] {
        if part.is_some() {
            selector = all_of([selector, part]).map(|selector| selector.all_means_has(key));
        }
    }
    Ok(selector.unwrap_or_else(Selector::all))
}

/// Parses the selector of `field`; empty means none.
pub(super) fn optional(field: &str, text: &str) -> Result<Option<Selector>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|e| format!("{field} `{text}` is no selector, {e}"))
}

pub(super) fn all_of(parts: impl IntoIterator<Item = Option<Selector>>) -> Option<Selector> {
    parts.into_iter().flatten().reduce(Selector::and)
}

pub(super) fn in_namespace(namespace: &str) -> Selector {
    Selector::equal(NAMESPACE, namespace)
}
