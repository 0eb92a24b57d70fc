//! Bytes on disk: a segment begins with a magic word and a version; each entry is a frame of two
//! lengths, a checksum over header and payload, the header (JSON) and the payload as it came.

use bytes::Bytes;
use catchment_core::{Entry, Error, Result};

/// How every segment begins: the magic word and the version of the format, little endian.
pub(super) const PREAMBLE: [u8; 12] = *b"CATCHLOG\x01\0\0\0";

/// Header length, payload length, checksum: three little-endian words of 32 bits.
pub(super) const FRAME: usize = 12;

/// The three words in front of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    header: u32,
    payload: u32,
    checksum: u32,
}

impl Frame {
    /// Reads the words; `None` where no frame can stand. A header is never empty, so that a tail
    /// of zeros, which a crash may leave and whose checksum would be right, is no frame.
    pub(super) fn parse(words: &[u8; FRAME]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let frame = Self { header: word(0), payload: word(4), checksum: word(8) };
        (frame.header > 0).then_some(frame)
    }

    /// Bytes from the first word to the end of the payload.
    pub(super) const fn len(self) -> u64 {
        FRAME as u64 + self.header as u64 + self.payload as u64
    }
}

/// Appends the stored form of `entry` to `out`.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    let (header, payload) = entry.to_parts();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header), &payload);
    for word in [length(header.len())?, length(payload.len())?, checksum] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&header);
    out.extend_from_slice(&payload);
    Ok(())
}

fn length(bytes: usize) -> Result<u32> {
    let too_long = |_| Error::user(format!("an entry of {bytes} bytes is too long for the log; split it below 4GiB"));
    u32::try_from(bytes).map_err(too_long)
}

/// Whether `stored`, a whole frame, is what was once written.
pub(super) fn intact(stored: &[u8]) -> bool {
    let Some((words, body)) = stored.split_first_chunk::<FRAME>() else { return false };
    Frame::parse(words).is_some_and(|f| f.len() == stored.len() as u64 && crc32c::crc32c(body) == f.checksum)
}

/// The inverse of [`encode`]; says in words what is wrong. The payload shares the given bytes.
pub(super) fn decode(stored: &Bytes) -> Result<Entry, String> {
    if !intact(stored) {
        return Err("the checksum does not match".to_owned());
    }
    let header_end = FRAME + u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]) as usize;
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
        let mut stored = Vec::new();
        encode(&entry, &mut stored).unwrap();
        assert_eq!(decode(&Bytes::from(stored.clone())), Ok(entry));
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!intact(&damaged), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_entry() {
        assert!(!intact(&[0; FRAME]));
        assert_eq!(Frame::parse(&[0; FRAME]), None);
    }
}
