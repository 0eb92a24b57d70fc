//! What rules see of a flow: its ends by the names of their workloads, and the whole of a conversation.

use std::sync::Arc;

use catchment_core::knowledge::LabelMap;
use catchment_core::knowledge::workload::Service;
use catchment_core::{
    Conversation, Counters, Endpoint, Ends, Exchange, FindingKind, FlowRow, Half, Identity, KeyRecord, Labels,
    Services, Subject, Symmetry, Who,
};
use catchment_schemas::goldmane::{Action, EndpointType, Reporter};

use super::pairs::{Pair, Peer};
use super::view::View;

/// The label of services that stand before something worth guarding.
const CRITICAL: &str = "catchment.dev/critical";

/// One end of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) who: &'a Who,
}

impl<'a> End<'a> {
    pub(crate) fn new(endpoint: &'a Endpoint, identity: &'a Identity) -> Self {
        Self { endpoint, who: &identity.who }
    }

    /// The source and the destination of a row.
    pub(crate) fn both(row: &'a FlowRow) -> [Self; 2] {
        let (key, ends) = (&row.key.key, row.ends());
        [Self::new(&key.source, &ends.source), Self::new(&key.dest, &ends.dest)]
    }

    pub(crate) fn namespace(self) -> Option<&'a str> {
        self.endpoint.namespace.as_deref()
    }

    /// The workload, so that a rollout changes nothing; for all else the name people read.
    pub(crate) fn name(self) -> &'a str {
        match &self.who.workload_name {
            Some(name) => name,
            None if self.is_workload() => workload_of(&self.endpoint.raw_name),
            None => self.endpoint.name(),
        }
    }

    pub(crate) fn is_workload(self) -> bool {
        self.endpoint.kind == EndpointType::WorkloadEndpoint as i32
    }

    pub(crate) fn is_network_set(self) -> bool {
        self.endpoint.kind == EndpointType::NetworkSet as i32
    }

    pub(crate) fn is_host(self) -> bool {
        self.endpoint.kind == EndpointType::HostEndpoint as i32
    }

    pub(crate) fn is_private_network(self) -> bool {
        self.endpoint.kind == EndpointType::Network as i32 && &*self.endpoint.raw_name == "pvt"
    }

    pub(crate) fn is_public_network(self) -> bool {
        self.endpoint.kind == EndpointType::Network as i32 && &*self.endpoint.raw_name == "pub"
    }

    /// Accounts of all pods that may be meant; empty where none is known.
    pub(crate) fn accounts(self) -> &'a [Arc<str>] {
        self.who.service_accounts.as_deref().unwrap_or_default()
    }

    /// The same as `namespace/name`.
    pub(crate) fn full_accounts(self) -> Vec<String> {
        let namespace = self.namespace().unwrap_or_default();
        self.accounts().iter().map(|account| format!("{namespace}/{account}")).collect()
    }

    /// `namespace/name`, or the name alone.
    pub(crate) fn title(self) -> String {
        match self.namespace() {
            Some(namespace) => format!("{namespace}/{}", self.name()),
            None => self.name().to_owned(),
        }
    }
}

/// The workload behind the name a collector gives pods: without the star and the hash of a replica set before it.
pub(crate) fn workload_of(raw: &str) -> &str {
    let Some(prefix) = raw.strip_suffix('*') else { return raw };
    let prefix = prefix.strip_suffix('-').unwrap_or(prefix);
    match prefix.rsplit_once('-') {
        Some((owner, hash)) if is_hash(hash) => owner,
        _ => prefix,
    }
}

/// Kubernetes writes hashes without vowels and without the digits 0, 1 and 3, so that no word comes up by chance.
fn is_hash(text: &str) -> bool {
    (5..=10).contains(&text.len()) && text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
}

