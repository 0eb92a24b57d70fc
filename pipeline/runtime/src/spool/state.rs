//! What the writer, the readers and the truncation of one log share.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use catchment_core::{Entry, Error, EventTime, LogId, LogPosition, PartitionId, Result};
use tokio::sync::watch;

use super::Limits;
use super::format::{PREAMBLE, Seal};
use super::marks::{self, Mark};
use super::segment::{self, Place, Segment, failed};
use super::writer::{Append, unwritable};
use crate::metrics::LogMetrics;

/// How often a wait for room is added to what is counted.
const COUNTED_EVERY: Duration = Duration::from_secs(1);

/// The durable part of a log.
#[derive(Debug)]
pub(super) struct Shared {
    dir: PathBuf,
    log: LogId,
    limits: Limits,
    metrics: LogMetrics,
    state: Mutex<State>,
    /// Signalled when segments were dropped or the log is closed.
    freed: Condvar,
    /// Removals go oldest first, one caller at a time: a crash never leaves a hole.
    trimming: Mutex<()>,
    end: watch::Sender<LogPosition>,
}

#[derive(Debug)]
struct State {
    /// Oldest first, without holes, never empty.
    segments: VecDeque<Segment>,
    /// No sink needs anything before this position.
    needed: LogPosition,
    /// Every sink has done what it can with the entries before this position.
    settled: LogPosition,
    /// It was said that look-back is given up for room.
    yielded: bool,
    /// It was said that there is no room for flows.
    refused: bool,
    closed: bool,
}

/// The newest segment, for who writes to it.
pub(super) struct Newest {
    pub(super) file: Arc<File>,
    pub(super) path: Arc<Path>,
    pub(super) seal: Seal,
    /// End of its durable entries.
    pub(super) end: u64,
}

/// Where an append can go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Into the newest segment.
    Here,
    /// Into a new segment.
    NewSegment,
    /// Nowhere before older segments are dropped.
    Full,
    /// Nowhere: the log is full, and every sink waits for what is to come.
    Never,
    /// Nowhere: every handle is gone.
    Closed,
}

