//! Bytes on disk: a segment begins with a magic word, a version and the identity of its log; each
//! entry is a frame of a prefix, the header (JSON) and the payload as it came.
//!
//! A prefix is sealed with its place: the log, the segment and the byte it stands at. So a damaged
//! length is noticed before it is believed, and a copy of a frame, inside a payload for one, is none.

use bytes::Bytes;
use catchment_core::{Entry, Error, LogId, LogPosition, Result};

const MAGIC: [u8; 8] = *b"CATCHLOG";

const VERSION: u32 = 3;

/// Bytes before the first entry: magic word, version and identity, little endian.
pub(super) const PREAMBLE: usize = 20;

/// Bytes of a prefix, little endian: header length, payload length and checksum of both, 32 bits
/// each; how far the segment was durable, 64 bits; the seal, 32 bits.
pub(super) const FRAME: usize = 24;

/// What the caller fills in: the rest is known when the frame is written.
const LENGTHS_AND_CHECKSUM: usize = 12;

/// What the seal covers of the prefix.
const SEALED: usize = 20;

/// Set in the header length where more entries of the same append follow.
const MORE: u32 = 1 << 31;

/// How every segment of `log` begins.
pub(super) fn preamble(log: LogId) -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..].copy_from_slice(&log.0.to_le_bytes());
    bytes
}

/// The inverse of [`preamble`]; says in words what stands there instead.
pub(super) fn parse_preamble(found: &[u8; PREAMBLE]) -> Result<LogId, String> {
    let (magic, rest) = found.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("no log segment; move it away or use another directory".to_owned());
    }
    let version = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    if version != VERSION {
        return Err(format!(
            "in format {version}, this release reads format {VERSION}; let the release that wrote it publish what the log holds, then give the source another name to begin an empty one"
        ));
    }
    let id = rest.last_chunk().expect("the identity ends the preamble");
    Ok(LogId(u64::from_le_bytes(*id)))
}

/// What the prefixes of one segment are sealed with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(u32);

impl Seal {
    /// Of the segment of `log` that begins at `first`.
    pub(super) fn of(log: LogId, first: LogPosition) -> Self {
        Self(crc32c::crc32c(&[log.0.to_le_bytes(), first.0.to_le_bytes()].concat()))
    }

    fn at(self, place: u64, prefix: &[u8]) -> u32 {
        crc32c_over(crc32c_over(self.0, &place.to_le_bytes()), &prefix[..SEALED])
    }

    /// Completes the frame that is to stand at byte `place` of a segment durable up to `synced`.
    pub(super) fn close(self, frame: &mut [u8], place: u64, synced: u64) {
        frame[LENGTHS_AND_CHECKSUM..SEALED].copy_from_slice(&synced.to_le_bytes());
        let seal = self.at(place, frame);
        frame[SEALED..FRAME].copy_from_slice(&seal.to_le_bytes());
    }

    /// The frame that was written at byte `place`; `None` where none was.
    pub(super) fn frame(self, prefix: &[u8; FRAME], place: u64) -> Option<Frame> {
        let frame = Frame::parse(prefix)?;
        (self.at(place, prefix) == frame.seal).then_some(frame)
    }

    /// The inverse of [`encode`] and [`Seal::close`]; says in words what is wrong. The payload shares
    /// the given bytes.
    pub(super) fn decode(self, stored: &Bytes, place: u64) -> Result<Entry, String> {
        let frame = stored.first_chunk().and_then(|prefix| self.frame(prefix, place));
        let frame = frame.filter(|frame| frame.fits(&stored[FRAME..])).ok_or(MISMATCH)?;
        let header_end = FRAME + frame.header as usize;
        let payload = stored.slice(header_end..);
        Entry::from_parts(&stored[FRAME..header_end], payload).map_err(|e| format!("the header is unknown: {e}"))
    }
}

/// What is said of bytes that are not what was written.
pub(super) const MISMATCH: &str = "the checksum does not match";

/// The prefix of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    header: u32,
    payload: u32,
    checksum: u32,
    seal: u32,
    /// How far its segment was durable when it was written: where the first of the appends begins
    /// that share its sync.
    pub(super) synced: u64,
    /// The append goes on behind this entry.
    pub(super) more: bool,
}

