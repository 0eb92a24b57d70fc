//! Looking for findings in a fold, and what is remembered of them over a restart.
//!
//! Each line looks for itself, as it folds for itself, so findings are rows of its epochs like all others. What a detector
//! remembers goes to a file once the sink has made the epochs it speaks of durable; a start goes back to that file's
//! epoch, folds again from its floor, and the sink is spared what it has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use catchment_core::json::RowWriter;
use catchment_core::{
    Cursor, Epoch, EpochId, Error, FindingId, FindingRow, LogId, LogPosition, Period, Result, Span, StreamId,
};
use catchment_stages::detect::{Detector, Settings};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::supply::Fold;

/// Memory below this is saved with every epoch, a larger one less often.
const SMALL: usize = 1 << 20;
/// Epochs between two times that a large memory is saved.
const SAVE_EVERY: u32 = 10;

/// What looks for findings while a log is folded.
pub(crate) struct Detecting {
    detector: Detector,
    /// Epochs up to this one have been looked at.
    after: Option<EpochId>,
    saved_bytes: usize,
    unsaved_epochs: u32,
    board: Option<Board>,
}

impl Detecting {
    /// Goes on from what is remembered, or remembers nothing yet.
    pub(crate) fn new(fold: &Fold, settings: &Arc<Settings>, memory: Option<Memory>) -> Self {
        let after = memory.as_ref().map(|memory| memory.cursor.committed);
        let detector = memory.map(|memory| memory.detector);
        let cluster = &fold.settings.stream.cluster;
        let detector = detector.unwrap_or_else(|| Detector::new(settings.clone(), cluster, fold.timeline()));
        if let Some(board) = &fold.board {
            board.begin(&detector);
        }
        Self { detector, after, saved_bytes: 0, unsaved_epochs: 0, board: fold.board.clone() }
    }

    /// Looks at an epoch, unless that was done before the restart.
    pub(crate) fn observe(&mut self, epoch: &mut Epoch) {
        if self.after.is_some_and(|after| epoch.id <= after) {
            return;
        }
        self.detector.observe(epoch);
        if let Some(board) = &self.board {
            board.post(epoch, &self.detector);
        }
    }

    /// What is to be kept now, behind the epoch.
    pub(crate) fn save_behind(&mut self, epoch: &Epoch) -> Option<Saved> {
        self.unsaved_epochs += 1;
        let is_known = self.after.is_some_and(|after| epoch.id <= after);
        if is_known || self.saved_bytes > SMALL && self.unsaved_epochs < SAVE_EVERY {
            return None;
        }
        let bytes = self.detector.save(&epoch.cursor());
        (self.saved_bytes, self.unsaved_epochs) = (bytes.len(), 0);
        Some(Saved { id: epoch.id, floor: epoch.floor.position, bytes })
    }
}

/// What a detector remembers behind an epoch, as bytes.
pub(crate) struct Saved {
    pub(crate) id: EpochId,
    pub(crate) floor: LogPosition,
    bytes: Vec<u8>,
}

/// A detector as it was behind an epoch.
pub(crate) struct Memory {
    detector: Detector,
    pub(crate) cursor: Cursor,
}

/// The file that a line keeps the memory of its detector in.
#[derive(Clone, Debug)]
pub(crate) struct MemoryFile(PathBuf);

impl MemoryFile {
    /// The file of a sink, below the folder of a stream's log.
    pub(crate) fn of(log: &Path, sink: &str) -> Self {
        Self(log.join("findings").join(format!("{sink}.memory")))
    }

