//! The least that any fold must do: find each record, hash its identity, look it up, add its numbers.
//!
//! No checks, no windows, no labels, no rows: what is left over is what those cost. Nothing of the
//! stages is used here, so that the yardstick does not move with what it measures.

use catchment_core::{Encoding, Entry, FlowsEntry};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128;

/// Counters by identity.
#[derive(Default)]
pub struct Sums {
    index: HashTable<(u128, u32)>,
    sums: Vec<[u64; 8]>,
}

impl Sums {
    /// Adds every record of `entries`.
    pub fn add(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Flows(flows) if flows.encoding == Encoding::GoldmaneList => self.add_list(flows),
                Entry::Flows(flows) => self.add_lines(flows),
                _ => {}
            }
        }
    }

    fn add_list(&mut self, flows: &FlowsEntry) {
        let mut list: &[u8] = &flows.payload;
        while let Some(result) = next_message(&mut list) {
            let mut result = result;
            varint(&mut result); // the tag of the id
            varint(&mut result);
            let mut flow = next_message(&mut result).expect("made-up results hold a flow");
            self.add_flow(&mut flow);
        }
    }

    fn add_flow(&mut self, flow: &mut &[u8]) {
        let mut identity = xxh3_128(next_message(flow).expect("made-up flows begin with their key"));
        let mut numbers = [0; 16];
        let mut labels: Option<&[u8]> = None;
        let mut labels_len = 0;
        while let Some(&tag) = flow.first() {
            if tag & 7 == 2 {
                let run = *labels.get_or_insert(flow);
                next_message(flow);
                labels_len = run.len() - flow.len();
            } else {
                *flow = &flow[1..];
                numbers[usize::from(tag >> 3)] = varint(flow);
            }
        }
        identity ^= labels.map_or(0, |run| xxh3_128(&run[..labels_len]));
        self.count(identity, &numbers[6..13]);
    }

    /// A hash of every byte of the line: a parser cannot look at fewer.
    fn add_lines(&mut self, flows: &FlowsEntry) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &flows.payload) {
            self.count(xxh3_128(&flows.payload[start..end]), &[1; 7]);
            start = end + 1;
        }
    }

    fn count(&mut self, identity: u128, numbers: &[u64]) {
        let next = self.sums.len() as u32;
        let hash = identity as u64;
        let found = self.index.find(hash, |(known, _)| *known == identity).map(|(_, at)| *at);
        let at = found.unwrap_or_else(|| {
            self.index.insert_unique(hash, (identity, next), |(known, _)| *known as u64);
            self.sums.push([0; 8]);
            next
        });
        let sums = &mut self.sums[at as usize];
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        sums[7] += 1;
    }
}

/// The next length-delimited field, its tag taken for granted.
fn next_message<'a>(buffer: &mut &'a [u8]) -> Option<&'a [u8]> {
    *buffer = buffer.get(1..)?;
    let length = varint(buffer) as usize;
    let (message, rest) = buffer.split_at(length);
    *buffer = rest;
    Some(message)
}

fn varint(buffer: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = buffer[0];
        *buffer = &buffer[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
