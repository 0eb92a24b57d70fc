use std::sync::Arc;

use catchment_core::{
    ClosedWindow, Counters, Endpoint, EventTime, Floor, FlowKey, FlowRow, KeyRecord, Labels, PolicyHit, PolicyRef,
    Service, Trace,
};
use catchment_schemas::goldmane::{Action, EndpointType, PolicyKind, Reporter};

use super::*;

fn stream() -> StreamId {
    StreamId { cluster: "lab".to_owned(), source: "calico".to_owned() }
}

/// What reaches a workload of the shop from outside: no policy decides, or one does.
fn reached(workload: &str, is_decided: bool) -> FlowRow {
    let endpoint = |namespace: Option<&str>, name: &str, kind: EndpointType| Endpoint {
        namespace: namespace.map(Into::into),
        raw_name: name.into(),
        kind: kind as i32,
    };
    let kind = if is_decided { PolicyKind::CalicoNetworkPolicy } else { PolicyKind::Profile };
    let (name, tier) = if is_decided { ("allow", Some("default".into())) } else { ("kns.shop", None) };
    let namespace = is_decided.then(|| "shop".into());
    let policy = PolicyRef { kind: kind as i32, namespace, name: Some(name.into()), tier };
    let hit = PolicyHit { policy, action: Action::Allow as i32, policy_index: 0, rule_index: 0, trigger: None };
    let key = FlowKey {
        source: endpoint(None, "pvt", EndpointType::Network),
        dest: endpoint(Some("shop"), workload, EndpointType::WorkloadEndpoint),
        dest_port: 443,
        protocol: "tcp".into(),
        service: Service::default(),
        reporter: Reporter::Dst as i32,
        action: Action::Allow as i32,
        trace: Arc::new(Trace::new(vec![hit], Vec::new())),
    };
    let no_labels = || Arc::new(Labels::new(Vec::new()));
    let counters = Counters { packets_in: 3, packets_out: 3, bytes_in: 300, bytes_out: 300, ..Counters::default() };
    FlowRow::new(Arc::new(KeyRecord::new(key, true)), no_labels(), no_labels(), counters)
}

/// The epoch of a minute with its rows.
fn epoch(minute: u64, mut flows: Vec<FlowRow>) -> Epoch {
    flows.sort_by(|a, b| a.key.canonical.cmp(&b.key.canonical));
    let start = EventTime::from_secs(60 * minute as i64);
    let span = Span::new(start, start.plus(60_000_000));
    let window = ClosedWindow { span, coverage: 1.0, identity: None, flows, conversations: Vec::new() };
    Epoch {
        stream: stream(),
        log: LogId(1),
        id: EpochId { position: LogPosition(minute), part: 0 },
        floor: Floor { position: LogPosition(minute), watermarks: Vec::new() },
        window: Some(window),
        late: Vec::new(),
        rejects: Vec::new(),
        gaps: Vec::new(),
        findings: Vec::new(),
        forgotten: Vec::new(),
    }
}

/// A line that looks for findings.
struct Looking {
    board: Board,
    detector: Detector,
}

impl Looking {
    fn new(board: &Board, line: usize) -> Self {
        Self { board: board.of_line(line), detector: Detector::new(Arc::default(), "lab", None) }
    }

    /// Looks at a minute in which these are reached that no policy guards, and posts what it says.
    fn minute(&mut self, minute: u64, unguarded: &[&str]) {
        self.rows(minute, unguarded.iter().map(|workload| reached(workload, false)).collect());
    }

    fn rows(&mut self, minute: u64, rows: Vec<FlowRow>) {
        let mut epoch = epoch(minute, rows);
        self.detector.observe(&mut epoch);
        self.board.post(&epoch, &self.detector);
    }

    /// Begins anew with what another remembers.
    fn remembering(&mut self, other: &Self) {
        let cursor = epoch(0, Vec::new()).cursor();
        let (detector, _) = Detector::restore(Arc::default(), "lab", None, &other.detector.save(&cursor)).unwrap();
        self.detector = detector;
        self.board.begin(&self.detector);
    }

    /// Begins anew without any memory.
    fn forgetting(&mut self) {
        *self = Self::new(&self.board, self.board.line);
        self.board.begin(&self.detector);
    }
}

/// A board, what it is shown on, and what counts it.
fn board() -> (Board, FindingsBoard, Registry) {
    let (all, mut registry) = (FindingsBoard::default(), Registry::default());
    (Board::register(all.clone(), stream(), 60_000_000, &mut registry), all, registry)
}

