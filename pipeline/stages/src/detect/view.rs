//! What a window is judged by besides its rows.

use catchment_core::{ClosedWindow, Conversation, EventTime, FlowRow, IdentityState, Period, Span};

use super::config::Settings;
use crate::cluster::ClusterState;

/// A window and what is known at its end.
pub(crate) struct View<'a> {
    pub(crate) window: Span,
    /// Its rows, for the few questions about all of them: never in order to ask one per row.
    pub(crate) flows: &'a [FlowRow],
    /// Share of it that the source could read.
    pub(crate) coverage: f64,
    /// How far identities can be trusted.
    pub(crate) identity: Option<IdentityState>,
    /// Its conversations, in canonical order: for rules that look at all of them where something is wrong.
    pub(crate) talks: &'a [Conversation],
    pub(crate) settings: &'a Settings,
    /// The cluster at the window's end; `None` where nobody looks at it.
    pub(crate) state: Option<&'a ClusterState>,
    /// Policies or services are others than those the window before was judged by.
    pub(crate) judged_anew: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(window: &'a ClosedWindow, settings: &'a Settings, state: Option<&'a ClusterState>) -> Self {
        Self {
            window: window.span,
            coverage: window.coverage,
            identity: window.identity,
            flows: &window.flows,
            talks: &window.conversations,
            settings,
            state,
            judged_anew: false,
        }
    }

    /// The start of the period in which the window begins.
    pub(crate) const fn start_of(&self, period: Period) -> EventTime {
        self.window.start.align(period.micros())
    }

    /// The end of the period in which the window begins. What rules note of a key they note as of then: who meets it once
    /// more in the period, as after a restart, notes nothing else, and nothing is thought to be longer ago than it is.
    pub(crate) const fn end_of(&self, period: Period) -> EventTime {
        self.start_of(period).plus(period.micros())
    }

    /// Whether a period ends in the window: what is done then is not done in every window.
    pub(crate) const fn ends(&self, period: Period) -> bool {
        self.window.end.align(period.micros()).0 > self.window.start.0
    }

    /// Whether what a window does not show did not happen: no part of it is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.coverage >= 1.0
    }

    /// Whether what is known of the cluster is complete for the window.
    pub(crate) fn is_known(&self) -> bool {
        self.identity == Some(IdentityState::Fresh)
    }
}
