//! What is remembered of pairs: source and destination workload, port and protocol.

use catchment_core::{Conversation, EventTime, KeyRecord, Period};
use catchment_schemas::goldmane::{Action, Reporter};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::facts::{End, Signs};

/// How long a pair is remembered that no window shows.
const REMEMBERED: Period = Period::secs(24 * 3600);

/// What is remembered of a pair. Times are ends of windows; `EventTime::MIN` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    name: u128,
    /// Start of the first window that showed it.
    pub(crate) first_seen: EventTime,
    /// The last window that showed it.
    pub(crate) last_seen: EventTime,
    /// When each reporter (source, destination) last allowed it.
    pub(crate) allowed: [EventTime; 2],
    /// When each reporter last denied packets of it.
    pub(crate) denied: [EventTime; 2],
    /// When someone last saw a reply.
    pub(crate) replied: EventTime,
    /// When bytes last moved.
    pub(crate) moved: EventTime,
    /// Windows in a row in which requests stayed unanswered.
    pub(crate) silent_windows: u32,
    /// Kinds of findings that were once stated about it, as bits.
    stated: u64,
}

impl Pair {
    fn new(name: u128, now: EventTime) -> Self {
        let never = EventTime::MIN;
        Self {
            name,
            first_seen: now,
            last_seen: never,
            allowed: [never; 2],
            denied: [never; 2],
            replied: never,
            moved: never,
            silent_windows: 0,
            stated: 0,
        }
    }

    /// Kinds that were once stated about it, as bits.
    pub(super) const fn stated(&self) -> u64 {
        self.stated
    }

    pub(super) const fn state(&mut self, kinds: u64) {
        self.stated |= kinds;
    }

    /// Takes in what a window showed.
    pub(super) fn learn(&mut self, talk: &Conversation, signs: Signs, now: EventTime) {
        for half in &talk.halves {
            let side = usize::from(half.reporter == Reporter::Dst as i32);
            if half.action == Action::Allow as i32 {
                self.allowed[side] = now;
            } else if half.counters.packets_in + half.counters.packets_out > 0 {
                self.denied[side] = now;
            }
            if half.counters.packets_in + half.counters.packets_out > 0 {
                self.moved = now;
            }
        }
        if signs.has(Signs::REPLIED) {
            self.replied = now;
        }
        self.silent_windows = if signs.has(Signs::UNANSWERED) { self.silent_windows.saturating_add(1) } else { 0 };
        self.last_seen = now;
    }
}

/// All pairs of a stream, by dense numbers.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    index: HashMap<u128, u32>,
    pairs: Vec<Pair>,
    free: Vec<u32>,
}

impl Pairs {
    /// The number of a pair; it is remembered from now on. `None` where no more can be remembered.
    pub(super) fn number(
        &mut self,
        source: End<'_>,
        dest: End<'_>,
        key: &KeyRecord,
        now: EventTime,
        most: u32,
    ) -> Option<u32> {
        let name = name_of(source, dest, key);
        if let Some(&number) = self.index.get(&name) {
            return Some(number);
        }
        if self.index.len() >= most as usize {
            return None;
        }
        let number = self.free.pop().unwrap_or(self.pairs.len() as u32);
        let pair = Pair::new(name, now);
        match self.pairs.get_mut(number as usize) {
            Some(place) => *place = pair,
            None => self.pairs.push(pair),
        }
        self.index.insert(name, number);
        Some(number)
    }

    pub(super) fn get(&self, number: u32) -> &Pair {
        &self.pairs[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Pair {
        &mut self.pairs[number as usize]
    }

    /// Forgets what no window has shown for a day. Nobody may hold a number of what is forgotten: who holds one has
    /// seen the pair in the newest window.
    pub(super) fn age(&mut self, now: EventTime) {
        let horizon = now.plus(-REMEMBERED.micros());
        let (pairs, free) = (&self.pairs, &mut self.free);
        self.index.retain(|_, number| {
            let keep = pairs[*number as usize].last_seen >= horizon;
            if !keep {
                free.push(*number);
            }
            keep
        });
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Everything that is remembered, in the order of its names.
    pub(super) fn saved(&self) -> Vec<Pair> {
        let mut pairs: Vec<_> = self.index.values().map(|&number| self.pairs[number as usize]).collect();
        pairs.sort_unstable_by_key(|pair| pair.name);
        pairs
    }

    pub(super) fn restored(pairs: Vec<Pair>) -> Self {
        let index = pairs.iter().enumerate().map(|(number, pair)| (pair.name, number as u32)).collect();
        Self { index, pairs, free: Vec::new() }
    }
}

fn name_of(source: End<'_>, dest: End<'_>, key: &KeyRecord) -> u128 {
    let mut name = Vec::with_capacity(128);
    for text in [source.namespace().unwrap_or(""), source.name(), dest.namespace().unwrap_or(""), dest.name()] {
        name.extend_from_slice(text.as_bytes());
        name.push(0);
    }
    name.extend_from_slice(&key.key.dest_port.to_le_bytes());
    name.extend_from_slice(key.key.protocol.as_bytes());
    xxh3_128(&name)
}
