//! The truth: what the cluster really produced, one JSON line per flow key and bucket.
//!
//! A reader's output is judged by it. It knows nothing of the collector's losses, nor of flows that
//! others push into the collector. What nodes sent again, and the collector counted again, stands in
//! lines of its own with a member `sent_again`: leave those out for what was really counted.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use catchment_core::{Error, Result};
use catchment_schemas::goldmane::{FlowKey, PolicyHit, names};
use serde_json::{Value, json};

use crate::ring::{BUCKET_SECS, KeySlot, Ring, Tally, bucket_of};
use crate::traffic::Flush;

/// Where the lines go.
type Out = Box<dyn Write + Send>;

#[derive(Debug)]
struct Truth {
    slot: KeySlot,
    tally: Tally,
    late: bool,
}

#[derive(Debug, Default)]
struct Bucket {
    flows: Tallies,
    again: Tallies,
}

#[derive(Debug, Default)]
struct Tallies {
    flows: Vec<Truth>,
    places: HashMap<KeySlot, usize>,
}

impl Tallies {
    fn entry(&mut self, slot: KeySlot) -> &mut Truth {
        let flows = &mut self.flows;
        let place = *self.places.entry(slot).or_insert_with(|| {
            flows.push(Truth { slot, tally: Tally::default(), late: false });
            flows.len() - 1
        });
        &mut self.flows[place]
    }
}

/// Buckets that can still change, and the file of those that cannot.
pub(crate) struct Ledger {
    out: Out,
    open: BTreeMap<i64, Bucket>,
    keys: HashMap<KeySlot, String>,
    written: u64,
    /// The first fault; nothing is written after it.
    fault: Option<io::Error>,
}

impl Ledger {
    /// A ledger in a new file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| {
            let place = path.display();
            Error::user(format!("cannot create the truth ledger `{place}`; its folder must exist and be writable"))
                .caused_by(e)
        })?;
        Ok(Self::to(Box::new(BufWriter::with_capacity(1 << 20, file))))
    }

    /// A ledger that is written to `out`.
    pub(crate) fn to(out: Out) -> Self {
        Self { out, open: BTreeMap::new(), keys: HashMap::new(), written: 0, fault: None }
    }

    /// Enters a flush, whether it has arrived yet or not.
    pub(crate) fn enter(&mut self, flush: &Flush) {
        for report in &flush.reports {
            let start = bucket_of(report.start);
            let truth = self.open.entry(start).or_default().flows.entry(report.slot);
            truth.tally += report.tally;
            truth.late |= flush.is_late_for(start);
        }
        for report in &flush.again {
            self.open.entry(bucket_of(report.start)).or_default().again.entry(report.slot).tally += report.tally;
        }
    }

    /// Writes the buckets that end at or before `secs`.
    pub(crate) fn close_until(&mut self, secs: i64, ring: &Ring) {
        while let Some(entry) = self.open.first_entry().filter(|e| e.key() + BUCKET_SECS <= secs) {
            let (start, bucket) = entry.remove_entry();
            if self.fault.is_none() {
                self.fault = self.write(start, &bucket, ring).err();
            }
        }
    }

    /// Writes what is left and the last line.
    pub(crate) fn finish(mut self, ring: &Ring) -> Result<()> {
        self.close_until(i64::MAX, ring);
        let end = json!({ "end_of_ledger": true, "flows": self.written });
        let ended = match self.fault.take() {
            Some(fault) => Err(fault),
            None => writeln!(self.out, "{end}").and_then(|()| self.out.flush()),
        };
        ended.map_err(|e| Error::user("cannot write the truth ledger; is the disk full").caused_by(e))
    }

    fn write(&mut self, start: i64, bucket: &Bucket, ring: &Ring) -> io::Result<()> {
        self.write_all(start, &bucket.flows, "", ring)?;
        self.write_all(start, &bucket.again, ",\"sent_again\":true", ring)
    }

    fn write_all(&mut self, start: i64, tallies: &Tallies, mark: &str, ring: &Ring) -> io::Result<()> {
        for Truth { slot, tally: t, late } in &tallies.flows {
            let key = self.keys.entry(*slot).or_insert_with(|| key_json(ring.key(*slot)).to_string());
            writeln!(
                self.out,
                "{{\"bucket_start\":{start},\"bucket_end\":{},\"key\":{key},\"packets_in\":{},\"packets_out\":{},\
                 \"bytes_in\":{},\"bytes_out\":{},\"num_connections_started\":{},\"num_connections_completed\":{},\
                 \"num_connections_live\":{},\"late\":{late}{mark}}}",
                start + BUCKET_SECS,
                t.packets_in,
                t.packets_out,
                t.bytes_in,
                t.bytes_out,
                t.num_connections_started,
                t.num_connections_completed,
                t.num_connections_live,
            )?;
            self.written += 1;
        }
        Ok(())
    }
}

/// A flow key with its texts as on the wire: `-` and empty stay what they are.
pub(crate) fn key_json(key: &FlowKey) -> Value {
    let trace = key.policies.clone().unwrap_or_default();
    json!({
        "source_namespace": key.source_namespace,
        "source_name": key.source_name,
        "source_type": names::endpoint_type(key.source_type),
        "dest_namespace": key.dest_namespace,
        "dest_name": key.dest_name,
        "dest_type": names::endpoint_type(key.dest_type),
        "dest_port": key.dest_port,
        "protocol": key.proto,
        "reporter": names::reporter(key.reporter),
        "action": names::action(key.action),
        "dest_service_namespace": key.dest_service_namespace,
        "dest_service_name": key.dest_service_name,
        "dest_service_port_name": key.dest_service_port_name,
        "dest_service_port": key.dest_service_port,
        "enforced": trace.enforced_policies.iter().map(hit_json).collect::<Vec<_>>(),
        "pending": trace.pending_policies.iter().map(hit_json).collect::<Vec<_>>(),
    })
}

fn hit_json(hit: &PolicyHit) -> Value {
    json!({
        "kind": names::policy_kind(hit.kind),
        "namespace": hit.namespace,
        "name": hit.name,
        "tier": hit.tier,
        "action": names::action(hit.action),
        "policy_index": hit.policy_index,
        "rule_index": hit.rule_index,
        "trigger": hit.trigger.as_deref().map(hit_json),
    })
}
