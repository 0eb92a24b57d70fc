//! What is remembered of pairs (source and destination workload, port and protocol) and of peers (who is asked, whoever
//! asks).

use std::collections::HashMap;

use catchment_core::{Conversation, Counters, EventTime, FindingKind, KeyRecord, LateRow, Period, Span};
use catchment_schemas::goldmane::{Action, Reporter};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::facts::{End, Signs, has_reply};
use super::view::View;

/// How long is remembered what no window shows.
const REMEMBERED: Period = Period::secs(24 * 3600);

/// Signs of which it is counted in how many windows in a row they show.
const COUNTED: [Signs; 6] =
    [Signs::UNANSWERED, Signs::UNESTABLISHED, Signs::REPLY_LOST, Signs::SOURCE_ALONE, Signs::UNSERVED, Signs::TRICKLE];

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
    /// When each reporter last saw connections begin.
    pub(crate) began: [EventTime; 2],
    /// When someone last saw a reply.
    pub(crate) replied: EventTime,
    /// When bytes last moved.
    pub(crate) moved: EventTime,
    /// Windows that start before it may not show all of the pair: rows of it have come late.
    whole_from: EventTime,
    /// By [`COUNTED`], windows in a row that showed the sign.
    streaks: [u16; COUNTED.len()],
    /// Kinds of findings that were once stated about it, as bits.
    stated: u64,
}

impl Pair {
    /// Kinds that were once stated about it, as bits.
    pub(super) const fn stated(&self) -> u64 {
        self.stated
    }

    pub(super) const fn state(&mut self, kinds: u64) {
        self.stated |= kinds;
    }

    /// What tells it from others.
    pub(crate) const fn name(&self) -> u128 {
        self.name
    }

    /// Whether a finding of this kind was once stated about it.
    pub(crate) const fn was_stated(&self, kind: FindingKind) -> bool {
        self.stated & 1 << kind as u8 != 0
    }

    /// In how many whole windows in a row it has shown the sign, of those that showed packets of it.
    pub(crate) fn windows_of(&self, sign: Signs) -> u32 {
        let place = COUNTED.iter().position(|counted| *counted == sign);
        u32::from(self.streaks[place.expect("only signs that are counted are asked for")])
    }

    /// Whether a reporter denied packets of it in the window that ended at `moment` or after it.
    pub(crate) fn was_denied_since(&self, moment: EventTime) -> bool {
        self.denied.iter().any(|denied| *denied >= moment)
    }

    /// Since when no byte has moved, as far as it was watched.
    pub(crate) fn idle_since(&self) -> EventTime {
        self.moved.max(self.first_seen)
    }

    /// Since when no connection has begun, as far as it was watched: those that live are at least as old.
    pub(crate) fn settled_since(&self) -> EventTime {
        self.began[0].max(self.began[1]).max(self.first_seen)
    }

    /// Takes in what a window showed.
    pub(super) fn learn(&mut self, talk: &Conversation, signs: Signs, view: &View<'_>) {
        let now = view.window.end;
        for half in &talk.halves {
            self.note(half.reporter, half.action, &half.counters, now);
        }
        if signs.has(Signs::REPLIED) {
            self.replied = now;
        }
        let whole = view.is_whole() && self.is_whole_in(view.window);
        self.count(signs, whole && self.moved == now, whole && self.last_seen != now);
        self.last_seen = now;
    }

    /// What a reporter counted under a verdict in the window that ends at `end`.
    fn note(&mut self, reporter: i32, action: i32, counters: &Counters, end: EventTime) {
        let side = usize::from(reporter == Reporter::Dst as i32);
        let moved = counters.packets_in | counters.packets_out > 0;
        let latest = |time: &mut EventTime| *time = end.max(*time);
        if action == Action::Allow as i32 {
            latest(&mut self.allowed[side]);
        } else if moved {
            latest(&mut self.denied[side]);
        }
        if moved {
            latest(&mut self.moved);
        }
        if counters.started > 0 {
            latest(&mut self.began[side]);
        }
    }

    /// Takes in a row that came after its window had closed. The window did not show all of the pair: where it was counted
    /// among windows in a row, it is taken back, and a sign that the row refutes has to begin anew. Windows that start
    /// before `whole_from` may lack as much.
    pub(super) fn amend(&mut self, late: &LateRow, takes_back: bool, whole_from: EventTime) {
        let (row, end) = (&late.flow, late.window.end);
        self.note(row.key.key.reporter, row.key.key.action, &row.counters, end);
        if has_reply(row) {
            self.replied = end.max(self.replied);
        }
        self.whole_from = whole_from.max(self.whole_from);
        for (windows, sign) in self.streaks.iter_mut().zip(COUNTED) {
            *windows = if sign.is_refuted_by(row) { 0 } else { windows.saturating_sub(u16::from(takes_back)) };
        }
    }

    /// Whether a window shows all of the pair, as far as is known from what came late.
    pub(crate) fn is_whole_in(&self, window: Span) -> bool {
        window.start >= self.whole_from
    }