/// Findings that are counted as open.
fn counted(registry: &Registry) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let samples = text.lines().filter(|line| line.starts_with("findings_open{"));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Workloads of the findings that are shown, each with its status.
fn shown(all: &FindingsBoard) -> Vec<(String, String)> {
    let rows =
        all.lines().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut shown: Vec<_> = rows.iter().map(|row| (text(&row["subject"]["workload"]), text(&row["status"]))).collect();
    shown.sort();
    shown
}

fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(workload, status)| ((*workload).to_owned(), (*status).to_owned())).collect()
}

#[test]
fn a_line_that_is_behind_takes_nothing_back() {
    let (board, all, registry) = board();
    let [mut ahead, mut behind] = [0, 1].map(|line| Looking::new(&board, line));
    ahead.minute(1, &["web"]);
    assert_eq!((shown(&all), counted(&registry)), (rows(&[("web", "opened")]), 1));
    ahead.rows(2, vec![reached("web", true)]);
    behind.minute(1, &["web"]);
    assert_eq!((shown(&all), counted(&registry)), (rows(&[("web", "resolved")]), 0));
    behind.rows(2, vec![reached("web", true)]);
    behind.minute(3, &["db"]);
    assert_eq!((shown(&all), counted(&registry)), (rows(&[("db", "opened"), ("web", "resolved")]), 1));
}

#[test]
fn what_is_remembered_of_an_earlier_window_is_not_posted_and_that_of_a_later_one_stands_alone() {
    let (board, all, registry) = board();
    let [mut one, mut other, mut silent] = [0, 1, 2].map(|line| Looking::new(&board, line));
    silent.board = self::board().0;
    silent.minute(1, &[]);
    one.minute(1, &["web"]);
    other.remembering(&silent);
    assert_eq!((shown(&all), counted(&registry)), (rows(&[("web", "opened")]), 1));
    silent.minute(2, &[]);
    other.remembering(&silent);
    assert_eq!((shown(&all), counted(&registry)), (Vec::new(), 0));
}

#[test]
fn a_line_that_remembers_less_does_not_hide_what_one_that_is_behind_remembers() {
    let (board, all, registry) = board();
    let [mut old, mut young] = [0, 1].map(|line| Looking::new(&board, line));
    young.minute(9, &["db"]);
    assert_eq!(shown(&all), rows(&[("db", "opened")]));
    old.minute(1, &["web"]);
    assert_eq!((shown(&all), counted(&registry)), (rows(&[("web", "opened")]), 1));
    young.minute(10, &["api"]);
    assert_eq!((shown(&all), counted(&registry)), (rows(&[("web", "opened")]), 1));
    old.minute(9, &["db"]);
    assert_eq!(shown(&all), rows(&[("db", "opened"), ("web", "opened")]));
}

#[test]
fn a_line_that_does_not_get_on_for_an_hour_is_shown_no_more_until_it_does() {
    let (board, all, _) = board();
    let [mut old, mut young] = [0, 1].map(|line| Looking::new(&board, line));
    old.minute(1, &["web"]);
    young.minute(61, &["db"]);
    assert_eq!(shown(&all), rows(&[("web", "opened")]));
    young.minute(62, &["api"]);
    assert_eq!(shown(&all), rows(&[("api", "opened"), ("db", "opened")]));
    old.minute(61, &["db"]);
    assert_eq!(shown(&all), rows(&[("db", "opened"), ("web", "opened")]));
}

#[test]
fn what_a_line_said_while_another_was_shown_is_posted_when_its_turn_comes() {
    let (board, all, _) = board();
    let [mut old, mut one, mut other] = [0, 1, 2].map(|line| Looking::new(&board, line));
    old.minute(1, &["web"]);
    one.minute(2, &[]);
    other.minute(2, &[]);
    other.minute(9, &["db"]);
    assert_eq!(shown(&all), rows(&[("web", "opened")]));
    old.forgetting();
    one.minute(3, &[]);
    assert_eq!(shown(&all), Vec::new());
    other.minute(10, &[]);
    assert_eq!(shown(&all), rows(&[("db", "opened")]));
}

#[test]
fn a_line_that_lost_its_memory_is_shown_where_nobody_remembers_more() {
    let (board, all, registry) = board();
    let mut line = Looking::new(&board, 0);
    line.minute(1, &["web"]);
    line.forgetting();
    assert_eq!(shown(&all), rows(&[("web", "opened")]), "until it has looked at something");
    line.minute(2, &["db"]);
    assert_eq!((shown(&all), counted(&registry)), (rows(&[("db", "opened")]), 1));
}