    /// What is remembered, if it belongs before what the sink has and the log still reaches back to it.
    pub(crate) fn load(
        &self,
        fold: &Fold,
        settings: &Arc<Settings>,
        (log, first): (LogId, LogPosition),
        held: Option<&Cursor>,
    ) -> Result<Option<Memory>> {
        let bytes = match fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed("read", e)),
        };
        let stream = &fold.settings.stream;
        let misfit = match Detector::restore(settings.clone(), &stream.cluster, fold.timeline(), &bytes) {
            Err(e) => e.to_string(),
            Ok((_, cursor)) if cursor.log != Some(log) => "it is of another log".to_owned(),
            Ok((_, cursor)) if held.is_none_or(|held| cursor.committed > held.committed) => {
                "the sink does not have the epochs it speaks of".to_owned()
            }
            Ok((_, cursor)) if cursor.floor.position < first => "the log no longer reaches back to it".to_owned(),
            Ok((detector, cursor)) => return Ok(Some(Memory { detector, cursor })),
        };
        let file = self.0.display();
        tracing::warn!(%stream, %file, misfit, "what was remembered of findings is not used; open ones may be told again");
        Ok(None)
    }

    /// Puts what is remembered into the file, whole or not at all.
    pub(crate) fn keep(&self, saved: &Saved) -> Result<()> {
        self.write(&saved.bytes).map_err(|e| self.failed("write", e))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let draft = self.0.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &self.0)?;
        File::open(folder)?.sync_all()
    }

    fn failed(&self, what: &str, e: io::Error) -> Error {
        let file = self.0.display();
        Error::external(format!("cannot {what} what is remembered of findings in `{file}`; look at the disk"))
            .caused_by(e)
    }
}

/// The findings of all streams as they stand, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct FindingsBoard(Arc<Mutex<BTreeMap<String, BTreeMap<FindingId, String>>>>);

impl FindingsBoard {
    /// One JSON object a line, in the order of streams and ids.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for row in self.lock().values().flat_map(BTreeMap::values) {
            lines.push_str(row);
            lines.push('\n');
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<FindingId, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    kind: &'static str,
    severity: &'static str,
    namespace: String,
}

/// The kind of a counter.
type KindLabel = [(&'static str, &'static str); 1];

/// What is counted of the findings of one stream.
#[derive(Clone, Debug, Default)]
struct FindingMetrics {
    open: Family<OpenLabels, Gauge>,
    subjects: Gauge,
    pairs: Gauge,
    refused: Counter,
    unheard: Counter,
    not_evaluable: Family<KindLabel, Counter>,
}

impl FindingMetrics {
    /// Registers everything under the stream's labels.
    fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("findings_open", "Findings that are open, by kind, severity and namespace", m.open.clone());
        registry.register("findings_subjects", "Subjects that findings are looked for of", m.subjects.clone());
        registry.register("findings_pairs", "Pairs of workloads that are remembered", m.pairs.clone());
        registry.register("findings_refused", "Findings that did not open because too many were", m.refused.clone());
        registry.register(
            "findings_unheard",
            "Conversations that were not looked at because too many pairs are remembered",
            m.unheard.clone(),
        );
        registry.register(
            "findings_not_evaluable",
            "Cases in which a window could not show whether a kind holds",
            m.not_evaluable.clone(),
        );
        m
    }

    fn remembers(&self, detector: &Detector) {
        let effort = detector.effort();
        self.subjects.set(effort.subjects as i64);
        self.pairs.set(effort.pairs as i64);
        raise(&self.refused, effort.refused);
        raise(&self.unheard, effort.unheard);
        for (kind, cases) in detector.not_evaluable().filter(|(_, cases)| *cases > 0) {
            raise(&self.not_evaluable.get_or_create_owned(&[("kind", kind.name())]), cases);
        }
    }
}

/// A detector counts for itself, also over restarts.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// How far behind the others a line may be that remembers most. One that is further behind may never get on.
const BEHIND: Period = Period::secs(3600);

/// Where a line posts the findings of its stream, and counts them. All lines of the stream do so, as any of them may not get
/// on. Who remembers most is shown, for it knows of what opened before others began to look; of those who remember the same,
/// whoever is ahead.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    all: FindingsBoard,
    /// The number of the line.
    line: usize,
    stream: StreamId,
    window: i64,
    metrics: FindingMetrics,
    posted: Arc<Mutex<Posted>>,
}

/// What a stream has posted.
#[derive(Debug, Default)]
struct Posted {
    /// What the memory of each line reaches over.
    lines: BTreeMap<usize, Span>,
    /// The same of what is shown.
    shown: Option<Span>,
    /// What the gauge counts of each finding.
    counted: BTreeMap<FindingId, OpenLabels>,
}

/// What of a line's findings is to be posted.
enum News {
    /// What its newest epoch says.
    Next,
    /// All it remembers: what is shown is another line's, or leaves out what this one has said before.
    Whole,
}