/// A flow key with who stands at its ends: what a rule is asked about once, as long as it stays so.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) key: &'a KeyRecord,
    pub(crate) source: End<'a>,
    pub(crate) dest: End<'a>,
    pub(crate) source_labels: &'a Labels,
    pub(crate) dest_labels: &'a Labels,
    pub(crate) services: &'a Services,
    pub(crate) view: &'a View<'a>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(row: &'a FlowRow, view: &'a View<'a>) -> Self {
        let [source, dest] = End::both(row);
        Self {
            key: &row.key,
            source,
            dest,
            source_labels: &row.source_labels,
            dest_labels: &row.dest_labels,
            services: row.services(),
            view,
        }
    }

    /// The ends of a conversation go by their names; all else is that of its first row.
    pub(super) fn of_talk(talk: &'a Conversation, first: &'a FlowRow, view: &'a View<'a>) -> Self {
        let ends = talk.ends();
        Self {
            source: End::new(&talk.key.key.source, &ends.source),
            dest: End::new(&talk.key.key.dest, &ends.dest),
            ..Self::new(first, view)
        }
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.key.key.action == Action::Deny as i32
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.key.key.action == Action::Allow as i32
    }

    /// Whether the policies of the source decided, for what it sends.
    pub(crate) fn is_egress(&self) -> bool {
        self.key.key.reporter == Reporter::Src as i32
    }

    /// The end whose policies decided.
    pub(crate) fn governed(&self) -> End<'a> {
        if self.is_egress() { self.source } else { self.dest }
    }

    /// `egress` or `ingress`, as the governed end sees it.
    pub(crate) fn direction(&self) -> &'static str {
        if self.is_egress() { "egress" } else { "ingress" }
    }

    /// Whether the destination is a backend that is worth guarding, or a service that is stands before it.
    pub(crate) fn is_critical_dest(&self) -> bool {
        let critical = &self.view.settings.critical;
        self.dest.is_workload() && !critical.is_empty() && {
            let labels = selectable(self.dest, self.dest_labels);
            critical.iter().any(|rule| rule.selector.matches(&labels)) || self.has_critical_service()
        }
    }

    fn has_critical_service(&self) -> bool {
        let is_critical =
            |service: &Service| service.metadata.labels.get(CRITICAL).is_some_and(|value| **value == *"true");
        self.view.state.is_some_and(|state| {
            self.service_names().any(|(namespace, name)| state.service(namespace, name).is_some_and(is_critical))
        })
    }

    /// Services in front of the destination, by namespace and name: the one that was addressed, and those that are known.
    pub(crate) fn service_names(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let addressed = &self.key.key.service;
        let addressed = addressed.namespace.as_deref().zip(addressed.name.as_deref());
        let known = self.services.served.services.iter().flatten();
        addressed.into_iter().chain(known.filter_map(|service| service.split_once('/')))
    }

    /// The pair as a subject.
    pub(crate) fn pair(&self) -> Subject {
        pair_subject(self.source, self.dest, self.key)
    }
}

/// What selectors of the configuration match at an end: its labels, those of its namespace (`pcns.`), its accounts.
pub(crate) fn selectable(end: End<'_>, labels: &Labels) -> LabelMap {
    let split = |prefix: &str, label: &str| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (format!("{prefix}{key}"), value.to_owned())
    };
    let of_namespace = end.who.namespace_labels.iter().flatten().map(|label| split("pcns.", label));
    let mut map: LabelMap = labels.items.iter().map(|label| split("", label)).chain(of_namespace).collect();
    map.extend(end.namespace().map(|namespace| ("projectcalico.org/namespace".to_owned(), namespace.to_owned())));
    // Several accounts behind one name: none of them can be selected for sure.
    if let [account] = end.accounts() {
        map.insert("projectcalico.org/serviceaccount".to_owned(), account.to_string());
    }
    map
}

/// Source, destination, port and protocol as a subject.
fn pair_subject(source: End<'_>, dest: End<'_>, key: &KeyRecord) -> Subject {
    Subject::default()
        .with("source_namespace", source.namespace())
        .with("source", Some(source.name()))
        .with("dest_namespace", dest.namespace())
        .with("dest", Some(dest.name()))
        .number("dest_port", key.key.dest_port)
        .with("protocol", Some(&key.key.protocol))
}

/// What a conversation showed in its window, as bits, so that rules it says nothing to are not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signs(u16);

