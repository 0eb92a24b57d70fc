//! The one thread that writes a log: appends that wait together share one sync.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use catchment_core::{Error, LogPosition, Result};
use tokio::sync::{mpsc, oneshot};

use super::format::Seal;
use super::marks::Mark;
use super::segment::Segment;
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
    /// May take the room that is kept for what a log without room has to say.
    pub(super) urgent: bool,
    /// Told the first position, once durable; `None` where no room can ever come.
    pub(super) done: oneshot::Sender<Result<Option<LogPosition>>>,
}

/// Appends written to the newest segment since the last sync.
pub(super) struct Writer {
    shared: Arc<Shared>,
    staged: Vec<Append>,
    staged_bytes: u64,
    /// The disk has failed: what stands behind the durable end is unknown, and goes before anything
    /// else is written there.
    tail_unknown: bool,
    /// The next segment is due. A file with its name may be there already, so nothing more may go
    /// into the one before.
    roll_due: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, staged: Vec::new(), staged_bytes: 0, tail_unknown: false, roll_due: false }
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
        match self.make_room(&append) {
            Ok(Room::Here) if append.done.is_closed() => {}
            Ok(Room::Here) => match self.write(&mut append) {
                Ok(()) => {
                    self.staged_bytes += append.frames.len() as u64;
                    self.staged.push(append);
                }
                Err(e) => answer(append.done, Err(e)),
            },
            Ok(Room::Never) => answer(append.done, Ok(None)),
            // The log is being closed: the caller's end learns it by the drop.
            Ok(_) => {}
            Err(e) => answer(append.done, Err(e)),
        }
    }

    /// Waits until the append fits into the newest segment, and begins one where it needs a new one.
    fn make_room(&mut self, append: &Append) -> Result<Room> {
        let need = append.frames.len() as u64;
        loop {
            self.clear_up()?;
            match self.shared.room(self.staged_bytes, need, append.urgent) {
                Room::NewSegment | Room::Full | Room::Never if !self.staged.is_empty() => self.flush(),
                Room::NewSegment => self.roll_due = true,
                Room::Full | Room::Never if self.shared.yield_look_back()? => {}
                Room::Full => self.shared.wait_for_room(need, append.urgent),
                room @ (Room::Here | Room::Never | Room::Closed) => return Ok(room),
            }
        }
    }

    /// Finishes what an earlier call had to leave; nothing is staged then.
    fn clear_up(&mut self) -> Result<()> {
        if self.tail_unknown {
            self.shared.cut_back()?;
            self.tail_unknown = false;
        }
        if self.roll_due {
            self.shared.roll()?;
            self.roll_due = false;
        }
        Ok(())
    }

    fn write(&mut self, append: &mut Append) -> Result<()> {
        let Newest { file, path, seal, end } = self.shared.newest();
        append.seal(seal, end + self.staged_bytes, end);
        file.write_all_at(&append.frames, end + self.staged_bytes).map_err(|e| {
            // What is whole stays; what is not gives its room back at once, if the disk lets it.
            self.flush();
            self.tail_unknown = true;
            self.clear_up().ok();
            unwritable(&path, &e)
        })
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
            // Nobody knows what of it is on the disk, and a later sync would not tell.
            self.tail_unknown = true;
            self.clear_up().ok();
            for append in staged {
                answer(append.done, Err(unwritable(&path, &e)));
            }
            return;
        }
        let firsts = self.shared.publish(&staged);
        for (append, first) in staged.into_iter().zip(firsts) {
            answer(append.done, Ok(Some(first)));
        }
    }
}

/// The caller may have gone; what was written stays written.
fn answer(done: oneshot::Sender<Result<Option<LogPosition>>>, with: Result<Option<LogPosition>>) {
    done.send(with).ok();
}

/// The disk does not take what is to be appended. It may later.
pub(super) fn unwritable(path: &Path, cause: &io::Error) -> Error {
    let path = path.display();
    Error::external(format!("cannot write to the log {path}: {cause}; see to the room on its volume and to its health"))
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
