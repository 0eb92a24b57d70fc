//! The simulated cluster without a network and a clock: buckets in event time, as fast as they can be made.

use catchment_core::knowledge::Change;
use catchment_core::{Error, EventTime, Period, Result};

use crate::cluster::Cluster;
use crate::encode::Encoder;
use crate::knowledge::Known;
use crate::options::Options;
use crate::ring::{BUCKET_SECS, bucket_of};
use crate::scenarios;
use crate::script::Plant;

/// What the collector says of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it starts; it is 15 s wide.
    pub start: EventTime,
    /// A `FlowListResult` as the collector sends it, sorted by name of the source.
    pub message: Vec<u8>,
}

/// A simulation that runs as its buckets are asked for: the same options give the same bytes.
///
/// Of the options, those of the network and of files mean nothing here, and neither does the speed: no file is written.
/// Buckets begin with the history, at `start - backfill`, and end with the duration, if there is one.
///
/// ```
/// use catchment_core::Period;
/// use catchment_simulator::{Offline, Options};
///
/// let options = Options {
///     duration: Some(Period::secs(1800)),
///     scenarios: vec!["no-response".to_owned()],
///     ..Options::default()
/// };
/// let offline = Offline::new(&options)?;
/// assert!(offline.plants().iter().any(|plant| plant.kind == "asymmetry.no-response"));
/// assert!(!offline.changes()?.is_empty());
/// assert_eq!(offline.count(), 120);
/// # Ok::<(), catchment_core::Error>(())
/// ```
pub struct Offline {
    cluster: Cluster,
    encoder: Encoder,
    known: Known,
    plants: Vec<Plant>,
    config: String,
    next: i64,
    end: i64,
}

/// A bucket is asked for this long after its end; what comes later is lost, as it is to a reader that looks once.
pub const SETTLE: Period = Period::secs(60);

impl Offline {
    /// A cluster before its first bucket.
    pub fn new(options: &Options) -> Result<Self> {
        options.validate()?;
        let shape = options.shape()?;
        let world = shape.world();
        let script = scenarios::script(options, &shape, &world)?;
        let known = Known::of(&world, &script, options.first(), options.known_until());
        let plants = script.plants.clone();
        let config = options.chosen()?.into_iter().map(|scenario| scenario.config).collect();
        let (first, end) = (options.first(), options.end());
        let cluster = Cluster::new(shape, script, first, end, None);
        let encoder = Encoder::default();
        Ok(Self { cluster, encoder, known, plants, config, next: bucket_of(first.secs()), end: end.secs() })
    }

    /// What the cluster's API tells, in the order of time: an object that was there from the beginning counts from when it
    /// was made. Without a duration, it reaches a day.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for line in self.known.all_lines() {
            let change = Change::from_line(&line).map_err(|e| Error::internal("a simulated object").caused_by(e))?;
            changes.extend(change);
        }
        changes.sort_by_key(|change| change.at);
        Ok(changes)
    }

    /// What was planted, in the order in which it begins; and before that, with `ordinary` in place of a scenario, what
    /// little is to be found in a calm cluster.
    pub fn plants(&self) -> &[Plant] {
        &self.plants
    }

    #[cfg(test)]
    pub(crate) const fn ring(&self) -> &crate::ring::Ring {
        &self.cluster.ring
    }

    /// What has to be declared to a detector: members of its section `findings`, as YAML; empty if nothing.
    pub fn findings_config(&self) -> &str {
        &self.config
    }
}

impl Iterator for Offline {
    type Item = Bucket;

    fn next(&mut self) -> Option<Bucket> {
        let start = self.next;
        if start >= self.end {
            return None;
        }
        self.next += BUCKET_SECS;
        let asked = EventTime::from_secs(self.next).plus(SETTLE.micros());
        self.cluster.advance(asked);
        let message = self.encoder.bucket(&self.cluster.ring, start);
        Some(Bucket { start: EventTime::from_secs(start), message })
    }
}
