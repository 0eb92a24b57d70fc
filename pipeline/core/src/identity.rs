//! Who stands at the ends of a flow, as the cluster's objects told it for the time of the window.

use std::sync::{Arc, LazyLock};

use crate::json;

/// How an identity was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityFrom {
    /// A pod of exactly this name.
    PodName,
    /// Pods whose names were generated from this prefix.
    GenerateName,
    /// Pods of the namespace that carry the flow's labels.
    Labels,
    /// The owner of the address.
    Ip,
    /// A node of this name.
    Node,
    /// A network set of this name.
    NetworkSet,
    /// Nothing that is known matches.
    None,
}

impl IdentityFrom {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PodName => "pod_name",
            Self::GenerateName => "generate_name",
            Self::Labels => "labels",
            Self::Ip => "ip",
            Self::Node => "node",
            Self::NetworkSet => "network_set",
            Self::None => "none",
        }
    }
}

/// What kind of address an end has, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// An address of a pod.
    Pod,
    /// An address of a node, pods in the host network included.
    Node,
    /// Outside the cluster, RFC 1918.
    Private,
    /// Outside the cluster, all else that the collector calls public.
    Public,
    /// Link-local, where clouds serve metadata and credentials.
    LinkLocal,
    /// A network set with addresses of several classes.
    Mixed,
}

impl AddressClass {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Node => "node",
            Self::Private => "private",
            Self::Public => "public",
            Self::LinkLocal => "link_local",
            Self::Mixed => "mixed",
        }
    }
}

/// What is known about one end. `None` is not known; an empty list is known to be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Who {
    /// Kind of the workload, through its owners.
    pub workload_kind: Option<Arc<str>>,
    /// Name of the workload.
    pub workload_name: Option<Arc<str>>,
    /// Service accounts of all pods that may be meant, sorted.
    pub service_accounts: Option<Vec<Arc<str>>>,
    /// Nodes of those pods, sorted.
    pub nodes: Option<Vec<Arc<str>>>,
    /// Zones of those nodes, sorted.
    pub zones: Option<Vec<Arc<str>>>,
    /// Labels of the namespace, `key=value`, sorted.
    pub namespace_labels: Option<Vec<Arc<str>>>,
    /// Environment, from labels.
    pub environment: Option<Arc<str>>,
    /// Owner or team, from labels.
    pub owner: Option<Arc<str>>,
    /// Pods that bore the name in the window.
    pub pods: Option<u64>,
    /// What kind of address it has.
    pub address_class: Option<AddressClass>,
    /// How all of it was found; `None` where nobody looked.
    pub from: Option<IdentityFrom>,
}

/// The identity columns of one end, in table order, without their prefix.
pub const WHO_COLUMNS: [&str; 11] = [
    "workload_kind",
    "workload_name",
    "service_accounts",
    "nodes",
    "zones",
    "namespace_labels",
    "environment",
    "owner",
    "pods",
    "address_class",
    "identity_from",
];

/// One end's identity with its rendering, shared by all rows it holds for.
#[derive(Debug)]
pub struct Identity {
    /// The facts.
    pub who: Who,
    /// The members of a JSON row where the end is the source, each followed by a comma.
    pub source_json: Box<str>,
    /// The same where it is the destination.
    pub dest_json: Box<str>,
}

impl Identity {
    /// Renders the facts once.
    pub fn new(who: Who) -> Self {
        let (source_json, dest_json) = (json::who_members("source", &who), json::who_members("dest", &who));
        Self { who, source_json, dest_json }
    }
}

/// Both ends of a row.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Where the connection was opened from.
    pub source: Arc<Identity>,
    /// Where it was opened to.
    pub dest: Arc<Identity>,
}

impl Ends {
    /// Nothing is known about either end: what rows carry that nobody enriched.
    pub fn unknown() -> &'static Self {
        static UNKNOWN: LazyLock<Ends> = LazyLock::new(|| {
            let nobody = Arc::new(Identity::new(Who::default()));
            Ends { source: nobody.clone(), dest: nobody }
        });
        &UNKNOWN
    }
}

/// How the services of a destination were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServicesFrom {
    /// The flow names the service that was addressed.
    Flow,
    /// Endpoints of the services are pods of the destination, at its port.
    Endpoints,
}

impl ServicesFrom {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Endpoints => "endpoints",
        }
    }
}

/// The services in front of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// `namespace/name`, sorted; `None` is not known.
    pub services: Option<Vec<Arc<str>>>,
    /// How they were found; `None` where there are none.
    pub from: Option<ServicesFrom>,
    /// Distinct ready endpoints they had at the end of the window.
    pub ready_endpoints: Option<u64>,
}

/// Services with their rendering, shared by all rows they hold for.
#[derive(Debug)]
pub struct Services {
    /// The facts.
    pub served: Served,
    /// The members of a JSON row, each followed by a comma.
    pub json: Box<str>,
}

impl Services {
    /// Renders the facts once.
    pub fn new(served: Served) -> Self {
        let json = json::served_members(&served);
        Self { served, json }
    }

    /// Nothing is known: what rows carry that nobody enriched.
    pub fn unknown() -> &'static Arc<Self> {
        static UNKNOWN: LazyLock<Arc<Services>> = LazyLock::new(|| Arc::new(Services::new(Served::default())));
        &UNKNOWN
    }
}

/// How far the identities of a window can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityState {
    /// Everything that happened in the cluster until the window's end was known.
    Fresh,
    /// Changes in or before the window may have been missed.
    Stale,
    /// Nothing about the cluster had been read yet.
    Unknown,
}

impl IdentityState {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}
