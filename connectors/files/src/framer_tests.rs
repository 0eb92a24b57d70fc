use proptest::prelude::*;

use super::*;

fn frame_in_blocks(input: &[u8], block: usize) -> Vec<Chunk> {
    let mut framer = Framer::new();
    let mut chunks = Vec::new();
    for block in input.chunks(block) {
        framer.feed(block);
        chunks.extend(framer.take());
    }
    framer.finish();
    chunks.extend(framer.take());
    chunks
}

fn frame(input: &str) -> String {
    let chunks = frame_in_blocks(input.as_bytes(), input.len().max(1));
    chunks.iter().map(|c| String::from_utf8_lossy(&c.payload)).collect()
}

fn values(input: &str) -> Vec<String> {
    frame(input).lines().filter(|l| !l.is_empty()).map(ToOwned::to_owned).collect()
}

#[test]
fn whole_lines_pass_untouched() {
    let lines = "{\"Key\":{\"proto\":\"tcp\"}}\n{\"Key\":{}, \"x\" : 1}\n{\"z\":\"}{\"}\n";
    assert_eq!(frame(lines), lines);
    assert_eq!(frame(lines.trim_end()), lines);
}

#[test]
fn pretty_printed_values_become_one_line_each_and_keep_their_line_numbers() {
    let framed = frame("{\n  \"a\": 1\n}\n{\n  \"b\": \"x\\\"}\"\n}\n");
    let lines: Vec<_> = framed.lines().collect();
    assert_eq!(lines, ["{   \"a\": 1 }", "", "", "{   \"b\": \"x\\\"}\" }"]);
}

