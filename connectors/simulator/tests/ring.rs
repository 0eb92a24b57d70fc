//! The collector's memory, rule by rule, without a network.

use catchment_schemas::goldmane::{
    FilterHintsRequest, FilterType, Flow, FlowKey, FlowListRequest, FlowListResult, FlowResult, SortBy, SortOption,
};
use catchment_simulator::Ring;

/// A bucket boundary.
const NOW: i64 = 1_767_225_600;

fn key(source: &str) -> FlowKey {
    FlowKey { source_name: source.into(), dest_name: "db-*".into(), dest_port: 5432, ..FlowKey::default() }
}

fn flow(source: &str, start: i64, packets: i64) -> Flow {
    Flow { key: Some(key(source)), start_time: start, end_time: start, packets_in: packets, ..Flow::default() }
}

fn labelled(start: i64, labels: &[&str]) -> Flow {
    Flow { source_labels: labels.iter().map(ToString::to_string).collect(), ..flow("web-*", start, 1) }
}

fn ring_with(flows: impl IntoIterator<Item = Flow>) -> Ring {
    let mut ring = Ring::new(NOW);
    for flow in flows {
        assert!(ring.receive(flow, "10.0.0.1:40000", NOW));
    }
    ring
}

fn between(start: i64, end: i64) -> FlowListRequest {
    FlowListRequest { start_time_gte: start, start_time_lt: end, ..FlowListRequest::default() }
}

fn sorted(by: SortBy, page: i64, page_size: i64) -> FlowListRequest {
    let sort_by = vec![SortOption { sort_by: by as i32 }];
    FlowListRequest { sort_by, page, page_size, start_time_lt: NOW + 30, ..FlowListRequest::default() }
}

fn list(ring: &Ring, request: &FlowListRequest) -> FlowListResult {
    ring.list(request, NOW).expect("list")
}

fn only(mut result: FlowListResult) -> Flow {
    assert_eq!(result.flows.len(), 1);
    result.flows.remove(0).flow.expect("a row has a flow")
}

fn names(rows: &[FlowResult]) -> Vec<&str> {
    rows.iter().filter_map(|r| r.flow.as_ref()?.key.as_ref()).map(|k| k.source_name.as_str()).collect()
}

fn totals(result: &FlowListResult) -> (i64, i64) {
    result.meta.map(|m| (m.total_pages, m.total_results)).expect("metadata")
}

#[test]
fn one_row_per_key_spans_the_first_bucket_to_the_last() {
    let ring = ring_with([flow("web-*", NOW - 61, 1), flow("web-*", NOW - 31, 2), flow("web-*", NOW - 40, 4)]);
    let row = only(list(&ring, &between(0, 0)));
    assert_eq!((row.start_time, row.end_time, row.packets_in), (NOW - 75, NOW - 30, 7));
}

#[test]
fn the_list_of_one_bucket_is_exactly_its_content_late_rows_included() {
    let mut ring = ring_with([flow("web-*", NOW - 75, 1), flow("web-*", NOW - 60, 2)]);
    let bucket = between(NOW - 75, NOW - 60);
    assert_eq!(only(list(&ring, &bucket)).packets_in, 1);
    ring.advance_to(NOW + 600);
    assert!(ring.receive(flow("web-*", NOW - 61, 10), "10.0.0.2:1", NOW + 600));
    assert_eq!(only(list(&ring, &bucket)).packets_in, 11);
}

#[test]
fn an_hour_of_history_and_one_bucket_ahead_are_kept() {
    let mut ring = Ring::new(NOW + 7);
    assert_eq!((ring.beginning(), ring.end()), (NOW - 3600, NOW + 30));
    for (start, kept) in [(NOW - 3601, false), (NOW - 3600, true), (NOW + 29, true), (NOW + 30, false)] {
        assert_eq!(ring.receive(flow("web-*", start, 1), "10.0.0.1:1", NOW), kept, "{start}");
    }
}

