//! Windows for the tests of rules, written in a few words.

use std::sync::Arc;

use catchment_core::knowledge::{Change, Coverage, Kind, Object, Sight};
use catchment_core::{
    Counters, Endpoint, Ends, EpochId, EventTime, FindingRow, Floor, FlowKey, FlowRow, Identity, IdentityState,
    KeyRecord, Labels, LateReason, LateRow, LogId, LogPosition, PolicyHit, PolicyRef, Served, Service, Services, Span,
    StreamId, Trace, Who,
};
use catchment_core::{Cursor, Epoch};
use catchment_schemas::goldmane::{Action, EndpointType, PolicyKind, Reporter};
use serde_json::Value;

use super::{Detector, Settings};
use crate::conversation::{Conversations, closed_window};
use crate::enrich::Timeline;

const MINUTE: i64 = 60_000_000;
const START: EventTime = EventTime::from_secs(1_767_225_600);

/// A detector and the windows it has seen: one a minute.
pub(crate) struct Scene {
    detector: Detector,
    settings: Arc<Settings>,
    timeline: Timeline,
    conversations: Conversations,
    /// The rows of the window before.
    before: Vec<FlowRow>,
    windows: i64,
    /// Share of the coming windows that can be read.
    pub(crate) coverage: f64,
    /// How far identities of the coming windows can be trusted.
    pub(crate) identity: IdentityState,
    /// What comes late with the next window.
    late: Vec<LateRow>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let timeline = Timeline::complete(Vec::new());
        let detector = Detector::new(settings.clone(), "test", Some(timeline.clone()));
        Self {
            detector,
            settings,
            timeline,
            conversations: Conversations::default(),
            before: Vec::new(),
            windows: 0,
            coverage: 1.0,
            identity: IdentityState::Fresh,
            late: Vec::new(),
        }
    }

    /// What happens in the cluster from the first window on, and what was there before: objects as JSON with the minute.
    pub(crate) fn with_cluster(settings: Settings, changes: impl IntoIterator<Item = (i64, Value)>) -> Self {
        let changes = changes.into_iter().map(|(minute, object)| {
            let object = Object::from_json(&object.to_string()).expect("an object").expect("of a kind that is read");
            Change { at: START.plus(minute * MINUTE), key: object.key(), state: Some(object) }
        });
        let timeline = Timeline::complete(changes.collect());
        let mut scene = Self::with(settings);
        scene.detector = Detector::new(scene.settings.clone(), "test", Some(timeline.clone()));
        scene.timeline = timeline;
        scene
    }

    /// Objects of the cluster that go at a minute, beside those of [`Scene::with_cluster`]; before any window.
    pub(crate) fn gone(&mut self, gone: impl IntoIterator<Item = (i64, Value)>) {
        let (mut changes, ..) = self.timeline.whole();
        changes.extend(gone.into_iter().map(|(minute, object)| {
            let object = Object::from_json(&object.to_string()).expect("an object").expect("of a kind that is read");
            Change { at: START.plus(minute * MINUTE), key: object.key(), state: None }
        }));
        self.timeline = Timeline::complete(changes);
        self.detector = Detector::new(self.settings.clone(), "test", Some(self.timeline.clone()));
    }

    /// Of a kind not all objects can be seen, as where an API server hides those of tiers that may not be read.
    pub(crate) fn hides(&mut self, kind: Kind) {
        let mut sights = self.timeline.sights_between(EventTime::MIN, EventTime::MAX);
        sights.push(Sight { at: EventTime::MIN, kind, coverage: Coverage::Partial { why: "not permitted".into() } });
        self.timeline.restore_sights(sights);
    }

    /// The next window; returns what it changes.
    pub(crate) fn window(&mut self, flows: impl IntoIterator<Item = Flow>) -> Vec<FindingRow> {
        self.epoch(flows).findings
    }

    /// The next window as a whole epoch.
    pub(crate) fn epoch(&mut self, flows: impl IntoIterator<Item = Flow>) -> Epoch {
        let mut rows: Vec<_> = flows.into_iter().map(Flow::row).collect();
        rows.sort_by(|a, b| a.key.canonical.cmp(&b.key.canonical));
        for row in &mut rows {
            self.share(row);
        }
        self.before.clone_from(&rows);
        let start = START.plus(self.windows * MINUTE);
        let span = Span::new(start, start.plus(MINUTE));
        self.windows += 1;
        let ends: Vec<_> = rows.iter().map(|row| (row.key.clone(), row.ends.clone())).collect();
        let mut window = closed_window(&mut self.conversations, span, self.coverage, rows);
        window.identity = Some(self.identity);
        for talk in &mut window.conversations {
            talk.ends = ends.iter().find(|(key, _)| Arc::ptr_eq(key, &talk.key)).and_then(|(_, ends)| ends.clone());
        }
        let mut epoch = epoch(self.windows, window);
        epoch.late = std::mem::take(&mut self.late);
        self.detector.observe(&mut epoch);
        epoch
    }

    /// A row that comes together with the next window and belongs to the one `ago` windows before that.
    pub(crate) fn late(&mut self, flow: Flow, ago: i64) {
        let start = START.plus((self.windows - ago) * MINUTE);
        let window = Span::new(start, start.plus(MINUTE));
        let position = LogPosition(self.windows as u64);
        let (reason, index) = (LateReason::Late, self.late.len() as u32);
        let flow = flow.row();
        self.late.push(LateRow { position, index, reason, window, bucket: window, flow, identity: None });
    }

    /// What is as it was in the window before stands in one place, as stages leave it.
    fn share(&self, row: &mut FlowRow) {
        let place = self.before.binary_search_by(|before| before.key.canonical.cmp(&row.key.canonical));
        let Ok(place) = place else { return };
        let before = &self.before[place];
        row.key = before.key.clone();
        for (ours, theirs) in
            [(&mut row.source_labels, &before.source_labels), (&mut row.dest_labels, &before.dest_labels)]
        {
            if **ours == **theirs {
                ours.clone_from(theirs);
            }
        }
        if row.ends().source.who == before.ends().source.who && row.ends().dest.who == before.ends().dest.who {
            row.ends.clone_from(&before.ends);
        }
        if row.services().served == before.services().served {
            row.services.clone_from(&before.services);
        }
    }

    /// Windows in which nothing happens.
    pub(crate) fn quiet(&mut self, windows: usize) -> Vec<FindingRow> {
        (0..windows).flat_map(|_| self.window([])).collect()
    }

    /// Time without any window.
    pub(crate) fn skip_minutes(&mut self, minutes: i64) {
        self.windows += minutes;
    }

    /// What it remembers goes to bytes and back, as at a restart.
    pub(crate) fn restart(&mut self) {
        self.restart_with((*self.settings).clone());
    }

    /// The same with other settings.
    pub(crate) fn restart_with(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
        let bytes = self.detector.save(&cursor(self.windows));
        let (detector, back) = Detector::restore(self.settings.clone(), "test", Some(self.timeline.clone()), &bytes)
            .expect("what was saved is read");
        assert_eq!(back, cursor(self.windows));
        assert_eq!(detector.save(&back), bytes, "nothing is lost and nothing is added");
        self.detector = detector;
    }

    pub(crate) fn detector(&self) -> &Detector {
        &self.detector
    }
}

