//! One file of the log: opening, scanning and reading it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{Entry, Error, LogId, LogPosition, Result};

use super::format::{self, FRAME, Frame, PREAMBLE};
use super::marks::Mark;

const SUFFIX: &str = ".log";

/// A file with the places of its durable entries.
#[derive(Debug)]
pub(super) struct Segment {
    /// The log it belongs to.
    pub(super) log: LogId,
    /// Position of its first entry, also its name.
    pub(super) first: LogPosition,
    /// Where it lies.
    pub(super) path: Arc<Path>,
    /// Open for reading and writing; a dropped segment stays readable for who holds it.
    pub(super) file: Arc<File>,
    /// Where each entry begins.
    pub(super) starts: Vec<u64>,
    /// Its progress entries.
    pub(super) marks: Vec<Mark>,
    /// End of the last durable entry.
    pub(super) bytes: u64,
}

/// A segment as it was found, with every readable entry.
struct Scan {
    segment: Segment,
    /// Bytes of the file.
    len: u64,
    whole: Whole,
}

/// How far the appends reach that are there to their last entry.
#[derive(Clone, Copy)]
struct Whole {
    entries: usize,
    bytes: u64,
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
    /// Creates an empty segment of `log` and makes its name durable.
    pub(super) fn create(dir: &Path, log: LogId, first: LogPosition) -> Result<Self> {
        let path = dir.join(format!("{:020}{SUFFIX}", first.0));
        let made = (|| {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            file.write_all_at(&format::preamble(log), 0)?;
            file.sync_all()?;
            sync_dir(dir)?;
            Ok(file)
        })();
        Ok(Self::empty(log, first, &path, made.map_err(|e| failed("create", &path, e))?))
    }

    fn empty(log: LogId, first: LogPosition, path: &Path, file: File) -> Self {
        let (path, file) = (path.into(), Arc::new(file));
        Self { log, first, path, file, starts: Vec::new(), marks: Vec::new(), bytes: PREAMBLE as u64 }
    }

    /// Opens a segment that is followed by another: every byte of it was durable before that one
    /// began, so anything unreadable is damage.
    pub(super) fn open_sealed(path: &Path, first: LogPosition) -> Result<Self> {
        let Scan { segment, len, whole } = Self::scan(path, first, false)?;
        if segment.bytes < len {
            return Err(segment.damaged(segment.bytes, "the frame is cut off"));
        }
        if whole.bytes < len {
            return Err(segment.damaged(whole.bytes, "the append is cut off"));
        }
        Ok(segment)
    }

    /// Opens the newest segment, checks every entry and cuts off an append that a crash left
    /// unfinished. `log` is who it belongs to if a crash left it without its beginning.
    pub(super) fn open_newest(path: &Path, log: LogId, first: LogPosition) -> Result<Self> {
        let stored = std::fs::metadata(path).map_err(|e| failed("read", path, e))?.len();
        if stored < PREAMBLE as u64 {
            // The crash came between creating the file and its first sync: nothing was in it.
            return Self::create(path.parent().expect("a segment lies in the directory of its log"), log, first);
        }
        let Scan { mut segment, len, whole } = Self::scan(path, first, true)?;
        segment.check_tail(len)?;
        if whole.bytes < len {
            segment.cut_tail(whole, len)?;
        }
        Ok(segment)
    }

    fn scan(path: &Path, first: LogPosition, verify: bool) -> Result<Scan> {
        let read = |e| failed("read", path, e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        let log = read_preamble(path, &file)?;
        let mut segment = Self::empty(log, first, path, file);
        let mut whole = Whole { entries: 0, bytes: segment.bytes };
        while let Some(frame) = segment.frame(segment.bytes, len).map_err(read)? {
            let end = segment.bytes + frame.len();
            if verify && !segment.intact(segment.bytes, end).map_err(read)? {
                break;
            }
            if !frame.has_payload() {
                segment.note_mark(segment.bytes, frame.len()).map_err(read)?;
            }
            segment.starts.push(segment.bytes);
            segment.bytes = end;
            if !frame.more {
                whole = Whole { entries: segment.starts.len(), bytes: end };
            }
        }
        Ok(Scan { segment, len, whole })
    }

    /// Notes the entry behind the last one if it is progress. What cannot be read is told to who reads it.
    fn note_mark(&mut self, start: u64, len: u64) -> io::Result<()> {
        let mut stored = vec![0; len as usize];
        self.file.read_exact_at(&mut stored, start)?;
        let entry = format::decode(&Bytes::from(stored)).ok();
        self.marks.extend(entry.and_then(|entry| Mark::of(&entry, self.end())));
        Ok(())
    }

    /// The frame at `start`; `None` where none fits before `len`.
    fn frame(&self, start: u64, len: u64) -> io::Result<Option<Frame>> {
        if start + FRAME as u64 > len {
            return Ok(None);
        }
        let mut words = [0; FRAME];
        self.file.read_exact_at(&mut words, start)?;
        Ok(Frame::parse(&words).filter(|frame| start + frame.len() <= len))
    }

    fn intact(&self, start: u64, end: u64) -> io::Result<bool> {
        let mut stored = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut stored, start)?;
        Ok(format::intact(&stored).is_some())
    }

    /// A bad frame before a good one is damage to durable data, which must not be dropped silently.
    fn check_tail(&self, len: u64) -> Result<()> {
        let read = |e| failed("read", &self.path, e);
        let Some(bad) = self.frame(self.bytes, len).map_err(read)? else { return Ok(()) };
        let next = self.bytes + bad.len();
        let Some(frame) = self.frame(next, len).map_err(read)? else { return Ok(()) };
        if self.intact(next, next + frame.len()).map_err(read)? {
            return Err(self.damaged(self.bytes, "the checksum does not match"));
        }
        Ok(())
    }

    /// Goes back to the last whole append: nobody was told of what stands behind it.
    fn cut_tail(&mut self, whole: Whole, len: u64) -> Result<()> {
        self.starts.truncate(whole.entries);
        self.bytes = whole.bytes;
        let end = self.end();
        self.marks.retain(|mark| mark.position < end);
        tracing::warn!(
            segment = %self.path.display(), kept_entries = self.starts.len(), cut_bytes = len - self.bytes,
            "cut an unfinished append off the log"
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

fn read_preamble(path: &Path, file: &File) -> Result<LogId> {
    let mut found = [0; PREAMBLE];
    match file.read_exact_at(&mut found, 0) {
        // Too short for one: what is missing reads as zeros.
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(failed("read", path, e)),
        _ => {}
    }
    format::parse_preamble(&found).map_err(|what| Error::user(format!("{} is {what}", path.display())))
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
