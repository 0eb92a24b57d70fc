//! Deliberately broken variants: each breaks one rule, and the model must notice.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// A crash leaves the first entries of an append that was never whole.
    TornAppendKept,
    /// Flows and the progress behind them are appended one after the other.
    ProgressApart,
    /// Readers see entries that are written and not yet synced.
    ReadBeforeSync,
    /// A later look logs the whole answer again instead of the difference.
    LookLoggedWhole,
    /// What the collector forgot is passed over without a gap.
    ForgottenUnsaid,
    /// A later look that can no longer be compared is dropped without a gap.
    LossSettledSilently,
    /// After a restart nothing is kept for sources to look back on.
    LookBackForgotten,
    /// The log is cut behind the newest progress, so that a start does not know where to go on.
    NewestMarkDropped,
    /// A full log keeps what only a source looks back on, and waits for ever.
    LookBackFillsTheLog,
    /// The log is cut behind the fastest sink.
    SlowSinkIgnored,
    /// The log is cut behind epochs that a sink has gathered and not written.
    GatheredCountsAsWritten,
    /// The floor of an epoch is the position after it.
    FloorIsCommitted,
    /// Every epoch of a multi-window mark carries the floor of the last one.
    LastFloorForEveryPart,
    /// The floor leaves out the window before the open ones.
    WindowBeforeNotKept,
    /// The watermark starts from nothing at the floor.
    WatermarkNotRestored,
    /// The watermark is noted after the close: a floor right behind a mark gets the one before it.
    WatermarkBehindFloor,
    /// A worker judges lateness by the watermark of the moment it gets to the record.
    LatenessByWorkersTime,
    /// Side rows read again go to the first epoch that is published again.
    SideRowsCarriedOver,
    /// A cursor goes on in whatever log is there.
    AnyLogTaken,
    /// Epochs before the committed one are suppressed, the committed one is not.
    SuppressBelow,
    /// The Kafka cursor is read before others are fenced.
    CursorReadBeforeFence,
    /// The Kafka cursor is committed in a transaction of its own, before the rows.
    CursorBeforeRows,
    /// Every process has a transactional id of its own.
    TransactionalIdPerProcess,
    /// A commit without an answer is tried again without asking what stands.
    UnknownCommitRepeated,
    /// Chunks that stand from a run before are sent again.
    PartialIgnored,
    /// A group of the object store ends with a later window only, never while a cluster is idle.
    IdleSlotNeverEnds,
    /// The cursor object moves before the objects are written.
    SwapBeforePut,
    /// Objects that are already there are replaced.
    PutReplaces,
    /// The cursor object is put without comparing.
    SwapUnconditional,
}

impl Flaw {
    /// What the pipeline itself does not keep yet; an entry goes when its mend comes.
    pub const OPEN: &[Self] = &[];

    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::TornAppendKept,
        Self::ProgressApart,
        Self::ReadBeforeSync,
        Self::LookLoggedWhole,
        Self::ForgottenUnsaid,
        Self::LossSettledSilently,
        Self::LookBackForgotten,
        Self::NewestMarkDropped,
        Self::LookBackFillsTheLog,
        Self::SlowSinkIgnored,
        Self::GatheredCountsAsWritten,
        Self::FloorIsCommitted,
        Self::LastFloorForEveryPart,
        Self::WindowBeforeNotKept,
        Self::WatermarkNotRestored,
        Self::WatermarkBehindFloor,
        Self::LatenessByWorkersTime,
        Self::SideRowsCarriedOver,
        Self::AnyLogTaken,
        Self::SuppressBelow,
        Self::CursorReadBeforeFence,
        Self::CursorBeforeRows,
        Self::TransactionalIdPerProcess,
        Self::UnknownCommitRepeated,
        Self::PartialIgnored,
        Self::IdleSlotNeverEnds,
        Self::SwapBeforePut,
        Self::PutReplaces,
        Self::SwapUnconditional,
    ];
}

/// What is broken in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws(pub &'static [Flaw]);

impl Flaws {
    /// Nothing is broken.
    pub const NONE: Self = Self(&[]);

    /// Whether this rule is broken.
    pub fn has(self, flaw: Flaw) -> bool {
        self.0.contains(&flaw)
    }
}