fn cursor(window: i64) -> Cursor {
    let position = LogPosition(window as u64);
    let committed = EpochId { position, part: 0 };
    Cursor { log: Some(LogId(1)), committed, floor: Floor { position, watermarks: Vec::new() } }
}

fn epoch(number: i64, window: catchment_core::ClosedWindow) -> Epoch {
    let Cursor { committed, floor, .. } = cursor(number);
    Epoch {
        stream: StreamId { cluster: "test".to_owned(), source: "calico".to_owned() },
        log: LogId(1),
        id: committed,
        floor,
        window: Some(window),
        late: Vec::new(),
        rejects: Vec::new(),
        gaps: Vec::new(),
        findings: Vec::new(),
        forgotten: Vec::new(),
    }
}

/// A row of flows in the making: by default what the source's node reports of an ordinary, allowed TCP exchange.
#[derive(Clone)]
pub(crate) struct Flow {
    key: FlowKey,
    source: Who,
    dest: Who,
    labels: [Vec<Box<str>>; 2],
    served: Option<Served>,
    requests: u64,
    replies: u64,
    packet_bytes: [u64; 2],
    counters: Counters,
    overflow: bool,
    split: bool,
}

/// A flow from `ns/name`, `pvt`, `pub`, `set:name` or `host:name` to such a name with `:port`.
pub(crate) fn flow(source: &str, dest: &str) -> Flow {
    let (dest, port) = dest.rsplit_once(':').expect("a destination has a port");
    let source = endpoint(source);
    let namespace = source.namespace.clone().unwrap_or_else(|| "default".into());
    let key = FlowKey {
        source,
        dest: endpoint(dest),
        dest_port: port.parse().expect("a port is a number"),
        protocol: "tcp".into(),
        service: Service::default(),
        reporter: Reporter::Src as i32,
        action: Action::Allow as i32,
        trace: Arc::new(Trace::new(vec![rule(&format!("{namespace}/allow"), "default", 0)], Vec::new())),
    };
    let counters = Counters { started: 1, completed: 1, ..Counters::default() };
    let labels = [Vec::new(), Vec::new()];
    let (source, dest) = (Who::default(), Who::default());
    Flow {
        key,
        source,
        dest,
        labels,
        served: None,
        requests: 10,
        replies: 10,
        packet_bytes: [100; 2],
        counters,
        overflow: false,
        split: false,
    }
}

