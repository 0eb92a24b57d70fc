//! The log against a real directory: recovery, damage, truncation, the bound.

use std::path::PathBuf;

use bytes::Bytes;
use catchment_core::{Encoding, FlowsEntry, PartitionId, Purpose, Retry, Span};
use tempfile::TempDir;

use super::*;

pub(super) const ROOMY: Limits = limits(1 << 20, 1 << 24);

/// Of a log that nobody looks back on.
const fn limits(segment_bytes: u64, max_bytes: u64) -> Limits {
    Limits { segment_bytes, max_bytes, look_back: 0 }
}

pub(super) fn flows(number: i64, payload: usize) -> Entry {
    Entry::Flows(FlowsEntry {
        partition: PartitionId(0),
        encoding: Encoding::JsonLines,
        purpose: Purpose::Report,
        span: Span::new(EventTime::from_secs(number), EventTime::from_secs(number + 1)),
        origin: "test".into(),
        first_record: 0,
        payload: Bytes::from(vec![number as u8; payload]),
    })
}

pub(super) fn progress(secs: i64) -> Entry {
    Entry::Progress { partition: PartitionId(0), up_to: EventTime::from_secs(secs) }
}

pub(super) fn open(dir: &TempDir, limits: Limits) -> Spool {
    Spool::open(dir.path(), limits, LogMetrics::default()).unwrap()
}

pub(super) fn read_all(spool: &Spool) -> Vec<Entry> {
    let mut reader = spool.reader(spool.first());
    std::iter::from_fn(|| reader.next().unwrap()).map(|logged| logged.entry).collect()
}

pub(super) fn segments(dir: &TempDir) -> Vec<PathBuf> {
    segment::list(dir.path()).unwrap().into_iter().map(|(_, path)| path).collect()
}

#[tokio::test]
async fn appends_get_positions_without_holes_and_read_back() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, ROOMY);
    assert_eq!((spool.first(), spool.end()), (LogPosition(0), LogPosition(0)));
    assert_eq!(spool.append(vec![flows(0, 10), progress(1)]).await.unwrap(), LogPosition(0));
    assert_eq!(spool.append(vec![flows(1, 0)]).await.unwrap(), LogPosition(2));
    assert_eq!(spool.append(Vec::new()).await.unwrap(), LogPosition(3));
    assert_eq!(spool.read(LogPosition(1)).await.unwrap(), Some(progress(1)));
    assert_eq!(spool.read(LogPosition(3)).await.unwrap(), None);
    assert_eq!(read_all(&spool), [flows(0, 10), progress(1), flows(1, 0)]);
}

#[tokio::test]
async fn replay_starts_where_event_time_may_reach() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, ROOMY);
    spool.append(vec![flows(0, 1), flows(60, 1), progress(30), progress(61)]).await.unwrap();
    let mut seen = Vec::new();
    spool.replay(EventTime::from_secs(60), &mut |logged| seen.push(logged.position.0)).await.unwrap();
    assert_eq!(seen, [1, 3]);
}

#[tokio::test]
async fn a_reopened_log_goes_on_where_it_ended() {
    let dir = TempDir::new().unwrap();
    let small = limits(400, 1 << 20);
    for round in 0..5 {
        let spool = open(&dir, small);
        assert_eq!(spool.end(), LogPosition(round * 2));
        spool.append(vec![flows(round as i64, 50)]).await.unwrap();
        spool.append(vec![progress(round as i64)]).await.unwrap();
    }
    assert!(segments(&dir).len() > 1);
    let expected: Vec<_> = (0..5).flat_map(|round| [flows(round, 50), progress(round)]).collect();
    assert_eq!(read_all(&open(&dir, small)), expected);
}

/// Tears the append of `torn` at every byte: what was appended before is all that is left, and the log
/// goes on behind it.
async fn tear_at_every_byte(torn: Vec<Entry>) {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, ROOMY);
    let kept = [flows(0, 20), progress(1)];
    spool.append(kept.to_vec()).await.unwrap();
    let whole = spool.bytes();
    spool.append(torn).await.unwrap();
    drop(spool);
    let path = segments(&dir).remove(0);
    let stored = std::fs::read(&path).unwrap();
    for cut in whole as usize..stored.len() {
        std::fs::write(&path, &stored[..cut]).unwrap();
        let metrics = LogMetrics::default();
        let spool = Spool::open(dir.path(), ROOMY, metrics.clone()).unwrap();
        assert_eq!(metrics.cut.get(), cut as u64 - whole);
        assert_eq!((spool.end(), spool.bytes()), (LogPosition(2), whole), "cut at {cut}");
        assert_eq!(read_all(&spool), kept, "cut at {cut}");
        assert_eq!(spool.append(vec![flows(9, 3)]).await.unwrap(), LogPosition(2));
        assert_eq!(read_all(&spool), [&kept[..], &[flows(9, 3)]].concat());
    }
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_loses_only_the_last_entry() {
    tear_at_every_byte(vec![flows(2, 20)]).await;
}

