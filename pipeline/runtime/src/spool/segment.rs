//! One file of the log: opening, scanning and reading it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use catchment_core::{Entry, Error, LogId, LogPosition, Result};

use super::format::{self, FRAME, Frame, MISMATCH, PREAMBLE, Seal};
use super::marks::Mark;
use super::tail;

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
    end: End,
}

/// Why no further entry was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The file ends with the last one.
    Clean,
    /// The file ends within the next one.
    CutOff,
    /// What stands there is not what was written.
    Mismatch,
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
    seal: Seal,
    start: u64,
    len: u64,
}

impl Segment {
    /// Creates an empty segment of `log` and makes its name durable.
    pub(super) fn create(dir: &Path, log: LogId, first: LogPosition) -> io::Result<Self> {
        let path = dir.join(format!("{:020}{SUFFIX}", first.0));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all_at(&format::preamble(log), 0)?;
        file.sync_all()?;
        sync_dir(dir)?;
        Ok(Self::empty(log, first, &path, file))
    }

    fn empty(log: LogId, first: LogPosition, path: &Path, file: File) -> Self {
        let (path, file) = (path.into(), Arc::new(file));
        Self { log, first, path, file, starts: Vec::new(), marks: Vec::new(), bytes: PREAMBLE as u64 }
    }

    /// Opens a segment that is followed by another: every byte of it was durable before that one
    /// began, so anything unreadable is damage. Payloads are checked when they are read.
    pub(super) fn open_sealed(path: &Path, first: LogPosition) -> Result<Self> {
        let Scan { segment, len, whole, end } = Self::scan(path, OpenOptions::new().read(true), first, false)?;
        match end {
            End::Clean if whole.bytes < len => Err(segment.damaged(whole.bytes, "the append is cut off")),
            End::Clean => Ok(segment),
            End::CutOff => Err(segment.damaged(segment.bytes, "the frame is cut off")),
            End::Mismatch => Err(segment.damaged(segment.bytes, MISMATCH)),
        }
    }

    /// Opens the newest segment, checks every entry and cuts off an append that a crash left
    /// unfinished; says how many bytes that were. `log` is who it belongs to if a crash left it without
    /// its beginning.
    pub(super) fn open_newest(path: &Path, log: LogId, first: LogPosition) -> Result<(Self, u64)> {
        let stored = std::fs::metadata(path).map_err(|e| failed("read", path, e))?.len();
        if stored < PREAMBLE as u64 {
            // The crash came between creating the file and its first sync: nothing was in it.
            let dir = path.parent().expect("a segment lies in the directory of its log");
            let created = Self::create(dir, log, first).map_err(|e| failed("create", path, e))?;
            return Ok((created, 0));
        }
        let Scan { mut segment, len, whole, .. } =
            Self::scan_newest(path, OpenOptions::new().read(true).write(true), first)?;
        let cut = len - whole.bytes;
        if cut > 0 {
            segment.go_back_to(whole);
            segment.cut_tail(len)?;
        }
        Ok((segment, cut))
    }

    /// Reads the newest segment and leaves it as it is; says how many bytes of an unfinished append
    /// stand at its end.
    pub(super) fn view_newest(path: &Path, first: LogPosition) -> Result<(Self, u64)> {
        let Scan { mut segment, len, whole, .. } = Self::scan_newest(path, OpenOptions::new().read(true), first)?;
        segment.go_back_to(whole);
        Ok((segment, len - whole.bytes))
    }

    fn scan_newest(path: &Path, access: &OpenOptions, first: LogPosition) -> Result<Scan> {
        let scan = Self::scan(path, access, first, true)?;
        let damaged =
            scan.end == End::Mismatch && scan.segment.was_durable(scan.len).map_err(|e| failed("read", path, e))?;
        if damaged { Err(scan.segment.damaged(scan.segment.bytes, MISMATCH)) } else { Ok(scan) }
    }