#[test]
fn what_falls_out_of_the_ring_is_forgotten_and_its_id_with_it() {
    let mut ring = ring_with([flow("web-*", NOW - 3600, 1), flow("api-*", NOW, 1)]);
    let id = |ring: &Ring| ring.list(&between(0, NOW + 60), NOW + 60).expect("list").flows.last().expect("a row").id;
    assert_eq!(id(&ring), 1);
    ring.advance_to(NOW + 15);
    assert_eq!(ring.keys(), 1);
    assert!(ring.receive(flow("web-*", NOW, 1), "10.0.0.1:1", NOW + 15));
    let rows = ring.list(&sorted(SortBy::SourceName, 0, 0), NOW + 15).expect("list").flows;
    assert_eq!(rows.iter().map(|r| r.id).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_request_that_reaches_beyond_history_is_answered_from_what_is_left() {
    let ring = ring_with([flow("web-*", NOW - 3600, 1)]);
    assert_eq!(only(list(&ring, &between(1, NOW))).start_time, NOW - 3600);
}

#[test]
fn an_empty_interval_is_an_error_in_the_collectors_words() {
    let error = Ring::new(NOW).list(&between(NOW, NOW), NOW).expect_err("empty");
    assert_eq!(error, format!("startTimeGt ({NOW}) must be less than startTimeLt ({NOW})"));
}

#[test]
fn negative_times_count_from_now_and_zero_ends_now() {
    let ring = ring_with([flow("old-*", NOW - 120, 1), flow("new-*", NOW - 30, 1), flow("open-*", NOW, 1)]);
    assert_eq!(names(&list(&ring, &between(-60, 0)).flows), ["new-*"]);
    assert_eq!(names(&list(&ring, &between(-120, -60)).flows), ["old-*"]);
}

#[test]
fn a_key_whose_only_bucket_is_cut_by_the_end_is_a_row_of_zeros() {
    let ring = ring_with([flow("web-*", NOW, 5)]);
    let row = only(ring.list(&between(0, 0), NOW + 7).expect("list"));
    assert_eq!((row.start_time, row.end_time, row.packets_in), (0, 0, 0));
}

#[test]
fn labels_are_what_all_reports_of_a_bucket_share() {
    let ring = ring_with([labelled(NOW - 30, &["b=2", "a=1"]), labelled(NOW - 29, &["a=1", "c=3"])]);
    assert_eq!(only(list(&ring, &between(0, 0))).source_labels, ["a=1"]);
}

#[test]
fn buckets_that_share_no_label_start_over_with_the_next_ones() {
    let ring =
        ring_with([labelled(NOW - 45, &["a=1"]), labelled(NOW - 30, &["b=2"]), labelled(NOW - 15, &["c=3", "d=4"])]);
    assert_eq!(only(list(&ring, &between(0, 0))).source_labels, ["c=3", "d=4"]);
}

#[test]
fn the_same_flow_counts_once_per_connection() {
    let mut ring = ring_with([flow("web-*", NOW - 30, 10)]);
    assert!(!ring.receive(flow("web-*", NOW - 30, 99), "10.0.0.1:40000", NOW));
    assert_eq!(only(list(&ring, &between(0, 0))).packets_in, 10);
    assert!(ring.receive(flow("web-*", NOW - 30, 10), "10.0.0.1:40001", NOW));
    assert_eq!(only(list(&ring, &between(0, 0))).packets_in, 20);
}

#[test]
fn a_repetition_is_recognised_for_five_minutes() {
    let mut ring = ring_with([flow("web-*", NOW - 30, 10)]);
    ring.advance_to(NOW + 299);
    assert!(!ring.receive(flow("web-*", NOW - 30, 10), "10.0.0.1:40000", NOW + 299));
    ring.advance_to(NOW + 900);
    assert!(ring.receive(flow("web-*", NOW - 30, 10), "10.0.0.1:40000", NOW + 900));
}

#[test]
fn rows_come_newest_first_unless_a_name_is_asked_for() {
    let ring =
        ring_with([flow("b", NOW - 15, 1), flow("c", NOW - 45, 1), flow("a", NOW - 30, 1), flow("d", NOW - 15, 1)]);
    assert_eq!(names(&list(&ring, &between(0, 0)).flows), ["d", "b", "a", "c"]);
    assert_eq!(names(&list(&ring, &sorted(SortBy::SourceName, 0, 0)).flows), ["a", "b", "c", "d"]);
    // Equal names keep the order in which the keys came.
    assert_eq!(names(&list(&ring, &sorted(SortBy::DestName, 0, 0)).flows), ["b", "c", "a", "d"]);
}

#[test]
fn pages_count_from_zero_and_cover_everything_once() {
    let ring = ring_with(["e", "d", "c", "b", "a"].map(|name| flow(name, NOW - 15, 1)));
    let pages: Vec<_> = (0..3).map(|page| list(&ring, &sorted(SortBy::SourceName, page, 2))).collect();
    assert!(pages.iter().all(|p| totals(p) == (3, 5)));
    let seen: Vec<_> = pages.iter().flat_map(|p| names(&p.flows)).collect();
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
}

#[test]
fn past_the_end_names_keep_the_totals_and_time_loses_them() {
    let ring = ring_with(["a", "b", "c"].map(|name| flow(name, NOW - 15, 1)));
    let (by_name, by_time) = (list(&ring, &sorted(SortBy::SourceName, 9, 2)), list(&ring, &sorted(SortBy::Time, 9, 2)));
    assert_eq!((totals(&by_name), by_name.flows.len()), ((2, 3), 0));
    assert_eq!((totals(&by_time), by_time.flows.len()), ((0, 0), 0));
}

#[test]
fn types_cannot_be_sorted_by_and_one_order_is_enough() {
    let ring = Ring::new(NOW);
    for by in [SortBy::DestType, SortBy::SourceType] {
        let error = ring.list(&sorted(by, 0, 0), NOW).expect_err("unsupported");
        assert!(error.starts_with("unsupported sort order"), "{error}");
    }
    let twice = FlowListRequest { sort_by: vec![SortOption::default(); 2], ..between(0, 0) };
    assert_eq!(ring.list(&twice, NOW).expect_err("two"), "at most one sort order is supported");
}

#[test]
fn a_restarted_collector_knows_nothing() {
    let ring = Ring::new(NOW);
    assert_eq!((ring.keys(), totals(&list(&ring, &between(0, 0)))), (0, (0, 0)));
}

#[test]
fn hints_are_distinct_sorted_and_paged() {
    let ring = ring_with([flow("b", NOW - 15, 1), flow("a", NOW - 15, 1), flow("a", NOW - 30, 1)]);
    let ask = |kind: FilterType, page_size| {
        let request = FilterHintsRequest { r#type: kind as i32, page_size, ..FilterHintsRequest::default() };
        ring.filter_hints(&request, NOW)
    };
    let values = |page_size| -> Vec<String> {
        ask(FilterType::SourceName, page_size).expect("hints").hints.into_iter().map(|h| h.value).collect()
    };
    assert_eq!(values(0), ["a", "b"]);
    assert_eq!(values(1), ["a"]);
    assert!(ask(FilterType::Unspecified, 0).expect_err("no type").contains("unsupported filter type"));
}