#[tokio::test]
async fn an_append_torn_at_any_byte_is_gone_as_a_whole() {
    tear_at_every_byte(vec![flows(2, 20), flows(2, 5), progress(3)]).await;
}

#[tokio::test]
async fn segments_of_two_logs_are_not_taken_for_one() {
    let small = limits(100, 1 << 20);
    let [one, other] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    for dir in [&one, &other] {
        let spool = open(dir, small);
        spool.append(vec![flows(0, 50)]).await.unwrap();
        spool.append(vec![flows(1, 50)]).await.unwrap();
    }
    std::fs::copy(&segments(&other)[1], &segments(&one)[1]).unwrap();
    let error = Spool::open(one.path(), small, LogMetrics::default()).unwrap_err();
    assert!(error.message.contains("two logs"), "{error}");
}

#[tokio::test]
async fn a_segment_of_an_earlier_format_is_refused_with_the_mend() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("00000000000000000000.log"), b"CATCHLOG\x01\0\0\0 and then entries").unwrap();
    let error = Spool::open(dir.path(), ROOMY, LogMetrics::default()).unwrap_err();
    assert!(error.message.contains("format 1") && error.message.contains("another name"), "{error}");
}

#[tokio::test]
async fn a_tail_of_zeros_and_an_unfinished_first_sync_are_cut_off() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir, ROOMY));
    let path = segments(&dir).remove(0);
    std::fs::write(&path, b"CATCH").unwrap();
    let spool = open(&dir, ROOMY);
    spool.append(vec![progress(1)]).await.unwrap();
    let whole = spool.bytes();
    drop(spool);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole + 4096).unwrap();
    let spool = open(&dir, ROOMY);
    assert_eq!((spool.bytes(), read_all(&spool)), (whole, vec![progress(1)]));
}

#[tokio::test]
async fn damage_before_good_entries_is_reported_and_never_cut_off() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, ROOMY);
    spool.append(vec![flows(0, 20), flows(1, 20), flows(2, 20)]).await.unwrap();
    let path = segments(&dir).remove(0);
    let mut stored = std::fs::read(&path).unwrap();
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    std::fs::write(&path, &stored).unwrap();
    let error = spool.read(LogPosition(1)).await.unwrap_err();
    assert!(error.message.contains("checksum") && error.message.contains(path.to_str().unwrap()), "{error}");
    drop(spool);
    let error = Spool::open(dir.path(), ROOMY, LogMetrics::default()).unwrap_err();
    assert!(error.message.contains("damaged"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), stored);
}

#[tokio::test]
async fn a_missing_segment_is_reported() {
    let dir = TempDir::new().unwrap();
    let small = limits(100, 1 << 20);
    let spool = open(&dir, small);
    for number in 0..3 {
        spool.append(vec![flows(number, 50)]).await.unwrap();
    }
    drop(spool);
    std::fs::remove_file(&segments(&dir)[1]).unwrap();
    let error = Spool::open(dir.path(), small, LogMetrics::default()).unwrap_err();
    assert!(error.message.contains("next segment begins at 2"), "{error}");
}

#[tokio::test]
async fn truncation_drops_whole_segments_only() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, limits(600, 1 << 20));
    for number in 0..9 {
        spool.append(vec![flows(number, 50)]).await.unwrap();
    }
    let second = segment::list(dir.path()).unwrap()[1].0;
    assert!(second.0 > 1);
    spool.truncate_before(LogPosition(second.0 - 1)).unwrap();
    assert_eq!(spool.first(), LogPosition(0));
    let mut reader = spool.reader(LogPosition(0));
    spool.truncate_before(second).unwrap();
    assert_eq!(spool.first(), second);
    assert_eq!(segment::list(dir.path()).unwrap()[0].0, second);
    assert_eq!(spool.read(LogPosition(0)).await.unwrap(), None);
    assert!(reader.next().unwrap_err().message.contains("dropped"));
    spool.truncate_before(spool.end()).unwrap();
    assert_eq!(segments(&dir).len(), 1);
    assert_eq!(spool.end(), LogPosition(9));
}

