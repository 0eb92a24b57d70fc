//! The column table: every dataset, every column, its type, and which sources can fill it.
//!
//! A column that a source cannot carry is NULL for that source; what a source can carry and is
//! zero is 0. Columns are only ever added, at the end of their group.

/// Version of all datasets; it moves when a column is added.
pub const SCHEMA_VERSION: u32 = 1;

/// A published dataset: a Kafka topic and a folder of Parquet files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dataset {
    /// Window x flow key.
    Flows,
    /// Window x (source, destination, port, protocol), both reporters side by side.
    Conversations,
    /// Records that came after their window had closed.
    Late,
    /// Records that could not be used.
    Rejects,
    /// Intervals known to be missing.
    Gaps,
    /// What has become of a finding.
    Findings,
}

/// The shapes flows come in; each can carry a different set of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Goldmane over gRPC, and the two JSON forms that carry the same fields.
    Goldmane,
    /// The flat JSON of Whisker's backend.
    WhiskerJson,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text with few distinct values: dictionary-encoded in Arrow.
    Text,
    /// UTF-8 text of any kind.
    FreeText,
    /// Signed 64-bit integer.
    Int,
    /// 64-bit float.
    Float,
    /// Boolean.
    Bool,
    /// Microseconds since the epoch, UTC; RFC 3339 in JSON.
    Time,
    /// A list of text.
    TextList,
    /// An object whose members depend on the row: JSON text in Arrow.
    Json,
    /// One nested record.
    Record(&'static [Column]),
    /// A list of nested records.
    RecordList(&'static [Column]),
}

/// One column of a dataset or one member of a nested record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name: Calico's where Calico has one.
    pub name: &'static str,
    /// Its type.
    pub ty: ColumnType,
    /// Whether it can be NULL.
    pub nullable: bool,
    /// What it means, with its unit.
    pub doc: &'static str,
    /// Sources that cannot fill it; there it is always NULL.
    pub absent_in: &'static [SourceKind],
}

use ColumnType::{Bool, Float, FreeText, Int, Json, Record, RecordList, Text, TextList, Time};

const fn required(name: &'static str, ty: ColumnType, doc: &'static str) -> Column {
    Column { name, ty, nullable: false, doc, absent_in: &[] }
}

const fn optional(name: &'static str, ty: ColumnType, doc: &'static str) -> Column {
    Column { name, ty, nullable: true, doc, absent_in: &[] }
}

const fn not_in_whisker(name: &'static str, ty: ColumnType, doc: &'static str) -> Column {
    Column { name, ty, nullable: true, doc, absent_in: &[SourceKind::WhiskerJson] }
}

const STREAM: &[Column] = &[
    required("cluster", Text, "Name of the cluster, from the configuration"),
    required("source", Text, "Name of the source that delivered the flows, from the configuration"),
];

const WINDOW: &[Column] = &[
    required("window_start", Time, "First moment of the window, event time"),
    required("window_end", Time, "First moment after the window"),
];

const ENDS: &[Column] = &[
    optional("source_namespace", Text, "Namespace of the source; NULL for networks, hosts and global network sets"),
    required(
        "source_name",
        Text,
        "Source as people read it: aggregated workload name, host, network set, PRIVATE NETWORK or PUBLIC NETWORK",
    ),
    required("source_name_raw", Text, "Source name as the collector gave it, e.g. pvt"),
    not_in_whisker("source_type", Text, "WorkloadEndpoint, HostEndpoint, NetworkSet or Network"),
    optional("dest_namespace", Text, "Namespace of the destination; NULL for networks, hosts and global network sets"),
    required("dest_name", Text, "Destination as people read it"),
    required("dest_name_raw", Text, "Destination name as the collector gave it"),
    not_in_whisker("dest_type", Text, "WorkloadEndpoint, HostEndpoint, NetworkSet or Network"),
    required("dest_port", Int, "Destination port after address translation; 0 for protocols without ports"),
    required("protocol", Text, "Protocol in lower case, or its number as text"),
];

