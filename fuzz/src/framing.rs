//! Flow objects found in a stream of bytes, however the stream is cut into blocks.

use catchment_files::fuzzing::frame;
use serde_json::Value;

/// First members that make a value a wrapper, which is taken off.
const WRAPPERS: [&str; 5] = ["id", "flow", "flows", "meta", "items"];

/// A byte that chooses the blocks, then the stream.
pub fn check(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let whole = frame([input]);
    assert!(whole.iter().all(|(_, line)| !line.contains(&b'\n')));
    assert!(whole.is_sorted_by(|a, b| a.0 < b.0), "lines out of order");
    let block = 1 + usize::from(choice);
    assert_eq!(whole, frame(input.chunks(block)), "blocks of {block} bytes show");
    let (head, tail) = input.split_at(input.len().min(block));
    assert_eq!(whole, frame([head, tail]), "a cut at {block} shows");
    check_values(input, &whole);
}

/// A stream of plain objects comes through value by value.
fn check_values(input: &[u8], framed: &[(u64, Vec<u8>)]) {
    let values = serde_json::Deserializer::from_slice(input).into_iter::<Value>();
    let Ok(values) = values.collect::<Result<Vec<_>, _>>() else { return };
    let plain = |value: &Value| value.as_object().is_some_and(|o| WRAPPERS.iter().all(|name| !o.contains_key(*name)));
    if values.iter().all(plain) {
        let lines: Vec<Value> =
            framed.iter().map(|(_, line)| serde_json::from_slice(line).expect("a value a line")).collect();
        assert_eq!(lines, values);
    }
}
