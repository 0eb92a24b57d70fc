//! Segments of a log against a reader that is written a second time, from the description.
//!
//! The first byte chooses what the rest is: a file as it stands, frames that are put together with
//! right or wrong checksums as the newest or as an older segment, or one byte of a valid log changed.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use catchment_core::{Entry, EventTime, LogPosition, PartitionId};
use catchment_runtime::metrics::LogMetrics;
use catchment_runtime::spool::{Limits, Spool};
use tempfile::TempDir;

const LIMITS: Limits = Limits { segment_bytes: 1 << 20, max_bytes: 1 << 22, look_back: 0 };

/// Magic word, format and the identity of the log.
const PREAMBLE: &[u8; 20] = b"CATCHLOG\x02\0\0\0fuzz-log";

/// The bit that says that an append goes on.
const MORE: u32 = 1 << 31;

thread_local! {
    /// One folder for all inputs; in memory where the system has such a place.
    static DIR: RefCell<TempDir> = RefCell::new(
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder for the log"),
    );
}

/// Opens a log that the bytes describe.
pub fn check(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    DIR.with_borrow(|dir| match choice % 4 {
        0 => check_newest(dir.path(), data),
        1 => check_newest(dir.path(), &[PREAMBLE, &frames(data)[..]].concat()),
        2 => check_changed(dir.path(), data),
        _ => check_sealed(dir.path(), &[PREAMBLE, &frames(data)[..]].concat()),
    });
}

/// One frame, as it lies in a segment.
struct Frame<'a> {
    end: usize,
    more: bool,
    intact: bool,
    header: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at `start`, if one fits.
    fn at(segment: &'a [u8], start: usize) -> Option<Self> {
        let stored = segment.get(start..)?;
        let word = |at: usize| Some(u32::from_le_bytes(stored.get(at..at + 4)?.try_into().ok()?));
        let (first, payload, checksum) = (word(0)?, word(4)? as usize, word(8)?);
        let header = (first & !MORE) as usize;
        let body = stored.get(12..12 + header + payload).filter(|_| header > 0)?;
        let intact = crc32c::crc32c_append(crc32c::crc32c(&stored[..8]), body) == checksum;
        let (header, payload) = body.split_at(header);
        Some(Self { end: start + 12 + body.len(), more: first & MORE != 0, intact, header, payload })
    }

    fn entry(&self) -> Option<Entry> {
        let entry = Entry::from_parts(self.header, Bytes::copy_from_slice(self.payload)).ok();
        entry.filter(|_| self.intact)
    }
}

/// The frames of a segment from its front, as long as they are `good`.
fn walk(segment: &[u8], good: impl Fn(&Frame<'_>) -> bool) -> Vec<Frame<'_>> {
    let mut at = PREAMBLE.len();
    std::iter::from_fn(|| {
        let frame = Frame::at(segment, at).filter(&good)?;
        at = frame.end;
        Some(frame)
    })
    .collect()
}

/// Frames from the fuzzer's bytes: a byte of choices, the length of the payload, then the header up
/// to its closing brace and the payload.
fn frames(mut data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [choice, payload, rest @ ..] = data {
        let header = rest.iter().position(|&byte| byte == b'}').map_or(rest.len(), |at| at + 1);
        let (body, rest) = rest.split_at((header + usize::from(*payload)).min(rest.len()));
        let header = if choice & 8 == 0 { header } else { header + 1 };
        let more = if choice & 2 == 0 { 0 } else { MORE };
        let payload = body.len().saturating_sub(header);
        let lengths = [header as u32 | more, payload as u32].map(u32::to_le_bytes).concat();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&lengths), body) ^ u32::from(choice & 4);
        out.extend([&lengths[..], &checksum.to_le_bytes(), body].concat());
        data = rest;
    }
    out
}

fn path(dir: &Path, first: usize) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// Writes the segments, opens the log, and removes them again.
fn opened<T>(dir: &Path, segments: &[(usize, &[u8])], judge: impl FnOnce(Result<Spool, String>) -> T) -> T {
    for (first, stored) in segments {
        std::fs::write(path(dir, *first), stored).expect("room for a segment");
    }
    let judged = judge(Spool::open(dir, LIMITS, LogMetrics::default()).map_err(|e| e.message));
    for (first, _) in segments {
        std::fs::remove_file(path(dir, *first)).expect("the segment is there");
    }
    judged
}

