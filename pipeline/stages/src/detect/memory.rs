//! What a detector remembers, as bytes.

use std::fmt;
use std::sync::Arc;

use catchment_core::{Cursor, FindingKind};
use serde::{Deserialize, Serialize};

use super::config::Settings;
use super::lifecycle::Finding;
use super::pairs::{Pair, Peer, Table};
use super::remedy::Observed;
use super::{Detector, SoFar};
use crate::enrich::Timeline;

/// Another version is another shape.
const VERSION: u32 = 5;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    /// As JSON, which older cursors can be read from.
    cursor: String,
    so_far: SoFar,
    findings: Vec<Finding>,
    pairs: Vec<Pair>,
    peers: Vec<Peer>,
    observed: Observed,
    /// By the first kind that a rule states.
    rules: Vec<(FindingKind, Vec<u8>)>,
    not_evaluable: Vec<u64>,
}

/// Why saved memory cannot be taken back.
#[derive(Debug)]
pub struct MemoryError(String);

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MemoryError {}

impl Detector {
    /// What it remembers after the epoch of `cursor`.
    pub fn save(&self, cursor: &Cursor) -> Vec<u8> {
        let findings = self.sightings.slots.iter().flatten().filter_map(|slot| slot.finding.as_deref());
        let mut findings: Vec<_> = findings.cloned().collect();
        findings.sort_unstable_by_key(|finding| finding.row.id);
        let rules = self.rules.iter().filter_map(|rule| Some((*rule.kinds().first()?, rule.save()?))).collect();
        let saved = Saved {
            version: VERSION,
            cursor: serde_json::to_string(cursor).expect("cursors serialize"),
            so_far: self.so_far,
            findings,
            pairs: self.pairs.saved(),
            peers: self.peers.saved(),
            observed: self.observed.clone(),
            rules,
            not_evaluable: self.sightings.not_evaluable.to_vec(),
        };
        postcard::to_allocvec(&saved).expect("plain values serialize")
    }

    /// Takes back what [`Detector::save`] gave, and the cursor it was saved at.
    pub fn restore(
        settings: Arc<Settings>,
        cluster: &str,
        timeline: Option<Timeline>,
        bytes: &[u8],
    ) -> Result<(Self, Cursor), MemoryError> {
        let (version, _) = postcard::take_from_bytes::<u32>(bytes).map_err(unreadable)?;
        if version != VERSION {
            return Err(MemoryError(format!("it was saved in version {version}, and this release reads {VERSION}")));
        }
        let saved: Saved = postcard::from_bytes(bytes).map_err(unreadable)?;
        let cursor = serde_json::from_str(&saved.cursor).map_err(unreadable)?;
        let mut detector = Self::new(settings, cluster, timeline);
        detector.so_far = saved.so_far;
        detector.pairs = Table::restored(saved.pairs);
        detector.peers = Table::restored(saved.peers);
        detector.observed = saved.observed;
        for finding in saved.findings {
            detector.open += usize::from(finding.is_open());
            detector.sightings.restore(finding);
        }
        for (count, saved) in detector.sightings.not_evaluable.iter_mut().zip(saved.not_evaluable) {
            *count = saved;
        }
        for rule in &mut detector.rules {
            let of_rule = saved.rules.iter().find(|(kind, _)| rule.kinds().first() == Some(kind));
            if let Some((kind, bytes)) = of_rule {
                rule.restore(bytes).map_err(|e| MemoryError(format!("what {kind} remembers cannot be read: {e}")))?;
            }
        }
        Ok((detector, cursor))
    }
}

fn unreadable(e: impl fmt::Display) -> MemoryError {
    MemoryError(format!("it cannot be read: {e}"))
}
