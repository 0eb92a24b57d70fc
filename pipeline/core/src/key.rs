//! A flow key after normalizing, with everything that can be computed once per key.
//!
//! Records here are made when a key is first seen and shared afterwards: a row of a window is an
//! `Arc` to its key and a handful of numbers.

use std::sync::Arc;

use catchment_schemas::goldmane::{self, EndpointType, PolicyKind};

use crate::canonical::Encoder;
use crate::json;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Namespace; `None` for networks, hosts and global network sets (`-` on the wire).
    pub namespace: Option<Arc<str>>,
    /// The name as the collector gave it: `web-7d4b9c6f5-*`, a host name, a set's name, `pvt`, `pub`.
    pub raw_name: Arc<str>,
    /// Wire number of [`EndpointType`]; 0 where the source does not say.
    pub kind: i32,
}

impl Endpoint {
    /// The name people read: Calico's display form for the two networks, else the raw name.
    ///
    /// A workload that happens to be called `pvt` keeps its name.
    pub fn name(&self) -> &str {
        match (self.kind == EndpointType::Network as i32, &*self.raw_name) {
            (true, "pvt") => "PRIVATE NETWORK",
            (true, "pub") => "PUBLIC NETWORK",
            _ => &self.raw_name,
        }
    }

    /// The type as text, unknown numbers as digits; `None` where the source does not say.
    pub fn type_name(&self) -> Option<std::borrow::Cow<'static, str>> {
        goldmane::names::endpoint_type(self.kind)
    }
}

/// The service a client addressed, before the address was translated.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// Namespace of the service.
    pub namespace: Option<Arc<str>>,
    /// Name of the service.
    pub name: Option<Arc<str>>,
    /// Name of its port; `None` for unnamed ports.
    pub port_name: Option<Arc<str>>,
    /// Its port number.
    pub port: Option<i64>,
}

/// The policy named by an end-of-tier hit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRef {
    /// Wire number of [`PolicyKind`].
    pub kind: i32,
    /// Namespace, for namespaced kinds.
    pub namespace: Option<Arc<str>>,
    /// Name as the collector gave it.
    pub name: Option<Arc<str>>,
    /// Tier it lives in.
    pub tier: Option<Arc<str>>,
}

/// One step of a policy trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyHit {
    /// What was hit.
    pub policy: PolicyRef,
    /// Wire number of the action.
    pub action: i32,
    /// Place in the trace.
    pub policy_index: i64,
    /// Place of the rule in the policy; -1 where the end of the tier decided.
    pub rule_index: i64,
    /// For an end-of-tier hit, the policy that selected the endpoint.
    pub trigger: Option<PolicyRef>,
}

impl PolicyHit {
    /// Why the flow goes as it does if this step decides.
    pub fn reason(&self) -> VerdictReason {
        match PolicyKind::try_from(self.policy.kind) {
            Ok(PolicyKind::Profile) => VerdictReason::Profile,
            Ok(PolicyKind::EndOfTier) => VerdictReason::EndOfTier,
            _ => VerdictReason::Rule,
        }
    }
}

/// A whole policy trace, shared by all keys that carry it.
#[derive(Debug)]
pub struct Trace {
    /// What decided, in order.
    pub enforced: Vec<PolicyHit>,
    /// What would decide if the staged policies were enforced, in order.
    pub pending: Vec<PolicyHit>,
    /// Order-preserving bytes of the trace; equal bytes, equal trace.
    pub canonical: Box<[u8]>,
    /// The trace's members of a JSON row, `"enforced_policy":...,"pending_policies":[...]`.
    pub json: Box<str>,
    /// Where the two lists of hits begin in `json`.
    hits_at: u32,
}

/// Why a flow was allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VerdictReason {
    /// A rule of a policy matched.
    Rule,
    /// A policy selected the endpoint, none of its rules matched, and the tier's default applied.
    EndOfTier,
    /// No policy decided: the namespace's profile did.
    Profile,
}

impl VerdictReason {
    /// The stable word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::EndOfTier => "end_of_tier",
            Self::Profile => "profile",
        }
    }
}

impl Trace {
    /// A trace from its hits, which are put into the order of their index.
    pub fn new(mut enforced: Vec<PolicyHit>, mut pending: Vec<PolicyHit>) -> Self {
        enforced.sort_by_key(|hit| hit.policy_index);
        pending.sort_by_key(|hit| hit.policy_index);
        let mut canonical = Encoder::default();
        canonical.hits(&enforced);
        canonical.hits(&pending);
        let mut trace = Self { enforced, pending, canonical: canonical.0.into(), json: "".into(), hits_at: 0 };
        let (json, hits_at) = json::trace_members(&trace);
        (trace.json, trace.hits_at) = (json, hits_at as u32);
        trace
    }

