//! Who talked: the join of closed windows with what is known about the cluster.
//!
//! The identity of an end is a function of its name, the labels of the row and the window, over the versions of objects
//! that were valid then ([`Timeline`]), up to [`FORESIGHT`] behind its end. It is looked up once per end and kept with everything it was derived from; a change
//! of an object makes worthless only what was derived from it. Rows are in canonical order, so most are found again next
//! to their place in the window before, without a look-up.

mod address;
mod cache;
mod knowledge;
mod look;
mod resolve;
mod served;
mod timeline;

use std::collections::HashMap;
use std::sync::Arc;

use catchment_core::{
    ClosedWindow, Conversation, Endpoint, Ends, EventTime, FlowRow, Identity, KeyRecord, Labels, LateRow, Services,
    Span, Who,
};

use cache::Cache;
pub use knowledge::FORESIGHT;
pub(crate) use knowledge::SERVICE_NAME;
use knowledge::{Handle, Knowledge, REMEMBERED};
use look::Look;
pub use resolve::LabelKeys;
use resolve::{End, who};
use served::{Destination, served};
pub use timeline::{Blind, Timeline};

/// What rows are enriched with.
#[derive(Clone, Debug)]
pub struct Enrichment {
    /// What the cluster told.
    pub timeline: Timeline,
    /// Whether windows wait for marks of the knowledge in the log; a complete timeline needs none.
    pub marked: bool,
    /// Where environment and owner stand.
    pub labels: LabelKeys,
}

/// Windows an identity may be unused before it is given up.
const KEEP_UNUSED_WINDOWS: i64 = 10;

/// The question of one end with the labels that narrow it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LabelledEnd {
    end: End,
    labels: Arc<Labels>,
}

impl std::hash::Hash for LabelledEnd {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.end.hash(state);
        self.labels.json.hash(state);
    }
}

/// Who stands at an end: as its labels narrow it, and by its name alone.
#[derive(Clone, Debug)]
struct Found {
    identity: Arc<Identity>,
    by_name: Arc<Identity>,
}

/// Where the answers for a row are kept.
#[derive(Clone, Copy, Debug)]
struct Place {
    source: u32,
    dest: u32,
    services: u32,
}

/// A row of the window before, to be met again.
#[derive(Debug)]
struct Seat {
    key: Arc<KeyRecord>,
    labels: [Arc<Labels>; 2],
    place: Place,
}

/// What enriching has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Answers derived from the knowledge.
    pub derived: u64,
    /// Answers that changes made worthless.
    pub invalidated: u64,
    /// Answers kept now.
    pub kept: usize,
}

/// Enriches the windows of one stream, in the order they close.
#[derive(Debug)]
pub struct Enricher {
    knowledge: Knowledge,
    keys: LabelKeys,
    ends: Cache<LabelledEnd, Found>,
    services: Cache<Destination, Services>,
    identities: HashMap<Who, Arc<Identity>>,
    seats: Vec<Seat>,
    window: EventTime,
}

impl Enricher {
    /// Knows nothing yet.
    pub fn new(enrichment: &Enrichment) -> Self {
        Self {
            knowledge: Knowledge::new(enrichment.timeline.clone()),
            keys: enrichment.labels.clone(),
            ends: Cache::default(),
            services: Cache::default(),
            identities: HashMap::new(),
            seats: Vec::new(),
            window: EventTime::MIN,
        }
    }

    /// Moves on to `window`, which does not lie before the last one.
    fn advance(&mut self, window: Span) {
        for handle in self.knowledge.advance(window) {
            self.ends.touch(&handle);
            self.services.touch(&handle);
        }
        self.window = window.start;
    }

    /// Gives up what has not been used for a while. What a seat points at was used in the newest window.
    fn forget(&mut self, window: Span) {
        let horizon = window.start.plus(-KEEP_UNUSED_WINDOWS * window.micros());
        self.ends.forget_unused_since(horizon);
        self.services.forget_unused_since(horizon);
        self.identities.retain(|_, identity| Arc::strong_count(identity) > 1);
    }

    /// Says who talked in every row of a window; the next one lies behind it.
    pub fn enrich(&mut self, window: &mut ClosedWindow) {
        self.advance(window.span);
        window.identity = Some(self.knowledge.timeline().state(window.span));
        let before = std::mem::take(&mut self.seats);
        let mut before = before.into_iter().peekable();
        let mut seats = Vec::with_capacity(window.flows.len());
        for row in &mut window.flows {
            let seat = met_again(&mut before, row).unwrap_or_else(|| self.seat(row));
            self.fill(row, seat.place, window.span);
            seats.push(seat);
        }
        self.seats = seats;
        self.fill_conversations(&window.flows, &mut window.conversations, window.span);
        self.forget(window.span);
    }

