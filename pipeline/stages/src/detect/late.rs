//! What comes after its window has closed: that window did not show all of a pair.
//!
//! One slow node has something late in every window, so that no window as a whole is given up for it: only pairs that the
//! late rows are about are, for as long as more may be on its way.

use std::collections::BTreeSet;

use catchment_core::{EventTime, LateRow};

use super::Detector;
use super::facts::{End, has_packets};
use super::pairs::names_of;

/// Windows in which a pair cannot be judged after a late row, at most: a backlog comes once.
const AT_MOST: i64 = 10;

impl Detector {
    /// Takes in what came before the window that starts at `now`. A row that is so many windows late says that its
    /// pair's rows may be, so that many windows from now on may not show all of it.
    pub(super) fn amend(&mut self, late: &[LateRow], now: EventTime) {
        let mut amended = BTreeSet::new();
        for row in late.iter().filter(|row| has_packets(&row.flow) && !row.flow.key.is_overflow()) {
            let [source, dest] = End::both(&row.flow);
            let [pair, peer] = names_of(source, dest, &row.flow.key);
            if let Some(known) = self.pairs.find(pair) {
                let width = row.window.micros();
                let lateness = (now.0 - row.window.start.0).clamp(width, AT_MOST * width);
                known.amend(row, amended.insert((pair, row.window.start)), now.plus(lateness));
            }
            if let Some(known) = self.peers.find(peer) {
                known.amend(row, source.is_private_network() || source.is_host());
            }
        }
    }
}