    fn scan(path: &Path, access: &OpenOptions, first: LogPosition, verify: bool) -> Result<Scan> {
        let read = |e| failed("read", path, e);
        let file = access.open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        let log = read_preamble(path, &file)?;
        let mut segment = Self::empty(log, first, path, file);
        let mut whole = Whole { entries: 0, bytes: segment.bytes };
        let end = loop {
            let frame = match segment.frame(segment.bytes, len).map_err(read)? {
                Ok(frame) => frame,
                Err(end) => break end,
            };
            if verify && !segment.intact(segment.bytes, frame).map_err(read)? {
                break End::Mismatch;
            }
            if !frame.has_payload() {
                segment.note_mark(segment.bytes, frame.len()).map_err(read)?;
            }
            segment.starts.push(segment.bytes);
            segment.bytes += frame.len();
            if !frame.more {
                whole = Whole { entries: segment.starts.len(), bytes: segment.bytes };
            }
        };
        Ok(Scan { segment, len, whole, end })
    }

    /// Notes the entry behind the last one if it is progress. What cannot be read is told to who reads it.
    fn note_mark(&mut self, start: u64, len: u64) -> io::Result<()> {
        let mut stored = vec![0; len as usize];
        self.file.read_exact_at(&mut stored, start)?;
        let entry = self.seal().decode(&Bytes::from(stored), start).ok();
        self.marks.extend(entry.and_then(|entry| Mark::of(&entry, self.end())));
        Ok(())
    }

    /// What its frames are sealed with.
    pub(super) fn seal(&self) -> Seal {
        Seal::of(self.log, self.first)
    }

    /// The frame at `start` of a file of `len` bytes.
    fn frame(&self, start: u64, len: u64) -> io::Result<Result<Frame, End>> {
        if start == len {
            return Ok(Err(End::Clean));
        }
        if start + FRAME as u64 > len {
            return Ok(Err(End::CutOff));
        }
        let mut prefix = [0; FRAME];
        self.file.read_exact_at(&mut prefix, start)?;
        Ok(match self.seal().frame(&prefix, start) {
            Some(frame) if start + frame.len() <= len => Ok(frame),
            Some(_) => Err(End::CutOff),
            None => Err(End::Mismatch),
        })
    }

    /// Whether header and payload of the frame at `start` are what was written.
    fn intact(&self, start: u64, frame: Frame) -> io::Result<bool> {
        let mut body = vec![0; frame.len() as usize - FRAME];
        self.file.read_exact_at(&mut body, start + FRAME as u64)?;
        Ok(frame.fits(&body))
    }

    /// Whether what stands behind the last intact entry had been durable, so that it is damaged, and
    /// not what a crash left of appends that nobody was told of.
    fn was_durable(&self, len: u64) -> io::Result<bool> {
        let bad = self.bytes;
        let mut unwritten = false;
        let mut start = bad;
        while start < len {
            let chunk = tail::Chunk::read(&self.file, start, len)?;
            unwritten |= chunk.has_unwritten_sector();
            for (place, frame) in chunk.frames(self.seal(), bad) {
                if self.intact(place, frame)? {
                    return Ok(true);
                }
            }
            start = chunk.end();
        }
        Ok(!unwritten)
    }

    /// Goes back to the last whole append: nobody was told of what stands behind it.
    fn go_back_to(&mut self, whole: Whole) {
        self.starts.truncate(whole.entries);
        self.bytes = whole.bytes;
        let end = self.end();
        self.marks.retain(|mark| mark.position < end);
    }

    fn cut_tail(&self, len: u64) -> Result<()> {
        tracing::warn!(
            segment = %self.path.display(), kept_entries = self.starts.len(), kept_bytes = self.bytes, cut_bytes = len - self.bytes,
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
        let (path, file) = (self.path.clone(), self.file.clone());
        Some(Place { path, file, seal: self.seal(), start, len: end - start })
    }
}

impl Place {
    /// Reads the entry and verifies its checksum.
    pub(super) fn read(&self) -> Result<Entry> {
        let mut stored = vec![0; self.len as usize];
        self.file.read_exact_at(&mut stored, self.start).map_err(|e| failed("read", &self.path, e))?;
        self.seal.decode(&Bytes::from(stored), self.start).map_err(|what| damaged(&self.path, self.start, &what))
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
    Error::internal(format!(
        "the log is damaged in {path} at byte {offset}: {what}; restore the folder from a copy, or give the source another name to begin an empty log"
    ))
}
