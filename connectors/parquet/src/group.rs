//! The rows of the slot of event time that is still open.

use catchment_core::{
    Conversation, Cursor, Epoch, EpochId, EventTime, FindingRow, FlowRow, GapRow, IdentityState, LateRow, LogId,
    RejectRow, Span, StreamId,
};
use catchment_schemas::Dataset;

/// A row of a window with the facts all rows of that window share.
#[derive(Clone, Debug)]
pub(crate) struct Windowed<R> {
    pub(crate) span: Span,
    pub(crate) coverage: f64,
    pub(crate) identity: Option<IdentityState>,
    pub(crate) row: R,
}

/// Where an epoch stands in event time: the start of its window, or how far the stream has surely
/// come where none closed. An idle cluster has no windows, and what was gathered before must not
/// wait for the next.
fn moment(epoch: &Epoch) -> EventTime {
    let reached = || epoch.floor.watermarks.iter().map(|(_, time)| *time).min().unwrap_or(EventTime::MIN);
    epoch.window.as_ref().map_or_else(reached, |window| window.span.start)
}

/// Consecutive epochs of one slot, with the side rows handed over among them.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) stream: StreamId,
    /// The log they are determined by.
    pub(crate) log: LogId,
    /// The first epoch of the group.
    pub(crate) first: EpochId,
    /// When the first epoch was handed over, in event time.
    began: EventTime,
    /// From the first window's start to the last window's end; `None` while no window has come.
    pub(crate) windows: Option<Span>,
    /// The cursor that stands once the group is durable.
    pub(crate) cursor: Cursor,
    pub(crate) flows: Vec<Windowed<FlowRow>>,
    pub(crate) conversations: Vec<Windowed<Conversation>>,
    pub(crate) late: Vec<LateRow>,
    pub(crate) rejects: Vec<RejectRow>,
    pub(crate) gaps: Vec<GapRow>,
    pub(crate) findings: Vec<Windowed<FindingRow>>,
}

impl Group {
    /// An empty group that starts with `epoch`, whose rows are still to be added.
    pub(crate) fn starting_with(epoch: &Epoch) -> Self {
        Self {
            stream: epoch.stream.clone(),
            log: epoch.log,
            first: epoch.id,
            began: moment(epoch),
            windows: None,
            cursor: epoch.cursor(),
            flows: Vec::new(),
            conversations: Vec::new(),
            late: Vec::new(),
            rejects: Vec::new(),
            gaps: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Whether `epoch` belongs to a later slot than this group: no window of this slot comes after it.
    pub(crate) fn ends_before(&self, epoch: &Epoch, roll: i64) -> bool {
        let mine = self.windows.map_or(self.began, |s| s.start);
        moment(epoch).align(roll) > mine.align(roll)
    }

    /// Takes the rows of the wanted datasets.
    pub(crate) fn add(&mut self, epoch: &Epoch, wanted: &[Dataset]) {
        self.cursor = epoch.cursor();
        self.add_window(epoch, wanted);
        if wanted.contains(&Dataset::Late) {
            self.late.extend_from_slice(&epoch.late);
        }
        if wanted.contains(&Dataset::Rejects) {
            self.rejects.extend_from_slice(&epoch.rejects);
        }
        if wanted.contains(&Dataset::Gaps) {
            self.gaps.extend_from_slice(&epoch.gaps);
        }
    }

    fn add_window(&mut self, epoch: &Epoch, wanted: &[Dataset]) {
        let Some(window) = &epoch.window else { return };
        let (span, coverage, identity) = (window.span, window.coverage, window.identity);
        let start = self.windows.map_or(span.start, |s| s.start);
        self.windows = Some(Span::new(start, span.end));
        if wanted.contains(&Dataset::Flows) {
            self.flows.extend(window.flows.iter().cloned().map(|row| Windowed { span, coverage, identity, row }));
        }
        if wanted.contains(&Dataset::Conversations) {
            let rows = window.conversations.iter().cloned();
            self.conversations.extend(rows.map(|row| Windowed { span, coverage, identity, row }));
        }
        if wanted.contains(&Dataset::Findings) {
            let rows = epoch.findings.iter().cloned();
            self.findings.extend(rows.map(|row| Windowed { span, coverage, identity, row }));
        }
    }

    /// The moment whose date and hour name the folder: the slot's start. Without a window it is
    /// that of the oldest side row, or of how far the stream had come.
    pub(crate) fn slot_start(&self, roll: i64) -> EventTime {
        let late = self.late.iter().map(|r| r.window.start);
        let gaps = self.gaps.iter().map(|r| r.span.start);
        let rejects = self.rejects.iter().filter_map(|r| r.event_time);
        let came = Some(self.began).filter(|time| (EventTime(1)..EventTime::MAX).contains(time));
        let side = || late.chain(gaps).chain(rejects).min().or(came).unwrap_or_default();
        self.windows.map_or_else(side, |s| s.start).align(roll)
    }
}
