//! What comes out of the fold is a function of what was logged: not of workers, seeds or order.

use std::collections::BTreeMap;

use bytes::Bytes;
use catchment_core::knowledge::{Change, Object};
use catchment_core::{
    Cursor, Encoding, Entry, Epoch, EventTime, FlowRow, FlowsEntry, GapEntry, LogId, LogPosition, Logged, PartitionId,
    Purpose, Span, StreamId, json,
};
use catchment_schemas::Dataset;
use catchment_schemas::goldmane::{Flow, FlowKey, FlowListResult, FlowResult, PolicyHit, PolicyTrace};
use catchment_stages::enrich::{Enrichment, LabelKeys, Timeline};
use catchment_stages::{Folder, InlineWorkers, KeyLimits, Resume, Settings, Shard};
use proptest::prelude::*;
use prost::Message as _;

const START: i64 = 1_767_225_600;
const WINDOW: i64 = 60_000_000;

fn settings() -> Settings {
    let stream = StreamId { cluster: "test".into(), source: "goldmane".into() };
    Settings {
        stream,
        log: LogId(1),
        window: WINDOW,
        partitions: vec![PartitionId(0)],
        limits: KeyLimits::default(),
        enrichment: None,
    }
}

fn flow(bucket: i64, workload: u8, reporter: i32, policy: u8, labels: &[&str], amount: i64) -> Flow {
    let hit =
        PolicyHit { kind: 1, name: format!("p{policy}"), tier: "default".into(), action: 1, ..PolicyHit::default() };
    let key = FlowKey {
        source_name: format!("web-{workload}-*"),
        source_namespace: "shop".into(),
        source_type: 1,
        dest_name: "db-*".into(),
        dest_namespace: "data".into(),
        dest_type: 1,
        dest_port: 5432,
        proto: "tcp".into(),
        reporter,
        action: 1,
        policies: Some(PolicyTrace { enforced_policies: vec![hit], pending_policies: vec![] }),
        ..FlowKey::default()
    };
    Flow {
        key: Some(key),
        start_time: START + bucket * 15,
        end_time: START + bucket * 15 + 15,
        source_labels: labels.iter().map(|&l| l.to_owned()).collect(),
        packets_in: amount,
        packets_out: 2 * amount,
        bytes_in: 100 * amount,
        num_connections_live: amount,
        ..Flow::default()
    }
}

fn list(flows: Vec<Flow>) -> Bytes {
    let flows = (1..).zip(flows).map(|(id, flow)| FlowResult { id, flow: Some(flow) }).collect();
    FlowListResult { meta: None, flows }.encode_to_vec().into()
}

fn report(payload: Bytes) -> Entry {
    Entry::Flows(FlowsEntry {
        partition: PartitionId(0),
        encoding: Encoding::GoldmaneList,
        purpose: Purpose::Report,
        span: Span::new(EventTime::MIN, EventTime::MAX),
        origin: "test".into(),
        first_record: 0,
        payload,
    })
}

fn progress(bucket: i64) -> Entry {
    Entry::Progress { partition: PartitionId(0), up_to: EventTime::from_secs(START + bucket * 15) }
}

fn workers(count: u64, limits: KeyLimits) -> InlineWorkers {
    InlineWorkers((0..count).map(|i| Shard::with_seeds(WINDOW, limits, [i * 7 + count, i + 1])).collect())
}

fn fold_from(entries: &[Entry], resume: &Resume, count: u64) -> Vec<Epoch> {
    fold_within(KeyLimits::default(), entries, resume, count)
}

fn fold_within(limits: KeyLimits, entries: &[Entry], resume: &Resume, count: u64) -> Vec<Epoch> {
    fold_with(Settings { limits, ..settings() }, entries, resume, count)
}

fn fold_with(settings: Settings, entries: &[Entry], resume: &Resume, count: u64) -> Vec<Epoch> {
    let mut workers = workers(count, settings.limits);
    let mut folder = Folder::new(settings, resume);
    let logged = (0..).zip(entries).map(|(at, entry)| Logged { position: LogPosition(at), entry: entry.clone() });
    let from = logged.skip_while(|logged| logged.position < resume.position);
    from.flat_map(|logged| folder.entry(logged, &mut workers)).collect()
}

fn fold(entries: &[Entry], count: u64) -> Vec<Epoch> {
    fold_from(entries, &Resume::from_start(LogPosition(0)), count)
}

