//! Both reporters of a conversation side by side.

use std::sync::Arc;

use catchment_core::{Agreement, ClosedWindow, Conversation, Exchange, FlowRow, Half, KeyRecord, Span, Symmetry};
use catchment_schemas::goldmane::{Action, EndpointType, Reporter};

/// Folds rows into conversations; remembers the window before, because two nodes flush at
/// different times.
#[derive(Default)]
pub(crate) struct Conversations {
    previous: Option<(Span, Vec<Seen>)>,
}

/// What the window before showed of a conversation.
struct Seen {
    key: Arc<KeyRecord>,
    source: Option<Exchange>,
    dest: Option<Exchange>,
}

impl Conversations {
    /// The conversations of a window whose rows are in canonical order.
    pub(crate) fn of_window(&mut self, span: Span, rows: &[FlowRow]) -> Vec<Conversation> {
        let previous = match self.previous.take() {
            Some((before, seen)) if before.end == span.start => seen,
            _ => Vec::new(),
        };
        let mut previous = previous.iter().peekable();
        // Most conversations have two halves.
        let mut conversations = Vec::with_capacity(rows.len() / 2);
        for rows in rows.chunk_by(|a, b| a.key.same_conversation(&b.key)) {
            let key = &rows[0].key;
            // Who talked to whom was given up, so there is nothing to set side by side.
            if key.is_overflow() {
                continue;
            }
            let mut before = previous.next_if(|seen| seen.key.same_conversation(key));
            if before.is_none() {
                while previous.next_if(|seen| seen.key.conversation() < key.conversation()).is_some() {}
                before = previous.next_if(|seen| seen.key.same_conversation(key));
            }
            conversations.push(conversation(rows, before));
        }
        self.previous = Some((span, conversations.iter().map(Seen::of).collect()));
        conversations
    }
}

impl Seen {
    fn of(conversation: &Conversation) -> Self {
        Self {
            key: conversation.key.clone(),
            source: conversation.source_view().seen,
            dest: conversation.dest_view().seen,
        }
    }
}

fn conversation(rows: &[FlowRow], before: Option<&Seen>) -> Conversation {
    let mut halves: Vec<Half> = Vec::with_capacity(2);
    for row in rows {
        match halves.last_mut() {
            Some(half) if half.reporter == row.key.key.reporter && half.action == row.key.key.action => join(half, row),
            _ => halves.push(half(row)),
        }
    }
    let key = rows[0].key.clone();
    let mut conversation = Conversation {
        expected_halves: expected_halves(&key),
        agreement: agreement(&halves),
        symmetry: Symmetry::Idle,
        key,
        halves,
        ends: None,
    };
    conversation.symmetry = symmetry(&conversation, before);
    conversation
}

fn half(row: &FlowRow) -> Half {
    Half {
        reporter: row.key.key.reporter,
        action: row.key.key.action,
        counters: row.counters,
        traces: vec![row.key.key.trace.clone()],
        trace_split: row.trace_split,
        has_connections: row.key.has_connections,
    }
}

fn join(half: &mut Half, row: &FlowRow) {
    half.counters = if half.trace_split || row.trace_split {
        half.counters.max(row.counters)
    } else {
        half.counters.plus(row.counters)
    };
    half.trace_split |= row.trace_split;
    if !half.traces.iter().any(|trace| trace.canonical == row.key.key.trace.canonical) {
        half.traces.push(row.key.key.trace.clone());
    }
}

/// Workloads are watched on both nodes; networks, sets and hosts never report.
fn expected_halves(key: &KeyRecord) -> Option<u8> {
    let (source, dest) = (key.key.source.kind, key.key.dest.kind);
    if source == 0 || dest == 0 {
        return None;
    }
    let workload = EndpointType::WorkloadEndpoint as i32;
    Some(if source == workload && dest == workload { 2 } else { 1 })
}

fn agreement(halves: &[Half]) -> Agreement {
    match halves {
        [a, b] if a.reporter != b.reporter && a.action == b.action => Agreement::Agree,
        [a, b] if a.reporter != b.reporter => Agreement::Disagree,
        halves if halves.windows(2).any(|pair| pair[0].reporter == pair[1].reporter) => Agreement::Mixed,
        _ => Agreement::OneSided,
    }
}

fn symmetry(conversation: &Conversation, before: Option<&Seen>) -> Symmetry {
    let source = [conversation.source_view().seen, before.and_then(|seen| seen.source)];
    let dest = [conversation.dest_view().seen, before.and_then(|seen| seen.dest)];
    let all = source.into_iter().chain(dest).flatten().reduce(Exchange::plus).unwrap_or_default();
    let denied = conversation.halves.iter().all(|half| half.action == Action::Deny as i32);
    match (all.request_packets > 0, all.reply_packets > 0) {
        (false, false) => Symmetry::Idle,
        _ if denied => Symmetry::Denied,
        (true, false) => Symmetry::RequestOnly,
        (false, true) => Symmetry::ReplyOnly,
        (true, true) if conversation.expected_halves != Some(2) => Symmetry::Symmetric,
        (true, true) => match (source.iter().any(Option::is_some), dest.iter().any(Option::is_some)) {
            (true, false) => Symmetry::SourceHalfOnly,
            (false, true) => Symmetry::DestHalfOnly,
            _ => Symmetry::Symmetric,
        },
    }
}

/// A closed window with its conversations.
pub(crate) fn closed_window(
    memory: &mut Conversations,
    span: Span,
    coverage: f64,
    flows: Vec<FlowRow>,
) -> ClosedWindow {
    debug_assert!(flows.is_sorted_by(|a, b| a.key.canonical < b.key.canonical), "rows are in canonical order");
    let conversations = memory.of_window(span, &flows);
    ClosedWindow { span, coverage, identity: None, flows, conversations }
}

/// Keeps the reporter numbers that the halves are ordered by in step with the wire.
const _: () = assert!((Reporter::Src as i32) < (Reporter::Dst as i32));
