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
const PREAMBLE: &[u8; 20] = b"CATCHLOG\x03\0\0\0fuzz-log";

/// Bytes of a frame before its header.
const PREFIX: usize = 24;

/// The least that a disk writes as a whole.
const SECTOR: usize = 512;

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
        1 => check_newest(dir.path(), &frames(data)),
        2 => check_changed(dir.path(), data),
        _ => check_sealed(dir.path(), &frames(data)),
    });
}

/// One frame, as it lies in a segment.
struct Frame<'a> {
    end: usize,
    more: bool,
    intact: bool,
    synced: u64,
    header: &'a [u8],
    payload: &'a [u8],
}

/// Why there is no frame at a place.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Clean,
    CutOff,
    Mismatch,
}

impl<'a> Frame<'a> {
    /// The frame at `start` of a segment that begins at position 0.
    fn at(segment: &'a [u8], start: usize) -> Result<Self, End> {
        let stored = segment.get(start..).filter(|rest| !rest.is_empty()).ok_or(End::Clean)?;
        let (prefix, body) = stored.split_at_checked(PREFIX).ok_or(End::CutOff)?;
        let word = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().expect("four bytes"));
        let (header, payload) = ((word(0) & !MORE) as usize, word(4) as usize);
        if header == 0 || seal(prefix, start) != word(20) {
            return Err(End::Mismatch);
        }
        let body = body.get(..header + payload).ok_or(End::CutOff)?;
        let synced = u64::from(word(16)) << 32 | u64::from(word(12));
        let intact = crc32c::crc32c(body) == word(8);
        let (header, payload) = body.split_at(header);
        Ok(Self { end: start + PREFIX + body.len(), more: word(0) & MORE != 0, intact, synced, header, payload })
    }

    fn entry(&self) -> Option<Entry> {
        let entry = Entry::from_parts(self.header, Bytes::copy_from_slice(self.payload)).ok();
        entry.filter(|_| self.intact)
    }
}

/// Over the log, the position of the segment, the place in it, and the prefix up to the seal.
fn seal(prefix: &[u8], place: usize) -> u32 {
    crc32c::crc32c(&[&PREAMBLE[12..], &[0; 8], &(place as u64).to_le_bytes(), &prefix[..20]].concat())
}