/// What can be read at each position.
fn read_all(spool: &Spool) -> Vec<Option<Entry>> {
    let at = |position| spool.reader(LogPosition(position)).next().ok().flatten().map(|logged| logged.entry);
    (spool.first().0..spool.end().0).map(at).collect()
}

fn check_newest(dir: &Path, stored: &[u8]) {
    opened(dir, &[(0, stored)], |spool| {
        let frames = walk(stored, |frame| frame.intact);
        let whole = frames.iter().rposition(|frame| !frame.more).map_or(0, |last| last + 1);
        let good_end = frames.last().map_or(PREAMBLE.len(), |frame| frame.end);
        let bad = Frame::at(stored, good_end);
        let damaged = bad.and_then(|bad| Frame::at(stored, bad.end)).is_some_and(|next| next.intact);
        let foreign = stored.len() >= PREAMBLE.len() && stored[..12] != PREAMBLE[..12];
        let spool = match spool {
            Ok(spool) => spool,
            Err(e) => {
                return assert!(
                    foreign && (names(&e, "no log segment") || names(&e, "format")) || damaged && names(&e, "checksum"),
                    "{e}"
                );
            }
        };
        assert!(!foreign && (!damaged || stored.len() < PREAMBLE.len()), "opened what is damaged");
        let frames = if stored.len() < PREAMBLE.len() { &[] } else { &frames[..whole] };
        assert_eq!(read_all(&spool), frames.iter().map(Frame::entry).collect::<Vec<_>>());
        let bytes = frames.last().map_or(PREAMBLE.len(), |frame| frame.end) as u64;
        assert_eq!(spool.bytes(), bytes);
        assert_eq!(std::fs::metadata(path(dir, 0)).map(|file| file.len()).ok(), Some(bytes), "the tail is still there");
    });
}

/// Older segments are taken by their lengths when the log is opened, and checked when they are read.
fn check_sealed(dir: &Path, stored: &[u8]) {
    let frames = walk(stored, |_| true);
    let segments = [(0, stored), (frames.len(), &PREAMBLE[..])];
    if frames.is_empty() {
        // Two segments cannot begin at one position.
        return;
    }
    opened(dir, &segments, |spool| {
        let cut_off = frames.last().is_some_and(|last| last.end < stored.len() || last.more);
        match spool {
            Ok(spool) => {
                assert!(!cut_off, "opened what is cut off");
                assert_eq!(read_all(&spool), frames.iter().map(Frame::entry).collect::<Vec<_>>());
            }
            Err(e) => assert!(cut_off && names(&e, "cut off"), "{e}"),
        }
    });
}

/// A valid log of four appends, one of its bytes changed.
fn check_changed(dir: &Path, data: &[u8]) {
    let &[low, high, change, ..] = data else { return };
    let appends: [&[i64]; 4] = [&[1], &[2, 3], &[4], &[5, 6, 7]];
    let entry = |secs: &i64| Entry::Progress { partition: PartitionId(0), up_to: EventTime::from_secs(*secs) };
    let mut stored = PREAMBLE.to_vec();
    let mut whole = vec![0];
    for append in appends {
        for (at, entry) in (1..).zip(append.iter().map(entry)) {
            let (header, _) = entry.to_parts();
            let more = if at < append.len() { MORE } else { 0 };
            let lengths = [header.len() as u32 | more, 0].map(u32::to_le_bytes).concat();
            let checksum = crc32c::crc32c_append(crc32c::crc32c(&lengths), &header);
            stored.extend([&lengths[..], &checksum.to_le_bytes(), &header].concat());
        }
        whole.push(whole[whole.len() - 1] + append.len());
    }
    let at = usize::from(u16::from_le_bytes([low, high])) % stored.len();
    stored[at] ^= change;
    opened(dir, &[(0, &stored)], |spool| {
        let Ok(spool) = spool else { return assert!(change != 0, "refused what is valid") };
        let read = read_all(&spool);
        assert!(whole.contains(&read.len()), "a part of an append");
        let written = appends.concat();
        assert!(read.iter().zip(&written).all(|(read, secs)| *read == Some(entry(secs))), "{read:?}");
        assert!(change != 0 || read.len() == written.len());
    });
}

fn names(error: &str, what: &str) -> bool {
    error.contains(what)
}
