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
    check_blocks(&whole, &bytewise);
    check_blocks(&frame(input.chunks(1 + usize::from(choice))), &bytewise);
    check_values(input, &bytewise);
}

fn check_lines(lines: &[Line]) {
    assert!(lines.iter().all(|(_, line)| !line.contains(&b'\n')));
    assert!(lines.is_sorted_by(|a, b| a.0 < b.0), "lines out of order");
}

/// Blocks do not show, but for this: a line from `{` to `}` that lies in a block with what follows is
/// passed as it stands, and may then hold several values or a list where a wrapper has other first
/// members. Such lines are taken apart again before they are compared.
fn check_blocks(framed: &[Line], bytewise: &[Line]) {
    if framed == bytewise || framed.iter().any(|(_, line)| may_hold_list(line)) {
        return;
    }
    assert!(!texts(framed).eq(texts(bytewise)), "blocks show in the numbers of lines");
    let taken_apart: Vec<_> = framed.iter().flat_map(take_apart).collect();
    assert!(texts(&taken_apart).eq(texts(bytewise)), "blocks show");
}

fn texts(lines: &[Line]) -> impl Iterator<Item = &[u8]> {
    lines.iter().map(|(_, line)| line.as_slice())
}

fn take_apart(line: &Line) -> Vec<Line> {
    if may_stand_as_it_was(&line.1) { frame(line.1.chunks(1)) } else { vec![line.clone()] }
}

/// From `{` to `}`, and no wrapper by its first member.
fn may_stand_as_it_was(line: &[u8]) -> bool {
    let Some(inside) = line.strip_prefix(b"{\"").filter(|_| line.ends_with(b"}")) else { return false };
    !WRAPPERS.iter().any(|name| inside.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"\"")))
}

fn may_hold_list(line: &[u8]) -> bool {
    let holds = |name: &[u8]| line.windows(name.len()).any(|window| window == name);
    holds(b"\"flows\"") || holds(b"\"items\"")
}

/// A stream of plain objects comes through value by value.
fn check_values(input: &[u8], framed: &[Line]) {
    let values = serde_json::Deserializer::from_slice(input).into_iter::<Value>();
    let Ok(values) = values.collect::<Result<Vec<_>, _>>() else { return };
    let plain = |value: &Value| value.as_object().is_some_and(|o| WRAPPERS.iter().all(|name| !o.contains_key(*name)));
    if values.iter().all(plain) {
        let lines: Vec<Value> =
            framed.iter().map(|(_, line)| serde_json::from_slice(line).expect("a value a line")).collect();
        assert_eq!(lines, values);
    }
}