const FLOW_KEY: &[Column] = &[
    optional(
        "reporter",
        Text,
        "Src (egress at the source's node) or Dst (ingress at the destination's); in and out are relative to it",
    ),
    optional("action", Text, "Verdict of that reporter: Allow or Deny"),
    not_in_whisker(
        "dest_service_namespace",
        Text,
        "Namespace of the service that was addressed; NULL when none or unknown",
    ),
    not_in_whisker("dest_service_name", Text, "Service that was addressed; NULL when none or unknown"),
    not_in_whisker("dest_service_port_name", Text, "Name of the service port; NULL for unnamed ports"),
    not_in_whisker("dest_service_port", Int, "Port of the service; NULL when none or unknown"),
    required(
        "flow_id",
        FreeText,
        "128-bit hash of the flow key, hexadecimal: the same key has the same id in every window",
    ),
];

const POLICY_REF: &[Column] = &[
    optional("kind", Text, "Kind of the policy; a number where this release does not know it"),
    optional("namespace", Text, "Namespace of the policy; NULL for global ones"),
    optional("name", Text, "Name of the policy as the collector gave it; NULL for an end of tier"),
    optional("tier", Text, "Tier of the policy; NULL for profiles"),
];

const POLICY_HIT: &[Column] = &[
    optional("kind", Text, "Kind of the policy; a number where this release does not know it"),
    optional("namespace", Text, "Namespace of the policy; NULL for global ones"),
    optional("name", Text, "Name of the policy as the collector gave it; NULL for an end of tier"),
    optional("tier", Text, "Tier of the policy; NULL for profiles"),
    optional("action", Text, "Allow, Deny or Pass"),
    required("policy_index", Int, "Place in the trace"),
    required("rule_index", Int, "Place of the rule in the policy; -1 where the end of the tier decided"),
    optional("trigger", Record(POLICY_REF), "For an end of tier, the policy that selected the endpoint"),
];

const TRACE: &[Column] = &[
    optional(
        "enforced_policy",
        Text,
        "Policy that decided, as namespace/name or name, without the tier prefix; for an end of tier the policy that selected the endpoint; NULL where no policy did",
    ),
    optional("enforced_tier", Text, "Tier whose policy or default decided; NULL where no policy did"),
    optional("verdict_reason", Text, "rule, end_of_tier, or profile (no policy selects the endpoint, or all passed)"),
    optional("pending_action", Text, "Verdict if the staged policies were enforced; NULL without a pending trace"),
    required("enforced_policies", RecordList(POLICY_HIT), "The whole enforced trace, in order"),
    required("pending_policies", RecordList(POLICY_HIT), "The whole pending trace, in order"),
];

const LABELS: &[Column] = &[
    required(
        "source_labels",
        TextList,
        "Labels (key=value) that every record of the key carried in the window; empty stays empty",
    ),
    required("dest_labels", TextList, "Labels (key=value) that every record of the key carried in the window"),
    required("labels_varied", Bool, "The records did not all carry the same labels"),
];

const COUNTERS: &[Column] = &[
    required("packets_in", Int, "Packets towards the reporting workload"),
    required("packets_out", Int, "Packets from the reporting workload"),
    required("bytes_in", Int, "Bytes towards the reporting workload"),
    required("bytes_out", Int, "Bytes from the reporting workload"),
    not_in_whisker("num_connections_started", Int, "Connections first seen"),
    not_in_whisker("num_connections_completed", Int, "Connections that ended"),
    not_in_whisker(
        "num_connections_live",
        Int,
        "Connections active: summed over nodes inside a bucket, maximum over buckets",
    ),
];

const FOLD: &[Column] = &[
    required("records", Int, "Source records folded into the row"),
    required("buckets", Int, "Collector buckets of the window in which the key was reported"),
    required(
        "trace_split",
        Bool,
        "A row that differs by the policy trace only was reported in the same bucket: each carries the full counters, never add them up",
    ),
];

const COVERAGE: &[Column] = &[required(
    "coverage",
    Float,
    "Share of the window that the source could read, 0 to 1; below 1 see the dataset gaps",
)];

