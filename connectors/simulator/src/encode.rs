//! The list of one bucket straight into bytes: keys are encoded once, not once for each bucket they are in.

use catchment_schemas::goldmane::ListMetadata;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, int64, message, string};

use crate::ring::{BUCKET_SECS, EndLabels, Held, KeySlot, Ring, Tally};

/// Encodes lists in which rows are sorted by the name of their source.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The ring's slots, mostly in order.
    order: Vec<KeySlot>,
}

impl Encoder {
    /// What [`Ring::list`] answers for the bucket that starts at `start`, sorted by the name of the source.
    pub(crate) fn bucket(&mut self, ring: &Ring, start: i64) -> Vec<u8> {
        let known = self.order.len() as u32;
        self.order.extend((known..ring.slots()).map(KeySlot));
        self.order.sort_by(|a, b| {
            let (a, b) = (ring.of(*a), ring.of(*b));
            (&a.key.source_name, a.id).cmp(&(&b.key.source_name, b.id))
        });
        let (mut rows, mut total, mut row) = (Vec::new(), 0, Vec::new());
        for held in self.order.iter().map(|slot| ring.of(*slot)) {
            if let Some((labels, tally)) = held.at(start) {
                total += 1;
                row.clear();
                encode_row(ring, held, start, labels, tally, &mut row);
                encode_bytes(2, &row, &mut rows);
            }
        }
        let meta = ListMetadata { total_pages: i64::from(total > 0), total_results: total };
        let mut list = Vec::with_capacity(rows.len() + meta.encoded_len() + 8);
        message::encode(1, &meta, &mut list);
        list.append(&mut rows);
        list
    }
}

/// A `FlowResult`.
fn encode_row(ring: &Ring, held: &Held, start: i64, labels: EndLabels, tally: Tally, row: &mut Vec<u8>) {
    let mut flow = Vec::with_capacity(held.encoded.len() + 256);
    encode_bytes(1, &held.encoded, &mut flow);
    number(2, start, &mut flow);
    number(3, start + BUCKET_SECS, &mut flow);
    string::encode_repeated(4, ring.labels_of(labels.source), &mut flow);
    string::encode_repeated(5, ring.labels_of(labels.dest), &mut flow);
    number(6, tally.packets_in, &mut flow);
    number(7, tally.packets_out, &mut flow);
    number(8, tally.bytes_in, &mut flow);
    number(9, tally.bytes_out, &mut flow);
    number(10, tally.num_connections_started, &mut flow);
    number(11, tally.num_connections_completed, &mut flow);
    number(12, tally.num_connections_live, &mut flow);
    number(1, held.id, row);
    encode_bytes(2, &flow, row);
}

/// Zeros are left out.
fn number(tag: u32, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        int64::encode(tag, &value, out);
    }
}

fn encode_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use catchment_core::Period;
    use catchment_schemas::goldmane::{FlowListRequest, SortBy, SortOption};

    use crate::{Offline, Options};

    #[test]
    fn the_bytes_of_a_bucket_are_those_of_its_list() {
        let options = Options {
            flows_per_second: 10,
            late_share: 0.2,
            duration: Some(Period::secs(5400)),
            scenarios: vec!["all".to_owned()],
            ..Options::default()
        };
        let mut offline = Offline::new(&options).expect("a simulation");
        let mut compared = 0;
        while let Some(bucket) = offline.next() {
            let start = bucket.start.secs();
            let request = FlowListRequest {
                start_time_gte: start,
                start_time_lt: start + 15,
                sort_by: vec![SortOption { sort_by: SortBy::SourceName.into() }],
                ..FlowListRequest::default()
            };
            let list = offline.ring().list(&request, start + 75).expect("a list");
            assert_eq!(bucket.message, prost::Message::encode_to_vec(&list));
            compared += list.flows.len();
        }
        assert!(compared > 10_000, "{compared}");
    }
}
