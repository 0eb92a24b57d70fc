//! The one thread that writes a log: appends that wait together share one sync.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use catchment_core::{Error, LogPosition, Result, Retry};
use tokio::sync::{mpsc, oneshot};

use super::format::Seal;
use super::marks::Mark;
use super::segment::{Segment, failed};
use super::state::{Newest, Room, Shared};

/// Appends that may wait in front of the writer; together with their size this bounds one sync.
pub(super) const QUEUE: usize = 64;

/// Entries in their stored form, and who waits for them.
#[derive(Debug)]
pub(super) struct Append {
    /// The frames, one after the other.
    pub(super) frames: Vec<u8>,
    /// Where each frame begins in `frames`.
    pub(super) starts: Vec<u64>,
    /// The progress among them, with places that count from 0.
    pub(super) marks: Vec<Mark>,
    /// Told the first position, once durable.
    pub(super) done: oneshot::Sender<Result<LogPosition>>,
}

/// Appends written to the newest segment since the last sync.
pub(super) struct Writer {
    shared: Arc<Shared>,
    staged: Vec<Append>,
    staged_bytes: u64,
    /// After a failed sync nobody knows what is on the disk: only a new start finds out.
    broken: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, staged: Vec::new(), staged_bytes: 0, broken: false }
    }

    /// Runs until every handle is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Append>) {
        while let Some(append) = queue.blocking_recv() {
            self.stage(append);
            while let Ok(append) = queue.try_recv() {
                self.stage(append);
            }
            self.flush();
        }
    }

    /// Writes without syncing. An append whose caller has gone is not begun.
    fn stage(&mut self, mut append: Append) {
        if append.done.is_closed() {
            return;
        }
        match self.make_room(&append).and_then(|room| if room { self.write(&mut append) } else { Ok(false) }) {
            Ok(true) => {
                self.staged_bytes += append.frames.len() as u64;
                self.staged.push(append);
            }
            // The log is being closed or the caller has left: the sender's end learns it by the drop.
            Ok(false) => {}
            Err(e) => answer(append.done, Err(e)),
        }
    }

    /// Waits until the append fits into the log, and begins a new segment where it needs one;
    /// `false` when the log was closed meanwhile.
    fn make_room(&mut self, append: &Append) -> Result<bool> {
        let need = append.frames.len() as u64;
        loop {
            if self.broken {
                return Err(Error::external("the log could not be synced; restart to find out what is durable")
                    .with_retry(Retry::Never));
            }
            match self.shared.room(self.staged_bytes, need) {
                Room::Here => return Ok(!append.done.is_closed()),
                Room::Closed => return Ok(false),
                Room::NewSegment | Room::Full if !self.staged.is_empty() => self.flush(),
                Room::NewSegment => self.shared.roll()?,
                Room::Full if self.shared.yield_look_back()? => {}
                Room::Full => self.shared.wait_for_room(need),
            }
        }
    }

    fn write(&self, append: &mut Append) -> Result<bool> {
        let Newest { file, path, seal, end } = self.shared.newest();
        append.seal(seal, end + self.staged_bytes, end);
        match file.write_all_at(&append.frames, end + self.staged_bytes) {
            Ok(()) => Ok(true),
            Err(e) => {
                // Half a frame may stand there; what cannot be cut off now is cut off at the next start.
                file.set_len(end + self.staged_bytes).ok();
                Err(failed("write", &path, e))
            }
        }
    }

    /// One sync for everything staged, then everybody is told.
    fn flush(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        self.staged_bytes = 0;
        if staged.is_empty() {
            return;
        }
        let Newest { file, path, .. } = self.shared.newest();
        if let Err(e) = file.sync_data() {
            tracing::error!(segment = %path.display(), error = %e, "cannot sync the log");
            self.broken = true;
            for append in staged {
                let error = Error::external(format!("cannot sync {}; restart once the disk is well", path.display()));
                answer(append.done, Err(error.with_retry(Retry::Never)));
            }
            return;
        }
        let firsts = self.shared.publish(&staged);
        for (append, first) in staged.into_iter().zip(firsts) {
            answer(append.done, Ok(first));
        }
    }
}

/// The caller may have gone; what was written stays written.
fn answer(done: oneshot::Sender<Result<LogPosition>>, with: Result<LogPosition>) {
    done.send(with).ok();
}

impl Segment {
    /// Adds what has become durable and returns the position of its first entry.
    pub(super) fn extend(&mut self, append: &Append) -> LogPosition {
        let first = self.end();
        self.starts.extend(append.starts.iter().map(|start| self.bytes + start));
        self.marks.extend(append.marks.iter().map(|mark| mark.behind(first)));
        self.bytes += append.frames.len() as u64;
        first
    }
}

impl Append {
    /// Completes the frames for byte `place` of a segment that is durable up to `synced`.
    fn seal(&mut self, seal: Seal, place: u64, synced: u64) {
        for start in &self.starts {
            seal.close(&mut self.frames[*start as usize..], place + start, synced);
        }
    }
}
