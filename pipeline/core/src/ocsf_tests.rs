use std::sync::Arc;

use super::*;
use crate::{FindingId, FindingKind, FlowKey, KeyRecord, Labels, Mute, Service, Subject, Trace};

/// What the schema calls required in every class, from release 1.1 to 1.5.
const REQUIRED: [&str; 10] = [
    "/activity_id",
    "/category_uid",
    "/class_uid",
    "/type_uid",
    "/severity_id",
    "/time",
    "/metadata/version",
    "/metadata/product/name",
    "/metadata/product/vendor_name",
    "/metadata/product/version",
];
/// In Detection Finding too, in the objects that are there as well; the title is required up to 1.3.
const REQUIRED_OF_FINDINGS: [&str; 4] =
    ["/finding_info/uid", "/finding_info/title", "/remediation/desc", "/evidences/0/data"];
/// In Network Activity too; the destination is required up to 1.4, and an end needs a name where it has no address.
const REQUIRED_OF_FLOWS: [&str; 4] =
    ["/src_endpoint/name", "/dst_endpoint/name", "/connection_info/direction_id", "/connection_info/protocol_name"];

fn stream() -> StreamId {
    StreamId { cluster: "prod".into(), source: "calico".into() }
}

fn window() -> Span {
    Span::new(EventTime::from_secs(60), EventTime::from_secs(120))
}

fn row(status: Status) -> FindingRow {
    let (kind, subject) = (FindingKind::NoPolicy, Subject::default().with("workload", Some("web")));
    FindingRow {
        id: FindingId::of(kind, "prod", &subject),
        kind,
        status,
        severity: Severity::Medium,
        confidence: Confidence::Derived,
        mute: None,
        first_seen: EventTime::from_secs(3),
        last_seen: EventTime::from_secs(120),
        windows_seen: 2,
        reopen_count: 0,
        resolution: None,
        namespace: Some("shop".into()),
        owner: Some("payments".into()),
        subject,
        impact: r#"{"bytes":7}"#.into(),
        evidence: r#"{"windows":[1]}"#.into(),
        title: "no policy decides".into(),
        explanation: "the namespace allows everything".into(),
        remediation: "write a policy".into(),
        verify: "catchment why".into(),
        related: vec![FindingId(5)],
        runbook: "https://runbooks.example/private.md#privatescan".to_owned(),
    }
}

fn flow_row(source: (&str, i32), dest: (&str, i32), reporter: i32, action: i32) -> FlowRow {
    let end = |(name, kind): (&str, i32)| Endpoint { namespace: Some("shop".into()), raw_name: name.into(), kind };
    let service = Service { namespace: Some("shop".into()), name: Some("db".into()), port_name: None, port: None };
    let trace = Arc::new(Trace::new(vec![], vec![]));
    let (source, dest) = (end(source), end(dest));
    let key = FlowKey { source, dest, dest_port: 5432, protocol: "TCP".into(), service, reporter, action, trace };
    let labels = Arc::new(Labels::new(vec![]));
    let counters = Counters { bytes_in: 10, bytes_out: 200, packets_in: 1, packets_out: 2, ..Counters::default() };
    let row = FlowRow::new(Arc::new(KeyRecord::new(key, true)), labels.clone(), labels, counters);
    FlowRow { records: 4, buckets: 4, ..row }
}

fn missing(event: &Value, required: &[&str]) -> Vec<String> {
    let absent = |path: &&&str| event.pointer(path).is_none_or(Value::is_null);
    REQUIRED.iter().chain(required).filter(absent).map(|path| (*path).to_owned()).collect()
}

#[test]
fn a_finding_has_every_attribute_that_its_class_requires() {
    for status in Status::ALL {
        let event = finding(&stream(), window(), &row(*status));
        assert_eq!(missing(&event, &REQUIRED_OF_FINDINGS), Vec::<String>::new(), "{status}");
        assert_eq!((&event["class_uid"], &event["category_uid"]), (&json!(2004), &json!(2)));
        let activity = event["activity_id"].as_u64().unwrap_or_default();
        assert_eq!(event["type_uid"], json!(200_400 + activity));
    }
}

