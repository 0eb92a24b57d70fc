//! The views that slice a buffer agree with the full decode, on every message.

use catchment_schemas::goldmane::{Flow, FlowKey, FlowListResult, FlowResult, ListMetadata, PolicyHit, PolicyTrace};
use catchment_schemas::wire::{FlowSlices, FlowView};
use proptest::prelude::*;
use prost::Message as _;

/// The label fields alone: what the slice of a view holds.
#[derive(Clone, PartialEq, prost::Message)]
struct LabelsOnly {
    #[prost(string, repeated, tag = "4")]
    source: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    dest: Vec<String>,
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..300i64, 1 => any::<i64>()]
}

fn any_hit() -> impl Strategy<Value = PolicyHit> {
    (0..12i32, "[a-z]{0,5}", 0..4i32, number()).prop_map(|(kind, name, action, policy_index)| PolicyHit {
        kind,
        name,
        action,
        policy_index,
        ..PolicyHit::default()
    })
}

prop_compose! {
    fn any_key()(
        source_name in "\\PC{0,12}", dest_name in "\\PC{0,12}", dest_port in number(), reporter in 0..3i32,
        action in 0..4i32, enforced_policies in proptest::collection::vec(any_hit(), 0..3),
    ) -> FlowKey {
        let policies = Some(PolicyTrace { enforced_policies, ..PolicyTrace::default() });
        FlowKey { source_name, dest_name, dest_port, reporter, action, policies, ..FlowKey::default() }
    }
}

prop_compose! {
    fn any_flow()(
        key in proptest::option::of(any_key()),
        source_labels in proptest::collection::vec("\\PC{0,9}", 0..4),
        dest_labels in proptest::collection::vec("\\PC{0,9}", 0..4),
        n in proptest::array::uniform9(number()),
    ) -> Flow {
        Flow {
            key, source_labels, dest_labels, start_time: n[0], end_time: n[1], packets_in: n[2], packets_out: n[3],
            bytes_in: n[4], bytes_out: n[5], num_connections_started: n[6], num_connections_completed: n[7],
            num_connections_live: n[8],
        }
    }
}

/// Reads through the view what the full decode would hold.
fn through_view(bytes: &[u8]) -> Flow {
    let view = FlowView::parse(bytes).expect("well formed");
    let labels = LabelsOnly::decode(view.labels.expect("one run of labels")).expect("labels");
    Flow {
        key: (!view.key.is_empty()).then(|| FlowKey::decode(view.key).expect("key")),
        start_time: view.start_time,
        end_time: view.end_time,
        source_labels: labels.source,
        dest_labels: labels.dest,
        packets_in: view.packets_in,
        packets_out: view.packets_out,
        bytes_in: view.bytes_in,
        bytes_out: view.bytes_out,
        num_connections_started: view.num_connections_started,
        num_connections_completed: view.num_connections_completed,
        num_connections_live: view.num_connections_live,
    }
}

#[test]
fn what_later_collectors_may_add_is_passed() {
    let added: [&[u8]; 4] =
        [b"\x98\x06\x05", b"\x9a\x06\x01x", b"\x9b\x06\x08\x01\x0b\x0c\x9c\x06", b"\x9b\x06\x9c\x06"];
    for added in added {
        assert_eq!(Flow::decode(added), Ok(Flow::default()));
        assert!(FlowView::parse(added).is_ok(), "{added:x?}");
        assert_eq!(FlowSlices::new(added).next(), None);
    }
    for broken in [&b"\x9b\x06"[..], b"\x9c\x06", b"\x9b\x06\x0c"] {
        assert!(Flow::decode(broken).is_err() && FlowView::parse(broken).is_err(), "{broken:x?}");
    }
}

#[test]
fn a_result_that_is_no_message_is_malformed() {
    for list in [&b"\x10\x01"[..], b"\x12\x02\x10\x01"] {
        assert!(FlowListResult::decode(list).is_err());
        assert!(FlowSlices::new(list).next().is_some_and(|flow| flow.is_err()), "{list:x?}");
    }
}

proptest! {
    #[test]
    fn a_view_holds_what_the_full_decode_holds(flow in any_flow()) {
        // Absent and empty keys are one to a slice; a key always carries a policy trace here.
        prop_assert_eq!(through_view(&flow.encode_to_vec()), flow);
    }

    #[test]
    fn slices_are_the_flows_of_the_list(flows in proptest::collection::vec(any_flow(), 0..6), meta: bool) {
        let results = flows.iter().enumerate().map(|(id, flow)| FlowResult { id: id as i64, flow: Some(flow.clone()) });
        let meta = meta.then_some(ListMetadata { total_pages: 1, total_results: flows.len() as i64 });
        let list = FlowListResult { meta, flows: results.collect() }.encode_to_vec();
        let read: Vec<_> = FlowSlices::new(&list).map(|flow| through_view(flow.expect("well formed"))).collect();
        prop_assert_eq!(read, flows);
    }

    #[test]
    fn what_the_view_refuses_the_full_decode_refuses_too(
        flow in any_flow(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut bytes = flow.encode_to_vec();
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let (Ok(view), Ok(full)) = (FlowView::parse(&bytes), Flow::decode(&bytes[..])) {
            prop_assert_eq!((view.start_time, view.bytes_out), (full.start_time, full.bytes_out));
        }
        let cut = FlowView::parse(&bytes[..at]);
        if Flow::decode(&bytes[..at]).is_ok() {
            prop_assert!(cut.is_ok(), "{cut:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = FlowView::parse(&bytes);
        let read = FlowSlices::new(&bytes).count();
        prop_assert!(read <= bytes.len());
    }
}
