//! Answers that are kept with what they were derived from.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use catchment_core::EventTime;

use super::knowledge::Handle;

/// Answers to questions of one kind. An answer is made when it is asked for, and again once something it was derived
/// from has changed.
#[derive(Debug)]
pub(super) struct Cache<Q, A> {
    ids: HashMap<Q, u32>,
    slots: Vec<Option<Slot<Q, A>>>,
    free: Vec<u32>,
    dependents: HashMap<Handle, HashSet<u32>>,
    /// Answers made.
    pub(super) made: u64,
    /// Answers that a change made worthless.
    pub(super) invalidated: u64,
}

#[derive(Debug)]
struct Slot<Q, A> {
    question: Q,
    /// `None` when it must be made anew.
    answer: Option<Arc<A>>,
    from: Box<[Handle]>,
    last_used: EventTime,
}

impl<Q, A> Default for Cache<Q, A> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            dependents: HashMap::new(),
            made: 0,
            invalidated: 0,
        }
    }
}

impl<Q: Clone + Eq + Hash, A> Cache<Q, A> {
    /// The number of a question; it stays while the question is asked.
    pub(super) fn id(&mut self, question: &Q) -> u32 {
        if let Some(&id) = self.ids.get(question) {
            return id;
        }
        let slot = Slot { question: question.clone(), answer: None, from: [].into(), last_used: EventTime::MIN };
        let id = self.free.pop().unwrap_or(self.slots.len() as u32);
        if id as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[id as usize] = Some(slot);
        self.ids.insert(question.clone(), id);
        id
    }

    /// The answer, made by `make` where none is kept; it adds what it looked at to the list it is given.
    pub(super) fn answer(
        &mut self,
        id: u32,
        window: EventTime,
        make: impl FnOnce(&Q, &mut Vec<Handle>) -> A,
    ) -> &Arc<A> {
        let slot = self.slots[id as usize].as_mut().expect("numbers are given back only when nobody asks any more");
        slot.last_used = window;
        let (count, dependents) = (&mut self.made, &mut self.dependents);
        slot.answer.get_or_insert_with(|| {
            *count += 1;
            let mut from = Vec::new();
            let answer = make(&slot.question, &mut from);
            from.sort_unstable();
            from.dedup();
            for handle in &from {
                dependents.entry(handle.clone()).or_default().insert(id);
            }
            slot.from = from.into();
            Arc::new(answer)
        })
    }

    /// What is found under `handle` has changed.
    pub(super) fn touch(&mut self, handle: &Handle) {
        for id in self.dependents.get(handle).cloned().unwrap_or_default() {
            self.invalidated += 1;
            self.discard(id);
        }
    }

    fn discard(&mut self, id: u32) {
        let Some(slot) = &mut self.slots[id as usize] else { return };
        slot.answer = None;
        for handle in std::mem::take(&mut slot.from) {
            let dependents = self.dependents.get_mut(&handle).expect("every answer is noted under its handles");
            dependents.remove(&id);
            if dependents.is_empty() {
                self.dependents.remove(&handle);
            }
        }
    }

    /// Gives back the numbers of questions that were last asked before `window`.
    pub(super) fn forget_unused_since(&mut self, window: EventTime) {
        let old = |slot: &Slot<Q, A>| slot.last_used < window;
        let gone: Vec<_> = (0..).zip(&self.slots).filter(|(_, slot)| slot.as_ref().is_some_and(old)).collect();
        let gone: Vec<u32> = gone.into_iter().map(|(id, _)| id).collect();
        for id in gone {
            self.discard(id);
            if let Some(slot) = self.slots[id as usize].take() {
                self.ids.remove(&slot.question);
            }
            self.free.push(id);
        }
    }

    /// Questions that have a number.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
