//! Which kinds of findings which collector can show, and what of the cluster has to be known for them.

use std::fmt;

use catchment_core::FindingKind;
use catchment_core::knowledge::Kind;

/// Where flows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collector {
    /// Calico's collector of a cluster.
    Goldmane,
    /// What Calico's agent writes to a socket on its node.
    FelixSocket,
    /// Cilium's relay.
    Hubble,
    /// The agents of the network observability operator.
    Netobserv,
    /// Flow logs of Calico Enterprise and Calico Cloud.
    Enterprise,
}

impl Collector {
    /// All of them, in the order of the matrix.
    pub const ALL: [Self; 5] = [Self::Goldmane, Self::FelixSocket, Self::Hubble, Self::Netobserv, Self::Enterprise];

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Goldmane => "Goldmane",
            Self::FelixSocket => "Felix socket",
            Self::Hubble => "Hubble",
            Self::Netobserv => "netobserv",
            Self::Enterprise => "Enterprise",
        }
    }
}

/// Whether a collector's flows show a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Flows alone do.
    Yes,
    /// Flows joined with objects of the cluster do.
    WithState,
    /// They do not, and this is why.
    No(&'static str),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.pad("yes"),
            Self::WithState => f.pad("with state"),
            Self::No(why) => write!(f, "no: {why}"),
        }
    }
}

const Y: Shown = Shown::Yes;
const S: Shown = Shown::WithState;
const NO_VERDICTS: Shown = Shown::No("it carries no verdicts of policies");
const NO_PENDING: Shown = Shown::No("it carries no verdicts of staged policies");
const NO_RULES: Shown = Shown::No("it does not say which rule decided");
const OTHER_POLICIES: Shown = Shown::No("policies of Cilium are not read");
const NO_ADDRESSES: Shown = Shown::No("it carries no addresses");
const NO_LIVE: Shown = Shown::No("it does not count connections that live");
const NO_DNS: Shown = Shown::No("it carries no answers of name servers");
const NO_DROPS: Shown = Shown::No("it does not see what the kernel drops");
const NO_RTT: Shown = Shown::No("it measures no round trips");
const NO_HTTP: Shown = Shown::No("it carries no status of requests");
const NO_LOSS: Shown = Shown::No("it does not say what it lost");

/// Whether flows of a collector show a kind.
pub const fn coverage(kind: FindingKind, collector: Collector) -> Shown {
    row(kind)[collector as usize]
}

/// One row of the matrix, in the order of [`Collector::ALL`].
const fn row(kind: FindingKind) -> [Shown; 5] {
    use FindingKind as K;
    match kind {
        K::NoPolicy | K::UnpolicedEgress => [Y, Y, S, NO_VERDICTS, Y],
        K::ImplicitDeny | K::ExplicitDeny | K::StagedWouldDeny | K::DeniedAtDestination | K::PublicExposure => {
            [Y, Y, Y, NO_VERDICTS, Y]
        }
        K::StagedWouldAllow | K::StaleVerdict => [Y, Y, NO_PENDING, NO_VERDICTS, Y],
        K::StagedForgotten => [S, S, NO_PENDING, NO_VERDICTS, S],
        K::LabelMismatch => [S, S, OTHER_POLICIES, S, S],
        K::BroadAllow | K::Unused | K::UnintendedPath => [S, S, NO_RULES, NO_VERDICTS, S],
        K::Shadowed => [S, S, OTHER_POLICIES, NO_VERDICTS, S],
        K::DefaultServiceAccount | K::WrongServiceAccount | K::UnexpectedDestinationIdentity => [S, S, Y, S, S],
        K::CrossEnvironment | K::OneSidedReport | K::ServiceWithoutEndpoints | K::ChatterAfterShutdown => [S; 5],
        K::MetadataAccess | K::WorkloadCredentials => [S, S, Y, Y, Y],
        K::Misrouted | K::StaleRoute => [NO_ADDRESSES, NO_ADDRESSES, S, S, S],
        K::SourceGone | K::DestinationGone => [S, S, NO_LIVE, NO_LIVE, S],
        K::LongLived => [Y, Y, NO_LIVE, NO_LIVE, Y],
        K::DnsErrors | K::Nxdomain => [NO_DNS, NO_DNS, Y, Y, NO_DNS],
        K::KernelDrops => [NO_DROPS, NO_DROPS, Y, Y, NO_DROPS],
        K::RttTrend => [NO_RTT, NO_RTT, NO_RTT, Y, Y],
        K::Http5xx => [NO_HTTP, NO_HTTP, Y, NO_HTTP, NO_HTTP],
        K::LostEvents => [NO_LOSS, NO_LOSS, Y, NO_LOSS, NO_LOSS],
        K::CrossNamespace
        | K::NoResponse
        | K::NoAck
        | K::NeverEstablished
        | K::Scan
        | K::BackgroundChatter
        | K::KeyOverflow => [Y; 5],
    }
}