    /// A window with a hole breaks no row and lengthens none, one without a packet breaks none; of two conversations in
    /// one window, as during a rollout, both must show the sign.
    fn count(&mut self, signs: Signs, breaks: bool, lengthens: bool) {
        for (windows, sign) in self.streaks.iter_mut().zip(COUNTED) {
            match signs.has(sign) {
                true if lengthens => *windows = windows.saturating_add(1),
                false if breaks => *windows = 0,
                _ => {}
            }
        }
    }
}

/// What is remembered of a destination and a port, whoever asks. Times are ends of windows; `EventTime::MIN` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    name: u128,
    last_seen: EventTime,
    /// When it last answered somebody.
    pub(crate) replied: EventTime,
    /// When its side last saw requests from a private network or a host, which pods may hide behind.
    pub(crate) reached_from_hosts: EventTime,
}

impl Peer {
    pub(super) fn learn(&mut self, signs: Signs, now: EventTime, from_hosts: bool) {
        self.last_seen = now;
        if signs.has(Signs::REPLIED) {
            self.replied = now;
        }
        if from_hosts {
            self.reached_from_hosts = now;
        }
    }

    /// Takes in a row that came after its window had closed.
    pub(super) fn amend(&mut self, late: &LateRow, from_hosts: bool) {
        if has_reply(&late.flow) {
            self.replied = late.window.end.max(self.replied);
        }
        if from_hosts {
            self.reached_from_hosts = late.window.end.max(self.reached_from_hosts);
        }
    }
}

/// Something that is remembered by its name.
pub(super) trait Named: Copy {
    /// Knows nothing but its name and when it was first seen.
    fn new(name: u128, now: EventTime) -> Self;
    fn name(&self) -> u128;
    fn last_seen(&self) -> EventTime;
}

impl Named for Pair {
    fn new(name: u128, now: EventTime) -> Self {
        let never = EventTime::MIN;
        Self {
            name,
            first_seen: now,
            last_seen: never,
            allowed: [never; 2],
            denied: [never; 2],
            began: [never; 2],
            replied: never,
            moved: never,
            whole_from: never,
            streaks: [0; COUNTED.len()],
            stated: 0,
        }
    }

    fn name(&self) -> u128 {
        self.name
    }

    fn last_seen(&self) -> EventTime {
        self.last_seen
    }
}

impl Named for Peer {
    fn new(name: u128, _: EventTime) -> Self {
        let never = EventTime::MIN;
        Self { name, last_seen: never, replied: never, reached_from_hosts: never }
    }

    fn name(&self) -> u128 {
        self.name
    }

    fn last_seen(&self) -> EventTime {
        self.last_seen
    }
}

/// All that is remembered of one sort, by dense numbers.
#[derive(Debug)]
pub(super) struct Table<T> {
    index: HashMap<u128, u32>,
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { index: HashMap::new(), items: Vec::new(), free: Vec::new() }
    }
}

impl<T: Named> Table<T> {
    /// The number of a name; it is remembered from now on. `None` where no more than `most` can be remembered.
    pub(super) fn number(&mut self, name: u128, now: EventTime, most: u32) -> Option<u32> {
        if let Some(&number) = self.index.get(&name) {
            return Some(number);
        }
        if self.index.len() >= most as usize {
            return None;
        }
        let number = self.free.pop().unwrap_or(self.items.len() as u32);
        let item = T::new(name, now);
        match self.items.get_mut(number as usize) {
            Some(place) => *place = item,
            None => self.items.push(item),
        }
        self.index.insert(name, number);
        Some(number)
    }

    /// What is remembered under a name.
    pub(super) fn find(&mut self, name: u128) -> Option<&mut T> {
        self.index.get(&name).map(|&number| &mut self.items[number as usize])
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.items[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.items[number as usize]
    }

    /// Forgets what no window has shown for a day. Nobody may hold a number of what is forgotten: who holds one has
    /// seen it in the newest window.
    pub(super) fn age(&mut self, now: EventTime) {
        let horizon = now.plus(-REMEMBERED.micros());
        let (items, free) = (&self.items, &mut self.free);
        self.index.retain(|_, number| {
            let keep = items[*number as usize].last_seen() >= horizon;
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
    pub(super) fn saved(&self) -> Vec<T> {
        let mut items: Vec<_> = self.index.values().map(|&number| self.items[number as usize]).collect();
        items.sort_unstable_by_key(Named::name);
        items
    }

    pub(super) fn restored(items: Vec<T>) -> Self {
        let index = items.iter().enumerate().map(|(number, item)| (item.name(), number as u32)).collect();
        Self { index, items, free: Vec::new() }
    }
}

/// The names of a pair and of its destination.
pub(super) fn names_of(source: End<'_>, dest: End<'_>, key: &KeyRecord) -> [u128; 2] {
    let mut name = Vec::with_capacity(128);
    for text in [dest.namespace().unwrap_or(""), dest.name()] {
        name.extend_from_slice(text.as_bytes());
        name.push(0);
    }
    name.extend_from_slice(&key.key.dest_port.to_le_bytes());
    name.extend_from_slice(key.key.protocol.as_bytes());
    let peer = xxh3_128(&name);
    for text in [source.namespace().unwrap_or(""), source.name()] {
        name.push(0);
        name.extend_from_slice(text.as_bytes());
    }
    [xxh3_128(&name), peer]
}
