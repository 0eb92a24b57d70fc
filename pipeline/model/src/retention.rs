//! How much of the log must stay: behind the slowest sink, and as far back as a source looks.

use std::collections::VecDeque;

use crate::collector::RING;
use crate::entry::{Cursor, Entry, Epoch, Position, Tick, WINDOW};
use crate::flaws::{Flaw, Flaws};
use crate::log::{Keep, Log};

/// Shared by the lines of one process.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The floor of each line; `None` until its sink has a cursor.
    floors: Vec<Option<Position>>,
    /// A moment, and the first position of what came after it, oldest first.
    times: VecDeque<(Tick, Position)>,
    flaws: Flaws,
}

impl Retention {
    /// Knows from the log what a source may look back on.
    pub fn new(log: &Log, lines: usize, flaws: Flaws) -> Self {
        let mut times = VecDeque::from([(0, log.first())]);
        times.extend((log.first()..log.end()).filter_map(|position| match log.read(position) {
            Some(Entry::Progress(up_to)) => Some((*up_to, position + 1)),
            _ => None,
        }));
        if flaws.has(Flaw::LookBackForgotten) {
            times.clear();
        }
        Self { floors: vec![None; lines], times, flaws }
    }

    /// A sink is open.
    pub fn opened(&mut self, line: usize, cursor: Option<&Cursor>) {
        if let Some(cursor) = cursor {
            self.floors[line] = Some(cursor.floor.position);
        }
    }

    /// A sink took an epoch, and is durable up to a cursor.
    pub fn published(&mut self, line: usize, epoch: &Epoch, durable: Option<&Cursor>, log: &mut Log) {
        let durable =
            if self.flaws.has(Flaw::GatheredCountsAsWritten) { Some(epoch.cursor()) } else { durable.copied() };
        let Some(durable) = durable else { return };
        self.floors[line] = Some(durable.floor.position);
        self.note_time(epoch);
        let slowest = self.floors.iter().copied().min().flatten();
        let fastest = self.floors.iter().copied().flatten().max();
        let needed = if self.flaws.has(Flaw::SlowSinkIgnored) { fastest } else { slowest };
        let Some(needed) = needed else { return };
        let wanted = self.times.front().map_or(needed, |(_, position)| *position);
        log.truncate(Keep { needed, wanted });
    }

    fn note_time(&mut self, epoch: &Epoch) {
        let Some(end) = epoch.window.map(|start| start + WINDOW) else { return };
        if self.times.back().is_none_or(|(time, _)| *time < end) {
            self.times.push_back((end, epoch.floor.position));
        }
        let horizon = end.saturating_sub(RING);
        while self.times.get(1).is_some_and(|(time, _)| *time <= horizon) {
            self.times.pop_front();
        }
    }
}
