//! What is known of a flow in the cluster: its ends as policies see them, the chain that is computed for it, the policies
//! that its trace names, and what changed just before.

use std::fmt;

use catchment_core::knowledge::{Kind, policy::Protocol};
use catchment_core::{KeyRecord, Period, PolicyRef, Subject};
use catchment_schemas::goldmane::{EndpointType, PolicyKind as WireKind, Reporter};

use serde::{Deserialize, Serialize};

use super::view::View;
use crate::cluster::{self, ClusterState, Edit};
use crate::policy::{AddressSet, Chain, Compiled, Connection, Direction, Endpoint, PolicyId, PolicyKind, explain};

/// Kinds that decide what policies do; one that is not seen as a whole may hide what matters.
pub(crate) const POLICIES: [Kind; 8] = [
    Kind::Tier,
    Kind::KubernetesNetworkPolicy,
    Kind::ClusterNetworkPolicy,
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
    Kind::StagedKubernetesNetworkPolicy,
];

/// Changes in this time before the end of a window may be the cause of what it shows.
const BEFORE: Period = Period::secs(900);
/// Changes that a finding names.
const NAMED: usize = 10;

/// What selectors of policies are matched with: pods and those that will be, with what they inherit.
const SELECTED: [Kind; 11] = [
    Kind::Pod,
    Kind::Namespace,
    Kind::ServiceAccount,
    Kind::Deployment,
    Kind::ReplicaSet,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
    Kind::Job,
    Kind::NetworkSet,
    Kind::GlobalNetworkSet,
];

impl<'a> View<'a> {
    /// The cluster, if all policies and tiers are seen: an API server may hide those of tiers that may not be read.
    pub(crate) fn policed(&self) -> Option<&'a ClusterState> {
        self.state.filter(|state| state.unseen(&POLICIES).is_empty())
    }

    /// The cluster, if besides all policies everything is seen that they may select.
    pub(crate) fn selected(&self) -> Option<&'a ClusterState> {
        self.policed().filter(|state| state.unseen(&SELECTED).is_empty())
    }
}

/// The policy that a trace names.
pub(crate) fn policy_id(policy: &PolicyRef) -> Option<PolicyId> {
    let kind = match WireKind::try_from(policy.kind).ok()? {
        WireKind::CalicoNetworkPolicy => PolicyKind::CalicoNetworkPolicy,
        WireKind::GlobalNetworkPolicy => PolicyKind::GlobalNetworkPolicy,
        WireKind::StagedNetworkPolicy => PolicyKind::StagedNetworkPolicy,
        WireKind::StagedGlobalNetworkPolicy => PolicyKind::StagedGlobalNetworkPolicy,
        WireKind::StagedKubernetesNetworkPolicy => PolicyKind::StagedKubernetesNetworkPolicy,
        WireKind::NetworkPolicy => PolicyKind::NetworkPolicy,
        WireKind::ClusterNetworkPolicy => PolicyKind::ClusterNetworkPolicy,
        _ => return None,
    };
    let shown = policy.display()?;
    let (namespace, name) = shown.split_once('/').unwrap_or(("", &shown));
    Some(PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}

/// A policy as subjects and people name it: `namespace/name`, or the name of one of the cluster.
pub(crate) fn policy_name(id: &PolicyId) -> String {
    if id.namespace.is_empty() { id.name.clone() } else { format!("{}/{}", id.namespace, id.name) }
}

/// A policy as rules remember it: those of other kinds may bear its name.
pub(crate) type Named = (PolicyKind, String);

pub(crate) fn named(id: &PolicyId) -> Named {
    (id.kind, policy_name(id))
}

/// All policies of the cluster that a subject's name may mean.
pub(crate) fn policies_named<'a>(state: &'a ClusterState, name: &str) -> impl Iterator<Item = &'a Compiled> {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    PolicyKind::ALL.iter().filter_map(move |&kind| {
        state.policy().policies().policy(&PolicyId { kind, namespace: namespace.clone(), name: name.clone() })
    })
}

/// The policy that a trace names, as it stands in the cluster.
pub(crate) fn policy<'a>(state: &'a ClusterState, policy: &PolicyRef) -> Option<&'a Compiled> {
    state.policy().policies().policy(&policy_id(policy)?)
}