    /// The members `"enforced_policies":[...],"pending_policies":[...],` of a JSON row.
    pub fn hits_json(&self) -> &str {
        &self.json[self.hits_at as usize..]
    }

    fn deciding(&self) -> Option<&PolicyHit> {
        self.enforced.last()
    }

    /// How the enforced trace ended; `None` for an empty trace.
    pub fn verdict_reason(&self) -> Option<VerdictReason> {
        self.deciding().map(PolicyHit::reason)
    }

    /// The policy that decided, as `namespace/name` or `name`; for an end of tier its trigger, for
    /// a profile `None`. The tier prefix that releases before 3.32 put before names is taken off.
    pub fn enforced_policy(&self) -> Option<String> {
        let hit = self.deciding()?;
        match self.verdict_reason()? {
            VerdictReason::Rule => hit.policy.display(),
            VerdictReason::EndOfTier => hit.trigger.as_ref()?.display(),
            VerdictReason::Profile => None,
        }
    }

    /// The tier whose policy or default decided; `None` for a profile.
    pub fn enforced_tier(&self) -> Option<&Arc<str>> {
        let hit = self.deciding()?;
        let trigger_tier = hit.trigger.as_ref().and_then(|t| t.tier.as_ref());
        hit.policy.tier.as_ref().or(trigger_tier)
    }

    /// The verdict if staged policies were enforced, as a wire number; `None` without a pending trace.
    pub fn pending_action(&self) -> Option<i32> {
        self.pending.last().map(|hit| hit.action)
    }
}

impl PolicyRef {
    /// Whether it is evaluated and not enforced.
    pub fn is_staged(&self) -> bool {
        let staged = [
            PolicyKind::StagedNetworkPolicy,
            PolicyKind::StagedGlobalNetworkPolicy,
            PolicyKind::StagedKubernetesNetworkPolicy,
        ];
        staged.into_iter().any(|kind| kind as i32 == self.kind)
    }

    /// `namespace/name` or `name`, without the tier that releases before 3.32 put before names; `None` for what is no
    /// policy.
    pub fn display(&self) -> Option<String> {
        let name = self.name.as_deref()?;
        let tier = self.tier.as_deref().unwrap_or("default");
        let bare = name.strip_prefix("knp.").unwrap_or(name);
        let bare = bare.strip_prefix(tier).and_then(|n| n.strip_prefix('.')).unwrap_or(name);
        Some(match &self.namespace {
            Some(namespace) => format!("{namespace}/{bare}"),
            None => bare.to_owned(),
        })
    }
}

/// Workload labels, sorted and without duplicates, shared by all keys that carry them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `key=value` strings in byte order.
    pub items: Vec<Box<str>>,
    /// The JSON array of `items`.
    pub json: Box<str>,
    /// The service account among them, which some records of a collector carry.
    pub service_account: Option<Arc<str>>,
}

/// The label under which a collector carries a pod's service account.
const SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount=";

impl Labels {
    /// Sorts and removes duplicates.
    pub fn new(mut items: Vec<Box<str>>) -> Self {
        items.sort_unstable();
        items.dedup();
        let json = serde_json::to_string(&items).expect("strings serialize").into_boxed_str();
        let service_account = items.iter().find_map(|label| label.strip_prefix(SERVICE_ACCOUNT)).map(Into::into);
        Self { items, json, service_account }
    }

    /// The labels both carry; empty stays empty.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let both = self.items.iter().filter(|label| other.items.binary_search(label).is_ok());
        Self::new(both.cloned().collect())
    }
}

/// The identity of a flow within its stream.
#[derive(Clone, Debug)]
pub struct FlowKey {
    /// Where the connection was opened from.
    pub source: Endpoint,
    /// Where it was opened to, after translation.
    pub dest: Endpoint,
    /// Destination port after translation; 0 for protocols without ports.
    pub dest_port: i64,
    /// Protocol in lower case, or its number as text.
    pub protocol: Arc<str>,
    /// The service that was addressed; all `None` when none or unknown.
    pub service: Service,
    /// Wire number of the reporter; in and out are relative to it.
    pub reporter: i32,
    /// Wire number of the reporter's verdict.
    pub action: i32,
    /// The policy trace.
    pub trace: Arc<Trace>,
}

