//! One file of the log: opening, scanning and reading it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{Entry, Error, LogPosition, Result};

use super::format::{self, FRAME, Frame, PREAMBLE};

const SUFFIX: &str = ".log";

/// A file with the places of its durable entries.
#[derive(Debug)]
pub(super) struct Segment {
    /// Position of its first entry, also its name.
    pub(super) first: LogPosition,
    /// Where it lies.
    pub(super) path: Arc<Path>,
    /// Open for reading and writing; a dropped segment stays readable for who holds it.
    pub(super) file: Arc<File>,
    /// Where each entry begins.
    pub(super) starts: Vec<u64>,
    /// End of the last durable entry.
    pub(super) bytes: u64,
}

/// Where one entry lies.
#[derive(Debug)]
pub(super) struct Place {
    path: Arc<Path>,
    file: Arc<File>,
    start: u64,
    len: u64,
}

impl Segment {
    /// Creates an empty segment and makes its name durable.
    pub(super) fn create(dir: &Path, first: LogPosition) -> Result<Self> {
        let path = dir.join(format!("{:020}{SUFFIX}", first.0));
        let made = (|| {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            file.write_all_at(&PREAMBLE, 0)?;
            file.sync_all()?;
            sync_dir(dir)?;
            Ok(file)
        })();
        let file = Arc::new(made.map_err(|e| failed("create", &path, e))?);
        Ok(Self { first, path: path.into(), file, starts: Vec::new(), bytes: PREAMBLE.len() as u64 })
    }

    /// Opens a segment that is followed by another: every byte of it was durable before that one
    /// began, so anything unreadable is damage.
    pub(super) fn open_sealed(path: &Path, first: LogPosition) -> Result<Self> {
        let (segment, len) = Self::scan(path, first, false)?;
        if segment.bytes == len { Ok(segment) } else { Err(segment.damaged(segment.bytes, "the frame is cut off")) }
    }

    /// Opens the newest segment, checks every entry and cuts off a tail that a crash left unfinished.
    pub(super) fn open_newest(path: &Path, first: LogPosition) -> Result<Self> {
        let stored = std::fs::metadata(path).map_err(|e| failed("read", path, e))?.len();
        if stored < PREAMBLE.len() as u64 {
            // The crash came between creating the file and its first sync: nothing was in it.
            return Self::create(path.parent().expect("a segment lies in the directory of its log"), first);
        }
        let (segment, len) = Self::scan(path, first, true)?;
        if segment.bytes < len {
            segment.cut_tail(len)?;
        }
        Ok(segment)
    }

    fn scan(path: &Path, first: LogPosition, verify: bool) -> Result<(Self, u64)> {
        let read = |e| failed("read", path, e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        let mut segment =
            Self { first, path: path.into(), file: Arc::new(file), starts: Vec::new(), bytes: PREAMBLE.len() as u64 };
        segment.check_preamble()?;
        while let Some(end) = segment.frame_end(segment.bytes, len).map_err(read)? {
            if verify && !segment.intact(segment.bytes, end).map_err(read)? {
                break;
            }
            segment.starts.push(segment.bytes);
            segment.bytes = end;
        }
        Ok((segment, len))
    }

    fn check_preamble(&self) -> Result<()> {
        let mut found = [0; PREAMBLE.len()];
        self.file.read_exact_at(&mut found, 0).map_err(|e| failed("read", &self.path, e))?;
        if found == PREAMBLE {
            return Ok(());
        }
        let path = self.path.display();
        Err(Error::user(format!(
            "{path} is no log segment this release can read; move it away or use another directory"
        )))
    }

    /// Where the frame at `start` ends; `None` where none fits before `len`.
    fn frame_end(&self, start: u64, len: u64) -> io::Result<Option<u64>> {
        if start + FRAME as u64 > len {
            return Ok(None);
        }
        let mut words = [0; FRAME];
        self.file.read_exact_at(&mut words, start)?;
        Ok(Frame::parse(&words).map(|frame| start + frame.len()).filter(|end| *end <= len))
    }

    fn intact(&self, start: u64, end: u64) -> io::Result<bool> {
        let mut stored = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut stored, start)?;
        Ok(format::intact(&stored))
    }

    /// A bad frame before a good one is damage to durable data, which must not be dropped silently.
    fn cut_tail(&self, len: u64) -> Result<()> {
        let read = |e| failed("read", &self.path, e);
        if let Some(next) = self.frame_end(self.bytes, len).map_err(read)?
            && let Some(end) = self.frame_end(next, len).map_err(read)?
            && self.intact(next, end).map_err(read)?
        {
            return Err(self.damaged(self.bytes, "the checksum does not match"));
        }
        tracing::warn!(
            segment = %self.path.display(), kept_entries = self.starts.len(), cut_bytes = len - self.bytes,
            "cut an unfinished tail off the log"
        );
        let cut = self.file.set_len(self.bytes).and_then(|()| self.file.sync_all());
        cut.map_err(|e| failed("truncate", &self.path, e))
    }

    fn damaged(&self, offset: u64, what: &str) -> Error {
        damaged(&self.path, offset, what)
    }

    /// The position after its last durable entry.
    pub(super) fn end(&self) -> LogPosition {
        LogPosition(self.first.0 + self.starts.len() as u64)
    }

    /// Where the entry at `position` lies, if it is in this segment.
    pub(super) fn place(&self, position: LogPosition) -> Option<Place> {
        let index = usize::try_from(position.0.checked_sub(self.first.0)?).ok()?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied().unwrap_or(self.bytes);
        Some(Place { path: self.path.clone(), file: self.file.clone(), start, len: end - start })
    }
}

impl Place {
    /// Reads the entry and verifies its checksum.
    pub(super) fn read(&self) -> Result<Entry> {
        let mut stored = vec![0; self.len as usize];
        self.file.read_exact_at(&mut stored, self.start).map_err(|e| failed("read", &self.path, e))?;
        format::decode(&Bytes::from(stored)).map_err(|what| damaged(&self.path, self.start, &what))
    }
}

/// The segments of `dir`, oldest first.
pub(super) fn list(dir: &Path) -> Result<Vec<(LogPosition, PathBuf)>> {
    let files = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut found: Vec<_> = files
        .map_err(|e| failed("read", dir, e))?
        .into_iter()
        .filter_map(|file| Some((named(file.file_name().to_str()?)?, file.path())))
        .collect();
    found.sort();
    Ok(found)
}

fn named(file: &str) -> Option<LogPosition> {
    let digits = file.strip_suffix(SUFFIX).filter(|d| d.len() == 20)?;
    digits.parse().ok().map(LogPosition)
}

/// Makes creations and removals in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The disk refused.
pub(super) fn failed(verb: &str, path: &Path, cause: io::Error) -> Error {
    let path = path.display();
    Error::external(format!("cannot {verb} {path}; check the space and the permissions of the log directory"))
        .caused_by(cause)
}

/// What is stored is not what was written.
pub(super) fn damaged(path: &Path, offset: u64, what: &str) -> Error {
    let path = path.display();
    Error::internal(format!("the log is damaged in {path} at byte {offset}: {what}; move the directory away to go on"))
}
