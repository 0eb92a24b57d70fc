//! The accumulators of one open window: dense arrays indexed by key id.

use catchment_core::{Counters, LogPosition, Span};

/// Sums of one key; live connections stand apart because they are not sums over time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) counters: Counters,
    pub(crate) records: u32,
}

/// Set in a slot that had a record, so that zero live connections differ from no record.
const PRESENT: u32 = 1 << 31;

/// Live connections per time slot, a fixed number of slots a key.
///
/// A slot holds the records with one start time: the sum over nodes. The slots are as wide as the
/// starts seen so far allow (their greatest common divisor), so the collector's bucket width need
/// not be known and the order of records does not matter.
#[derive(Clone, Debug)]
pub(crate) struct LiveSlots {
    width: u32,
    granularity: u32,
    slots: Vec<u32>,
}

impl LiveSlots {
    pub(crate) fn new(width_secs: u32) -> Self {
        Self { width: width_secs, granularity: width_secs, slots: Vec::new() }
    }

    /// Slots a key.
    pub(crate) const fn stride(&self) -> usize {
        (self.width / self.granularity) as usize
    }

    #[inline]
    pub(crate) fn add(&mut self, key: usize, offset_secs: u32, live: u64) {
        if !offset_secs.is_multiple_of(self.granularity) {
            self.refine(gcd(self.granularity, offset_secs));
        }
        let stride = self.stride();
        let at = key * stride + (offset_secs / self.granularity) as usize;
        if at >= self.slots.len() {
            self.slots.resize((key + 1) * stride, 0);
        }
        let sum = u64::from(self.slots[at] & !PRESENT) + live;
        self.slots[at] = PRESENT | sum.min(u64::from(PRESENT - 1)) as u32;
    }

    /// Slots of one key; empty where it was never added to.
    pub(crate) fn of(&self, key: usize) -> &[u32] {
        let stride = self.stride();
        self.slots.get(key * stride..(key + 1) * stride).unwrap_or(&[])
    }

    pub(crate) fn refine(&mut self, granularity: u32) {
        let granularity = gcd(self.granularity, granularity);
        let factor = (self.granularity / granularity) as usize;
        if factor > 1 {
            let mut finer = vec![0; self.slots.len() * factor];
            finer.iter_mut().step_by(factor).zip(&self.slots).for_each(|(new, old)| *new = *old);
            self.slots = finer;
            self.granularity = granularity;
        }
    }

    /// Makes room for `keys` more.
    pub(crate) fn reserve(&mut self, keys: usize) {
        self.slots.reserve(keys * self.stride());
    }

    pub(crate) const fn granularity(&self) -> u32 {
        self.granularity
    }

    /// Appends a key with the slots it has elsewhere; both sides have one granularity.
    pub(crate) fn push(&mut self, slots: &[u32]) {
        let end = self.slots.len() + self.stride();
        self.slots.extend_from_slice(slots);
        self.slots.resize(end, 0);
    }

    /// Adds `slots` to the last key pushed.
    pub(crate) fn add_to_last(&mut self, slots: &[u32]) {
        let start = self.slots.len() - self.stride();
        for (mine, &other) in self.slots[start..].iter_mut().zip(slots) {
            let sum = (*mine & !PRESENT).saturating_add(other & !PRESENT).min(PRESENT - 1);
            *mine = ((*mine | other) & PRESENT) | sum;
        }
    }
}

/// The largest number of live connections over the slots.
pub(crate) fn peak(slots: &[u32]) -> u64 {
    slots.iter().map(|slot| u64::from(slot & !PRESENT)).max().unwrap_or(0)
}

/// How many slots had a record.
pub(crate) fn occupied(slots: &[u32]) -> u16 {
    slots.iter().filter(|&&slot| slot & PRESENT != 0).count() as u16
}

/// Whether both had a record in one slot.
pub(crate) fn coincide(a: &[u32], b: &[u32]) -> bool {
    a.iter().zip(b).any(|(a, b)| a & b & PRESENT != 0)
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What one shard has counted for a window that is still open.
#[derive(Debug)]
pub(crate) struct OpenWindow {
    pub(crate) span: Span,
    /// The first entry that touched the window.
    pub(crate) first_position: LogPosition,
    totals: Vec<Totals>,
    live: LiveSlots,
}

impl OpenWindow {
    pub(crate) fn new(span: Span, first_position: LogPosition) -> Self {
        let live = LiveSlots::new((span.micros() / 1_000_000) as u32);
        Self { span, first_position, totals: Vec::new(), live }
    }

    #[inline]
    pub(crate) fn add(&mut self, key: u32, ids: usize, record: Span, counters: Counters) {
        let key = key as usize;
        if key >= self.totals.len() {
            self.totals.resize(ids, Totals::default());
        }
        let totals = &mut self.totals[key];
        totals.counters = totals.counters.plus(Counters { live: 0, ..counters });
        totals.records += 1;
        let offset = (record.start.0 - self.span.start.0) / 1_000_000;
        self.live.add(key, offset as u32, counters.live);
    }

    pub(crate) fn totals(&self, key: u32) -> Option<&Totals> {
        self.totals.get(key as usize).filter(|totals| totals.records > 0)
    }

    pub(crate) const fn live(&self) -> &LiveSlots {
        &self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_connections_are_summed_inside_a_bucket_and_peaked_over_buckets() {
        let mut live = LiveSlots::new(60);
        live.add(0, 0, 3);
        live.add(0, 0, 4);
        live.add(0, 15, 5);
        live.add(1, 45, 0);
        assert_eq!((peak(live.of(0)), occupied(live.of(0))), (7, 2));
        assert_eq!((peak(live.of(1)), occupied(live.of(1))), (0, 1));
        assert!(!coincide(live.of(0), live.of(1)));
    }

    #[test]
    fn the_order_of_records_does_not_matter() {
        let records = [(0, 2), (30, 5), (15, 4), (1, 9), (30, 1)];
        let fold = |order: &[usize]| {
            let mut live = LiveSlots::new(60);
            for &i in order {
                live.add(0, records[i].0, records[i].1);
            }
            (peak(live.of(0)), occupied(live.of(0)))
        };
        assert_eq!(fold(&[0, 1, 2, 3, 4]), (9, 4));
        assert_eq!(fold(&[4, 3, 2, 1, 0]), (9, 4));
    }
}
