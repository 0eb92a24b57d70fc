//! What a later look at a bucket shows on top of what was logged.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use catchment_core::{Error, Result};
use catchment_schemas::goldmane::{Flow, FlowListResult, FlowResult, ListMetadata};
use catchment_schemas::wire::{FlowSlices, FlowView, Malformed};
use prost::Message as _;

/// The seven counters of a flow, in field order.
type Counts = [i64; 7];

/// Equal for two readings of a bucket with the same flows in any order, whatever the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    /// Flows with data in the bucket.
    pub(crate) rows: u64,
    sum: u64,
}

impl Digest {
    /// Of a bucket without flows.
    pub(crate) const ZERO: Self = Self { rows: 0, sum: 0 };

    /// Of all pages of a bucket.
    pub(crate) fn of(pages: &[Bytes]) -> Result<Self> {
        let mut digest = Self::default();
        each_flow(pages, |_, view| {
            // Fixed keys: a digest is compared within one process only, and never with an adversary's.
            let mut hasher = DefaultHasher::new();
            (view.key, counts(&view)).hash(&mut hasher);
            digest.rows += 1;
            digest.sum = digest.sum.wrapping_add(hasher.finish());
        })?;
        Ok(digest)
    }

    /// Of two sets of pages together.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }
}

/// How a later reading differs from what was logged.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Difference {
    /// Flows that grew or appeared, with what came on top.
    pub(crate) corrections: Vec<Flow>,
    /// Flows that shrank or vanished; a running collector never takes anything back.
    pub(crate) lost: u64,
}

/// Compares a later reading with everything logged about the bucket: the report and earlier corrections.
pub(crate) fn compare(logged: &[Bytes], later: &[Bytes]) -> Result<Difference> {
    let mut known: HashMap<&[u8], Counts> = HashMap::new();
    each_flow(logged, |_, view| add(known.entry(view.key).or_default(), counts(&view)))?;
    let mut seen: HashMap<&[u8], (&[u8], Counts)> = HashMap::new();
    each_flow(later, |flow, view| add(&mut seen.entry(view.key).or_insert((flow, [0; 7])).1, counts(&view)))?;
    let mut difference = Difference::default();
    for (key, (flow, counts)) in seen {
        let before = known.remove(key);
        let delta: Counts = std::array::from_fn(|i| counts[i].saturating_sub(before.unwrap_or_default()[i]));
        if delta.iter().any(|d| *d < 0) {
            difference.lost += 1;
        } else if before.is_none() || delta.iter().any(|d| *d > 0) {
            difference.corrections.push(with_counts(flow, delta)?);
        }
    }
    difference.lost += known.len() as u64;
    // Hash order must not show in what is logged.
    difference.corrections.sort_by_cached_key(prost::Message::encode_to_vec);
    Ok(difference)
}

/// Writes corrections as the collector would have; no corrections are no bytes.
pub(crate) fn encode(corrections: Vec<Flow>) -> Bytes {
    if corrections.is_empty() {
        return Bytes::new();
    }
    let meta = Some(ListMetadata { total_pages: 1, total_results: corrections.len() as i64 });
    let flows = corrections.into_iter().map(|flow| FlowResult { id: 0, flow: Some(flow) }).collect();
    FlowListResult { meta, flows }.encode_to_vec().into()
}

/// Hands over every flow that has data in the bucket, with its bytes. A flow without a start has
/// its data in the bucket still filling: the collector lists it with empty counters.
pub(crate) fn each_flow<'a>(pages: &'a [Bytes], mut visit: impl FnMut(&'a [u8], FlowView<'a>)) -> Result<()> {
    for flow in pages.iter().flat_map(|page| FlowSlices::new(page)) {
        let flow = flow.map_err(malformed)?;
        let view = FlowView::parse(flow).map_err(malformed)?;
        if view.start_time != 0 {
            visit(flow, view);
        }
    }
    Ok(())
}

fn malformed(cause: Malformed) -> Error {
    Error::external("the collector's answer is no list of flows").caused_by(cause)
}

const fn counts(view: &FlowView<'_>) -> Counts {
    [
        view.packets_in,
        view.packets_out,
        view.bytes_in,
        view.bytes_out,
        view.num_connections_started,
        view.num_connections_completed,
        view.num_connections_live,
    ]
}

fn add(to: &mut Counts, more: Counts) {
    for (to, more) in to.iter_mut().zip(more) {
        *to = to.saturating_add(more);
    }
}

fn with_counts(flow: &[u8], counts: Counts) -> Result<Flow> {
    let flow = Flow::decode(flow).map_err(|e| Error::external("the collector sent a malformed flow").caused_by(e))?;
    let [packets_in, packets_out, bytes_in, bytes_out, started, completed, live] = counts;
    Ok(Flow {
        packets_in,
        packets_out,
        bytes_in,
        bytes_out,
        num_connections_started: started,
        num_connections_completed: completed,
        num_connections_live: live,
        ..flow
    })
}

#[cfg(test)]
mod tests {
    use catchment_schemas::goldmane::FlowKey;

    use super::*;

    fn flow(name: &str, packets: i64) -> Flow {
        let key = Some(FlowKey { source_name: name.into(), ..FlowKey::default() });
        Flow { key, start_time: 15, end_time: 30, packets_in: packets, bytes_in: packets * 100, ..Flow::default() }
    }

    fn page(flows: &[(&str, i64)]) -> Bytes {
        encode(flows.iter().map(|(name, packets)| flow(name, *packets)).collect())
    }

    #[test]
    fn a_digest_ignores_order_and_pages_but_no_counter() {
        let whole = Digest::of(&[page(&[("a", 1), ("b", 2)])]).expect("well-formed");
        assert_eq!(whole, Digest::of(&[page(&[("b", 2)]), page(&[("a", 1)])]).expect("well-formed"));
        assert_eq!(whole.rows, 2);
        assert_ne!(whole, Digest::of(&[page(&[("a", 2), ("b", 1)])]).expect("well-formed"));
    }

    #[test]
    fn flows_of_the_bucket_still_filling_are_not_counted() {
        let open = encode(vec![Flow { start_time: 0, ..flow("a", 9) }, flow("b", 1)]);
        assert_eq!(Digest::of(&[open]).expect("well-formed"), Digest::of(&[page(&[("b", 1)])]).expect("well-formed"));
    }

    #[test]
    fn growth_and_new_flows_become_corrections_with_the_delta_alone() {
        let difference =
            compare(&[page(&[("a", 1), ("b", 2)])], &[page(&[("new", 4), ("b", 2), ("a", 6)])]).expect("well-formed");
        assert_eq!(difference.lost, 0);
        assert_eq!(difference.corrections.len(), 2);
        assert!(difference.corrections.contains(&flow("a", 5)));
        assert!(difference.corrections.contains(&flow("new", 4)));
    }

    #[test]
    fn earlier_corrections_count_as_logged() {
        let logged = [page(&[("a", 1)]), page(&[("a", 5)])];
        assert_eq!(compare(&logged, &[page(&[("a", 6)])]).expect("well-formed"), Difference::default());
    }

    #[test]
    fn shrunk_and_vanished_flows_are_lost() {
        let difference = compare(&[page(&[("a", 5), ("b", 2)])], &[page(&[("a", 3), ("c", 1)])]).expect("well-formed");
        assert_eq!(difference, Difference { corrections: vec![flow("c", 1)], lost: 2 });
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        assert!(Digest::of(&[Bytes::from_static(b"\x12\xff")]).is_err());
    }
}