impl Signs {
    pub(crate) const NONE: Self = Self(0);
    /// Requests, and no reply in this window and the one before.
    pub(crate) const UNANSWERED: Self = Self(1);
    /// Some side saw a reply in this window.
    pub(crate) const REPLIED: Self = Self(1 << 1);
    /// Some side denied packets.
    pub(crate) const DENIED: Self = Self(1 << 2);
    /// Some side allowed.
    pub(crate) const ALLOWED: Self = Self(1 << 3);
    /// The source's side allowed, the destination's denied packets.
    pub(crate) const DENIED_AT_DESTINATION: Self = Self(1 << 4);
    /// Connections are counted, and none began.
    pub(crate) const NOTHING_STARTED: Self = Self(1 << 5);
    /// Connections began.
    pub(crate) const STARTED: Self = Self(1 << 6);
    /// Nothing moved, while connections live.
    pub(crate) const IDLE: Self = Self(1 << 7);
    /// A reporter that should speak was silent.
    pub(crate) const HALF_MISSING: Self = Self(1 << 8);
    /// Packets move in one direction only, as each reporter sees it.
    pub(crate) const ONE_WAY: Self = Self(1 << 9);
    /// The destination's side saw replies that the source's side did not, though it counts packets of connections.
    pub(crate) const REPLY_LOST: Self = Self(1 << 10);
    /// Connections began and were answered, with fewer bytes than a handshake takes.
    pub(crate) const UNESTABLISHED: Self = Self(1 << 11);
    /// The destination's side should speak and has been silent in this window and the one before.
    pub(crate) const SOURCE_ALONE: Self = Self(1 << 12);

    /// No endpoint of the services in front of the destination is ready.
    pub(crate) const UNSERVED: Self = Self(1 << 13);
    /// A few small requests, and nothing back but acknowledgements.
    pub(crate) const TRICKLE: Self = Self(1 << 14);