fn text(epochs: &[Epoch]) -> Vec<String> {
    let mut lines = Vec::new();
    for epoch in epochs {
        json::for_each_row(epoch, |dataset, row| {
            lines.push(format!("{} {}", dataset.name(), std::str::from_utf8(row).expect("rows are UTF-8")));
        });
    }
    lines
}

fn flow_strategy() -> impl Strategy<Value = Flow> {
    let labels = prop::sample::select(vec![&["a=1", "b=2"][..], &["a=1"], &[]]);
    (0i64..12, 0u8..4, 1i32..3, 0u8..2, labels, 0i64..1000).prop_map(
        |(bucket, workload, reporter, policy, labels, amount)| flow(bucket, workload, reporter, policy, labels, amount),
    )
}

/// Buckets in order, each one List answer, with progress behind it.
fn log_of(flows: &[Flow], arrange: impl Fn(Vec<Flow>) -> Bytes) -> Vec<Entry> {
    let mut buckets: BTreeMap<i64, Vec<Flow>> = BTreeMap::new();
    for flow in flows {
        buckets.entry((flow.start_time - START) / 15).or_default().push(flow.clone());
    }
    let logged = buckets.into_iter().flat_map(|(bucket, flows)| [report(arrange(flows)), progress(bucket + 1)]);
    logged.chain([progress(100)]).collect()
}

/// The labels moved to the front of the message and apart from each other: same flow, other bytes.
fn reencoded(flows: Vec<Flow>) -> Bytes {
    let mut out = Vec::new();
    for flow in flows {
        let labels = Flow { source_labels: flow.source_labels.clone(), ..Flow::default() }.encode_to_vec();
        let rest = Flow { source_labels: vec![], ..flow }.encode_to_vec();
        let bytes = [labels, rest].concat();
        // `flows` is field 2 of the list, `flow` field 2 of its element.
        let mut element = vec![0x12];
        prost::encoding::encode_varint(bytes.len() as u64, &mut element);
        element.extend(bytes);
        out.push(0x12);
        prost::encoding::encode_varint(element.len() as u64, &mut out);
        out.extend(element);
    }
    out.into()
}