#[test]
fn a_finding_is_created_updated_and_closed() {
    let told = |status| {
        let event = finding(&stream(), window(), &row(status));
        (event["activity_id"].clone(), event["status_id"].clone(), event["status"].clone())
    };
    assert_eq!(told(Status::Opened), (json!(1), json!(1), json!("New")));
    assert_eq!(told(Status::Ongoing), (json!(2), json!(1), json!("New")));
    assert_eq!(told(Status::Resolved), (json!(3), json!(4), json!("Resolved")));
    assert_eq!(told(Status::Stale), (json!(3), json!(99), json!("stale")));
}

#[test]
fn a_muted_finding_is_suppressed_and_a_resolved_one_tells_why() {
    let mute = Some(Mute { reason: "known".into(), until: EventTime::from_secs(999) });
    let event = finding(&stream(), window(), &FindingRow { mute, ..row(Status::Ongoing) });
    assert_eq!((&event["status_id"], &event["unmapped"]["mute_reason"]), (&json!(3), &json!("known")));
    let resolution = Some(Resolution::SubjectGone);
    let event = finding(&stream(), window(), &FindingRow { resolution, ..row(Status::Resolved) });
    assert_eq!(event["status_detail"], json!("subject_gone"));
}

#[test]
fn times_are_milliseconds_and_words_keep_their_meaning() {
    let event = finding(&stream(), window(), &row(Status::Opened));
    assert_eq!((&event["time"], &event["start_time"]), (&json!(120_000), &json!(3_000)));
    assert_eq!((&event["severity_id"], &event["confidence_id"]), (&json!(3), &json!(2)));
    assert_eq!(event["finding_info"]["types"], json!(["policy.no-policy", "policy"]));
    assert_eq!(event["evidences"][0]["data"], json!({ "windows": [1] }));
    assert_eq!(event["unmapped"]["impact"], json!({ "bytes": 7 }));
    assert_eq!(event["resources"][0]["owner"], json!({ "name": "payments" }));
    assert_eq!(event["metadata"]["uid"], json!(format!("{}-120000", row(Status::Opened).id)));
}

#[test]
fn a_flow_has_every_attribute_that_its_class_requires() {
    for action in [1, 2, 42] {
        let event = flow(&stream(), window(), &flow_row(("web", 1), ("db", 1), 1, action));
        assert_eq!(missing(&event, &REQUIRED_OF_FLOWS), Vec::<String>::new(), "action {action}");
        assert_eq!((&event["class_uid"], &event["category_uid"]), (&json!(4001), &json!(4)));
        let activity = event["activity_id"].as_u64().unwrap_or_default();
        assert_eq!(event["type_uid"], json!(400_100 + activity));
    }
}

#[test]
fn a_denied_flow_is_refused_denied_and_blocked() {
    let told = |action| {
        let event = flow(&stream(), window(), &flow_row(("web", 1), ("db", 1), 1, action));
        [&event["activity_id"], &event["action_id"], &event["disposition_id"]].map(Value::clone)
    };
    assert_eq!(told(1), [6, 1, 1].map(Value::from));
    assert_eq!(told(2), [5, 2, 2].map(Value::from));
    assert_eq!(told(42), [6, 0, 0].map(Value::from));
}

#[test]
fn traffic_counts_from_the_source_whoever_reports() {
    let told = |reporter| flow(&stream(), window(), &flow_row(("web", 1), ("db", 1), reporter, 1))["traffic"].clone();
    let (by_source, by_dest) = (told(1), told(2));
    assert_eq!((&by_source["bytes_out"], &by_source["bytes_in"]), (&json!(200), &json!(10)));
    assert_eq!((&by_dest["bytes_out"], &by_dest["bytes_in"]), (&json!(10), &json!(200)));
    assert_eq!((&by_dest["packets"], &by_source["packets"]), (&json!(3), &json!(3)));
}

#[test]
fn the_direction_is_said_as_seen_from_the_cluster() {
    let told = |source, dest| {
        let event = flow(&stream(), window(), &flow_row(("a", source), ("b", dest), 1, 1));
        event["connection_info"]["direction"].clone()
    };
    assert_eq!([told(4, 1), told(1, 4), told(1, 1), told(4, 4)], ["Inbound", "Outbound", "Lateral", "Unknown"]);
    assert_eq!(told(0, 0), "Unknown");
}