    /// The lower and the upper eight.
    pub(super) const fn halves(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `others` is among them.
    pub(crate) const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    fn add(&mut self, sign: Self, shows: bool) {
        self.0 |= if shows { sign.0 } else { 0 };
    }

    /// What a row of the conversation shows whatever it counts.
    pub(super) fn of_row(row: &FlowRow) -> Self {
        let is_unserved = row.services().served.ready_endpoints == Some(0);
        if is_unserved { Self::UNSERVED } else { Self::NONE }
    }

    /// Whether a window with this row, which counts packets, cannot show the sign, whatever else it has.
    pub(super) fn is_refuted_by(self, row: &FlowRow) -> bool {
        let (answered, of_dest) = (has_reply(row), reports_dest(row));
        self.has(Self::UNANSWERED) && answered
            || self.has(Self::REPLY_LOST) && answered && !of_dest
            || self.has(Self::SOURCE_ALONE) && of_dest
    }

    /// What a conversation shows of whose rows these signs are.
    pub(super) fn of(talk: &Conversation, rows: Self) -> Self {
        let mut signs = rows;
        let (mut all, mut counted) = (Counters::default(), false);
        let mut sides = [Exchange::default(); 2];
        let (mut allowed, mut denied, mut begun) = ([false; 2], [false; 2], [0u64; 2]);
        for half in &talk.halves {
            let side = usize::from(half.reporter == Reporter::Dst as i32);
            sides[side] = sides[side].plus(half.exchange());
            all = all.plus(half.counters);
            allowed[side] |= half.action == Action::Allow as i32;
            // A denial is told again and again without packets, long after the last one.
            denied[side] |= half.action == Action::Deny as i32 && moved(half);
            counted |= half.has_connections;
            begun[side] = begun[side].saturating_add(half.counters.started);
        }
        let (started, live, packets) = (all.started, all.live, all.packets());
        let (replies, requests) = (sides.map(|seen| seen.reply_packets), sides.map(|seen| seen.request_packets));
        signs.add(Self::UNANSWERED, talk.symmetry == Symmetry::RequestOnly);
        signs.add(Self::REPLIED, replies != [0; 2]);
        signs.add(Self::DENIED, denied[0] || denied[1]);
        signs.add(Self::ALLOWED, allowed[0] || allowed[1]);
        signs.add(Self::DENIED_AT_DESTINATION, allowed[0] && denied[1]);
        signs.add(Self::NOTHING_STARTED, counted && started == 0);
        signs.add(Self::STARTED, started > 0);
        signs.add(Self::IDLE, packets == 0 && live > 0);
        let halves = [0, 1].map(|side| allowed[side] || denied[side]);
        signs.add(Self::HALF_MISSING, talk.expected_halves == Some(2) && !(halves[0] && halves[1]));
        signs.add(Self::ONE_WAY, packets > 0 && (replies == [0; 2]) != (requests == [0; 2]));
        let counted_at_source = are_counted(requests[0], begun[0].max(1));
        signs.add(Self::REPLY_LOST, replies[1] > 0 && replies[0] == 0 && allowed[0] && counted_at_source);
        signs.add(Self::UNESTABLISHED, started > 0 && replies != [0; 2] && is_unestablished(talk));
        signs.add(Self::TRICKLE, packets > 0 && packets <= TRICKLE_PACKETS && is_trickle(talk));
        signs.add(Self::SOURCE_ALONE, talk.symmetry == Symmetry::SourceHalfOnly);
        signs
    }
}

/// Some data planes count of a short connection its first packet only: with two or more, packets were counted.
const PACKETS_OF_A_COUNTED_CONNECTION: u64 = 2;

/// Whether so many requests show that more than the first packets of the connections that began are counted.
pub(crate) const fn are_counted(requests: u64, begun: u64) -> bool {
    requests >= begun.saturating_mul(PACKETS_OF_A_COUNTED_CONNECTION)
}

/// SYN, SYN-ACK and ACK with the options that every system sends.
const HANDSHAKE_BYTES: u64 = 172;

/// Whether every side that saw connections begin counted less than a handshake for each, and none that ended or is older
/// than the window. A refused connection ends at once, with one packet in each direction.
fn is_unestablished(talk: &Conversation) -> bool {
    let mut halves = talk.halves.iter().filter(|half| half.counters.started > 0);
    halves.all(|half| {
        let (counters, seen) = (&half.counters, half.exchange());
        let goes_on = counters.completed == 0 && counters.live <= counters.started;
        let each_refused = seen.request_packets <= counters.started
            && seen.reply_packets <= counters.started
            && seen.reply_packets > counters.started / 2;
        (goes_on || each_refused) && counters.bytes() < counters.started.saturating_mul(HANDSHAKE_BYTES)
    })
}

/// Packets of a trickle, both directions and both sides.
const TRICKLE_PACKETS: u64 = 64;
/// Bytes of its requests, on either side.
const TRICKLE_BYTES: u64 = 2048;
/// Headers of a packet, as every system fills them; what keeps a connection alive has nothing else.
const HEADERS: u64 = 52;
/// The longest acknowledgement without data.
const BARE_PACKET: u64 = 60;

/// Whether requests are small and replies bare, on every side. What only keeps connections alive, and what may be nothing
/// but the first packets of short connections, is none.
fn is_trickle(talk: &Conversation) -> bool {
    let is_tcp = &*talk.key.key.protocol == "tcp";
    talk.halves.iter().filter(|half| moved(half)).all(|half| {
        let (seen, started) = (half.exchange(), half.counters.started);
        let asks = started > 0 || seen.request_bytes > seen.request_packets.saturating_mul(HEADERS);
        let counted = seen.reply_packets > 0 || are_counted(seen.request_packets, started);
        let bare = if is_tcp {
            seen.reply_bytes <= seen.reply_packets.saturating_mul(BARE_PACKET)
        } else {
            seen.reply_packets == 0
        };
        seen.request_bytes <= TRICKLE_BYTES && bare && (!is_tcp || asks && counted)
    })
}

fn moved(half: &Half) -> bool {
    half.counters.packets_in | half.counters.packets_out > 0
}

/// Whether the row is evidence of a packet.
pub(crate) fn has_packets(row: &FlowRow) -> bool {
    row.counters.packets_in | row.counters.packets_out > 0
}

/// Whether the row shows a packet from its destination.
pub(crate) fn has_reply(row: &FlowRow) -> bool {
    let replies = if reports_dest(row) { row.counters.packets_out } else { row.counters.packets_in };
    replies > 0
}

/// Whether the destination's node reports the row.
pub(crate) fn reports_dest(row: &FlowRow) -> bool {
    row.key.key.reporter == Reporter::Dst as i32
}

/// One conversation of a window with its rows of flows.
#[derive(Clone, Copy)]
pub(crate) struct Talk<'a> {
    pub(crate) view: &'a View<'a>,
    pub(crate) row: &'a Conversation,
    /// Its rows of flows, never empty.
    pub(crate) flows: &'a [FlowRow],
    pub(crate) signs: Signs,
    /// Kinds of the cases that its rows stand for or wake, as bits.
    pub(super) cases: u64,
    /// What is remembered of the pair from before this window.
    pub(crate) pair: &'a Pair,
    /// What is remembered of the destination, conversations before this one included.
    pub(crate) peer: &'a Peer,
}

