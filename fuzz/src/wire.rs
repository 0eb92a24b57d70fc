//! The views that slice a buffer against `prost`, over messages that are as shallow as the views.

use catchment_schemas::goldmane;
use catchment_schemas::wire::{FlowSlices, FlowView};
use prost::Message;

/// A flow whose key and labels are left alone, as the view leaves them.
#[derive(Clone, PartialEq, Message)]
struct ShallowFlow {
    #[prost(bytes = "vec", repeated, tag = "1")]
    keys: Vec<Vec<u8>>,
    #[prost(int64, tag = "2")]
    start_time: i64,
    #[prost(int64, tag = "3")]
    end_time: i64,
    #[prost(bytes = "vec", repeated, tag = "4")]
    source_labels: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    dest_labels: Vec<Vec<u8>>,
    #[prost(int64, tag = "6")]
    packets_in: i64,
    #[prost(int64, tag = "7")]
    packets_out: i64,
    #[prost(int64, tag = "8")]
    bytes_in: i64,
    #[prost(int64, tag = "9")]
    bytes_out: i64,
    #[prost(int64, tag = "10")]
    num_connections_started: i64,
    #[prost(int64, tag = "11")]
    num_connections_completed: i64,
    #[prost(int64, tag = "12")]
    num_connections_live: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ShallowLabels {
    #[prost(bytes = "vec", repeated, tag = "4")]
    source: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    dest: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct ShallowList {
    #[prost(message, repeated, tag = "2")]
    results: Vec<ShallowResult>,
}

#[derive(Clone, PartialEq, Message)]
struct ShallowResult {
    #[prost(bytes = "vec", repeated, tag = "2")]
    flows: Vec<Vec<u8>>,
}

/// Reads the bytes as a flow and as a list of flows.
pub fn check(data: &[u8]) {
    check_flow(data);
    check_list(data);
}

fn check_flow(data: &[u8]) {
    let (view, shallow) = (FlowView::parse(data), ShallowFlow::decode(data));
    assert_eq!(view.is_ok(), shallow.is_ok(), "{view:?} but {shallow:?}");
    if let (Ok(view), Ok(shallow)) = (view, shallow) {
        assert_eq!(view.key, shallow.keys.last().map(Vec::as_slice).unwrap_or_default());
        assert_eq!(numbers_of_view(&view), numbers(&shallow));
        check_labels(&view, &shallow);
        check_full(&view, data);
    } else {
        assert!(goldmane::Flow::decode(data).is_err(), "refused, and yet a flow");
    }
}

fn check_labels(view: &FlowView<'_>, shallow: &ShallowFlow) {
    if let Some(labels) = view.labels {
        let read = ShallowLabels::decode(labels).expect("the labels were read before");
        assert_eq!((&read.source, &read.dest), (&shallow.source_labels, &shallow.dest_labels));
    } else {
        let fields = shallow.source_labels.len() + shallow.dest_labels.len();
        assert!(fields > 1 || shallow.keys.len() > 1, "one run of labels and one key, and yet no slice");
    }
}

/// The message that the rest of the pipeline knows says the same, where it can be read at all.
fn check_full(view: &FlowView<'_>, data: &[u8]) {
    let Ok(full) = goldmane::Flow::decode(data) else { return };
    assert_eq!(view.start_time, full.start_time);
    assert_eq!(view.bytes_out, full.bytes_out);
    assert_eq!(view.num_connections_live, full.num_connections_live);
    if view.labels.is_some() {
        assert_eq!(goldmane::FlowKey::decode(view.key).ok(), Some(full.key.unwrap_or_default()));
    }
}

const fn numbers_of_view(view: &FlowView<'_>) -> [i64; 9] {
    [
        view.start_time,
        view.end_time,
        view.packets_in,
        view.packets_out,
        view.bytes_in,
        view.bytes_out,
        view.num_connections_started,
        view.num_connections_completed,
        view.num_connections_live,
    ]
}

const fn numbers(flow: &ShallowFlow) -> [i64; 9] {
    [
        flow.start_time,
        flow.end_time,
        flow.packets_in,
        flow.packets_out,
        flow.bytes_in,
        flow.bytes_out,
        flow.num_connections_started,
        flow.num_connections_completed,
        flow.num_connections_live,
    ]
}

fn check_list(data: &[u8]) {
    let sliced: Result<Vec<_>, _> = FlowSlices::new(data).collect();
    let shallow = ShallowList::decode(data);
    assert_eq!(sliced.is_ok(), shallow.is_ok(), "{sliced:?} but {shallow:?}");
    let ends: Vec<_> = FlowSlices::new(data).ends().collect();
    assert!(ends.is_sorted() && ends.last().is_none_or(|&end| end <= data.len()));
    let (Ok(sliced), Ok(shallow)) = (sliced, shallow) else { return };
    let flows = shallow.results.iter().map(|result| result.flows.last().map(Vec::as_slice).unwrap_or_default());
    assert!(sliced.iter().copied().eq(flows), "other flows: {sliced:?}");
    assert_eq!(ends.len(), sliced.len());
}
