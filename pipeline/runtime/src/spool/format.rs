//! Bytes on disk: a segment begins with a magic word, a version and the identity of its log; each
//! entry is a frame of two lengths, a checksum, the header (JSON) and the payload as it came.

use bytes::Bytes;
use catchment_core::{Entry, Error, LogId, Result};

const MAGIC: [u8; 8] = *b"CATCHLOG";

const VERSION: u32 = 2;

/// Bytes before the first entry: magic word, version and identity, little endian.
pub(super) const PREAMBLE: usize = 20;

/// Header length, payload length, checksum: three little-endian words of 32 bits.
pub(super) const FRAME: usize = 12;

/// What the checksum covers of the frame itself.
const LENGTHS: usize = 8;

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

/// The three words in front of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    header: u32,
    payload: u32,
    checksum: u32,
    /// The append goes on behind this entry.
    pub(super) more: bool,
}

impl Frame {
    /// Reads the words; `None` where no frame can stand. A header is never empty, so that a tail
    /// of zeros, which a crash may leave, is no frame.
    pub(super) fn parse(words: &[u8; FRAME]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let (header, more) = (word(0) & !MORE, word(0) & MORE != 0);
        (header > 0).then_some(Self { header, payload: word(4), checksum: word(8), more })
    }

    /// Bytes from the first word to the end of the payload.
    pub(super) const fn len(self) -> u64 {
        self.payload_start() + self.payload as u64
    }

    /// Only flows have a payload.
    pub(super) const fn has_payload(self) -> bool {
        self.payload > 0
    }

    const fn payload_start(self) -> u64 {
        FRAME as u64 + self.header as u64
    }
}

/// Appends the stored form of `entry` to `out`; `more` where the append goes on behind it.
pub(super) fn encode(entry: &Entry, more: bool, out: &mut Vec<u8>) -> Result<()> {
    let (header, payload) = entry.to_parts();
    let flag = if more { MORE } else { 0 };
    let lengths = [length(header.len(), MORE)? | flag, length(payload.len(), u32::MAX)?].map(u32::to_le_bytes).concat();
    let checksum = [&lengths, &header, &payload[..]].into_iter().fold(0, crc32c_over);
    out.extend_from_slice(&lengths);
    out.extend_from_slice(&checksum.to_le_bytes());
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

/// The frame that `stored` is as a whole, if it is what was once written.
pub(super) fn intact(stored: &[u8]) -> Option<Frame> {
    let (words, body) = stored.split_first_chunk::<FRAME>()?;
    let frame = Frame::parse(words)?;
    let checksum = crc32c_over(crc32c::crc32c(&words[..LENGTHS]), body);
    (frame.len() == stored.len() as u64 && checksum == frame.checksum).then_some(frame)
}

/// The inverse of [`encode`]; says in words what is wrong. The payload shares the given bytes.
pub(super) fn decode(stored: &Bytes) -> Result<Entry, String> {
    let frame = intact(stored).ok_or("the checksum does not match")?;
    let header_end = frame.payload_start() as usize;
    let payload = stored.slice(header_end..);
    Entry::from_parts(&stored[FRAME..header_end], payload).map_err(|e| format!("the header is unknown: {e}"))
}

#[cfg(test)]
mod tests {
    use catchment_core::{EventTime, PartitionId};

    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_any_flipped_bit_is_seen() {
        let entry = Entry::Progress { partition: PartitionId(7), up_to: EventTime::from_secs(60) };
        for more in [false, true] {
            let mut stored = Vec::new();
            encode(&entry, more, &mut stored).unwrap();
            assert_eq!(intact(&stored).map(|frame| frame.more), Some(more));
            assert_eq!(decode(&Bytes::from(stored.clone())), Ok(entry.clone()));
            for bit in 0..stored.len() * 8 {
                let mut damaged = stored.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(intact(&damaged), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn zeros_are_no_entry() {
        assert_eq!(intact(&[0; FRAME]), None);
        assert_eq!(Frame::parse(&[0; FRAME]), None);
    }

    #[test]
    fn a_segment_says_which_log_it_belongs_to_and_in_which_format() {
        let mut stored = preamble(LogId(0x0123_4567_89ab_cdef));
        assert_eq!(parse_preamble(&stored), Ok(LogId(0x0123_4567_89ab_cdef)));
        stored[8] = 1;
        let what = parse_preamble(&stored).unwrap_err();
        assert!(what.contains("format 1") && what.contains("another name"), "{what}");
        stored[0] = b'X';
        assert!(parse_preamble(&stored).unwrap_err().contains("no log segment"));
    }
}