/// A flow key with everything that is computed once for it.
#[derive(Debug)]
pub struct KeyRecord {
    /// The key itself.
    pub key: FlowKey,
    /// Order-preserving bytes of the whole key; comparing them is comparing keys.
    pub canonical: Box<[u8]>,
    /// Length of the prefix of `canonical` that holds the four names every sorted output leads with.
    pub names_len: u32,
    /// Length of the prefix that identifies the conversation.
    pub conversation_len: u32,
    /// Length of the prefix without the policy trace.
    pub traceless_len: u32,
    /// Hashes of those two prefixes: neighbours in a sorted window differ in nearly every case, and
    /// a hash says so without a look at the bytes.
    pub prefix_hashes: [u64; 2],
    /// Whether the source carries connection counts; where it does not they are NULL, not 0.
    pub has_connections: bool,
    /// The key's members of a JSON row, `"source_namespace":...,"action":...,"flow_id":...`.
    pub json: Box<str>,
    /// The members that identify the conversation, a prefix of `json`.
    pub conversation_json_len: u32,
    /// A stable 128-bit name of the key: equal keys have equal ids in every release and cluster.
    pub flow_id: u128,
}

/// The name of both ends of an overflow key; no workload can have it.
const OVERFLOW: &str = "(overflow)";

impl KeyRecord {
    /// The key that rows share which gave up their identity because there were too many of them.
    ///
    /// Reporter and verdict are kept: counters of two reporters must never be added up.
    pub fn overflow(of: &Self) -> Self {
        let end = || Endpoint { namespace: None, raw_name: OVERFLOW.into(), kind: 0 };
        let key = FlowKey {
            source: end(),
            dest: end(),
            dest_port: 0,
            protocol: "".into(),
            service: Service::default(),
            reporter: of.key.reporter,
            action: of.key.action,
            trace: Arc::new(Trace::new(Vec::new(), Vec::new())),
        };
        Self::new(key, of.has_connections)
    }

    /// Whether this is the key of rows that gave up their identity.
    pub fn is_overflow(&self) -> bool {
        &*self.key.source.raw_name == OVERFLOW && &*self.key.dest.raw_name == OVERFLOW
    }

    /// Computes everything that is computed once for a key.
    pub fn new(key: FlowKey, has_connections: bool) -> Self {
        let mut bytes = Encoder::default();
        bytes.names(&key.source);
        bytes.names(&key.dest);
        let names_len = bytes.0.len() as u32;
        bytes.int(i64::from(key.source.kind));
        bytes.int(i64::from(key.dest.kind));
        bytes.int(key.dest_port);
        bytes.text(&key.protocol);
        let conversation_len = bytes.0.len() as u32;
        bytes.int(i64::from(key.reporter));
        bytes.int(i64::from(key.action));
        bytes.service(&key.service);
        bytes.0.push(u8::from(has_connections));
        let traceless_len = bytes.0.len() as u32;
        let prefix_hashes =
            [conversation_len, traceless_len].map(|len| xxhash_rust::xxh3::xxh3_64(&bytes.0[..len as usize]));
        bytes.0.extend_from_slice(&key.trace.canonical);
        let flow_id = xxhash_rust::xxh3::xxh3_128(&bytes.0);
        let (json, conversation_json_len) = json::key_members(&key, flow_id);
        Self {
            key,
            canonical: bytes.0.into(),
            names_len,
            conversation_len,
            traceless_len,
            prefix_hashes,
            has_connections,
            json,
            conversation_json_len: conversation_json_len as u32,
            flow_id,
        }
    }

    /// Whether both are one key.
    pub fn same_key(&self, other: &Self) -> bool {
        self.flow_id == other.flow_id && self.canonical == other.canonical
    }

    /// The bytes that order rows by source namespace, source name, destination namespace and name.
    pub fn names(&self) -> &[u8] {
        &self.canonical[..self.names_len as usize]
    }

    /// The bytes that identify the conversation: both ends, port and protocol.
    pub fn conversation(&self) -> &[u8] {
        &self.canonical[..self.conversation_len as usize]
    }

    /// The bytes of the key without its policy trace.
    pub fn traceless(&self) -> &[u8] {
        &self.canonical[..self.traceless_len as usize]
    }

    /// Whether both belong to one conversation.
    pub fn same_conversation(&self, other: &Self) -> bool {
        self.prefix_hashes[0] == other.prefix_hashes[0] && self.conversation() == other.conversation()
    }

    /// Whether both differ by the policy trace at most.
    pub fn same_but_for_trace(&self, other: &Self) -> bool {
        self.prefix_hashes[1] == other.prefix_hashes[1] && self.traceless() == other.traceless()
    }

    /// The conversation's members of a JSON row.
    pub fn conversation_json(&self) -> &str {
        &self.json[..self.conversation_json_len as usize]
    }
}