impl State {
    fn newest(&self) -> &Segment {
        self.segments.back().expect("a log always has a newest segment")
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    fn room(&self, limits: Limits, staged: u64, need: u64, urgent: bool) -> Room {
        let (newest, preamble) = (self.newest(), PREAMBLE as u64);
        let used = newest.bytes + staged;
        let begun = used > preamble;
        let wants_new = begun && used + need > limits.segment_bytes;
        let total = self.bytes() + staged + need + if wants_new { preamble } else { 0 };
        let limit = if urgent { limits.max_bytes } else { limits.max_bytes - limits.reserve() };
        if self.closed {
            Room::Closed
        } else if total > limit {
            if self.settled < newest.end() { Room::Full } else { Room::Never }
        } else if wants_new {
            Room::NewSegment
        } else {
            Room::Here
        }
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> + Clone {
        self.segments.iter().flat_map(|segment| &segment.marks)
    }

    /// Nothing before this position has to stay in a full log: no sink needs it, and the next start
    /// still learns from the newest marks where to go on.
    fn hard_floor(&self) -> LogPosition {
        marks::newest(self.marks()).map_or(self.needed, |mark| mark.min(self.needed))
    }

    /// Nothing before this position is worth its room: no source looks back on it either.
    fn soft_floor(&self, look_back: i64) -> LogPosition {
        let needed = self.hard_floor();
        marks::looked_back(&self.marks(), look_back).map_or(needed, |wanted| wanted.min(needed))
    }

    /// Whether the oldest segment lies before `floor` as a whole.
    fn is_unneeded(&self, floor: LogPosition) -> bool {
        self.segments.get(1).is_some_and(|next| next.first <= floor)
    }
}

impl Shared {
    /// Recovers the segments of `dir`, or begins the first one.
    pub(super) fn open(dir: &Path, limits: Limits, metrics: LogMetrics) -> Result<Self> {
        let segments = recover(dir, &metrics)?;
        let newest = segments.back().expect("recovery ends with a newest segment");
        let (log, end) = (newest.log, newest.end());
        metrics.bytes.set(segments.iter().map(|s| s.bytes).sum::<u64>() as i64);
        let state = State {
            segments,
            needed: LogPosition(0),
            settled: LogPosition(0),
            yielded: false,
            refused: false,
            closed: false,
        };
        Ok(Self {
            dir: dir.to_owned(),
            log,
            limits,
            metrics,
            state: Mutex::new(state),
            freed: Condvar::new(),
            trimming: Mutex::new(()),
            end: watch::Sender::new(end),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the log's state panics")
    }

    pub(super) const fn id(&self) -> LogId {
        self.log
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn first(&self) -> LogPosition {
        self.state().segments[0].first
    }

    pub(super) fn progress_of(&self, partition: PartitionId) -> Option<EventTime> {
        marks::progress_of(self.state().marks(), partition)
    }

    pub(super) fn end(&self) -> LogPosition {
        *self.end.borrow()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    /// Resolves once the entry at `position` is durable.
    pub(super) async fn durable(&self, position: LogPosition) {
        let reached = self.end.subscribe().wait_for(|end| *end > position).await.is_ok();
        debug_assert!(reached, "the sender lives as long as `self`");
    }

    /// The durable entry at `position`; `None` when it was dropped or is not there yet.
    pub(super) fn read(&self, position: LogPosition) -> Result<Option<Entry>> {
        // The lock ends before the disk is touched; a segment dropped meanwhile stays readable.
        let place = self.place(position);
        place.map(|place| place.read()).transpose()
    }

    fn place(&self, position: LogPosition) -> Option<Place> {
        let state = self.state();
        let after = state.segments.partition_point(|s| s.first <= position);
        state.segments.get(after.checked_sub(1)?)?.place(position)
    }

    /// Where the next append goes.
    pub(super) fn newest(&self) -> Newest {
        let state = self.state();
        let newest = state.newest();
        Newest { file: newest.file.clone(), path: newest.path.clone(), seal: newest.seal(), end: newest.bytes }
    }

    /// Where `need` bytes can go after `staged` bytes that are written and not durable yet.
    pub(super) fn room(&self, staged: u64, need: u64, urgent: bool) -> Room {
        self.state().room(self.limits, staged, need, urgent)
    }

    /// Blocks until `need` bytes have or can be given a place to go, or will never have one.
    pub(super) fn wait_for_room(&self, need: u64, urgent: bool) {
        let full = |state: &mut State| {
            state.room(self.limits, 0, need, urgent) == Room::Full && !state.is_unneeded(state.hard_floor())
        };
        let mut state = self.state();
        if !full(&mut state) {
            return;
        }
        let log = self.dir.display();
        tracing::warn!(
            %log,
            "the log is full of what sinks still need; the source waits until the slowest has moved on: mend it or raise `spool.max_bytes`"
        );
        while full(&mut state) {
            let waiting = Instant::now();
            let waited = self.freed.wait_timeout_while(state, COUNTED_EVERY, full);
            state = waited.expect("no holder of the log's state panics").0;
            self.metrics.full.inc_by(waiting.elapsed().as_secs_f64());
        }
        if state.room(self.limits, 0, need, urgent) != Room::Never {
            tracing::info!(%log, "the log has room again");
        }
    }

    /// Begins a new segment; the one before is durable as a whole.
    pub(super) fn roll(&self) -> Result<()> {
        let segment = Segment::create(&self.dir, self.log, self.end()).map_err(|e| unwritable(&self.dir, &e))?;
        let mut state = self.state();
        state.segments.push_back(segment);
        self.count(&state);
        drop(state);
        self.drop_unneeded()
    }

    /// Takes away whatever stands behind the last durable entry.
    pub(super) fn cut_back(&self) -> Result<()> {
        let Newest { file, path, end, .. } = self.newest();
        file.set_len(end).and_then(|()| file.sync_all()).map_err(|e| unwritable(&path, &e))
    }

    /// Every sink has done what it can with the entries before `position`.
    pub(super) fn settle(&self, position: LogPosition) {
        self.state().settled = position;
        self.freed.notify_all();
    }

    /// Notes what had no room.
    pub(super) fn refused(&self, bytes: u64) {
        self.metrics.refused.inc_by(bytes);
        if !std::mem::replace(&mut self.state().refused, true) {
            tracing::warn!(
                log = %self.dir.display(),
                "the log is too small for what its sinks gather before they write; what has no room becomes a gap: raise `spool.max_bytes`"
            );
        }
    }

    /// Makes synced appends visible, in order; returns the first position of each.
    pub(super) fn publish(&self, appends: &[Append]) -> Vec<LogPosition> {
        let mut state = self.state();
        let newest = state.segments.back_mut().expect("a log always has a newest segment");
        let firsts = appends.iter().map(|append| newest.extend(append)).collect();
        let end = newest.end();
        self.count(&state);
        drop(state);
        self.end.send_replace(end);
        firsts
    }

    pub(super) fn truncate_before(&self, position: LogPosition) -> Result<()> {
        {
            let mut state = self.state();
            state.needed = state.needed.max(position);
        }
        let dropped = self.drop_unneeded();
        self.freed.notify_all();
        dropped
    }

    fn drop_unneeded(&self) -> Result<()> {
        let _one_at_a_time = self.one_at_a_time();
        while self.drop_oldest(|state| state.soft_floor(self.limits.look_back))?.is_some() {}
        Ok(())
    }

    /// A full log keeps what sinks need and nothing else: a source that waits for ever would miss
    /// everything. Drops the oldest segment that is only looked back on; `false` where there is none.
    pub(super) fn yield_look_back(&self) -> Result<bool> {
        let _one_at_a_time = self.one_at_a_time();
        let Some(bytes) = self.drop_oldest(State::hard_floor)? else { return Ok(false) };
        self.metrics.look_back_dropped.inc_by(bytes);
        if !std::mem::replace(&mut self.state().yielded, true) {
            tracing::warn!(
                log = %self.dir.display(),
                "the log is full of what the source looks back on; dropping that, so late flows of these buckets become gaps: raise `spool.max_bytes` or lower `spool.max_age`"
            );
        }
        Ok(true)
    }

    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.trimming.lock().expect("no holder of the truncation lock panics")
    }

    /// Drops the oldest segment if it lies before the floor as a whole; returns its size. One whose
    /// file cannot be removed stays the oldest: a log never gets a hole.
    fn drop_oldest(&self, floor: impl Fn(&State) -> LogPosition) -> Result<Option<u64>> {
        let oldest = {
            let state = self.state();
            state.is_unneeded(floor(&state)).then(|| state.segments[0].path.clone())
        };
        let Some(path) = oldest else { return Ok(None) };
        let removed = match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => segment::sync_dir(&self.dir),
        };
        removed.map_err(|e| failed("remove", &path, e))?;
        let mut state = self.state();
        let dropped = state.segments.pop_front().map(|segment| segment.bytes);
        self.count(&state);
        Ok(dropped)
    }

    fn count(&self, state: &State) {
        self.metrics.bytes.set(state.bytes() as i64);
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.freed.notify_all();
    }
}

fn recover(dir: &Path, metrics: &LogMetrics) -> Result<VecDeque<Segment>> {
    let mut found = segment::list(dir)?;
    let Some((first, newest)) = found.pop() else {
        let created = Segment::create(dir, LogId(rand::random()), LogPosition(0));
        return Ok(VecDeque::from([created.map_err(|e| failed("create a segment in", dir, e))?]));
    };
    let mut segments = VecDeque::new();
    for (first, path) in found {
        segments.push_back(Segment::open_sealed(&path, first)?);
    }
    let log = segments.back().map_or_else(|| LogId(rand::random()), |sealed: &Segment| sealed.log);
    let (newest, cut) = Segment::open_newest(&newest, log, first)?;
    metrics.cut.inc_by(cut);
    segments.push_back(newest);
    check_one_log(&segments)?;
    check_no_holes(&segments)?;
    Ok(segments)
}

fn check_one_log(segments: &VecDeque<Segment>) -> Result<()> {
    let stranger = segments.iter().zip(segments.iter().skip(1)).find(|(a, b)| a.log != b.log);
    stranger.map_or(Ok(()), |(a, b)| {
        let (a, b) = (a.path.display(), b.path.display());
        Err(Error::user(format!("{a} and {b} are segments of two logs; put each into a directory of its own")))
    })
}

fn check_no_holes(segments: &VecDeque<Segment>) -> Result<()> {
    let hole = segments.iter().zip(segments.iter().skip(1)).find(|(a, b)| a.end() != b.first);
    hole.map_or(Ok(()), |(a, b)| {
        let (path, end, next) = (a.path.display(), a.end().0, b.first.0);
        Err(Error::internal(format!(
            "{path} ends before position {end} and the next segment begins at {next}; restore the missing entries or move the directory away"
        )))
    })
}