    fn seat(&mut self, row: &FlowRow) -> Seat {
        let key = &row.key.key;
        let place = Place {
            source: self.ends.id(&labelled(&key.source, &row.source_labels)),
            dest: self.ends.id(&labelled(&key.dest, &row.dest_labels)),
            services: self.services.id(&destination(&row.key)),
        };
        Seat { key: row.key.clone(), labels: [row.source_labels.clone(), row.dest_labels.clone()], place }
    }

    fn fill(&mut self, row: &mut FlowRow, place: Place, window: Span) {
        let [source, dest] = [place.source, place.dest].map(|id| self.found(id, window).identity.clone());
        row.ends = Some(Ends { source, dest });
        let knowledge = &self.knowledge;
        let make =
            |of: &Destination, seen: &mut Vec<Handle>| Services::new(served(&Look::new(knowledge, window, seen), of));
        row.services = Some(self.services.answer(place.services, window.start, make).clone());
    }

    fn found(&mut self, id: u32, window: Span) -> &Found {
        let (knowledge, keys, identities) = (&self.knowledge, &self.keys, &mut self.identities);
        self.ends.answer(id, window.start, |question, seen| {
            let look = Look::new(knowledge, window, seen);
            let mut share =
                |who: Who| identities.entry(who.clone()).or_insert_with(|| Arc::new(Identity::new(who))).clone();
            Found {
                identity: share(who(&look, keys, &question.end, Some(&question.labels))),
                by_name: share(who(&look, keys, &question.end, None)),
            }
        })
    }

    /// The rows of a conversation may carry different labels, so its ends go by their names.
    fn fill_conversations(&mut self, flows: &[FlowRow], conversations: &mut [Conversation], window: Span) {
        let mut at = 0;
        for conversation in conversations {
            while !Arc::ptr_eq(&flows[at].key, &conversation.key) {
                at += 1;
            }
            let Place { source, dest, .. } = self.seats[at].place;
            let [source, dest] = [source, dest].map(|id| self.found(id, window).by_name.clone());
            conversation.ends = Some(Ends { source, dest });
        }
    }

    /// Says who talked in rows that came after their windows had closed, as it was known for those windows. `watermark`
    /// is that of the close; rows that lie longer before it than names are remembered stay unknown.
    pub fn enrich_late(&mut self, rows: &mut [LateRow], watermark: EventTime) {
        let horizon = watermark.plus(-REMEMBERED);
        if let Some(newest) = rows.iter().map(|row| row.window).max().filter(|newest| newest.start > self.window) {
            self.advance(newest);
        }
        for row in rows.iter_mut().filter(|row| row.window.start >= horizon) {
            row.identity = Some(self.knowledge.timeline().state(row.window));
            let key = row.flow.key.clone();
            let mut unnoted = Vec::new();
            let look = Look::new(&self.knowledge, row.window, &mut unnoted);
            let end = |end: &Endpoint, labels: &Labels| {
                Arc::new(Identity::new(who(&look, &self.keys, &asked(end), Some(labels))))
            };
            let source = end(&key.key.source, &row.flow.source_labels);
            let dest = end(&key.key.dest, &row.flow.dest_labels);
            row.flow.ends = Some(Ends { source, dest });
            row.flow.services = Some(Arc::new(Services::new(served(&look, &destination(&key)))));
        }
    }

    /// What it has cost so far.
    pub fn effort(&self) -> Effort {
        Effort {
            derived: self.ends.made + self.services.made,
            invalidated: self.ends.invalidated + self.services.invalidated,
            kept: self.ends.len() + self.services.len(),
        }
    }
}

/// The seat of the same row in the window before. Both windows are in canonical order.
fn met_again(before: &mut std::iter::Peekable<std::vec::IntoIter<Seat>>, row: &FlowRow) -> Option<Seat> {
    let is_same = |seat: &Seat| Arc::ptr_eq(&seat.key, &row.key);
    while before.peek().is_some_and(|seat| !is_same(seat) && seat.key.canonical < row.key.canonical) {
        before.next();
    }
    let seat = before.next_if(is_same)?;
    let [source, dest] = &seat.labels;
    let same_labels = Arc::ptr_eq(source, &row.source_labels) && Arc::ptr_eq(dest, &row.dest_labels);
    same_labels.then_some(seat)
}

fn asked(end: &Endpoint) -> End {
    End { namespace: end.namespace.clone(), name: end.raw_name.clone(), kind: end.kind }
}

fn labelled(end: &Endpoint, labels: &Arc<Labels>) -> LabelledEnd {
    LabelledEnd { end: asked(end), labels: labels.clone() }
}

fn destination(key: &KeyRecord) -> Destination {
    let key = &key.key;
    Destination {
        end: asked(&key.dest),
        port: key.dest_port,
        protocol: key.protocol.clone(),
        service: key.service.clone(),
    }
}