proptest! {
    #[test]
    fn workers_encodings_and_order_do_not_show(flows in prop::collection::vec(flow_strategy(), 1..60)) {
        let expected = text(&fold(&log_of(&flows, list), 1));
        for count in [2, 7] {
            prop_assert_eq!(&text(&fold(&log_of(&flows, list), count)), &expected);
        }
        let reversed = |mut flows: Vec<Flow>| { flows.reverse(); list(flows) };
        prop_assert_eq!(&text(&fold(&log_of(&flows, reversed), 2)), &expected);
        prop_assert_eq!(&text(&fold(&log_of(&flows, reencoded), 2)), &expected);
    }

    #[test]
    fn windows_and_side_doors_hold_the_whole_input(flows in prop::collection::vec(flow_strategy(), 1..60), split in 0usize..60) {
        // The tail of the input comes when everything before it is closed, with two rows nobody can use.
        let (punctual, tardy) = flows.split_at(split.min(flows.len()));
        let mut entries = log_of(punctual, list);
        let broken = Flow { packets_in: -1, ..flow(0, 0, 1, 0, &[], 1) };
        entries.extend([report(list(tardy.to_vec())), report(list(vec![broken])), progress(200)]);
        let epochs = fold(&entries, 2);
        let windows = epochs.iter().filter_map(|e| e.window.as_ref()).flat_map(|w| &w.flows);
        let late: Vec<_> = epochs.iter().flat_map(|e| &e.late).collect();
        let folded: u64 = windows.clone().map(|row| u64::from(row.records)).sum();
        prop_assert_eq!(folded as usize, punctual.len());
        prop_assert_eq!(late.len(), tardy.len());
        prop_assert_eq!(epochs.iter().map(|e| e.rejects.len()).sum::<usize>(), 1);
        let packets = windows.map(|row| row.counters.packets_in).sum::<u64>()
            + late.iter().map(|row| row.flow.counters.packets_in).sum::<u64>();
        prop_assert_eq!(packets as i64, flows.iter().map(|flow| flow.packets_in).sum::<i64>());
    }

    #[test]
    fn beyond_the_limits_the_first_keys_stay_and_nothing_is_lost_whoever_counts(
        flows in prop::collection::vec(flow_strategy(), 1..60), max_keys in 1usize..6, tight in any::<bool>(),
    ) {
        let limits = KeyLimits { max_keys, max_bytes: if tight { 300 } else { 1 << 20 } };
        let entries = log_of(&flows, list);
        let from_start = Resume::from_start(LogPosition(0));
        let cut = |count| fold_within(limits, &entries, &from_start, count);
        let epochs = cut(1);
        for count in [2, 7] {
            prop_assert_eq!(text(&cut(count)), text(&epochs));
        }
        let windows = |epochs: &[Epoch]| epochs.iter().filter_map(|e| e.window.clone()).collect::<Vec<_>>();
        for (cut, whole) in windows(&epochs).iter().zip(windows(&fold(&entries, 1))) {
            let kept: Vec<_> = cut.flows.iter().filter(|row| !row.key.is_overflow()).collect();
            prop_assert!(kept.len() <= max_keys);
            let first: Vec<_> = whole.flows.iter().take(kept.len()).collect();
            prop_assert_eq!(
                kept.iter().map(|row| (row.key.flow_id, row.counters)).collect::<Vec<_>>(),
                first.iter().map(|row| (row.key.flow_id, row.counters)).collect::<Vec<_>>()
            );
            for reporter in 1..3 {
                let sum = |rows: &[FlowRow]| -> (u64, u32) {
                    let mine = rows.iter().filter(|row| row.key.key.reporter == reporter);
                    mine.fold((0, 0), |(bytes, records), row| (bytes + row.counters.bytes_in, records + row.records))
                };
                prop_assert_eq!(sum(&cut.flows), sum(&whole.flows));
            }
        }
    }

    #[test]
    fn a_restart_from_any_cursor_repeats_what_follows(flows in prop::collection::vec(flow_strategy(), 1..60)) {
        let entries = log_of(&flows, list);
        let whole = fold(&entries, 1);
        for (at, epoch) in whole.iter().enumerate() {
            let cursor: Cursor = epoch.cursor();
            let again = fold_from(&entries, &Resume::from_cursor(&cursor), 2);
            let fresh: Vec<_> = again.into_iter().filter(|e| e.id > cursor.committed).collect();
            prop_assert_eq!(text(&fresh), text(&whole[at + 1..]));
            prop_assert_eq!(fresh.iter().map(|e| &e.floor).collect::<Vec<_>>(), whole[at + 1..].iter().map(|e| &e.floor).collect::<Vec<_>>());
        }
    }
}

#[test]
fn where_an_answer_is_cut_off_does_not_depend_on_the_workers() {
    let whole = list((0..9).map(|n| flow(n, 1, 1, 0, &[], n)).collect());
    for cut in 1..whole.len() {
        let entries = [report(whole.slice(..cut)), progress(100)];
        let expected = text(&fold(&entries, 1));
        for count in [2, 4] {
            assert_eq!(text(&fold(&entries, count)), expected, "cut at {cut}");
        }
    }
}

#[test]
fn a_record_at_the_end_of_time_is_rejected() {
    for start_time in [i64::MAX, i64::MAX / 1_000_000] {
        let last = Flow { start_time, end_time: start_time, ..flow(0, 1, 1, 0, &[], 1) };
        let epochs = fold(&[report(list(vec![last])), progress(100)], 1);
        assert_eq!(reasons(&epochs), ["bad_time"]);
    }
}