/// Kinds of objects that hold policies, and what their selectors are about.
const POLICIES: &[Kind] = &[
    Kind::Namespace,
    Kind::ServiceAccount,
    Kind::Pod,
    Kind::KubernetesNetworkPolicy,
    Kind::ClusterNetworkPolicy,
    Kind::Tier,
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::NetworkSet,
    Kind::GlobalNetworkSet,
];
const STAGED: &[Kind] =
    &[Kind::Tier, Kind::StagedNetworkPolicy, Kind::StagedGlobalNetworkPolicy, Kind::StagedKubernetesNetworkPolicy];
/// Who a pod belongs to.
const OWNERS: &[Kind] = &[
    Kind::Pod,
    Kind::ReplicaSet,
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::Job,
    Kind::CronJob,
    Kind::Node,
];

/// Kinds of objects without which a kind of finding cannot be told, or is told with less certainty. A role that may read
/// them is what `catchment check` asks for.
pub const fn needs(kind: FindingKind) -> &'static [Kind] {
    use FindingKind as K;
    match kind {
        K::StagedForgotten => STAGED,
        K::LabelMismatch | K::BroadAllow | K::Shadowed | K::Unused | K::UnintendedPath => POLICIES,
        K::PublicExposure => &[Kind::Service, Kind::Ingress],
        K::DefaultServiceAccount | K::WrongServiceAccount => &[Kind::Pod, Kind::Namespace, Kind::Service],
        K::UnexpectedDestinationIdentity | K::CrossEnvironment => &[Kind::Pod, Kind::Namespace],
        K::OneSidedReport => &[Kind::Pod, Kind::Node],
        K::ServiceWithoutEndpoints => &[Kind::Service, Kind::EndpointSlice, Kind::Pod],
        K::UnpolicedEgress => &[Kind::GlobalNetworkSet, Kind::Service],
        K::MetadataAccess | K::WorkloadCredentials => &[Kind::NetworkSet, Kind::GlobalNetworkSet],
        K::Misrouted => &[Kind::IPPool, Kind::BlockAffinity],
        K::SourceGone | K::DestinationGone | K::StaleRoute | K::ChatterAfterShutdown => OWNERS,
        _ => &[],
    }
}

/// Whether a rule of this release states the kind.
pub fn is_stated(kind: FindingKind) -> bool {
    super::rules::all(&super::Settings::default()).iter().any(|rule| rule.kinds().contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_rule_exactly_where_goldmane_shows_it() {
        for &kind in FindingKind::ALL {
            let shown = !matches!(coverage(kind, Collector::Goldmane), Shown::No(_));
            assert_eq!(is_stated(kind), shown, "{kind}");
        }
    }

    #[test]
    fn a_kind_that_needs_state_says_which() {
        for &kind in FindingKind::ALL {
            let with_state = Collector::ALL.iter().any(|collector| coverage(kind, *collector) == S);
            let flows_alone = Collector::ALL.iter().all(|collector| coverage(kind, *collector) != S);
            assert!(!with_state || kind == FindingKind::NoPolicy || !needs(kind).is_empty(), "{kind}");
            assert!(!flows_alone || needs(kind).is_empty() || kind == FindingKind::PublicExposure, "{kind}");
        }
    }

    #[test]
    fn what_is_not_shown_says_why_in_words() {
        let shown = coverage(FindingKind::Misrouted, Collector::Goldmane);
        assert_eq!(shown.to_string(), "no: it carries no addresses");
        assert_eq!([Y, S].map(|shown| shown.to_string()), ["yes", "with state"]);
        assert_eq!(Collector::ALL.map(|collector| collector as usize), [0, 1, 2, 3, 4]);
    }
}
