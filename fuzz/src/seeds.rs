//! Writes the seeds of the binary targets: `cargo run --bin seeds`, from the folder `fuzz`.

use std::path::Path;

use catchment_schemas::goldmane::{Flow, FlowKey, FlowListResult, FlowResult, ListMetadata, PolicyHit, PolicyTrace};
use prost::Message as _;

/// 2026-01-01T00:00:00Z, as in the targets.
const START: i64 = 1_767_225_600;

fn flow(workload: u8, reporter: i32, bucket: i64) -> Flow {
    let trigger = PolicyHit { kind: 1, name: "deny".into(), tier: "security".into(), ..PolicyHit::default() };
    let hit = PolicyHit {
        kind: 7,
        namespace: "shop".into(),
        name: "allow".into(),
        tier: "default".into(),
        action: 1,
        trigger: Some(Box::new(trigger)),
        ..PolicyHit::default()
    };
    let key = FlowKey {
        source_name: format!("web-{workload}-*"),
        source_namespace: "shop".into(),
        source_type: 1,
        dest_name: "pub".into(),
        dest_namespace: "-".into(),
        dest_type: 4,
        dest_port: 5432,
        proto: "tcp".into(),
        reporter,
        action: 1,
        policies: Some(PolicyTrace { enforced_policies: vec![hit.clone()], pending_policies: vec![hit] }),
        ..FlowKey::default()
    };
    Flow {
        key: Some(key),
        start_time: START + bucket * 15,
        end_time: START + bucket * 15 + 15,
        source_labels: vec!["app=web".into(), "team=shop".into()],
        dest_labels: vec!["app=db".into()],
        packets_in: 3,
        packets_out: 200,
        bytes_in: 1 << 20,
        bytes_out: 1 << 40,
        num_connections_started: 1,
        num_connections_completed: 1,
        num_connections_live: 2,
    }
}

fn list(flows: Vec<Flow>) -> Vec<u8> {
    let results = (1..).zip(flows).map(|(id, flow)| FlowResult { id, flow: Some(flow) });
    let meta = Some(ListMetadata { total_pages: 1, total_results: 2 });
    FlowListResult { meta, flows: results.collect() }.encode_to_vec()
}

/// Labels in front of the key and apart from each other.
fn scattered(flow: Flow) -> Vec<u8> {
    let source = Flow { source_labels: flow.source_labels.clone(), ..Flow::default() };
    let dest = Flow { dest_labels: flow.dest_labels.clone(), ..Flow::default() };
    let rest = Flow { source_labels: Vec::new(), dest_labels: Vec::new(), ..flow };
    [source, rest, dest].iter().flat_map(prost::Message::encode_to_vec).collect()
}

fn main() -> std::io::Result<()> {
    let open = Flow { key: flow(1, 1, 0).key, ..Flow::default() };
    let negative = Flow { packets_in: -1, ..flow(1, 1, 0) };
    let two = list(vec![flow(1, 1, 0), flow(1, 2, 1)]);
    let mixed = list(vec![open.clone(), negative.clone(), flow(2, 1, 3)]);
    let cut = &two[..two.len() - 9];
    for (name, seed) in [
        ("flow", &flow(1, 1, 0).encode_to_vec()[..]),
        ("scattered", &scattered(flow(1, 1, 0))),
        ("negative", &negative.encode_to_vec()),
        ("list", &two),
        ("cut", cut),
    ] {
        write("wire", name, seed)?;
    }
    for (name, choice, payload) in
        [("two", 0, &two[..]), ("late", 0x20, &two), ("correction", 0x24, &two), ("mixed", 1, &mixed), ("cut", 2, cut)]
    {
        write("goldmane", name, &[&[choice], payload].concat())?;
    }
    write(
        "log",
        "appends",
        b"\x01\x05\x02{}payload\x07\x00{\"entry\":\"progress\",\"partition\":0,\"up_to\":60000000}",
    )?;
    write("log", "flipped", b"\x02\x14\x00\x01")?;
    write("log", "foreign", b"\x00CATCHLOG\x01\0\0\0 and then entries")?;
    write("log", "sealed", b"\x03\x03\x04{}ab\x01\x02{}")
}

fn write(target: &str, name: &str, seed: &[u8]) -> std::io::Result<()> {
    let dir = Path::new("seeds").join(target);
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join(name), seed)
}