#[test]
fn wrappers_are_taken_off() {
    assert_eq!(
        values("{\"id\":\"7\",\"flow\":{\"a\":1}}\n{\"flow\": {\"b\":2}, \"id\":1}"),
        ["{\"a\":1}", "{\"b\":2}"]
    );
    let list =
        "{\"meta\":{\"totalPages\":1},\"flows\":[{\"id\":1,\"flow\":{\"a\":1}},\n{\"flow\":{\"b\":[2]}}]}\n{\"c\":3}";
    assert_eq!(values(list), ["{\"a\":1}", "{\"b\":[2]}", "{\"c\":3}"]);
    assert_eq!(values("{\"items\": [{\"a\":1}], \"meta\": {\"totalPages\": 1}}"), ["{\"a\":1}"]);
    assert_eq!(values("[\n {\"a\":1},\n {\"b\":2}\n]\n"), ["{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn a_list_ends_in_the_middle_of_a_line() {
    let page = "{\"flows\":[\n{\"a\":1},\n{\"b\":2}],\"meta\":{\"totalPages\":2}}\n";
    assert_eq!(values(&page.repeat(2)), ["{\"a\":1}", "{\"b\":2}", "{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn a_wrapper_around_nothing_holds_no_flow() {
    assert_eq!(values("{\"meta\":{\"totalPages\":\"0\"}}\n{\"flows\":[]}\n{\"items\":[],\"meta\":{}}"), [""; 0]);
}

#[test]
fn events_of_a_stream_are_taken_by_their_data() {
    let events = ": hello\nevent: flow\nid: 3\ndata: {\"a\":1}\n\ndata:{\"b\":2}\n\n";
    assert_eq!(values(events), ["{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn members_that_look_like_wrappers_deeper_down_are_left_alone() {
    let flow = "{\"x\": {\"flows\": [{\"a\":1}]}}";
    assert_eq!(values(flow), [flow]);
    assert_eq!(values("{\"id\":\"7\",\"source_name\":\"a\"}"), ["{\"id\":\"7\",\"source_name\":\"a\"}"]);
}

#[test]
fn broken_lines_pass_as_they_are_and_harm_no_neighbour() {
    let input = "{\"a\":1}\nnot json\n{\"cut\": {\"b\"\n{\"c\":3}\n{\"text\": \"cut\n{\"d\":4}\n{\"open\":[1,";
    assert_eq!(
        values(input),
        ["{\"a\":1}", "not json", "{\"cut\": {\"b\"", "{\"c\":3}", "{\"text\": \"cut", "{\"d\":4}", "{\"open\":[1,"]
    );
}

#[test]
fn an_escaped_line_break_ends_a_value_like_any_other() {
    assert_eq!(values("{\"a\":\"x\\\n{\"b\":2}\n"), ["{\"a\":\"x\\", "{\"b\":2}"]);
}

#[test]
fn every_line_keeps_its_number() {
    let input = "\n\n{\"a\":1}\n\nbroken\n{\n\"b\":2}\n{\"c\":3}\n";
    let chunks = frame_in_blocks(input.as_bytes(), 1 << 20);
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].first_line, 3);
    let text = String::from_utf8_lossy(&chunks[0].payload).into_owned();
    assert_eq!(text.lines().collect::<Vec<_>>(), ["{\"a\":1}", "", "broken", "{ \"b\":2}", "", "{\"c\":3}"]);
}

#[test]
fn a_line_with_several_values_is_no_value() {
    let lines = ["{\"a\":1}{\"b\":2}", "{\"a\":1},{\"b\":2}", "{\"a\":1} x", "{\"cut\":1 {\"b\":2}", "{\"a\":]]}"];
    for line in lines {
        assert_eq!(values(line), [line]);
        assert_eq!(values(&format!("{line}\n{{\"c\":3}}\n")), [line, "{\"c\":3}"]);
    }
    assert_eq!(values("{\"a\":1} ,\r\n{\"b\":2}"), ["{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn an_object_is_taken_apart_by_its_first_member_alone() {
    let page = "{\"total\":1,\"items\":[{\"a\":1}]}";
    assert_eq!(values(page), [page]);
    assert_eq!(values(&format!("{page}\n{{\"c\":3}}")), [page, "{\"c\":3}"]);
}

#[test]
fn a_value_without_end_is_given_up_in_bounded_memory() {
    let mut framer = Framer::new();
    for _ in 0..10 {
        framer.feed("{\"a\":[".as_bytes());
        framer.feed(&vec![b'1'; MAX_VALUE]);
        assert!(framer.value.len() <= MAX_VALUE);
        assert!(framer.take().is_some());
    }
}

#[test]
fn first_lines_rise_even_where_one_line_holds_many_values() {
    let input = format!("[{}]", vec!["{\"a\":1}"; 100].join(","));
    let firsts: Vec<_> = frame_in_blocks(input.as_bytes(), 64).iter().map(|c| c.first_line).collect();
    assert!(firsts.len() > 5 && firsts.is_sorted_by(|a, b| a < b), "{firsts:?}");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Into::into),
        "[\\PC\"\\\\{}\\[\\]\n]{0,8}".prop_map(Into::into),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::hash_map("k[a-z{\"]{0,3}", inner, 0..4)
                .prop_map(|m| m.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn any_flow() -> impl Strategy<Value = serde_json::Value> {
    any_json().prop_map(|x| serde_json::json!({ "Key": x, "n": 1 }))
}

/// Parts of which lines, broken and not, are made.
const PARTS: [&str; 16] = [
    "{\"a\":1}",
    "{\"a\":1}",
    "{\"Key\":{\"x\":[2]}}",
    "\n",
    "\n",
    "\n",
    ",",
    " ",
    "[",
    "]",
    "{\"meta\":{},\"flows\":[",
    "]}",
    "{\"id\":1,\"flow\":{\"b\":2}}",
    "{\"cut\":{",
    "}",
    "\"x\\",
];

/// Every line that is not empty, with its number.
fn numbered(input: &str, block: usize) -> Vec<(u64, String)> {
    let lines = frame_in_blocks(input.as_bytes(), block).into_iter().flat_map(|chunk| {
        let text = String::from_utf8(chunk.payload).expect("the input is text");
        (chunk.first_line..).zip(text.lines().map(ToOwned::to_owned).collect::<Vec<_>>())
    });
    lines.filter(|(_, line)| !line.is_empty()).collect()
}

proptest! {
    #[test]
    fn every_value_comes_through_whatever_its_layout(
        flows in proptest::collection::vec((any_flow(), 0..4u8), 0..8),
        block in 1..200usize,
    ) {
        let text: String = flows.iter().map(|(flow, layout)| match layout {
            0 => format!("{flow}\n"),
            1 => format!("{flow:#}\n"),
            2 => format!("{}\n", serde_json::json!({ "id": 1, "flow": flow })),
            _ => format!("{:#}\n", serde_json::json!({ "meta": {}, "flows": [{ "flow": flow }] })),
        }).collect();
        let framed: Vec<u8> = frame_in_blocks(text.as_bytes(), block).into_iter().flat_map(|c| c.payload).collect();
        let read: Vec<serde_json::Value> = framed.split(|&b| b == b'\n').filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).expect("one value a line")).collect();
        prop_assert_eq!(read, flows.into_iter().map(|(f, _)| f).collect::<Vec<_>>());
    }

    #[test]
    fn blocks_do_not_show(
        parts in proptest::collection::vec(proptest::sample::select(PARTS.to_vec()), 0..24), block in 1..40usize,
    ) {
        let input = parts.concat();
        prop_assert_eq!(numbered(&input, block), numbered(&input, input.len().max(1)));
    }

    #[test]
    fn blocks_do_not_show_in_arbitrary_bytes(
        input in proptest::collection::vec(proptest::sample::select(b"{}[]\",:\\\n d1".to_vec()), 0..200), block in 1..50usize,
    ) {
        let input = String::from_utf8(input).expect("ASCII");
        prop_assert_eq!(numbered(&input, block), numbered(&input, input.len().max(1)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in proptest::collection::vec(
        prop_oneof![4 => proptest::sample::select(b"{}[]\",:\\\n d".to_vec()), 1 => any::<u8>()], 0..300), block in 1..50usize) {
        for chunk in frame_in_blocks(&input, block) {
            prop_assert!(chunk.payload.ends_with(b"\n"));
        }
    }
}
