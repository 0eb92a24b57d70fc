//! Finds the flow objects in a stream of bytes, whatever they are wrapped in.
//!
//! Whole lines pass untouched. Everything else goes through a scanner that counts braces outside
//! strings, joins pretty-printed values into one line, and opens the lists that wrap flows.

use memchr::memchr;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A value that does not end within this many bytes is passed on as a broken line, so that a
/// missing brace costs bounded memory. A flow with a thousand labels is far below it.
const MAX_VALUE: usize = 4 << 20;

/// First members of the objects that may wrap flows: such a line is never taken as it is, and no other
/// object is taken apart.
const WRAPPER_MEMBERS: [&[u8]; 5] = [b"id\"", b"flow\"", b"flows\"", b"meta\"", b"items\""];

/// Lines of a server-sent event stream that carry no data.
const EVENT_FIELDS: [&[u8]; 4] = [b"event:", b"id:", b"retry:", b":"];

/// What has been framed from the bytes fed so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Line number in the input of the first line of `payload`.
    pub(crate) first_line: u64,
    /// One flow object a line; empty lines keep the numbering of the input.
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between values.
    Between,
    /// In a line that is no JSON object.
    Junk,
    /// Behind an object, in the line it began and ended in: nothing else may stand there.
    After,
    /// Inside an object.
    Value,
    /// Inside a string of an object.
    Text,
    /// After a backslash in a string.
    Escape,
}

/// Frames one input. Its output is a function of the bytes it was fed, however they were cut.
pub(crate) struct Framer {
    state: State,
    /// Open braces and brackets of the value.
    depth: u32,
    /// The last byte of the value that is not white space.
    last: u8,
    /// Where the last string directly inside the value starts: the name of the member being read.
    name_start: usize,
    /// Between the brackets of a wrapper's list.
    in_list: bool,
    /// Open brackets of lists that nothing wraps.
    brackets: u32,
    /// The value is the rest of a wrapper whose list has been read.
    rest_of_wrapper: bool,
    value: Vec<u8>,
    value_line: u64,
    /// Line of the input being read, from 1.
    line: u64,
    line_start: bool,
    out: Vec<u8>,
    first_line: u64,
    /// Number of the line that `out` would get next; never below an earlier one, so that the first
    /// lines of chunks rise strictly even where one line holds many values.
    next_line: u64,
}