#[tokio::test]
async fn the_newest_progress_of_a_partition_is_never_dropped() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, limits(300, 1 << 20));
    let other = |secs| Entry::Progress { partition: PartitionId(1), up_to: EventTime::from_secs(secs) };
    spool.append(vec![flows(0, 50), progress(1)]).await.unwrap();
    spool.append(vec![flows(1, 50), other(1)]).await.unwrap();
    spool.append(vec![flows(1, 50), progress(2)]).await.unwrap();
    spool.append(vec![flows(2, 50)]).await.unwrap();
    spool.truncate_before(spool.end()).unwrap();
    assert_eq!((spool.first(), spool.read(LogPosition(3)).await.unwrap()), (LogPosition(2), Some(other(1))));
    spool.append(vec![flows(2, 50), other(3)]).await.unwrap();
    spool.truncate_before(spool.end()).unwrap();
    assert_eq!(spool.read(LogPosition(5)).await.unwrap(), Some(progress(2)));
    assert_eq!(spool.first(), LogPosition(4));
}

#[tokio::test]
async fn a_new_start_keeps_what_a_source_looks_back_on() {
    let dir = TempDir::new().unwrap();
    let looked_back = Limits { look_back: 3_000_000, ..limits(300, 1 << 20) };
    let spool = open(&dir, looked_back);
    for number in 0..10 {
        spool.append(vec![flows(number, 50), progress(number + 1)]).await.unwrap();
    }
    drop(spool);
    let spool = open(&dir, looked_back);
    spool.truncate_before(spool.end()).unwrap();
    assert_eq!(read_all(&spool)[..2], [flows(7, 50), progress(8)]);
}

#[tokio::test]
async fn a_full_log_gives_up_what_a_source_looks_back_on_and_nothing_a_sink_needs() {
    let dir = TempDir::new().unwrap();
    let small = Limits { look_back: i64::MAX, ..limits(600, 1800) };
    let metrics = LogMetrics::default();
    let spool = Spool::open(dir.path(), small, metrics.clone()).unwrap();
    let mut last = LogPosition(0);
    for number in 0..20 {
        last = spool.append(vec![flows(number, 50), progress(number + 1)]).await.unwrap();
        spool.truncate_before(last).unwrap();
        assert!(spool.bytes() <= small.max_bytes);
    }
    assert!(spool.first() > LogPosition(0) && metrics.look_back_dropped.get() > 0);
    assert_eq!(spool.read(last).await.unwrap(), Some(flows(19, 50)));
}

/// Lets the writer get as far as it can: it answers nobody once the log is full.
async fn fill(spool: &Spool) -> tokio::task::JoinHandle<LogPosition> {
    loop {
        let (end, spool) = (spool.end(), spool.clone());
        let pending = tokio::spawn({
            let spool = spool.clone();
            async move { spool.append(vec![flows(1, 100)]).await.unwrap() }
        });
        let limits = spool.inner.shared.limits();
        let full = spool.bytes() + 300 > limits.max_bytes - limits.reserve();
        if full {
            return pending;
        }
        pending.await.unwrap();
        assert_eq!(spool.end(), end.next());
    }
}

#[tokio::test]
async fn a_full_log_makes_appends_wait_until_it_is_truncated() {
    let dir = TempDir::new().unwrap();
    let limits = limits(600, 1200);
    let spool = open(&dir, limits);
    let pending = fill(&spool).await;
    let end = spool.end();
    tokio::task::yield_now().await;
    assert!(!pending.is_finished() && spool.bytes() <= limits.max_bytes);
    spool.truncate_before(end).unwrap();
    assert_eq!(pending.await.unwrap(), end);
    assert!(spool.bytes() <= limits.max_bytes);
}

#[tokio::test]
async fn a_log_that_nobody_can_make_room_in_goes_on_with_gaps_in_place_of_flows() {
    let dir = TempDir::new().unwrap();
    let (limits, metrics) = (limits(8192, 16384), LogMetrics::default());
    let spool = Spool::open(dir.path(), limits, metrics.clone()).unwrap();
    let entries = |number| vec![flows(number, 1500), flows(number, 0), progress(number + 1)];
    let append = |number| spool.append(entries(number));
    let mut number = 0;
    let error = loop {
        let first = match append(number).await {
            Ok(first) => first,
            Err(e) => break e,
        };
        assert_eq!(first, LogPosition(3 * number as u64));
        assert!(spool.bytes() <= limits.max_bytes);
        spool.settle(spool.end());
        number += 1;
    };
    assert!(error.message.contains("no room even for gaps") && error.retry == Retry::Never, "{error}");
    let read = read_all(&spool);
    assert_eq!(read.len() as i64, 3 * number);
    let stored = read.chunks(3).take_while(|append| matches!(append[0], Entry::Flows(_))).count();
    assert!(2 < stored && stored + 2 < number as usize, "{stored} of {number}");
    for (number, append) in (0..).zip(read.chunks(3)).skip(stored) {
        let Entry::Gap(gap) = &append[0] else { panic!("{:?} has no room", append[0]) };
        let span = Span::new(EventTime::from_secs(number), EventTime::from_secs(number + 1));
        assert_eq!((gap.reason.as_str(), gap.span), ("log_full", span));
        assert_eq!(append[1..], entries(number)[1..], "nothing is missing for what holds nothing");
    }
    assert_eq!(metrics.refused.get(), 1500 * (number as u64 + 1 - stored as u64));
    spool.truncate_before(spool.end()).unwrap();
    let position = append(number).await.unwrap();
    assert_eq!(spool.read(position).await.unwrap(), Some(flows(number, 1500)));
}