#[test]
fn a_reject_has_the_time_it_says_or_that_of_its_entry() {
    let wide = Flow { end_time: START + 3600, ..flow(2, 1, 1, 0, &[], 9) };
    let timeless = Flow { start_time: 0, ..flow(0, 1, 1, 0, &[], 9) };
    let absurd = Flow { start_time: i64::MAX, ..flow(0, 1, 1, 0, &[], 1) };
    let Entry::Flows(entry) = report(list(vec![wide.clone(), timeless, absurd])) else { unreachable!() };
    let bucket = Span::new(EventTime::from_secs(START), EventTime::from_secs(START + 15));
    let epochs = fold(&[Entry::Flows(FlowsEntry { span: bucket, ..entry.clone() }), progress(100)], 1);
    assert_eq!(times(&epochs), [Some(EventTime::from_secs(wide.start_time)), Some(bucket.start), Some(bucket.start)]);
    let anywhen = Span::new(EventTime::MIN, EventTime::MAX);
    let lines = format!("{}\nbroken", r#"{"start_time":1767225600,"packets_in":-1}"#);
    let lines = FlowsEntry { encoding: Encoding::JsonLines, span: anywhen, payload: lines.into(), ..entry };
    let epochs = fold(&[Entry::Flows(lines), progress(100)], 1);
    assert_eq!(times(&epochs), [Some(EventTime::from_secs(START)), None]);
}

fn times(epochs: &[Epoch]) -> Vec<Option<EventTime>> {
    epochs.iter().flat_map(|epoch| &epoch.rejects).map(|row| row.event_time).collect()
}

#[test]
fn a_json_object_without_a_start_time_is_rejected() {
    let lines = [
        "{}",
        r#"{"some":"thing"}"#,
        r#"{"source_name":"a","dest_name":"b"}"#,
        r#"{"source_name":"a","dest_name":"b","start_time":0,"packets_in":0}"#,
        r#"{"source_name":"a","dest_name":"b","packets_in":1}"#,
    ];
    let Entry::Flows(report) = report(lines.join("\n").into()) else { unreachable!() };
    let lines = Entry::Flows(FlowsEntry { encoding: Encoding::JsonLines, ..report });
    let epochs = fold(&[lines, progress(100)], 1);
    let rejects: Vec<_> = epochs.iter().flat_map(|epoch| &epoch.rejects).map(|row| (row.index, row.reason)).collect();
    assert_eq!(rejects, [0, 1, 2, 4].map(|index| (index, "no_start_time")), "a row of zeros says that it is one");
}

#[test]
fn a_flow_without_a_key_is_rejected_whoever_came_before() {
    let nobody = |key| Flow { key, ..flow(0, 1, 1, 0, &[], 1) };
    let epochs = fold(&[report(list(vec![nobody(Some(FlowKey::default())), nobody(None)])), progress(100)], 1);
    assert_eq!(reasons(&epochs), ["no_flow_key", "no_flow_key"]);
}

/// What a line comes to does not depend on one before it that looks like it and is in order.
#[test]
fn a_line_is_judged_alone() {
    let known = r#"{"start_time":1767225600,"source_name":"a","dest_name":"b","packets_in":1}"#;
    for (line, reason) in [
        (known.replace(":1}", ":01}"), "bad_number"),
        (known.replace(":1}", ":+1}"), "bad_number"),
        (known.replace("1767225600", "2026-01-01T00:00:00Z"), "bad_time"),
        (known.replace('}', r#","id":nonsense}"#), "malformed_json"),
        (known.replace(r#""source_name":"a""#, r#""flow":{"source_name":"a"},"flow":{}"#), "malformed_json"),
    ] {
        let Entry::Flows(report) = report(format!("{known}\n{line}").into()) else { unreachable!() };
        let lines = Entry::Flows(FlowsEntry { encoding: Encoding::JsonLines, ..report });
        assert_eq!(reasons(&fold(&[lines, progress(100)], 1)), [reason], "{line}");
    }
}

fn reasons(epochs: &[Epoch]) -> Vec<&'static str> {
    epochs.iter().flat_map(|epoch| &epoch.rejects).map(|row| row.reason).collect()
}

#[test]
fn what_is_late_stays_late_after_a_restart_right_behind_a_mark() {
    let late = report(list(vec![flow(5, 1, 1, 0, &[], 1)]));
    let entries = [progress(4), progress(8), late, progress(12)];
    let whole = fold(&entries, 1);
    let cursor = whole[1].cursor();
    assert_eq!(cursor.floor.position, LogPosition(2));
    let again = fold_from(&entries, &Resume::from_cursor(&cursor), 1);
    assert_eq!(again.iter().map(|epoch| epoch.late.len()).sum::<usize>(), 1);
    assert_eq!(text(&again), text(&whole[2..]));
}

#[test]
fn a_log_that_begins_with_a_correction_shows_no_window_of_it() {
    let Entry::Flows(report) = report(list(vec![flow(1, 1, 1, 0, &[], 1)])) else { unreachable!() };
    let read = |purpose, bucket: i64| {
        let span = Span::new(EventTime::from_secs(START + bucket * 15), EventTime::from_secs(START + bucket * 15 + 15));
        let payload = list(vec![flow(bucket, 1, 1, 0, &[], 1)]);
        Entry::Flows(FlowsEntry { purpose, span, payload, ..report.clone() })
    };
    let entries = [read(Purpose::Correction, 1), read(Purpose::Report, 5), progress(6), progress(8)];
    let epochs = fold(&entries, 2);
    assert_eq!(epochs.iter().flat_map(|epoch| &epoch.late).count(), 1);
    let coverage: Vec<_> = rows(&epochs, Dataset::Flows).iter().map(|row| row["coverage"].as_f64()).collect();
    assert_eq!(coverage, [Some(0.75)]);
}

fn rows(epochs: &[Epoch], dataset: Dataset) -> Vec<serde_json::Value> {
    let prefix = format!("{} ", dataset.name());
    let lines = text(epochs).into_iter().filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
    lines.map(|line| serde_json::from_str(&line).expect("rows are JSON")).collect()
}

#[test]
fn traces_that_overlap_in_a_bucket_are_marked_and_never_added_up() {
    let flows =
        vec![flow(0, 1, 1, 0, &[], 5), flow(0, 1, 1, 1, &[], 5), flow(1, 2, 1, 0, &[], 3), flow(2, 2, 1, 1, &[], 4)];
    let epochs = fold(&log_of(&flows, list), 2);
    let split: Vec<_> = rows(&epochs, Dataset::Flows).iter().map(|row| row["trace_split"].as_bool()).collect();
    assert_eq!(split, [Some(true), Some(true), Some(false), Some(false)]);
    let conversations = rows(&epochs, Dataset::Conversations);
    assert_eq!(conversations[0]["halves"][0]["packets_in"], 5);
    assert_eq!(conversations[1]["halves"][0]["packets_in"], 7);
}

#[test]
fn labels_are_intersected_and_empty_stays_empty() {
    let flows = vec![
        flow(0, 1, 1, 0, &["a=1", "b=2"], 1),
        flow(1, 1, 1, 0, &["b=2", "c=3"], 1),
        flow(0, 2, 1, 0, &["a=1"], 1),
        flow(1, 2, 1, 0, &[], 1),
        flow(2, 2, 1, 0, &["a=1"], 1),
    ];
    let rows = rows(&fold(&log_of(&flows, list), 2), Dataset::Flows);
    assert_eq!(rows[0]["source_labels"], serde_json::json!(["b=2"]));
    assert_eq!(rows[1]["source_labels"], serde_json::json!([]));
    assert!(rows.iter().all(|row| row["labels_varied"] == true));
}

#[test]
fn live_connections_are_peaked_over_buckets_and_summed_inside_one() {
    let flows = vec![flow(0, 1, 1, 0, &[], 3), flow(0, 1, 1, 0, &["x=y"], 4), flow(1, 1, 1, 0, &[], 5)];
    let rows = rows(&fold(&log_of(&flows, list), 7), Dataset::Flows);
    assert_eq!((&rows[0]["num_connections_live"], &rows[0]["buckets"]), (&7.into(), &2.into()));
}

#[test]
fn a_gap_lowers_the_coverage_of_its_window_and_is_a_row() {
    let gap = GapEntry {
        partition: PartitionId(0),
        span: Span::new(EventTime::from_secs(START - 30), EventTime::from_secs(START + 15)),
        reason: "collector_forgot".into(),
        detail: "older than the collector's memory".into(),
    };
    let mut entries = vec![Entry::Gap(gap)];
    entries.extend(log_of(&[flow(1, 1, 1, 0, &[], 1)], list));
    let epochs = fold(&entries, 1);
    assert_eq!(rows(&epochs, Dataset::Flows)[0]["coverage"], 0.75);
    assert_eq!(rows(&epochs, Dataset::Gaps)[0]["reason"], "collector_forgot");
}

#[test]
fn a_window_that_was_entered_midway_is_not_fully_covered() {
    let Entry::Flows(mut first) = report(list(vec![flow(1, 1, 1, 0, &[], 1)])) else { unreachable!() };
    first.span = Span::new(EventTime::from_secs(START + 15), EventTime::from_secs(START + 30));
    let entries = [Entry::Flows(first), progress(2), report(list(vec![flow(4, 1, 1, 0, &[], 1)])), progress(8)];
    let epochs = fold(&entries, 1);
    let coverage: Vec<_> = rows(&epochs, Dataset::Flows).iter().map(|row| row["coverage"].as_f64()).collect();
    assert_eq!(coverage, [Some(0.75), Some(1.0)]);
}

#[test]
fn a_record_that_is_too_large_is_rejected_and_readable() {
    let huge = Flow { source_labels: vec!["x=".to_owned() + &"y".repeat(200_000)], ..flow(0, 1, 1, 0, &[], 1) };
    let epochs = fold(&[report(list(vec![huge, flow(0, 2, 1, 0, &[], 1)])), progress(8)], 2);
    let rejects: Vec<_> = epochs.iter().flat_map(|epoch| &epoch.rejects).collect();
    assert_eq!((rejects.len(), rejects[0].reason, rejects[0].original.len()), (1, "record_too_large", 4096));
    assert!(rejects[0].original_len > 200_000);
    assert_eq!(rows(&epochs, Dataset::Flows).len(), 1);
}

#[test]
fn rows_of_zeros_without_a_time_are_skipped_and_counters_without_a_time_are_rejected() {
    let open = Flow { start_time: 0, end_time: 0, ..flow(0, 1, 1, 0, &[], 0) };
    let timeless = Flow { start_time: 0, end_time: 0, ..flow(0, 1, 1, 0, &[], 9) };
    let wide = Flow { end_time: START + 3600, ..flow(0, 1, 1, 0, &[], 9) };
    let entries = [report(list(vec![open, timeless, wide])), progress(100)];
    let epochs = fold(&entries, 1);
    let reasons: Vec<_> = epochs.iter().flat_map(|e| &e.rejects).map(|row| row.reason).collect();
    assert_eq!(reasons, ["no_start_time", "spans_windows"]);
    assert!(rows(&epochs, Dataset::Flows).is_empty());
}

// === knowledge ===

fn known_up_to(bucket: i64) -> Entry {
    Entry::Progress { partition: PartitionId::KNOWLEDGE, up_to: EventTime::from_secs(START + bucket * 15) }
}

/// Two accounts of every workload, the second from the third minute on.
fn with_knowledge() -> Settings {
    let pod = |workload: u8, account: &str| {
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": format!("web-{workload}-x"), "generateName": format!("web-{workload}-")},
            "spec": {"serviceAccountName": account}, "status": {"phase": "Running"}});
        Object::from_json(&pod.to_string()).expect("an object").expect("of a kind that is read")
    };
    let second = |workload| Change::to(EventTime::from_secs(START + 120), pod(workload, "second"));
    let first = |workload| Change::to(EventTime::from_secs(START), pod(workload, "first"));
    let timeline = Timeline::complete((0..4).map(first).chain((0..4).map(second)).collect());
    let enrichment = Enrichment { timeline, marked: true, labels: LabelKeys::default() };
    Settings { enrichment: Some(enrichment), ..settings() }
}

proptest! {
    #[test]
    fn who_talked_depends_on_the_log_alone(
        flows in prop::collection::vec(flow_strategy(), 1..40), lag in 0i64..6, joins in 0usize..12, tardy in flow_strategy(),
    ) {
        // Knowledge joins somewhere and follows the flows by `lag` buckets, behind the next report; a flow comes late.
        let mut entries = Vec::new();
        let mut waiting = None;
        for (at, entry) in log_of(&flows, list).into_iter().enumerate() {
            let mark = if let Entry::Progress { up_to, .. } = entry { Some(up_to.plus(-lag * 15_000_000)) } else { None };
            entries.push(entry);
            let due = std::mem::replace(&mut waiting, mark.filter(|_| at >= joins));
            entries.extend(due.map(|up_to| Entry::Progress { partition: PartitionId::KNOWLEDGE, up_to }));
        }
        entries.extend([report(list(vec![tardy])), progress(200), known_up_to(200)]);
        let start = Resume::from_start(LogPosition(0));
        let whole = fold_with(with_knowledge(), &entries, &start, 1);
        for count in [2, 7] {
            prop_assert_eq!(text(&fold_with(with_knowledge(), &entries, &start, count)), text(&whole));
        }
        for (at, epoch) in whole.iter().enumerate() {
            let cursor = epoch.cursor();
            let again = fold_with(with_knowledge(), &entries, &Resume::from_cursor(&cursor), 2);
            let fresh: Vec<_> = again.into_iter().filter(|e| e.id > cursor.committed).collect();
            prop_assert_eq!(text(&fresh), text(&whole[at + 1..]), "behind epoch {}", at);
        }
        let windows: Vec<_> = whole.iter().filter_map(|epoch| epoch.window.as_ref()).map(|w| w.span.start).collect();
        prop_assert!(windows.is_sorted_by(|a, b| a < b), "no window is there twice");
    }
}

#[test]
fn a_window_waits_for_what_is_known_of_its_time() {
    let entries = [
        known_up_to(0),
        report(list(vec![flow(1, 1, 1, 0, &[], 1), flow(9, 1, 1, 0, &[], 1)])),
        progress(12),
        known_up_to(4),
        known_up_to(12),
    ];
    let epochs = fold_with(with_knowledge(), &entries, &Resume::from_start(LogPosition(0)), 2);
    let closed: Vec<_> =
        epochs.iter().filter(|epoch| epoch.window.is_some()).map(|epoch| epoch.id.position.0).collect();
    assert_eq!(closed, [3, 4]);
    let accounts: Vec<_> =
        rows(&epochs, Dataset::Flows).iter().map(|row| row["source_service_accounts"].clone()).collect();
    assert_eq!(accounts, [serde_json::json!(["first"]), serde_json::json!(["second"])]);
    let conversation = &rows(&epochs, Dataset::Conversations)[0];
    assert_eq!((&conversation["source_pods"], &conversation["identity_state"]), (&1.into(), &"fresh".into()));
}

#[test]
fn knowledge_that_leaves_is_waited_for_no_longer_and_what_comes_late_opens_no_window_again() {
    let one = |bucket| report(list(vec![flow(bucket, 1, 1, 0, &[], 1)]));
    let gone = Entry::Progress { partition: PartitionId::KNOWLEDGE, up_to: EventTime::MAX };
    let entries = [
        known_up_to(0),
        one(1),
        progress(8),
        gone,
        one(9),
        progress(12),
        known_up_to(4),
        one(10),
        one(13),
        progress(16),
        known_up_to(16),
    ];
    let epochs = fold_with(with_knowledge(), &entries, &Resume::from_start(LogPosition(0)), 1);
    let closed: Vec<_> =
        epochs.iter().filter(|epoch| epoch.window.is_some()).map(|epoch| epoch.id.position.0).collect();
    assert_eq!(closed, [3, 5, 10], "the first without waiting on, the last with");
    assert_eq!(epochs.iter().map(|epoch| epoch.late.len()).sum::<usize>(), 1);
    let states: Vec<_> = rows(&epochs, Dataset::Flows).iter().map(|row| row["identity_state"].clone()).collect();
    assert_eq!(states, [serde_json::Value::Null, serde_json::Value::Null, "fresh".into()]);
}

#[test]
fn where_knowledge_is_missing_flows_are_counted_all_the_same() {
    let span = Span::new(EventTime::from_secs(START), EventTime::from_secs(START + 60));
    let blind = Entry::Gap(GapEntry {
        partition: PartitionId::KNOWLEDGE,
        span,
        reason: "knowledge_blind".into(),
        detail: "no API server".into(),
    });
    let entries = [report(list(vec![flow(1, 1, 1, 0, &[], 1)])), progress(4), blind, progress(8), progress(12)];
    let epochs = fold(&entries, 1);
    assert_eq!(rows(&epochs, Dataset::Flows)[0]["coverage"], 1.0);
    assert_eq!(rows(&epochs, Dataset::Gaps)[0]["reason"], "knowledge_blind");
}

#[test]
fn a_restart_knows_a_mark_that_moved_nothing_yet() {
    let entries = [
        known_up_to(0),
        progress(4),
        known_up_to(4),
        progress(12),
        report(list(vec![flow(13, 1, 1, 0, &[], 1)])),
        known_up_to(8),
        known_up_to(12),
        progress(16),
        known_up_to(16),
    ];
    let whole = fold_with(with_knowledge(), &entries, &Resume::from_start(LogPosition(0)), 1);
    let at = whole.iter().position(|epoch| epoch.id.position == LogPosition(5)).expect("time moved at 5");
    let cursor = whole[at].cursor();
    assert_eq!(cursor.floor.position, LogPosition(4));
    let again = fold_with(with_knowledge(), &entries, &Resume::from_cursor(&cursor), 1);
    let behind = |epochs: &[Epoch]| -> Vec<_> {
        epochs.iter().map(|epoch| epoch.id).filter(|id| *id > cursor.committed).collect()
    };
    assert_eq!(behind(&again), behind(&whole));
}