/// Who stands at one end. None of it is carried by a flow: it is joined from the objects of the cluster.
macro_rules! identity_of {
    ($end:literal) => {
        &[
            optional(
                concat!($end, "_workload_kind"),
                Text,
                "Kind of the workload behind the name, through its owners: Deployment, StatefulSet, DaemonSet, CronJob, Job, ReplicaSet, the kind of another owner, or Pod where nobody owns it",
            ),
            optional(concat!($end, "_workload_name"), Text, "Name of that workload, in the namespace of the end"),
            optional(
                concat!($end, "_service_accounts"),
                TextList,
                "Service accounts of all pods that may be meant, sorted; more than one is ambiguous. One that the flow carries wins",
            ),
            optional(concat!($end, "_nodes"), TextList, "Nodes of those pods, or the host itself, sorted"),
            optional(concat!($end, "_zones"), TextList, "Zones of those nodes, sorted"),
            optional(concat!($end, "_namespace_labels"), TextList, "Labels (key=value) of the namespace, sorted"),
            optional(
                concat!($end, "_environment"),
                Text,
                "Environment, from the configured label keys of the namespace, then of the pods",
            ),
            optional(
                concat!($end, "_owner"),
                Text,
                "Owner or team, from the configured label keys of the workload, then of the pods, then of the namespace",
            ),
            optional(
                concat!($end, "_pods"),
                Int,
                "Pods that bore the name in the window; 0 where the last had gone before it, and the rest says what it was",
            ),
            optional(
                concat!($end, "_address_class"),
                Text,
                "pod, node, private (RFC 1918), link_local, public, or mixed (a network set of several)",
            ),
            optional(
                concat!($end, "_identity_from"),
                Text,
                "How the identity was found: pod_name, generate_name, labels, ip, node, network_set, or none; NULL where no knowledge is configured",
            ),
        ]
    };
}

const SOURCE_IDENTITY: &[Column] = identity_of!("source");
const DEST_IDENTITY: &[Column] = identity_of!("dest");

const DEST_SERVICES: &[Column] = &[
    optional(
        "dest_services",
        TextList,
        "Services (namespace/name) in front of the destination: the one the flow names, else those with an endpoint among its pods at the destination port",
    ),
    optional("dest_services_from", Text, "flow or endpoints: how dest_services was found; NULL where it is empty"),
    optional("dest_ready_endpoints", Int, "Ready endpoints of those services at the window's end"),
];

const IDENTITY_STATE: &[Column] = &[optional(
    "identity_state",
    Text,
    "fresh; stale (changes of the cluster may have been missed); unknown (nothing of the cluster had been read); NULL where no knowledge is configured",
)];

const HALF: &[Column] = &[
    optional("reporter", Text, "Src or Dst"),
    optional("action", Text, "Allow or Deny"),
    required("packets_in", Int, "Packets towards the reporting workload"),
    required("packets_out", Int, "Packets from the reporting workload"),
    required("bytes_in", Int, "Bytes towards the reporting workload"),
    required("bytes_out", Int, "Bytes from the reporting workload"),
    not_in_whisker("num_connections_started", Int, "Connections first seen"),
    not_in_whisker("num_connections_completed", Int, "Connections that ended"),
    not_in_whisker("num_connections_live", Int, "Connections active"),
    required(
        "trace_split",
        Bool,
        "Several traces were reported for the same connections: the counters are the largest trace's, a lower bound",
    ),
    required("traces", RecordList(TRACES), "The policy traces seen"),
];

const TRACES: &[Column] = &[
    required("enforced_policies", RecordList(POLICY_HIT), "The whole enforced trace, in order"),
    required("pending_policies", RecordList(POLICY_HIT), "The whole pending trace, in order"),
];

