//! One process: a source, a line per sink, and what they share.

use crate::around::Around;
use crate::line::{Kind, Line};
use crate::retention::Retention;
use crate::source::{Habits, Source};

/// Dies at any step, or stands still and goes on when another has taken over.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number; later ones are higher.
    pub number: usize,
    /// It stands still: nothing of it moves, nothing of it is gone.
    pub is_stalled: bool,
    /// Whether the lock of the log is its own. Who lost it reads on, and appends nothing.
    pub holds_log: bool,
    /// Reads the collector.
    pub source: Source,
    /// Feed the sinks.
    pub lines: Vec<Line>,
    /// Cuts the log.
    pub retention: Retention,
}

impl Process {
    /// Starts over what is there.
    pub fn start(number: usize, kinds: &[Kind], habits: Habits, around: &mut Around) -> Self {
        let workers = 1 + around.rng.below(3);
        let lines = kinds.iter().enumerate().map(|(at, kind)| Line::new(at, *kind, number, workers));
        Self {
            number,
            is_stalled: false,
            holds_log: true,
            source: Source::new(habits),
            lines: lines.collect(),
            retention: Retention::new(&around.log, kinds.len(), around.flaws),
        }
    }

    /// Another process has the log now.
    pub fn lose_log(&mut self) {
        self.holds_log = false;
        self.source.stop();
    }
}