/// An end of a flow as policies see it; `None` where nobody is known to bear its name.
pub(crate) fn endpoint(state: &ClusterState, end: &catchment_core::Endpoint) -> Option<Endpoint> {
    let namespace = end.namespace.as_deref().unwrap_or_default();
    match EndpointType::try_from(end.kind).ok()? {
        EndpointType::WorkloadEndpoint => {
            let pod = state.bearers(namespace, &end.raw_name)?.present().first()?;
            state.policy().pod(namespace, pod)
        }
        EndpointType::NetworkSet => {
            let mut sets = state.surroundings().sets.iter();
            sets.find(|set| set.namespace == namespace && *set.name == *end.raw_name).map(AddressSet::endpoint)
        }
        EndpointType::HostEndpoint | EndpointType::Network => Some(Endpoint::address(end.name(), Vec::new())),
        EndpointType::Unspecified => None,
    }
}

/// What the policies of the cluster say of a flow at its reporter's side, in full: the trace lists deciding steps only.
pub(crate) fn chain(state: &ClusterState, key: &KeyRecord) -> Option<Chain> {
    let key = &key.key;
    let (source, dest) = (endpoint(state, &key.source)?, endpoint(state, &key.dest)?);
    let protocol: Protocol = key.protocol.parse().ok()?;
    let port = u16::try_from(key.dest_port).ok();
    let connection = Connection { port, ..Connection::new(protocol, 0) };
    let explained = explain(state.policy().policies(), state.surroundings(), &source, &dest, &connection);
    Some(if key.reporter == Reporter::Src as i32 { explained.egress } else { explained.ingress })
}

/// The direction that the reporter of a key decides on.
pub(crate) const fn direction(key: &KeyRecord) -> Direction {
    if key.key.reporter == Reporter::Src as i32 { Direction::Egress } else { Direction::Ingress }
}

/// What changed shortly before the end of the window and may bear on a subject: nearest and newest first.
pub(crate) fn changed_before<'a>(view: &View<'a>, subject: &Subject) -> Vec<&'a Edit> {
    let Some(state) = view.state else { return Vec::new() };
    let within = BEFORE.micros() + (view.window.end.0 - view.window.start.0);
    let mut edits = state.changes_before(view.window.end, within, &about(subject));
    edits.truncate(NAMED);
    edits
}

/// A change as findings keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    /// The object: its kind, namespace and name.
    object: String,
    /// What happened to it.
    what: String,
    /// When.
    at: String,
    /// Who did it; empty where nobody says.
    editor: String,
    /// Whether the object decides over flows.
    pub(crate) is_policy: bool,
}

impl From<&Edit> for Changed {
    fn from(edit: &Edit) -> Self {
        Self {
            object: edit.key.to_string(),
            what: edit.what.words().to_owned(),
            at: edit.at.to_rfc3339(),
            editor: edit.editor.as_ref().map(ToString::to_string).unwrap_or_default(),
            is_policy: POLICIES.contains(&edit.key.kind),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {} at {}", self.object, self.what, self.at)?;
        if self.editor.is_empty() { Ok(()) } else { write!(f, " by {}", self.editor) }
    }
}

/// A subject of a finding as the history knows it.
fn about(subject: &Subject) -> cluster::Subject {
    const WORKLOADS: [&str; 6] = ["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "ReplicaSet"];
    let ends = [("namespace", "workload"), ("source_namespace", "source"), ("dest_namespace", "dest")];
    let mut about = cluster::Subject::default();
    for (namespace, name) in ends {
        let Some(namespace) = subject.get(namespace) else { continue };
        about = about.namespace(namespace);
        if let Some(name) = subject.get(name) {
            about = WORKLOADS.iter().fold(about, |about, kind| about.workload(kind, namespace, name));
        }
    }
    if let Some(policy) = subject.get("policy") {
        let (namespace, name) = policy.split_once('/').unwrap_or(("", policy));
        for &kind in PolicyKind::ALL {
            about = about.policy(&PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned() });
        }
    }
    about
}
