//! Behind the last intact entry of the newest segment: what a crash left, or damage?
//!
//! A crash leaves a file that ends within an append, or sectors of it that were never written and
//! read as zeros; what follows them was written under the same sync. Everything else that does not
//! match had been durable. Payloads are text or protobuf, which hold no sector of zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::{FRAME, Frame, Seal};

/// The least that a disk writes as a whole.
const SECTOR: u64 = 512;

/// Bytes looked at in one go, whole sectors.
const CHUNK: u64 = 1 << 20;

/// A part of a tail.
pub(super) struct Chunk {
    start: u64,
    /// The bytes of the chunk, and the first of the next so that a prefix can begin in one and end in the other.
    bytes: Vec<u8>,
    /// Bytes of the chunk alone.
    own: usize,
    /// Bytes of the file.
    len: u64,
}

impl Chunk {
    /// Reads on from `start` in a file of `len` bytes.
    pub(super) fn read(file: &File, start: u64, len: u64) -> io::Result<Self> {
        let end = (start / CHUNK * CHUNK + CHUNK).min(len);
        let mut bytes = vec![0; ((end + FRAME as u64).min(len) - start) as usize];
        file.read_exact_at(&mut bytes, start)?;
        Ok(Self { start, bytes, own: (end - start) as usize, len })
    }

    /// Where the next chunk begins.
    pub(super) const fn end(&self) -> u64 {
        self.start + self.own as u64
    }

    /// Whether a sector, or what the tail has of it, is nothing but zeros.
    pub(super) fn has_unwritten_sector(&self) -> bool {
        let own = &self.bytes[..self.own];
        let (first, sectors) = own.split_at(((SECTOR - self.start % SECTOR) as usize).min(own.len()));
        [first].into_iter().chain(sectors.chunks(SECTOR as usize)).any(|sector| sector.iter().all(|byte| *byte == 0))
    }

    /// The frames that begin here and were written when byte `bad` had already been durable.
    pub(super) fn frames(&self, seal: Seal, bad: u64) -> impl Iterator<Item = (u64, Frame)> {
        let places = (self.start..).zip(self.bytes.windows(FRAME)).take(self.own);
        places.filter_map(move |(place, prefix)| {
            let prefix = prefix.first_chunk().expect("as long as a prefix");
            // Only what could be one is worth a checksum.
            Frame::parse(prefix)
                .filter(|frame| frame.synced > bad && frame.synced <= place && frame.len() <= self.len - place)
                .and_then(|_| seal.frame(prefix, place))
                .map(|frame| (place, frame))
        })
    }
}