/// The frames of a segment from its front, as long as they are `good`, and why they end.
fn walk(segment: &[u8], good: impl Fn(&Frame<'_>) -> bool) -> (Vec<Frame<'_>>, End) {
    let (mut at, mut frames) = (PREAMBLE.len(), Vec::new());
    loop {
        match Frame::at(segment, at) {
            Ok(frame) if good(&frame) => {
                at = frame.end;
                frames.push(frame);
            }
            Ok(_) => return (frames, End::Mismatch),
            Err(end) => return (frames, end),
        }
    }
}

/// Whether what does not match at `bad` had been durable: an entry behind it says so, or nothing
/// there looks like a sector that was never written.
fn was_durable(segment: &[u8], bad: usize) -> bool {
    let tells = |place: usize| {
        let found = Frame::at(segment, place).ok().filter(|frame| frame.intact);
        found.is_some_and(|frame| frame.synced > bad as u64 && frame.synced <= place as u64)
    };
    let ends = (bad + 1..=segment.len()).filter(|end| end % SECTOR == 0 || *end == segment.len());
    let unwritten = |end: usize| segment[((end - 1) / SECTOR * SECTOR).max(bad)..end].iter().all(|byte| *byte == 0);
    (bad..segment.len()).any(tells) || !ends.into_iter().any(unwritten)
}

/// A frame for the end of `segment`, which is durable up to `synced`.
fn push_frame(segment: &mut Vec<u8>, header_and_flag: u32, body: &[u8], payload: usize, synced: usize) {
    let place = segment.len();
    let words = [header_and_flag, payload as u32, crc32c::crc32c(body)].map(u32::to_le_bytes).concat();
    segment.extend([&words[..], &(synced as u64).to_le_bytes()].concat());
    segment.extend(seal(&segment[place..], place).to_le_bytes());
    segment.extend(body);
}

/// A segment of frames from the fuzzer's bytes: a byte of choices, the length of the payload, then the
/// header up to its closing brace and the payload.
fn frames(mut data: &[u8]) -> Vec<u8> {
    let mut out = PREAMBLE.to_vec();
    let mut synced = out.len();
    while let [choice, payload, rest @ ..] = data {
        let header = rest.iter().position(|&byte| byte == b'}').map_or(rest.len(), |at| at + 1);
        let (body, rest) = rest.split_at((header + usize::from(*payload)).min(rest.len()));
        let header = if choice & 8 == 0 { header } else { header + 1 };
        let more = if choice & 2 == 0 { 0 } else { MORE };
        let place = out.len();
        if choice & 32 == 0 {
            synced = place;
        }
        push_frame(&mut out, header as u32 | more, body, body.len().saturating_sub(header), synced);
        out[place + 8] ^= choice & 4;
        out[place + 20] ^= choice & 16;
        if choice & 64 != 0 {
            out.extend([0; SECTOR]);
        }
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
        let (frames, end) = walk(stored, |frame| frame.intact);
        let whole = frames.iter().rposition(|frame| !frame.more).map_or(0, |last| last + 1);
        let good_end = frames.last().map_or(PREAMBLE.len(), |frame| frame.end);
        let damaged = end == End::Mismatch && was_durable(stored, good_end);
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

/// Older segments are taken by their prefixes when the log is opened; payloads are checked when they are read.
fn check_sealed(dir: &Path, stored: &[u8]) {
    let (frames, end) = walk(stored, |_| true);
    let segments = [(0, stored), (frames.len(), &PREAMBLE[..])];
    if frames.is_empty() {
        // Two segments cannot begin at one position.
        return;
    }
    opened(dir, &segments, |spool| {
        let cut_off = end == End::CutOff || end == End::Clean && frames.last().is_some_and(|last| last.more);
        match spool {
            Ok(spool) => {
                assert!(end == End::Clean && !cut_off, "opened what is damaged");
                assert_eq!(read_all(&spool), frames.iter().map(Frame::entry).collect::<Vec<_>>());
            }
            Err(e) => assert!(if cut_off { names(&e, "cut off") } else { names(&e, "checksum") }, "{e}"),
        }
    });
}

/// A valid log of four appends, one of its bytes changed: nothing of it may go unnoticed.
fn check_changed(dir: &Path, data: &[u8]) {
    let &[low, high, change, ..] = data else { return };
    let appends: [&[i64]; 4] = [&[1], &[2, 3], &[4], &[5, 6, 7]];
    let entry = |secs: &i64| Entry::Progress { partition: PartitionId(0), up_to: EventTime::from_secs(*secs) };
    let mut stored = PREAMBLE.to_vec();
    for append in appends {
        let synced = stored.len();
        for (at, entry) in (1..).zip(append.iter().map(entry)) {
            let (header, _) = entry.to_parts();
            let more = if at < append.len() { MORE } else { 0 };
            push_frame(&mut stored, header.len() as u32 | more, &header, 0, synced);
        }
    }
    let at = usize::from(u16::from_le_bytes([low, high])) % stored.len();
    stored[at] ^= change;
    opened(dir, &[(0, &stored)], |spool| match spool {
        Ok(spool) => {
            assert!(change == 0, "byte {at} was changed and nobody noticed");
            assert_eq!(read_all(&spool), appends.concat().iter().map(|secs| Some(entry(secs))).collect::<Vec<_>>());
        }
        Err(e) => assert!(change != 0, "refused what is valid: {e}"),
    });
}

fn names(error: &str, what: &str) -> bool {
    error.contains(what)
}
