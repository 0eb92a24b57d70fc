//! Flow objects found in a stream of bytes, however the stream is cut into blocks.

use catchment_files::fuzzing::frame;
use serde_json::Value;

/// First members that make a value a wrapper, which is taken off.
const WRAPPERS: [&str; 5] = ["id", "flow", "flows", "meta", "items"];

/// A framed line with its number in the input.
type Line = (u64, Vec<u8>);

/// A byte that chooses the blocks, then the stream.
pub fn check(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let bytewise = frame(input.chunks(1));
    let whole = frame([input]);
    check_lines(&whole);
    check_lines(&bytewise);
    assert_eq!(whole, bytewise, "blocks show");
    assert_eq!(frame(input.chunks(1 + usize::from(choice))), bytewise, "blocks show");
    check_values(input, &bytewise);
}

fn check_lines(lines: &[Line]) {
    assert!(lines.iter().all(|(_, line)| !line.contains(&b'\n')));
    assert!(lines.is_sorted_by(|a, b| a.0 < b.0), "lines out of order");
}

/// A stream of plain objects comes through value by value where each ends its line.
fn check_values(input: &[u8], framed: &[Line]) {
    let mut values = serde_json::Deserializer::from_slice(input).into_iter::<Value>();
    let mut objects = Vec::new();
    while let Some(value) = values.next() {
        let rest = input[values.byte_offset()..].split(|&byte| byte == b'\n').next().unwrap_or_default();
        match value {
            Ok(value) if is_plain(&value) && rest.trim_ascii().is_empty() => objects.push(value),
            _ => return,
        }
    }
    let lines: Vec<Value> =
        framed.iter().map(|(_, line)| serde_json::from_slice(line).expect("a value a line")).collect();
    assert_eq!(lines, objects);
}

fn is_plain(value: &Value) -> bool {
    value.as_object().is_some_and(|object| WRAPPERS.iter().all(|name| !object.contains_key(*name)))
}
