//! Raw identity bytes to dense ids, and ids to what was computed once for the key.
//!
//! Raw bytes are only a cache: two encodings of one key get two ids and meet again at close, where
//! rows are merged by canonical key.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use catchment_core::{EventTime, FlowKey, KeyRecord, Labels, PolicyHit, Trace};
use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_64_with_seed, xxh3_128_with_secret};

use crate::limits::KeyLimits;

/// A key with its labels: what one run of raw bytes stands for.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: Arc<KeyRecord>,
    pub(crate) source_labels: Arc<Labels>,
    pub(crate) dest_labels: Arc<Labels>,
}

/// What a hash is mixed with. Made once: with a bare seed every hash would make it anew.
type Secret = [u8; 192];

fn secret(seeds: [u64; 2]) -> Secret {
    let mut secret = [0; 192];
    for (i, word) in secret.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&xxh3_64_with_seed(&[i as u8], seeds[i % 2]).to_le_bytes());
    }
    secret
}

/// 128 bits of raw identity bytes under a secret of this process. One half finds, the other confirms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawHash {
    find: u64,
    confirm: u64,
}

struct Slot {
    hash: RawHash,
    /// `None` while the id is free.
    identity: Option<Identity>,
    last_window: EventTime,
}

/// Ids of the identities seen by one shard.
pub(crate) struct KeyTable {
    secret: Secret,
    index: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Ids in canonical order, but for `fresh`.
    ordered: Vec<u32>,
    /// Ids given out since the last [`KeyTable::in_order`].
    fresh: Vec<u32>,
    /// Length of the canonical form of all identities in use.
    canonical_bytes: usize,
    pub(crate) interner: Interner,
}

impl Default for KeyTable {
    fn default() -> Self {
        let random = RandomState::new();
        Self::with_seeds([random.hash_one(1), random.hash_one(2)])
    }
}

impl KeyTable {
    pub(crate) fn with_seeds(seeds: [u64; 2]) -> Self {
        Self {
            secret: secret(seeds),
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            ordered: Vec::new(),
            fresh: Vec::new(),
            canonical_bytes: 0,
            interner: Interner::default(),
        }
    }

    /// One past the largest id in use.
    pub(crate) fn ids(&self) -> usize {
        self.slots.len()
    }

    /// Identities in use.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A key has few label sets, so 64 bits tell those of one key apart.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8], labels: &[u8]) -> RawHash {
        let key = xxh3_128_with_secret(key, &self.secret);
        let labels = xxh3_64_with_secret(labels, &self.secret);
        RawHash { find: (key as u64) ^ labels, confirm: ((key >> 64) as u64).wrapping_add(labels) }
    }

    /// Whether another identity would be more than the limits let a window hold.
    pub(crate) fn is_full(&self, limits: KeyLimits) -> bool {
        self.len() >= limits.max_keys || self.canonical_bytes >= limits.max_bytes
    }

    /// Frees every id; none may be named by an open window.
    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.slots.clear();
        self.free.clear();
        self.ordered.clear();
        self.fresh.clear();
        self.canonical_bytes = 0;
        self.interner.forget_unused();
    }

    #[inline]
    pub(crate) fn find(&self, hash: RawHash) -> Option<u32> {
        self.index.find(hash.find, |&id| self.slots[id as usize].hash == hash).copied()
    }

    pub(crate) fn insert(&mut self, hash: RawHash, identity: Identity) -> u32 {
        self.canonical_bytes += identity.key.canonical.len();
        let slot = Slot { hash, identity: Some(identity), last_window: EventTime::MAX };
        let id = self.free.pop().unwrap_or(self.slots.len() as u32);
        if id as usize == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[id as usize] = slot;
        }
        let slots = &self.slots;
        self.index.insert_unique(hash.find, id, |&id| slots[id as usize].hash.find);
        self.fresh.push(id);
        id
    }

    pub(crate) fn identity(&self, id: u32) -> &Identity {
        self.slots[id as usize].identity.as_ref().expect("ids are freed only when no window can name them")
    }

    /// All ids in canonical order. Only keys first seen since the last call are sorted.
    pub(crate) fn in_order(&mut self) -> &[u32] {
        if !self.fresh.is_empty() {
            let mut fresh = std::mem::take(&mut self.fresh);
            fresh.sort_unstable_by(|&a, &b| self.canonical(a).cmp(self.canonical(b)));
            let old = std::mem::take(&mut self.ordered);
            self.ordered = self.merge(&old, &fresh);
        }
        &self.ordered
    }

    fn canonical(&self, id: u32) -> &[u8] {
        &self.identity(id).key.canonical
    }

    fn merge(&self, old: &[u32], fresh: &[u32]) -> Vec<u32> {
        let mut merged = Vec::with_capacity(old.len() + fresh.len());
        let mut old = old.iter().copied().peekable();
        for &id in fresh {
            while let Some(first) = old.next_if(|&first| self.canonical(first) <= self.canonical(id)) {
                merged.push(first);
            }
            merged.push(id);
        }
        merged.extend(old);
        merged
    }

    /// Remembers that `id` had a row in `window`.
    pub(crate) fn used_in(&mut self, id: u32, window: EventTime) {
        self.slots[id as usize].last_window = window;
    }

    /// Frees ids whose last row lies in a window before `window`. An id that has had no row yet is
    /// named by an open window and kept.
    pub(crate) fn evict_unused_since(&mut self, window: EventTime, is_open: impl Fn(u32) -> bool) {
        let old = |id: u32, slots: &[Slot]| slots[id as usize].last_window < window && !is_open(id);
        let gone: Vec<u32> = self.ordered.iter().copied().filter(|&id| old(id, &self.slots)).collect();
        if gone.is_empty() {
            return;
        }
        let leaving: HashSet<u32> = gone.iter().copied().collect();
        self.ordered.retain(|id| !leaving.contains(id));
        for id in gone {
            let slot = &mut self.slots[id as usize];
            self.canonical_bytes -= slot.identity.take().map_or(0, |identity| identity.key.canonical.len());
            if let Ok(entry) = self.index.find_entry(slot.hash.find, |&other| other == id) {
                entry.remove();
            }
            self.free.push(id);
        }
        self.interner.forget_unused();
    }
}