#[tokio::test]
async fn a_full_log_waits_for_a_sink_that_has_more_to_do() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, limits(600, 1200));
    let pending = fill(&spool).await;
    let end = spool.end();
    spool.settle(LogPosition(end.0 - 1));
    tokio::task::yield_now().await;
    assert!(!pending.is_finished());
    spool.truncate_before(end).unwrap();
    let position = pending.await.unwrap();
    assert_eq!(spool.read(position).await.unwrap(), Some(flows(1, 100)));
}

#[tokio::test]
async fn a_log_can_be_closed_while_it_is_full() {
    let dir = TempDir::new().unwrap();
    let limits = limits(600, 1200);
    let spool = open(&dir, limits);
    let pending = fill(&spool).await;
    let (end, before) = (spool.end(), read_all(&spool));
    pending.abort();
    assert!(pending.await.unwrap_err().is_cancelled());
    drop(spool);
    let spool = open(&dir, limits);
    assert_eq!((spool.end(), read_all(&spool)), (end, before));
}

#[tokio::test]
async fn what_can_never_fit_is_refused() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, limits(600, 1200));
    let error = spool.append(vec![flows(0, 1200)]).await.unwrap_err();
    assert!(error.message.contains("do not fit"), "{error}");
    let error = Spool::open(dir.path(), limits(600, 601), LogMetrics::default()).unwrap_err();
    assert!(error.message.contains("two of its segments"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_keep_their_own_order() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, limits(4096, 1 << 24));
    let callers = (0..8).map(|caller| {
        let spool = spool.clone();
        tokio::spawn(async move {
            for number in 0..20 {
                let mark = |n| Entry::Progress { partition: PartitionId(caller), up_to: EventTime(n) };
                let first = spool.append(vec![mark(number), mark(number + 1000)]).await.unwrap();
                assert_eq!(spool.read(first).await.unwrap(), Some(mark(number)));
                assert_eq!(spool.read(first.next()).await.unwrap(), Some(mark(number + 1000)));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let all = read_all(&spool);
    assert_eq!(all.len(), 8 * 20 * 2);
    for caller in 0..8 {
        let own: Vec<_> = all.iter().filter(|e| e.partition() == PartitionId(caller)).collect();
        let marks = (0..20).flat_map(|n| [n, n + 1000]);
        let expected: Vec<_> =
            marks.map(|n| Entry::Progress { partition: PartitionId(caller), up_to: EventTime(n) }).collect();
        assert!(own.into_iter().eq(&expected));
    }
}

#[tokio::test]
async fn a_waiting_reader_wakes_when_its_entry_is_durable() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, ROOMY);
    let mut reader = spool.reader(spool.end());
    assert!(reader.next().unwrap().is_none());
    let waiting = tokio::spawn(async move {
        reader.wait(reader.position()).await;
        reader.next().unwrap().map(|logged| logged.entry)
    });
    spool.append(vec![progress(5)]).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Some(progress(5)));
}

#[tokio::test]
async fn a_log_is_open_once() {
    let dir = TempDir::new().unwrap();
    let spool = open(&dir, ROOMY);
    let error = Spool::open(dir.path(), ROOMY, LogMetrics::default()).unwrap_err();
    assert!(error.message.contains("another process"), "{error}");
    drop(spool);
    open(&dir, ROOMY);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_the_log_and_the_wait_for_room_are_counted() {
    let dir = TempDir::new().unwrap();
    let metrics = LogMetrics::default();
    let spool = Spool::open(dir.path(), limits(500, 1000), metrics.clone()).unwrap();
    let on_disk = || segments(&dir).iter().map(|path| path.metadata().unwrap().len() as i64).sum::<i64>();
    assert_eq!(metrics.bytes.get(), on_disk());
    spool.append(vec![flows(0, 100), progress(1)]).await.unwrap();
    assert_eq!(metrics.bytes.get(), on_disk());
    let filling = tokio::spawn({
        let spool = spool.clone();
        async move {
            for number in 1..20 {
                spool.append(vec![flows(number, 100), progress(number)]).await.unwrap();
            }
        }
    });
    while metrics.full.get() == 0.0 {
        assert!(!filling.is_finished(), "the log is never full");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    while !filling.is_finished() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        spool.truncate_before(spool.end()).unwrap();
    }
    filling.await.unwrap();
    assert_eq!(metrics.bytes.get(), on_disk());
}
