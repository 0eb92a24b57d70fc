//! What each kind of finding means, how it is found, and what to do.

use catchment_core::FindingKind as Kind;

/// What people are told of a kind.
pub(crate) struct Meaning {
    kind: Kind,
    pub(crate) means: &'static str,
    /// What shows it, and what must be known for that.
    pub(crate) found: &'static str,
    pub(crate) mend: &'static str,
}

/// The meaning of a kind.
pub(crate) fn of(kind: Kind) -> &'static Meaning {
    MEANINGS.iter().find(|meaning| meaning.kind == kind).expect("every kind has a meaning")
}

macro_rules! meanings {
    ($($kind:ident: $means:literal, $found:literal, $mend:literal;)*) => {
        const MEANINGS: &[Meaning] = &[$(Meaning { kind: Kind::$kind, means: $means, found: $found, mend: $mend },)*];
    };
}

meanings! {
    NoPolicy:
        "Traffic is allowed because no policy decides: the profile of the namespace lets everything through. Whoever can \
         reach the workload may talk to it.",
        "The enforced trace of an allowed flow ends with a profile, and all before it passed. Ingress is told per \
         workload, egress per namespace. Medium where the backend is critical or the source public.",
        "Write a policy that selects the workload and allows what it needs. Stage it first.";
    ImplicitDeny:
        "A policy selects the endpoint, none of its rules matches, and the tier denies at its end.",
        "A denied flow with packets whose trace ends with the end of a tier. High where the same pair was allowed within \
         the last day.",
        "If the traffic is meant, add a rule for it to the policy that is named; otherwise mend the source.";
    ExplicitDeny:
        "A rule denies the traffic.",
        "A denied flow with packets whose trace ends with a rule. High where the same pair was allowed within the last \
         day.",
        "If the traffic is meant, allow it in front of the rule that denies; otherwise mend the source.";
    StagedWouldDeny:
        "A staged policy would deny traffic that is allowed now: enforcing it would cut these connections.",
        "The pending trace is decided by a staged policy, and its action differs from the enforced one.",
        "Add what is missing to the staged policy before it is enforced.";
    StagedWouldAllow:
        "A staged policy would allow traffic that is denied now.",
        "The pending trace is decided by a staged policy, and its action differs from the enforced one.",
        "Enforce the policy if the traffic is meant; narrow it if not.";
    StaleVerdict:
        "An established connection is kept by a rule that has been replaced: a new one would be judged otherwise.",
        "Pending and enforced trace differ and no staged policy is involved. Medium where a new connection would be \
         denied.",
        "Restart the client or the server, so that the connection is made anew under the policies of now.";
    StagedForgotten:
        "A policy was staged long ago, and neither enforced nor withdrawn.",
        "The last edit of a staged policy is older than the threshold. The reason says whether it is ready, would still \
         change traffic, or never met any. Needs the policies of the cluster.",
        "Enforce it or delete it.";
    LabelMismatch:
        "A selector matches nothing, and there is something it misses by one label: a value in another case or with a \
         slip, or another key.",
        "The selector has matched no endpoint and no pod template for the threshold, while an endpoint in its scope \
         misses one term. Needs policies and workloads of the cluster.",
        "Correct the selector or the label; both are named.";
    BroadAllow:
        "Traffic is allowed by a rule without peer and ports: it lets everybody in, or out to everywhere.",
        "The rule that decided an allowed flow has neither peers nor ports. Medium where a narrower policy lies behind it \
         and is never asked. Needs the policies of the cluster.",
        "Name the peers and ports that are needed.";
    Shadowed:
        "A policy or rule is never reached: those before it decide all that it selects.",
        "Computed from the order of tiers, policies and rules. Needs the policies of the cluster.",
        "Move it forward, narrow what lies before it, or delete it.";
    Unused:
        "A policy has decided nothing for a week although its endpoints had traffic.",
        "No trace names it, as a rule or at the end of a tier. Needs the policies of the cluster, and windows without \
         gaps.",
        "Delete it if nobody needs it; look for a wrong selector if somebody does.";
    PublicExposure:
        "Workloads are reached from public networks, and no rule with a peer allows that.",
        "Allowed ingress from a public network that a profile or a rule without peer decided; or a service of type \
         LoadBalancer or NodePort where the address of the client is hidden.",
        "Allow the sources that are meant in a policy, and no others.";
    DefaultServiceAccount:
        "A workload that runs as the service account `default` reaches a critical backend or the API of the cluster. \
         Everything in the namespace that names no account has the same identity.",
        "The source's account is `default` and the destination is selected by `findings.critical`. Needs the pods of the \
         cluster, or a source that carries accounts.",
        "Give the workload a service account of its own.";
    WrongServiceAccount:
        "A service account reaches a backend whose boundary does not list it, or that it never reached before.",
        "The account is not among those of a boundary under `findings.boundaries`; or, suspected, is new to the \
         destination after a day of learning.",
        "Add the account to the boundary if it is meant; otherwise deny it by a policy that names accounts.";
    UnexpectedDestinationIdentity:
        "Pods behind a backend run under an account that is not expected there: somebody else answers in its place.",
        "The destination's account is not among those under `findings.expected_accounts`.",
        "Look at which pods the service selects, and who made those that are not expected.";
    CrossEnvironment:
        "One environment reaches another that it must not, such as development production.",
        "The environments of both ends, from labels of namespaces or their names, are an edge under \
         `findings.environments.forbidden`. Namespaces of the platform are exempt.",
        "Point the client to the backend of its own environment, and deny the edge by a policy.";
    CrossNamespace:
        "An isolated namespace is reached from one that is not on its list.",
        "The destination's namespace is under `findings.isolated_namespaces`, and the source's is not on its list.",
        "Add the namespace to the list if it is meant; otherwise deny it by a policy.";
    UnintendedPath:
        "A boundary was crossed because a policy without account, namespace or label peer allows it.",
        "The rule that allowed a crossing has no peer that tells accounts or namespaces apart. Needs the policies of the \
         cluster.",
        "Name the accounts or namespaces that are meant in the rule.";
    NoResponse:
        "Requests are allowed and never answered.",
        "Connections begin, requests are sent again and no reply is seen by either side, in two windows running. \
         Protocols that may stay silent need more. Only whole windows count.",
        "Look whether the destination listens on the port, whether its pods are ready, and what lies on the way back.";
    NoAck:
        "Replies leave the destination and do not arrive at the source.",
        "The destination's half counts replies, the source's half none; or flags show a handshake that is not finished.",
        "Look at the way back: routes, firewalls, and translation of addresses between the nodes.";
    NeverEstablished:
        "TCP connections begin and none is established.",
        "Connections start, none completes or lives past its window, and fewer bytes flow than a handshake takes.",
        "Look whether the destination refuses: the port, a listener on loopback only, a full backlog.";
    OneSidedReport:
        "One of two reporters says nothing of a connection both should see.",
        "The source reports an allowed flow with replies, and no report of the destination's side fits, while its nodes \
         report other pods.",
        "Look at the agent on the destination's node and at its connection to the collector.";
    DeniedAtDestination:
        "The source's side allows a connection and the destination's side denies it.",
        "One conversation whose source half is allowed and whose destination half is denied; the ingress policy is named.",
        "Allow the ingress if the traffic is meant; otherwise deny it at the source too.";
    ServiceWithoutEndpoints:
        "A service has no ready endpoint: whoever calls it gets nothing.",
        "The service selects no ready pod, or traffic to its address goes nowhere. Needs services and endpoint slices.",
        "Compare the service's selector with the labels of the pods, and look why pods are not ready.";
    UnpolicedEgress:
        "A workload reaches private networks outside of the cluster, and no egress rule names them.",
        "Allowed egress to a private network that a profile, a pass or a rule without peer decided. Without addresses it \
         is suspected: nodes and services may be meant.",
        "Name the ranges that are meant in network sets, and allow those by egress rules.";
    MetadataAccess:
        "A workload talks to the metadata service of the cloud, which hands out credentials of the node.",
        "The destination is a known metadata address and port, or a network set that holds one. Attempts that were denied \
         are low.",
        "Deny egress to the address; give the workload an identity of its own for what it needs of the cloud.";
    WorkloadCredentials:
        "A workload asks the agent for its own cloud credentials, as it should.",
        "The destination is the address of such an agent on port 80.",
        "Nothing, where the workload needs the cloud; otherwise deny egress to the address.";
    Scan:
        "A workload tries many destinations, and most refuse it or stay silent.",
        "Distinct destinations and ports in a window and the share that fails are above the thresholds. Exempt is what \
         `findings.scanners` selects.",
        "Find out what runs there. If it is a monitor, exempt it; if nobody knows, isolate it.";
    Misrouted:
        "An address of the range of pods shows as a network: it belongs to no pod that is known.",
        "Addresses of flows against the pools and blocks of the cluster. Needs a source that carries addresses.",
        "Look at the routes of the node, and for a pod that left while its address is still used.";
    SourceGone:
        "Traffic comes from a source whose pods are gone.",
        "Live connections, none new, longer after the deletion of every pod of that name than the grace, with counters \
         that grow in one direction. Needs the pods of the cluster.",
        "Let the survivor time out its connections; look for a node that does not clean up.";
    DestinationGone:
        "Traffic goes to a destination whose pods are gone.",
        "Live connections, none new, longer after the deletion of every pod of that name than the grace, with counters \
         that grow in one direction. Needs the pods of the cluster.",
        "Restart the client or shorten its idle timeout: it keeps connections to nobody.";
    LongLived:
        "A connection is kept for long and carries nothing, or its peer is going.",
        "Age of source, destination, port, protocol and reporter, and no byte for the threshold; or a peer that \
         terminates or serves no more. Long life alone is none.",
        "Set an idle timeout or keepalive where the connection is made.";
    StaleRoute:
        "Traffic goes to an address of a node that left, or that another pod owns by now.",
        "Addresses of flows against owners at that moment. Needs a source that carries addresses.",
        "Look at caches of names and addresses at the client, and at the routes of its node.";
    ChatterAfterShutdown:
        "A workload that was shut down still talks.",
        "Traffic after the end of its pods, the grace period and ninety seconds more: owner at zero, job done, daemon set \
         gone. Needs pods and their owners.",
        "Look for containers that outlive the main one, and for processes that ignore termination.";
    BackgroundChatter:
        "A little traffic, again and again, to a peer that never answers with data.",
        "Regular small requests without replies of substance over many windows.",
        "Find out what calls, and turn it off where nobody needs it.";
    DnsErrors:
        "Lookups of names fail at the server.",
        "Responses with errors as the source reports them. Needs a source that reads DNS.",
        "Look at the DNS service: its load, its upstream, and policies between.";
    Nxdomain:
        "Names are asked for that do not exist.",
        "The share of such answers is above the threshold. Needs a source that reads DNS.",
        "Correct the name at the client, or write it with a dot at its end to spare search domains.";
    KernelDrops:
        "The kernel drops packets, not a policy.",
        "Drops with reasons as the source reports them. Needs a source that reads them.",
        "Follow the reason: connection tables, socket buffers, checksums.";
    RttTrend:
        "Round trips take longer than they used to.",
        "The trend of round-trip times over windows. Needs a source that measures them.",
        "Look at the load of both ends and at the path between.";
    Http5xx:
        "Requests fail at the server.",
        "The share of responses with a status of 500 or more is above the threshold. Needs a source that reads HTTP.",
        "Look at the logs of the destination in these windows.";
    LostEvents:
        "The collector lost events: what is counted is less than what happened.",
        "Losses as the source reports them.",
        "Give the agent of the node more room for its buffers, or sample.";
    KeyOverflow:
        "A window held more distinct flows than the limits: some rows gave up who talked.",
        "Rows named `(overflow)` in a window.",
        "Look for a scan first. If the traffic is ordinary, raise `limits.max_keys` and `limits.max_bytes`.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_meaning_of_its_own() {
        let kinds: Vec<_> = MEANINGS.iter().map(|meaning| meaning.kind).collect();
        assert_eq!(kinds, Kind::ALL);
        let texts: std::collections::BTreeSet<_> = MEANINGS.iter().map(|meaning| meaning.means).collect();
        assert_eq!(texts.len(), MEANINGS.len());
    }
}
