//! A Kafka as one transactional producer sees it: fencing, one open transaction, committed rows.

use std::collections::BTreeMap;

use crate::entry::{Cursor, EpochId, Row};

/// Who writes: the transactional id, and how often it had been taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    id: usize,
    epoch: u32,
    /// The process behind it, for the judge.
    pub process: usize,
}

/// The value of the cursor record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CursorRecord {
    /// The last epoch that stands as a whole.
    pub cursor: Option<Cursor>,
    /// The epoch after it, and how many of its chunks stand.
    pub partial: Option<(EpochId, usize)>,
}

/// What is written and not committed.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Rows with the epoch they belong to.
    pub rows: Vec<(EpochId, Row)>,
    /// Where the cursor stands with them.
    pub cursor: CursorRecord,
}

/// Somebody took the transactional id over.
#[derive(Clone, Copy, Debug)]
pub struct Fenced;

#[derive(Clone, Debug, Default)]
struct Id {
    epoch: u32,
    open: Option<Transaction>,
}

/// All brokers as one.
#[derive(Clone, Debug, Default)]
pub struct Broker {
    ids: BTreeMap<usize, Id>,
    /// What readers of committed records see, in order.
    pub rows: Vec<(EpochId, Row)>,
    /// The newest committed cursor.
    pub cursor: CursorRecord,
    /// Who committed last, and who took the stream over last.
    pub last: Option<(Producer, usize)>,
    /// Commits on their way.
    pub in_flight: Vec<Producer>,
    taken_by: usize,
}

impl Broker {
    /// Takes a transactional id over: aborts what is open, and fences who held it.
    pub fn init(&mut self, id: usize, process: usize) -> Producer {
        let state = self.ids.entry(id).or_default();
        state.epoch += 1;
        state.open = None;
        self.taken_by = process;
        Producer { id, epoch: state.epoch, process }
    }

    /// Writes into the open transaction, which begins with it.
    pub fn send(&mut self, producer: &Producer, transaction: Transaction) -> Result<(), Fenced> {
        self.state(producer)?.open = Some(transaction);
        Ok(())
    }

    /// Makes everything in the open transaction visible at once.
    pub fn commit(&mut self, producer: &Producer) -> Result<(), Fenced> {
        let transaction = self.state(producer)?.open.take().ok_or(Fenced)?;
        self.rows.extend(transaction.rows);
        self.cursor = transaction.cursor;
        self.last = Some((*producer, self.taken_by));
        Ok(())
    }

    /// Gives up what is open, as far as that is possible.
    pub fn abort(&mut self, producer: &Producer) {
        if let Ok(state) = self.state(producer) {
            state.open = None;
        }
    }

    /// Whether a transaction is open.
    pub fn is_open(&self) -> bool {
        self.ids.values().any(|id| id.open.is_some())
    }

    /// A transaction has stood open for too long: it is aborted, and its producer fenced.
    pub fn time_out(&mut self) {
        for id in self.ids.values_mut().filter(|id| id.open.is_some()) {
            id.open = None;
            id.epoch += 1;
        }
    }

    fn state(&mut self, producer: &Producer) -> Result<&mut Id, Fenced> {
        self.ids.get_mut(&producer.id).filter(|id| id.epoch == producer.epoch).ok_or(Fenced)
    }
}
