//! Which faults and branches the schedules really met.

use std::collections::BTreeMap;

/// Something a schedule may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// The collector forgot buckets that were never read.
    CollectorForgot,
    /// A restart of the collector was noticed at a first read.
    CollectorRestartDoubted,
    /// A later look showed less than was logged.
    CollectorShrank,
    /// A later look showed more than was logged.
    Correction,
    /// A later look met a log that no longer holds what it differs from.
    LookIncomparable,
    /// A bucket expired between the question and the answer.
    ExpiredWhileReading,
    /// A full log gave up what only a source looks back on.
    LookBackYielded,
    /// A source waited for a full log.
    LogFull,
    /// The log dropped a segment.
    LogCut,
    /// A crash left some entries of an append.
    TornAppend,
    /// A crash left a whole append that nobody was told of.
    UnansweredAppend,
    /// A row came after its window had closed.
    LateRow,
    /// A window closed that was not fully read.
    UncoveredWindow,
    /// One mark closed several windows.
    MultiWindowClose,
    /// An epoch closed no window.
    EpochWithoutWindow,
    /// A line went on between two windows of one mark.
    ResumeInsideMark,
    /// The log was lost, and an empty one stood in its place.
    LogLost,
    /// A line refused a log that its cursor is not of.
    OtherLogRefused,
    /// A process died.
    Crash,
    /// A process died while a transaction was open.
    CrashInOpenTransaction,
    /// A process took over from one that stood still.
    TakeOver,
    /// A process that had been taken over from went on.
    ZombieResumed,
    /// A commit was applied and its answer lost.
    CommitAppliedUnanswered,
    /// A commit was refused before it was applied.
    CommitNotApplied,
    /// A commit arrived late and was applied.
    LateCommitApplied,
    /// A commit arrived late and was fenced.
    LateCommitFenced,
    /// A zombie tried to commit.
    ZombieCommitFenced,
    /// The broker aborted a transaction that stood open for too long.
    TransactionTimedOut,
    /// A line went on behind chunks that stood.
    PartialResume,
    /// A zombie lost the swap of the cursor object.
    SwapLost,
    /// A refused swap was found to be our own.
    SwapOwnAnswerLost,
    /// An object was there already, with the same rows.
    ObjectThereEqual,
    /// A put arrived after its writer had given up, and made the object.
    LatePutApplied,
    /// A put arrived after its writer had given up, and the object was there.
    LatePutRefused,
    /// A swap arrived after its writer had given up.
    LateSwap,
    /// A group was written in more than one object of a dataset.
    SplitGroup,
}

impl Reached {
    /// All of it.
    pub const ALL: [Self; 36] = [
        Self::CollectorForgot,
        Self::CollectorRestartDoubted,
        Self::CollectorShrank,
        Self::Correction,
        Self::LookIncomparable,
        Self::ExpiredWhileReading,
        Self::LookBackYielded,
        Self::LogFull,
        Self::LogCut,
        Self::TornAppend,
        Self::UnansweredAppend,
        Self::LateRow,
        Self::UncoveredWindow,
        Self::MultiWindowClose,
        Self::EpochWithoutWindow,
        Self::ResumeInsideMark,
        Self::LogLost,
        Self::OtherLogRefused,
        Self::Crash,
        Self::CrashInOpenTransaction,
        Self::TakeOver,
        Self::ZombieResumed,
        Self::CommitAppliedUnanswered,
        Self::CommitNotApplied,
        Self::LateCommitApplied,
        Self::LateCommitFenced,
        Self::ZombieCommitFenced,
        Self::TransactionTimedOut,
        Self::PartialResume,
        Self::SwapLost,
        Self::SwapOwnAnswerLost,
        Self::ObjectThereEqual,
        Self::LatePutApplied,
        Self::LatePutRefused,
        Self::LateSwap,
        Self::SplitGroup,
    ];
}

/// How often each was met.
#[derive(Clone, Debug, Default)]
pub struct Coverage(pub BTreeMap<Reached, u64>);

impl Coverage {
    /// It was met.
    pub fn note(&mut self, what: Reached) {
        *self.0.entry(what).or_default() += 1;
    }

    /// It was met, if so.
    pub fn note_if(&mut self, met: bool, what: Reached) {
        if met {
            self.note(what);
        }
    }

    /// Adds another schedule's.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(*what).or_default() += times;
        }
    }
}
