//! Damage against a real directory: what is told from an unfinished append, and how.

use std::fs::{read, write};
use std::path::Path;

use super::tests::{ROOMY, flows, open, progress, segments};
use super::*;

/// Without a sector boundary between its entries: what a bit can change is then damage for certain.
const SMALL: Limits = Limits { segment_bytes: 700, max_bytes: 1 << 20, look_back: 0 };

/// What can be read of the log in `dir`, or why it cannot.
fn readable(dir: &Path, limits: Limits) -> Result<Vec<Entry>> {
    let spool = Spool::open(dir, limits, LogMetrics::default())?;
    let mut reader = spool.reader(spool.first());
    std::iter::from_fn(|| reader.next().transpose()).map(|logged| logged.map(|logged| logged.entry)).collect()
}

/// Appends that are durable one after the other; what was written.
async fn fill(spool: &Spool, appends: &[&[Entry]]) -> Vec<Entry> {
    for append in appends {
        spool.append(append.to_vec()).await.unwrap();
    }
    appends.concat()
}

fn error(dir: &Path, limits: Limits) -> String {
    readable(dir, limits).expect_err("the log is damaged").message
}

#[tokio::test]
async fn no_flipped_bit_loses_an_entry_silently() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, SMALL);
    let written =
        fill(&spool, &[&[flows(1, 20), progress(2)], &[flows(2, 220)], &[flows(3, 9)], &[progress(4), progress(5)]])
            .await;
    drop(spool);
    let files = segments(&dir);
    assert_eq!(files.len(), 2);
    for path in files {
        let stored = read(&path).unwrap();
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            write(&path, &flipped).unwrap();
            if let Ok(found) = readable(dir.path(), SMALL) {
                panic!("bit {bit} of {} was not noticed: {} of {} entries", path.display(), found.len(), written.len());
            }
            assert_eq!(read(&path).unwrap(), flipped, "what is damaged is left alone");
        }
        write(&path, &stored).unwrap();
    }
    assert_eq!(readable(dir.path(), SMALL).unwrap(), written);
}

#[tokio::test]
async fn lost_sectors_before_a_durable_entry_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    fill(&spool, &[&[flows(1, 3000), progress(2)], &[flows(2, 10)]]).await;
    drop(spool);
    let path = segments(&dir).remove(0);
    let mut stored = read(&path).unwrap();
    stored[..2048][512..].fill(0);
    write(&path, &stored).unwrap();
    let error = error(dir.path(), ROOMY);
    assert!(error.contains("damaged") && error.contains("at byte 20") && error.contains("another name"), "{error}");
}

/// The disk may write the end of an append first: what is intact behind the hole was not durable either.
#[tokio::test]
async fn an_append_with_sectors_that_were_never_written_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    let kept = fill(&spool, &[&[flows(1, 10), progress(2)]]).await;
    let whole = spool.bytes() as usize;
    fill(&spool, &[&[flows(2, 5000), flows(3, 3000), progress(3)]]).await;
    drop(spool);
    let path = segments(&dir).remove(0);
    let stored = read(&path).unwrap();
    for hole in [whole..512, 512..1024, 4096..stored.len(), 8192..stored.len()] {
        let mut torn = stored.clone();
        torn[hole.clone()].fill(0);
        write(&path, torn).unwrap();
        assert_eq!(readable(dir.path(), ROOMY).unwrap(), kept, "{hole:?}");
    }
}

#[tokio::test]
async fn a_log_inside_a_torn_append_is_not_taken_for_entries() {
    let inner = tempfile::tempdir().unwrap();
    let spool = open(&inner, ROOMY);
    fill(&spool, &[&[progress(1)], &[progress(2)], &[progress(3)]]).await;
    let nested = read(&segments(&inner)[0]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    let kept = fill(&spool, &[&[progress(9)]]).await;
    let mut outer = flows(1, 0);
    if let Entry::Flows(flows) = &mut outer {
        flows.payload = [nested, vec![1; 4096]].concat().into();
    }
    fill(&spool, &[&[outer]]).await;
    drop(spool);
    let path = segments(&dir).remove(0);
    let mut stored = read(&path).unwrap();
    let end = stored.len();
    stored[end - 1024..].fill(0);
    write(&path, stored).unwrap();
    assert_eq!(readable(dir.path(), ROOMY).unwrap(), kept);
}

#[tokio::test]
async fn damage_is_found_across_the_parts_a_tail_is_read_in() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 1 << 23, max_bytes: 1 << 24, look_back: 0 };
    let spool = open(&dir, limits);
    let mut places = Vec::new();
    // Prefixes on both sides of the boundary, and one across it.
    for payload in [(1 << 20) - 700, 300, 0, 0, 0] {
        places.push(spool.bytes());
        fill(&spool, &[&[flows(7, payload)]]).await;
    }
    drop(spool);
    let path = segments(&dir).remove(0);
    let stored = read(&path).unwrap();
    for &last in &places[1..] {
        let mut damaged = stored.clone();
        // Only the entry at `last` can tell: it is what is left, and the hole looks unwritten.
        damaged[600..last as usize].fill(0);
        damaged.truncate(places.iter().copied().find(|place| *place > last).map_or(stored.len(), |end| end as usize));
        write(&path, damaged).unwrap();
        assert!(error(dir.path(), limits).contains("damaged"), "{last}");
    }
}

#[tokio::test]
async fn a_segment_under_another_name_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    fill(&spool, &[&[progress(1)]]).await;
    drop(spool);
    std::fs::rename(&segments(&dir)[0], dir.path().join("00000000000000000007.log")).unwrap();
    assert!(error(dir.path(), ROOMY).contains("at byte 20"));
}