fn endpoint(name: &str) -> Endpoint {
    let of = |namespace: Option<&str>, name: &str, kind: EndpointType| Endpoint {
        namespace: namespace.map(Into::into),
        raw_name: name.into(),
        kind: kind as i32,
    };
    match (name.split_once(':'), name.split_once('/')) {
        (Some(("set", set)), _) => match set.split_once('/') {
            Some((namespace, set)) => of(Some(namespace), set, EndpointType::NetworkSet),
            None => of(None, set, EndpointType::NetworkSet),
        },
        (Some(("host", host)), _) => of(None, host, EndpointType::HostEndpoint),
        (_, Some((namespace, workload))) => of(Some(namespace), workload, EndpointType::WorkloadEndpoint),
        _ => of(None, name, EndpointType::Network),
    }
}

impl Flow {
    /// As the destination's node reports it.
    pub(crate) fn dst(mut self) -> Self {
        self.key.reporter = Reporter::Dst as i32;
        self
    }

    /// As both nodes report it.
    pub(crate) fn both(self) -> [Self; 2] {
        [self.clone(), self.dst()]
    }

    pub(crate) fn deny(mut self) -> Self {
        self.key.action = Action::Deny as i32;
        self
    }

    pub(crate) fn udp(mut self) -> Self {
        self.key.protocol = "udp".into();
        self
    }

    pub(crate) fn trace(mut self, hits: impl IntoIterator<Item = PolicyHit>) -> Self {
        self.key.trace = Arc::new(Trace::new(numbered(hits), self.key.trace.pending.clone()));
        self
    }

    /// The pending trace; after [`Flow::trace`].
    pub(crate) fn pending(mut self, hits: impl IntoIterator<Item = PolicyHit>) -> Self {
        self.key.trace = Arc::new(Trace::new(self.key.trace.enforced.clone(), numbered(hits)));
        self
    }

    /// Packets from source to destination and back; a packet has 100 bytes unless [`Flow::bytes`] says otherwise.
    pub(crate) fn packets(mut self, requests: u64, replies: u64) -> Self {
        (self.requests, self.replies) = (requests, replies);
        self
    }

    /// Bytes of a request packet and of a reply packet.
    pub(crate) fn bytes(mut self, request: u64, reply: u64) -> Self {
        self.packet_bytes = [request, reply];
        self
    }

    /// Connections that began, ended and live.
    pub(crate) fn connections(mut self, started: u64, completed: u64, live: u64) -> Self {
        self.counters = Counters { started, completed, live, ..Counters::default() };
        self
    }

    /// The service that was addressed, `ns/name`.
    pub(crate) fn service(mut self, service: &str) -> Self {
        let (namespace, name) = service.split_once('/').expect("a service has a namespace");
        self.key.service = Service { namespace: Some(namespace.into()), name: Some(name.into()), ..Service::default() };
        self
    }

    /// How many endpoints of the services in front of the destination are ready.
    pub(crate) fn ready_endpoints(mut self, ready: u64) -> Self {
        self.served = Some(Served { ready_endpoints: Some(ready), ..Served::default() });
        self
    }

    /// Services that are in front of the destination, by their endpoints.
    pub(crate) fn served(mut self, services: &[&str]) -> Self {
        let services = Some(services.iter().map(|&name| name.into()).collect());
        self.served = Some(Served { services, ..Served::default() });
        self
    }

    /// Who stands at the source.
    pub(crate) fn source_who(mut self, change: impl FnOnce(&mut Who)) -> Self {
        change(&mut self.source);
        self
    }

    /// Who stands at the destination.
    pub(crate) fn dest_who(mut self, change: impl FnOnce(&mut Who)) -> Self {
        change(&mut self.dest);
        self
    }

    /// Labels of source and destination, `key=value`.
    pub(crate) fn labels(mut self, source: &[&str], dest: &[&str]) -> Self {
        self.labels = [source, dest].map(|labels| labels.iter().map(|&label| label.into()).collect());
        self
    }

    /// The same with another source.
    pub(crate) fn named(mut self, source: &str) -> Self {
        self.key.source = endpoint(source);
        self
    }

    /// Another trace claims the same packets, as in the window of an edit.
    pub(crate) fn split(mut self) -> Self {
        self.split = true;
        self
    }

    /// A row that gave up its identity.
    pub(crate) fn overflow(mut self) -> Self {
        self.overflow = true;
        self
    }