impl Posted {
    /// A line tells what its memory reaches over; `None` where another is to be heard, or has said the same.
    fn hears(&mut self, line: usize, seen: Span) -> Option<News> {
        let before = self.lines.insert(line, seen);
        let ahead = self.lines.values().map(|seen| seen.end).max()?;
        let gets_on = |seen: &&Span| seen.end.plus(BEHIND.micros()) >= ahead;
        let since = self.lines.values().filter(gets_on).map(|seen| seen.start).min()?;
        if since != seen.start {
            return None;
        }
        let shown = self.shown.filter(|shown| shown.start == since);
        if shown.is_some_and(|shown| shown.end >= seen.end) {
            return None;
        }
        self.shown = Some(seen);
        let follows = shown.zip(before).is_some_and(|(shown, before)| before.end <= shown.end);
        Some(if follows { News::Next } else { News::Whole })
    }
}

impl Board {
    /// Registers what is counted under the stream's labels.
    pub(crate) fn register(all: FindingsBoard, stream: StreamId, window: i64, registry: &mut Registry) -> Self {
        Self { all, line: 0, stream, window, metrics: FindingMetrics::register(registry), posted: Arc::default() }
    }

    /// The same for another line of the stream.
    pub(crate) fn of_line(&self, line: usize) -> Self {
        Self { line, ..self.clone() }
    }

    /// Posts what a detector remembers that begins to look, if it is to be shown. Whatever the line remembered before is gone.
    fn begin(&self, detector: &Detector) {
        let mut posted = self.lock();
        posted.lines.remove(&self.line);
        if let Some(seen) = detector.seen()
            && posted.hears(self.line, seen).is_some()
        {
            self.show(&mut posted, detector);
        }
    }

    /// Posts what an epoch says, if its line is to be heard.
    fn post(&self, epoch: &Epoch, detector: &Detector) {
        let (Some(window), Some(seen)) = (&epoch.window, detector.seen()) else { return };
        let mut posted = self.lock();
        match posted.hears(self.line, seen) {
            None => return,
            Some(News::Whole) => return self.show(&mut posted, detector),
            Some(News::Next) => {}
        }
        let writer = RowWriter::for_findings(&self.stream, window.span);
        epoch.findings.iter().for_each(|row| self.put(&mut posted, row, &writer));
        let mut all = self.all.lock();
        if let Some(rows) = all.get_mut(&self.stream.to_string()) {
            epoch.forgotten.iter().for_each(|id| drop(rows.remove(id)));
        }
        self.metrics.remembers(detector);
    }

    fn lock(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts everything that a detector remembers, and that alone.
    fn show(&self, posted: &mut Posted, detector: &Detector) {
        self.clear(posted);
        for row in detector.findings() {
            let start = row.last_seen.plus(-self.window);
            self.put(posted, row, &RowWriter::for_findings(&self.stream, Span::new(start, row.last_seen)));
        }
        self.metrics.remembers(detector);
    }

    /// Takes down what is shown: what was forgotten since, or is not known to who is shown now, is told no more.
    fn clear(&self, posted: &mut Posted) {
        self.all.lock().remove(&self.stream.to_string());
        for labels in std::mem::take(&mut posted.counted).into_values() {
            self.metrics.open.get_or_create_owned(&labels).dec();
        }
    }

    fn put(&self, posted: &mut Posted, row: &FindingRow, writer: &RowWriter) {
        let mut json = Vec::new();
        writer.finding(&mut json, row);
        let json = String::from_utf8(json).expect("JSON is text");
        self.all.lock().entry(self.stream.to_string()).or_default().insert(row.id, json);
        self.count(&mut posted.counted, row);
    }

    fn count(&self, counted: &mut BTreeMap<FindingId, OpenLabels>, row: &FindingRow) {
        let open = &self.metrics.open;
        if let Some(before) = counted.remove(&row.id) {
            open.get_or_create_owned(&before).dec();
        }
        if row.status.is_open() {
            let namespace = row.namespace.clone().unwrap_or_default();
            let labels = OpenLabels { kind: row.kind.name(), severity: row.severity.name(), namespace };
            open.get_or_create_owned(&labels).inc();
            counted.insert(row.id, labels);
        }
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