/// Shares what many keys have in common.
#[derive(Default)]
pub(crate) struct Interner {
    texts: HashSet<Arc<str>>,
    labels: HashSet<ByContent<Labels>>,
    traces: HashSet<ByContent<Trace>>,
    keys: HashSet<ByContent<KeyRecord>>,
}

/// What makes two shared values the same.
trait Content {
    type Of: ?Sized + Hash + Eq;
    fn content(&self) -> &Self::Of;
}

impl Content for Labels {
    type Of = [Box<str>];
    fn content(&self) -> &Self::Of {
        &self.items
    }
}

impl Content for Trace {
    type Of = [u8];
    fn content(&self) -> &Self::Of {
        &self.canonical
    }
}

impl Content for KeyRecord {
    type Of = [u8];
    fn content(&self) -> &Self::Of {
        &self.canonical
    }
}

/// A shared value, hashed and compared by its content, so that the content is not stored twice.
struct ByContent<T>(Arc<T>);

impl<T: Content> Hash for ByContent<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.content().hash(state);
    }
}

impl<T: Content> PartialEq for ByContent<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.content() == other.0.content()
    }
}

impl<T: Content> Eq for ByContent<T> {}

fn share<T: Content>(known: &mut HashSet<ByContent<T>>, value: T) -> Arc<T> {
    let value = ByContent(Arc::new(value));
    if let Some(known) = known.get(&value) {
        return known.0.clone();
    }
    let shared = value.0.clone();
    known.insert(value);
    shared
}

impl Interner {
    pub(crate) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }

    pub(crate) fn labels(&mut self, items: Vec<Box<str>>) -> Arc<Labels> {
        share(&mut self.labels, Labels::new(items))
    }

    pub(crate) fn trace(&mut self, enforced: Vec<PolicyHit>, pending: Vec<PolicyHit>) -> Arc<Trace> {
        share(&mut self.traces, Trace::new(enforced, pending))
    }

    pub(crate) fn key(&mut self, key: FlowKey, has_connections: bool) -> Arc<KeyRecord> {
        share(&mut self.keys, KeyRecord::new(key, has_connections))
    }

    /// Keys first: they hold the traces and texts.
    fn forget_unused(&mut self) {
        self.keys.retain(|key| Arc::strong_count(&key.0) > 1);
        self.labels.retain(|labels| Arc::strong_count(&labels.0) > 1);
        self.traces.retain(|trace| Arc::strong_count(&trace.0) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }
}