const CONVERSATION: &[Column] = &[
    not_in_whisker(
        "expected_halves",
        Int,
        "Reporters that should speak: 2 between workloads, 1 where an end is a network, a set or a host",
    ),
    required(
        "verdict_agreement",
        Text,
        "agree, disagree, mixed (one reporter saw both verdicts), one_sided (one reporter only)",
    ),
    required(
        "symmetry",
        Text,
        "symmetric, request_only, reply_only, source_half_only, dest_half_only, denied or idle, over this window and the one before",
    ),
    optional("src_request_packets", Int, "Requests as the source's node saw them; NULL where it did not report"),
    optional("src_request_bytes", Int, "Requests as the source's node saw them"),
    optional("src_reply_packets", Int, "Replies as the source's node saw them"),
    optional("src_reply_bytes", Int, "Replies as the source's node saw them"),
    optional("dst_request_packets", Int, "Requests as the destination's node saw them; NULL where it did not report"),
    optional("dst_request_bytes", Int, "Requests as the destination's node saw them"),
    optional("dst_reply_packets", Int, "Replies as the destination's node saw them"),
    optional("dst_reply_bytes", Int, "Replies as the destination's node saw them"),
    required("halves", RecordList(HALF), "Up to four: per reporter and verdict; never add them up"),
];

const LOG_IDENTITY: &[Column] = &[
    required("log_position", Int, "Position of the entry in the stream's log"),
    required("log_index", Int, "Number of the record within the entry; with log_position the row's identity"),
];

const LATE: &[Column] = &[
    required("reason", Text, "late (first report) or correction (a later look at the bucket showed more)"),
    required("bucket_start", Time, "First moment the record covers"),
    required("bucket_end", Time, "First moment after what the record covers"),
];

const REJECT: &[Column] = &[
    required("reason", Text, "Stable word for what is wrong"),
    required("detail", FreeText, "What is wrong and how to mend it"),
    required("origin", FreeText, "Where the record came from, with its line where there are lines"),
    optional("event_time", Time, "Event time of the record, or else the start of the interval it was read for"),
    required("original", FreeText, "The record's own bytes, at most 4 KiB of them; base64 where they are not UTF-8"),
    required("original_encoding", Text, "utf8 or base64"),
    required("original_bytes", Int, "Length of the whole record in bytes"),
];

const GAP: &[Column] = &[
    required("log_position", Int, "Position of the entry in the stream's log: the row's identity"),
    required("partition", Int, "Part of the stream"),
    required("gap_start", Time, "First moment that is missing or incomplete"),
    required("gap_end", Time, "First moment after it"),
    required(
        "reason",
        Text,
        "Stable word: collector_forgot, collector_restarted, not_comparable, knowledge_blind, knowledge_unread, log_full",
    ),
    required("detail", FreeText, "What happened, in a sentence"),
];

const FINDING: &[Column] = &[
    required(
        "finding_id",
        FreeText,
        "128-bit hash of kind, cluster and subject, hexadecimal: the same problem has the same id in every window and after every restart",
    ),
    required("kind", Text, "What kind of problem, such as policy.no-policy"),
    required("family", Text, "policy, trust, asymmetry, private, zombie or health"),
    required(
        "status",
        Text,
        "opened, ongoing, resolved (something showed that it is over) or stale (nothing has shown it for a day)",
    ),
    required("severity", Text, "info, low, medium or high"),
    required(
        "confidence",
        Text,
        "certain (the flow itself), derived (joined with the cluster's state) or suspected (statistical)",
    ),
    required("muted", Bool, "Someone has asked in the configuration not to be told"),
    optional("mute_reason", FreeText, "Why"),
    optional("mute_until", Time, "Until when"),
    required("first_seen", Time, "Start of the first window that showed it; kept where it comes back within a day"),
    required("last_seen", Time, "End of the last window that showed it"),
    required("windows_seen", Int, "Windows that showed it"),
    required("reopen_count", Int, "How often it came back within a day after it had been resolved"),
    optional(
        "resolution_reason",
        Text,
        "fixed, subject_gone, quiet, rule_changed or source_lost; NULL while it is open",
    ),
    optional("namespace", Text, "Namespace of the subject; NULL where it is of the whole cluster"),
    optional("owner", Text, "Owner or team of the subject, from the configured label keys"),
    required("subject", Json, "What it is about; with kind and cluster the identity of the finding"),
    required(
        "impact",
        Json,
        "How much is affected: pods; connections, packets and bytes so far; share_of_destination, 0 to 1, of what the destination was sent in the window",
    ),
    required(
        "evidence",
        Json,
        "What shows it: windows, counters, policy chains, what changed just before, what could not be evaluated",
    ),
    required("title", FreeText, "The problem in one line"),
    required("explanation", FreeText, "The problem in one paragraph"),
    required("remediation", FreeText, "What to do"),
    required("verify", FreeText, "A command that shows whether it is fixed"),
    required(
        "related",
        TextList,
        "finding_id of at most 10 other open findings about the same pair, policy or workload",
    ),
    required("runbook", Text, "Address of the page that explains the kind"),
];

