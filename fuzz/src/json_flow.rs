//! Lines of flow JSON through the fold, and each line against `serde_json`.

use catchment_core::Encoding::JsonLines;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::fold::{self, Folded, Plan};

/// Both spellings of a counter.
const PACKETS_IN: [&str; 2] = ["packets_in", "packetsIn"];
const BYTES_OUT: [&str; 2] = ["bytes_out", "bytesOut"];

/// A byte that chooses workers and progress, then lines.
pub fn check(data: &[u8]) {
    let Some((plan, payload)) = Plan::split(data) else { return };
    fold::check(&plan, JsonLines, payload);
    check_order(payload);
    // One line is also read for itself; more would cost more than they show.
    if let Some(line) = payload.split(|&byte| byte == b'\n').nth(usize::from(data[0] & 3)) {
        check_line(line);
    }
}

/// The order of lines inside a window shows in no row of it.
fn check_order(payload: &[u8]) {
    let mut lines: Vec<_> = payload.split(|&byte| byte == b'\n').collect();
    if lines.len() > 1 {
        lines.reverse();
        let (forth, back) = (fold::once(JsonLines, payload), fold::once(JsonLines, &lines.join(&b'\n')));
        assert_eq!(forth.window_text(), back.window_text(), "the order of lines shows");
    }
}

fn check_line(line: &[u8]) {
    let once = fold::once(JsonLines, line);
    assert!(once.records <= 1);
    check_again(line, &once);
    let json = serde_json::from_slice::<Value>(line).ok().filter(Value::is_object);
    if once.counted() > 0 {
        // What a member says that nobody reads may be no text, or a number that nothing can hold.
        let text = String::from_utf8_lossy(line);
        assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok(), "counted, and yet no JSON");
    }
    if let Some(json) = json.as_ref().filter(|_| once.counted() > 0) {
        let counters = once.windows().next().expect("one window").flows[0].counters;
        check_counter(json, PACKETS_IN, counters.packets_in);
        check_counter(json, BYTES_OUT, counters.bytes_out);
    }
    if json.is_some() {
        let scanned = once.rejects().iter().all(|(_, detail)| !detail.starts_with("the line is no JSON object: byte "));
        assert!(scanned, "JSON is no JSON: {:?}", once.rejects());
    }
}

/// A line that is known by its bytes comes to the same as one that is parsed.
fn check_again(line: &[u8], once: &Folded) {
    let twice = fold::once(JsonLines, &[line, line].join(&b'\n'));
    assert_eq!(
        (twice.records, twice.counted(), twice.still_open),
        (2 * once.records, 2 * once.counted(), 2 * once.still_open)
    );
    let repeated: Vec<_> = [once.rejects(), once.rejects()].concat();
    assert_eq!(twice.rejects(), repeated, "a second reading differs");
}

/// Holds where the counter stands once: what several say is for the reader of the line to choose.
fn check_counter(line: &Value, names: [&str; 2], counted: u64) {
    let objects = [Some(line), line.get("flow")];
    let said: Vec<_> = objects.iter().flatten().flat_map(|o| names.iter().filter_map(|name| o.get(name))).collect();
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    match said[..] {
        [] => assert_eq!(counted, 0),
        [value] => assert_eq!(number(value), Some(counted), "{value} was read as {counted}"),
        _ => {}
    }
}