    fn row(self) -> FlowRow {
        let is_dst = self.key.reporter == Reporter::Dst as i32;
        let (packets_in, packets_out) =
            if is_dst { (self.requests, self.replies) } else { (self.replies, self.requests) };
        let [request, reply] = self.packet_bytes;
        let (bytes_in, bytes_out) = if is_dst { (request, reply) } else { (reply, request) };
        let counters = Counters {
            packets_in,
            packets_out,
            bytes_in: packets_in * bytes_in,
            bytes_out: packets_out * bytes_out,
            ..self.counters
        };
        let key = KeyRecord::new(self.key, true);
        let key = if self.overflow { KeyRecord::overflow(&key) } else { key };
        let [source_labels, dest_labels] = self.labels.map(|labels| Arc::new(Labels::new(labels)));
        let [source, dest] = [self.source, self.dest].map(|who| Arc::new(Identity::new(who)));
        FlowRow {
            trace_split: self.split,
            ends: Some(Ends { source, dest }),
            services: self.served.map(|served| Arc::new(Services::new(served))),
            ..FlowRow::new(Arc::new(key), source_labels, dest_labels, counters)
        }
    }
}

fn numbered(hits: impl IntoIterator<Item = PolicyHit>) -> Vec<PolicyHit> {
    let numbered = hits.into_iter().enumerate();
    numbered.map(|(policy_index, hit)| PolicyHit { policy_index: policy_index as i64, ..hit }).collect()
}

fn policy(kinds: [PolicyKind; 2], policy: &str, tier: &str) -> PolicyRef {
    let (namespace, name) = policy.split_once('/').map_or((None, policy), |(namespace, name)| (Some(namespace), name));
    let kind = if namespace.is_some() { kinds[0] } else { kinds[1] };
    PolicyRef {
        kind: kind as i32,
        namespace: namespace.map(Into::into),
        name: Some(name.into()),
        tier: Some(tier.into()),
    }
}

/// A hit of a rule that allows; of a policy `ns/name`, or `name` for a global one.
pub(crate) fn rule(name: &str, tier: &str, rule_index: i64) -> PolicyHit {
    let kinds = [PolicyKind::CalicoNetworkPolicy, PolicyKind::GlobalNetworkPolicy];
    PolicyHit {
        policy: policy(kinds, name, tier),
        action: Action::Allow as i32,
        policy_index: 0,
        rule_index,
        trigger: None,
    }
}

/// A hit of a rule that denies.
pub(crate) fn deny_rule(name: &str, tier: &str, rule_index: i64) -> PolicyHit {
    PolicyHit { action: Action::Deny as i32, ..rule(name, tier, rule_index) }
}

/// A hit of a staged policy's rule that allows.
pub(crate) fn staged(name: &str, tier: &str, rule_index: i64) -> PolicyHit {
    let kinds = [PolicyKind::StagedNetworkPolicy, PolicyKind::StagedGlobalNetworkPolicy];
    PolicyHit { policy: policy(kinds, name, tier), ..rule(name, tier, rule_index) }
}

/// The end of a tier that denies; the policy selected the endpoint.
pub(crate) fn end_of_tier(tier: &str, trigger: &str) -> PolicyHit {
    let trigger = rule(trigger, tier, 0).policy;
    let policy = PolicyRef { kind: PolicyKind::EndOfTier as i32, namespace: None, name: None, tier: Some(tier.into()) };
    PolicyHit { policy, action: Action::Deny as i32, policy_index: 0, rule_index: -1, trigger: Some(trigger) }
}

/// The profile of a namespace, which allows.
pub(crate) fn profile(namespace: &str) -> PolicyHit {
    let name = format!("kns.{namespace}");
    let policy = PolicyRef { kind: PolicyKind::Profile as i32, namespace: None, name: Some(name.into()), tier: None };
    PolicyHit { policy, action: Action::Allow as i32, policy_index: 0, rule_index: 0, trigger: None }
}

/// Changes to a hit.
pub(crate) trait HitExt {
    /// It passes to the next tier.
    fn pass(self) -> PolicyHit;
    /// It denies.
    fn denies(self) -> PolicyHit;
    /// The end of the tier came after a staged policy.
    fn after_staged(self) -> PolicyHit;
}

impl HitExt for PolicyHit {
    fn pass(self) -> PolicyHit {
        PolicyHit { action: Action::Pass as i32, ..self }
    }

    fn denies(self) -> PolicyHit {
        PolicyHit { action: Action::Deny as i32, ..self }
    }

    fn after_staged(mut self) -> PolicyHit {
        let kinds = [PolicyKind::StagedNetworkPolicy, PolicyKind::StagedGlobalNetworkPolicy];
        if let Some(trigger) = &mut self.trigger {
            trigger.kind = kinds[usize::from(trigger.namespace.is_none())] as i32;
        }
        self
    }
}