impl Frame {
    /// Reads a prefix without believing it; `None` where no frame can stand. A header is never empty,
    /// so that zeros, which a crash may leave, are no frame.
    pub(super) fn parse(prefix: &[u8; FRAME]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        let (header, more) = (word(0) & !MORE, word(0) & MORE != 0);
        let synced = u64::from(word(12)) | u64::from(word(16)) << 32;
        (header > 0).then_some(Self { header, payload: word(4), checksum: word(8), synced, seal: word(20), more })
    }

    /// Bytes from the prefix to the end of the payload.
    pub(super) const fn len(self) -> u64 {
        FRAME as u64 + self.header as u64 + self.payload as u64
    }

    /// Only flows have a payload.
    pub(super) const fn has_payload(self) -> bool {
        self.payload > 0
    }

    /// Whether `body` is the header and the payload as they were written.
    pub(super) fn fits(self, body: &[u8]) -> bool {
        self.len() == (FRAME + body.len()) as u64 && crc32c::crc32c(body) == self.checksum
    }
}

/// Appends the stored form of `entry` to `out`, but for what [`Seal::close`] fills in; `more` where
/// the append goes on behind it.
pub(super) fn encode(entry: &Entry, more: bool, out: &mut Vec<u8>) -> Result<()> {
    let (header, payload) = entry.to_parts();
    let flag = if more { MORE } else { 0 };
    let lengths = [length(header.len(), MORE)? | flag, length(payload.len(), u32::MAX)?];
    let checksum = crc32c_over(crc32c::crc32c(&header), &payload);
    out.extend(lengths.into_iter().chain([checksum]).flat_map(u32::to_le_bytes));
    out.extend([0; FRAME - LENGTHS_AND_CHECKSUM]);
    out.extend_from_slice(&header);
    out.extend_from_slice(&payload);
    Ok(())
}

fn crc32c_over(before: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(before, bytes)
}

fn length(bytes: usize, limit: u32) -> Result<u32> {
    let fitting = u32::try_from(bytes).ok().filter(|length| *length < limit);
    fitting.ok_or_else(|| {
        Error::user(format!("an entry of {bytes} bytes is too long for the log; split it below {limit} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use catchment_core::{EventTime, PartitionId};

    use super::*;

    const LOG: LogId = LogId(0x0123_4567_89ab_cdef);

    fn seal() -> Seal {
        Seal::of(LOG, LogPosition(3))
    }

    fn stored(entry: &Entry, more: bool) -> Vec<u8> {
        let mut stored = Vec::new();
        encode(entry, more, &mut stored).unwrap();
        seal().close(&mut stored, 700, 512);
        stored
    }

    fn mark() -> Entry {
        Entry::Progress { partition: PartitionId(7), up_to: EventTime::from_secs(60) }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_any_flipped_bit_is_seen() {
        for more in [false, true] {
            let stored = stored(&mark(), more);
            let frame = seal().frame(stored.first_chunk().unwrap(), 700).unwrap();
            assert_eq!((frame.more, frame.synced), (more, 512));
            assert_eq!(seal().decode(&Bytes::from(stored.clone()), 700), Ok(mark()));
            for bit in 0..stored.len() * 8 {
                let mut damaged = stored.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(seal().decode(&damaged.into(), 700), Err(MISMATCH.to_owned()), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_copy_elsewhere_is_no_frame() {
        let stored = stored(&mark(), false);
        let prefix = stored.first_chunk().unwrap();
        assert!(seal().frame(prefix, 700).is_some());
        assert_eq!(seal().frame(prefix, 701), None);
        assert_eq!(Seal::of(LOG, LogPosition(4)).frame(prefix, 700), None);
        assert_eq!(Seal::of(LogId(1), LogPosition(3)).frame(prefix, 700), None);
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(Frame::parse(&[0; FRAME]), None);
    }

    #[test]
    fn a_segment_says_which_log_it_belongs_to_and_in_which_format() {
        let mut stored = preamble(LOG);
        assert_eq!(parse_preamble(&stored), Ok(LOG));
        stored[8] = 1;
        let what = parse_preamble(&stored).unwrap_err();
        assert!(what.contains("format 1") && what.contains("another name"), "{what}");
        stored[0] = b'X';
        assert!(parse_preamble(&stored).unwrap_err().contains("no log segment"));
    }
}
