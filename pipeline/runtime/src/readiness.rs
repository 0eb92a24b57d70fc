//! Whether everything works, and what does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Of what has stopped for good.
pub(crate) const STOPPED: &str = "stopped by a fault that needs mending and a restart";

/// Ready while every log is open, every sink is open and every source reads.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, &'static str>>>);

impl Readiness {
    /// Something that has to work; it is missing until it says otherwise.
    pub(crate) fn part(&self, name: String) -> Part {
        let part = Part { name, all: self.clone() };
        part.fails("not open yet");
        part
    }

    /// What does not work now and why, a line each; `None` when everything does.
    pub fn missing(&self) -> Option<String> {
        let missing = self.lock();
        let lines = missing.iter().map(|(name, why)| format!("{name}: {why}\n"));
        (!missing.is_empty()).then(|| lines.collect())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, &'static str>> {
        self.0.lock().expect("nobody panics while holding the lock")
    }
}

/// The log, the source or a sink of a stream, as readiness sees it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    name: String,
    all: Readiness,
}

impl Part {
    /// It works, as far as anybody knows.
    pub(crate) fn works(&self) {
        self.all.lock().remove(&self.name);
    }

    /// It does not work, for a reason that the answer may show to anybody: errors are for the log.
    pub(crate) fn fails(&self, why: &'static str) {
        self.all.lock().insert(self.name.clone(), why);
    }
}