impl Dataset {
    /// All datasets, in reading order.
    pub const ALL: [Self; 6] =
        [Self::Flows, Self::Conversations, Self::Late, Self::Rejects, Self::Gaps, Self::Findings];

    /// Folder name, and the middle of the topic name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Conversations => "conversations",
            Self::Late => "late",
            Self::Rejects => "rejects",
            Self::Gaps => "gaps",
            Self::Findings => "findings",
        }
    }

    /// What one row is.
    pub const fn doc(self) -> &'static str {
        match self {
            Self::Flows => {
                "One row per window and flow key: both ends, port, protocol, reporter, verdict and policy trace."
            }
            Self::Conversations => {
                "One row per window and conversation (source, destination, port, protocol), with what both reporters said."
            }
            Self::Late => {
                "One row per record that came after its window had closed; add its counters to the window's row of the same flow_id."
            }
            Self::Rejects => "One row per record that could not be used, with its original bytes.",
            Self::Gaps => "One row per interval that is known to be missing or incomplete.",
            Self::Findings => {
                "One row per change of a finding: it opened, became worse or larger, went over or came back. The newest row of a finding_id tells how it stands."
            }
        }
    }

    /// The groups of columns, in order.
    const fn groups(self) -> &'static [&'static [Column]] {
        match self {
            Self::Flows => &[
                STREAM,
                WINDOW,
                ENDS,
                FLOW_KEY,
                TRACE,
                LABELS,
                COUNTERS,
                FOLD,
                COVERAGE,
                SOURCE_IDENTITY,
                DEST_IDENTITY,
                DEST_SERVICES,
                IDENTITY_STATE,
            ],
            Self::Conversations => {
                &[STREAM, WINDOW, ENDS, CONVERSATION, COVERAGE, SOURCE_IDENTITY, DEST_IDENTITY, IDENTITY_STATE]
            }
            Self::Late => &[
                STREAM,
                WINDOW,
                ENDS,
                FLOW_KEY,
                TRACE,
                LABELS,
                COUNTERS,
                LOG_IDENTITY,
                LATE,
                SOURCE_IDENTITY,
                DEST_IDENTITY,
                DEST_SERVICES,
                IDENTITY_STATE,
            ],
            Self::Rejects => &[STREAM, LOG_IDENTITY, REJECT],
            Self::Gaps => &[STREAM, GAP],
            Self::Findings => &[STREAM, WINDOW, FINDING],
        }
    }

    /// The columns, in order.
    pub fn columns(self) -> impl Iterator<Item = &'static Column> {
        self.groups().iter().flat_map(|group| group.iter())
    }

    /// The Kafka topic, `catchment.<name>.v1` with the default prefix.
    pub fn topic(self, prefix: &str) -> String {
        format!("{prefix}.{}.v1", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dataset_leads_with_its_stream_and_names_each_column_once() {
        for dataset in Dataset::ALL {
            let names: Vec<_> = dataset.columns().map(|c| c.name).collect();
            assert_eq!(names[..2], ["cluster", "source"]);
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn a_column_that_a_source_cannot_fill_is_nullable() {
        let broken: Vec<_> =
            Dataset::ALL.iter().flat_map(|d| d.columns()).filter(|c| !c.absent_in.is_empty() && !c.nullable).collect();
        assert_eq!(broken, Vec::<&Column>::new());
    }
}