impl<'a> Talk<'a> {
    fn ends(&self) -> &'a Ends {
        self.row.ends()
    }

    pub(crate) fn source(&self) -> End<'a> {
        End::new(&self.row.key.key.source, &self.ends().source)
    }

    pub(crate) fn dest(&self) -> End<'a> {
        End::new(&self.row.key.key.dest, &self.ends().dest)
    }

    /// Whether a row of it stands for a case of the kind, or is to wake those who hear of it.
    pub(crate) const fn has_case(&self, kind: FindingKind) -> bool {
        self.cases & 1 << kind as u8 != 0
    }

    /// The pair as a subject.
    pub(crate) fn subject(&self) -> Subject {
        pair_subject(self.source(), self.dest(), &self.row.key)
    }

    /// Whether what the window does not show of the pair did not happen.
    pub(crate) fn is_whole(&self) -> bool {
        self.view.is_whole() && self.pair.is_whole_in(self.view.window)
    }

    /// In how many whole windows in a row the pair shows the sign, this one included, which must be whole and show it.
    pub(crate) fn windows_in_a_row(&self, sign: Signs) -> u32 {
        let is_first = self.pair.last_seen < self.view.window.end;
        self.pair.windows_of(sign) + u32::from(is_first)
    }

    /// What a reporter saw pass, verdicts together; `None` where it said nothing.
    pub(crate) fn seen(&self, reporter: Reporter) -> Option<Exchange> {
        let view = if reporter == Reporter::Dst { self.row.dest_view() } else { self.row.source_view() };
        view.seen
    }

    /// Whether someone denies the pair in this window, or did in the one before: nodes report at different times.
    pub(crate) fn is_denied(&self) -> bool {
        self.signs.has(Signs::DENIED) || self.pair.was_denied_since(self.view.window.start)
    }

    /// Whether the destination answered somebody in this window, so far, or in the one before.
    pub(crate) fn answers_somebody(&self) -> bool {
        self.peer.replied >= self.view.window.start
    }

    /// Ready endpoints of the services in front of the destination, where they are known.
    pub(crate) fn ready_endpoints(&self) -> Option<u64> {
        self.flows.iter().find_map(|row| row.services().served.ready_endpoints)
    }

    /// The pair for people: `shop/web -> shop/db:5432/tcp`.
    pub(crate) fn title(&self) -> String {
        format!("{} -> {}:{}/{}", self.source().title(), self.dest().title(), self.port(), self.protocol())
    }

    pub(crate) fn port(&self) -> i64 {
        self.row.key.key.dest_port
    }

    pub(crate) fn protocol(&self) -> &'a str {
        &self.row.key.key.protocol
    }

    /// What a reporter said, verdicts together: connections that began, ended and live.
    pub(crate) fn connections(&self, reporter: Reporter) -> [u64; 3] {
        let halves = self.row.halves.iter().filter(|half| half.reporter == reporter as i32);
        halves.fold([0; 3], |sum, half| {
            let of = [half.counters.started, half.counters.completed, half.counters.live];
            [0, 1, 2].map(|i| u64::saturating_add(sum[i], of[i]))
        })
    }

    /// Rows of what got through: what the destination's side allowed; where it is silent, what the source's side did.
    pub(crate) fn passed(&self) -> impl Iterator<Item = &'a FlowRow> {
        let of_dest = |row: &FlowRow| reports_dest(row) && has_packets(row);
        let reporter = if self.flows.iter().any(of_dest) { Reporter::Dst } else { Reporter::Src };
        self.rows(reporter, Action::Allow).filter(|row| has_packets(row))
    }

    /// Connections that began and request packets, as the side saw them that saw more: both report the same.
    pub(crate) fn asked(&self) -> [u64; 2] {
        [Reporter::Src, Reporter::Dst].into_iter().fold([0; 2], |[started, requests], side| {
            let seen = self.seen(side).map_or(0, |seen| seen.request_packets);
            [started.max(self.connections(side)[0]), requests.max(seen)]
        })
    }

    /// The rows of the reporter and the verdict.
    pub(crate) fn rows(&self, reporter: Reporter, action: Action) -> impl Iterator<Item = &'a FlowRow> {
        let wanted = (reporter as i32, action as i32);
        self.flows.iter().filter(move |row| (row.key.key.reporter, row.key.key.action) == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_named_without_star_and_hash() {
        let names =
            ["web-7d4b9c6f5-*", "web-7d4b9c6f5-x2x9p", "db-*", "db-0", "node-exporter-*", "job-28123456-*", "*"];
        let workloads = names.map(workload_of);
        assert_eq!(workloads, ["web", "web-7d4b9c6f5-x2x9p", "db", "db-0", "node-exporter", "job-28123456", ""]);
    }
}
