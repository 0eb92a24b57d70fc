//! For how many whole windows nothing was shown of something: a window with a hole may have shown it.

use catchment_core::EventTime;
use serde::{Deserialize, Serialize};

use crate::detect::view::View;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Silence {
    /// The end of the last window that showed it.
    shown: EventTime,
    windows: u32,
}

impl Silence {
    /// It is shown in the window.
    pub(super) const fn broken(view: &View<'_>) -> Self {
        Self { shown: view.window.end, windows: 0 }
    }

    /// Whether the window shows it.
    pub(super) fn is_broken_in(self, view: &View<'_>) -> bool {
        self.shown == view.window.end
    }

    /// How many whole windows have been silent.
    pub(super) const fn windows(self) -> u32 {
        self.windows
    }

    /// A window ends; returns how many whole ones have been silent, this one included.
    pub(super) fn pass(&mut self, view: &View<'_>) -> u32 {
        self.windows += u32::from(view.is_whole() && view.window.end > self.shown);
        self.windows
    }
}
