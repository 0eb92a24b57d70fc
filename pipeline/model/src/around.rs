//! What processes find around them: the collector, the disk, the broker, the store, and chance.

use crate::broker::Broker;
use crate::collector::Collector;
use crate::coverage::Coverage;
use crate::flaws::Flaws;
use crate::invariants::Judge;
use crate::log::Log;
use crate::rng::Rng;
use crate::store::Store;

/// Everything that outlives a process, and who watches.
#[derive(Clone, Debug)]
pub struct Around {
    /// Where flows come from.
    pub collector: Collector,
    /// Where they are kept.
    pub log: Log,
    /// One door.
    pub broker: Broker,
    /// The other door.
    pub store: Store,
    /// Chance.
    pub rng: Rng,
    /// What is broken.
    pub flaws: Flaws,
    /// What was met.
    pub reached: Coverage,
    /// Who watches.
    pub judge: Judge,
    /// What happened, where somebody will read it.
    pub trace: Option<Vec<String>>,
}

impl Around {
    /// Writes a line of the trace; costs nothing where nobody reads it.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }
}

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails before it has an effect.
    Refused,
    /// It has its effect, and the answer is lost.
    AnswerLost,
    /// Its sender gives up; it may arrive later.
    Delayed,
}

/// How a step of a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// The line goes on.
    On,
    /// The line starts again from its sink's cursor.
    Reopen,
    /// Trying again cannot help: the process ends.
    Fatal,
}