impl Framer {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Between,
            depth: 0,
            last: 0,
            name_start: 0,
            in_list: false,
            brackets: 0,
            rest_of_wrapper: false,
            value: Vec::new(),
            value_line: 1,
            line: 1,
            line_start: true,
            out: Vec::new(),
            first_line: 1,
            next_line: 1,
        }
    }

    /// Reads the next bytes of the input.
    pub(crate) fn feed(&mut self, block: &[u8]) {
        let mut at = 0;
        while at < block.len() {
            // The line that ends a list goes on with the rest of its wrapper.
            if self.line_start && self.state == State::Between && !self.lists() {
                at += self.whole_lines(&block[at..]);
            }
            // `whole_lines` leaves at least the line that decides what follows.
            self.byte(block[at]);
            at += 1;
        }
    }

    /// The input has ended: what is still open is passed on as a broken line.
    pub(crate) fn finish(&mut self) {
        match self.state {
            State::Junk => self.end_junk(),
            State::Between => {}
            State::After => self.pass_on(),
            State::Value | State::Text | State::Escape => self.give_up(),
        }
    }

    /// What has been framed since the last call, if anything.
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        (!self.out.is_empty()).then(|| Chunk { first_line: self.first_line, payload: std::mem::take(&mut self.out) })
    }

    /// Copies the leading lines that are objects as they stand, and says how many bytes that were.
    ///
    /// A line from `{` to `}` followed by a line that starts with `{` needs no look inside: `}` and
    /// `{` never meet within a value, and strings hold no line breaks. Byte by byte it would pass as
    /// it stands too, be it one value, several, or none.
    fn whole_lines(&mut self, block: &[u8]) -> usize {
        let mut end = 0;
        let mut lines = 0;
        while let Some(length) = memchr(b'\n', &block[end..]) {
            let next = end + length + 1;
            if block.get(next) != Some(&b'{') || !is_plain_object(&block[end..next - 1]) {
                break;
            }
            end = next;
            lines += 1;
        }
        if lines > 0 {
            self.start_line(self.line);
            self.out.extend_from_slice(&block[..end]);
            self.line += lines;
            self.next_line += lines;
        }
        end
    }

    fn byte(&mut self, byte: u8) {
        self.line_start = byte == b'\n';
        match self.state {
            State::Between => self.between(byte),
            State::Junk => self.junk(byte),
            State::After => self.after(byte),
            State::Value => self.in_value(byte),
            State::Text => self.text(byte),
            // A line break is in no string, escaped or not.
            State::Escape if self.line_start => self.give_up(),
            State::Escape => {
                self.value.push(byte);
                self.state = State::Text;
            }
        }
        if self.line_start {
            self.line += 1;
        }
        if self.value.len() > MAX_VALUE {
            self.give_up();
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b'{' => self.open(),
            b']' if self.in_list => self.end_list(),
            b'[' => self.brackets += 1,
            b']' => self.brackets = self.brackets.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {}
            _ => {
                self.value_line = self.line;
                self.value.push(byte);
                self.state = State::Junk;
            }
        }
    }

    fn junk(&mut self, byte: u8) {
        if byte == b'\n' {
            return self.end_junk();
        }
        self.value.push(byte);
        if self.value == b"data:" {
            self.value.clear();
            self.state = State::Between;
        }
    }

    /// What follows a value in its line makes the whole line a broken one.
    fn after(&mut self, byte: u8) {
        match byte {
            b'\n' => self.pass_on(),
            b' ' | b'\t' | b'\r' | b',' => self.value.push(byte),
            _ => {
                self.value.push(byte);
                self.state = State::Junk;
            }
        }
    }

    fn end_junk(&mut self) {
        if EVENT_FIELDS.iter().any(|field| self.value.starts_with(field)) {
            self.value.clear();
        }
        self.give_up();
    }

    fn open(&mut self) {
        self.value_line = self.line;
        self.value.push(b'{');
        self.depth = 1;
        self.last = b'{';
        self.name_start = 0;
        self.state = State::Value;
    }

    fn in_value(&mut self, byte: u8) {
        match byte {
            b'"' => self.open_text(),
            // Nowhere may an object follow a value directly: the one before it was cut off, or the
            // line is none.
            b'{' if self.value_line == self.line && self.follows_a_value() && !self.lists() => {
                self.state = State::Junk;
            }
            b'{' if self.follows_a_value() => {
                self.give_up();
                return self.open();
            }
            b'[' if self.names_a_list() => return self.open_list(),
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            b' ' | b'\t' | b'\r' | b'\n' => return self.value.push(if byte == b'\n' { b' ' } else { byte }),
            _ => {}
        }
        self.value.push(byte);
        self.last = byte;
        if self.state == State::Value && self.depth == 0 {
            self.close();
        }
    }

    /// Whether the last byte of the value ends something that no object may follow.
    fn follows_a_value(&self) -> bool {
        !matches!(self.last, b'[' | b',' | b':')
    }

    /// Whether values stand in a list, where a line may hold many.
    const fn lists(&self) -> bool {
        self.in_list || self.brackets > 0
    }

    fn open_text(&mut self) {
        if self.depth == 1 {
            self.name_start = self.value.len();
        }
        self.state = State::Text;
    }

    fn text(&mut self, byte: u8) {
        match byte {
            b'\\' => self.state = State::Escape,
            b'"' => {
                self.state = State::Value;
                self.last = b'"';
            }
            // Strings hold no line breaks: this one was cut off.
            b'\n' => return self.give_up(),
            _ => {}
        }
        self.value.push(byte);
    }

    /// Whether a bracket here opens the list of a wrapper.
    fn names_a_list(&self) -> bool {
        let member = &self.value[self.name_start..];
        self.depth == 1
            && self.last == b':'
            && may_wrap(&self.value)
            && (member.starts_with(b"\"flows\"") || member.starts_with(b"\"items\""))
    }

    fn open_list(&mut self) {
        self.value.clear();
        self.in_list = true;
        self.rest_of_wrapper = false;
        self.state = State::Between;
    }

    fn end_list(&mut self) {
        self.open();
        self.in_list = false;
        self.rest_of_wrapper = true;
    }

    fn close(&mut self) {
        if self.value_line == self.line && !self.rest_of_wrapper && !self.lists() {
            self.state = State::After;
        } else {
            self.pass_on();
        }
    }

    /// Passes on a whole value.
    fn pass_on(&mut self) {
        let value = std::mem::take(&mut self.value);
        if !self.rest_of_wrapper
            && let Some(flow) = unwrap(through_last_brace(&value))
        {
            self.line_of(flow);
        }
        self.reset(value);
    }

    /// Passes on what has been read of a value that cannot be completed.
    fn give_up(&mut self) {
        let value = std::mem::take(&mut self.value);
        if !value.is_empty() && !self.rest_of_wrapper {
            self.line_of(value.trim_ascii_end());
        }
        self.reset(value);
    }

    /// Ready for the next value, in the memory of the last one.
    fn reset(&mut self, mut value: Vec<u8>) {
        value.clear();
        self.value = value;
        self.rest_of_wrapper = false;
        self.state = State::Between;
    }

    fn line_of(&mut self, value: &[u8]) {
        self.start_line(self.value_line);
        self.out.extend_from_slice(value);
        self.out.push(b'\n');
        self.next_line += 1;
    }

    /// Makes the next line of the output carry the number `line`, or the nearest one above.
    fn start_line(&mut self, line: u64) {
        if self.out.is_empty() {
            self.next_line = self.next_line.max(line);
            self.first_line = self.next_line;
        }
        while self.next_line < line {
            self.out.push(b'\n');
            self.next_line += 1;
        }
    }
}

/// Whether a line starts and ends like an object that wraps nothing.
fn is_plain_object(line: &[u8]) -> bool {
    line.starts_with(b"{\"") && line.ends_with(b"}") && line.len() <= MAX_VALUE && !may_wrap(line)
}

/// Whether the first member of an object is one of a wrapper's.
fn may_wrap(object: &[u8]) -> bool {
    let inside = object[1..].trim_ascii_start().strip_prefix(b"\"").unwrap_or_default();
    WRAPPER_MEMBERS.iter().any(|name| inside.starts_with(name))
}

/// Without the blanks and commas behind an object.
fn through_last_brace(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| !b" \t\r,".contains(byte));
    &value[..end.map_or(0, |last| last + 1)]
}

/// What may stand around one flow.
#[derive(Deserialize)]
struct Wrapper<'a> {
    #[serde(borrow)]
    flow: Option<&'a RawValue>,
    meta: Option<IgnoredAny>,
}

/// The flow inside `value`; `None` where the value is a wrapper around nothing.
fn unwrap(value: &[u8]) -> Option<&[u8]> {
    if !may_wrap(value) {
        return Some(value);
    }
    match serde_json::from_slice(value) {
        Ok(Wrapper { flow: Some(flow), .. }) => Some(flow.get().as_bytes()),
        Ok(Wrapper { meta: Some(_), .. }) => None,
        _ => Some(value),
    }
}

#[cfg(test)]
#[path = "framer_tests.rs"]
mod tests;
