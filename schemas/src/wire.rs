//! Views that slice a receive buffer: the numbers are read, the key and the labels stay bytes.
//!
//! A collector sends the same keys again and again, so the hot path hashes a key's bytes and never
//! parses them twice. [`FlowView`] agrees with the full [`crate::goldmane::Flow`] message on every
//! well-formed input; a property test holds the two together.

/// Why a buffer is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset of the byte at which reading failed.
    pub offset: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed protobuf at byte {}", self.offset)
    }
}

impl std::error::Error for Malformed {}

/// A flow whose key and labels are still the collector's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowView<'a> {
    /// The encoded `FlowKey`.
    pub key: &'a [u8],
    /// The label fields, tags included, where they stand together as every known encoder writes
    /// them; `None` where they do not, or where the key stands more than once.
    pub labels: Option<&'a [u8]>,
    /// Seconds; 0 when the server has no closed bucket for the flow.
    pub start_time: i64,
    /// Seconds, exclusive.
    pub end_time: i64,
    /// Packets towards the reporter.
    pub packets_in: i64,
    /// Packets from the reporter.
    pub packets_out: i64,
    /// Bytes towards the reporter.
    pub bytes_in: i64,
    /// Bytes from the reporter.
    pub bytes_out: i64,
    /// Connections first seen.
    pub num_connections_started: i64,
    /// Connections that ended.
    pub num_connections_completed: i64,
    /// Connections active.
    pub num_connections_live: i64,
}

impl<'a> FlowView<'a> {
    /// Reads an encoded `goldmane.Flow`.
    pub fn parse(buffer: &'a [u8]) -> Result<Self, Malformed> {
        match Self::parse_in_order(buffer) {
            Some(view) => Ok(view),
            None => Self::parse_any(buffer),
        }
    }

    /// The fields in the order of their numbers, each at most once, as every known encoder writes
    /// them: nothing is dispatched on tags, which shows in the cost of the whole fold. `None` where
    /// the buffer is anything else.
    #[inline]
    fn parse_in_order(buffer: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(buffer);
        let mut view = Self::default();
        if reader.takes(tag_byte(1, LENGTH_DELIMITED)) {
            view.key = reader.bytes().ok()?;
        }
        view.start_time = reader.int_if(2)?;
        view.end_time = reader.int_if(3)?;
        let labels = reader.at();
        while reader.takes(tag_byte(4, LENGTH_DELIMITED)) {
            reader.bytes().ok()?;
        }
        while reader.takes(tag_byte(5, LENGTH_DELIMITED)) {
            reader.bytes().ok()?;
        }
        view.labels = Some(&buffer[labels..reader.at()]);
        view.packets_in = reader.int_if(6)?;
        view.packets_out = reader.int_if(7)?;
        view.bytes_in = reader.int_if(8)?;
        view.bytes_out = reader.int_if(9)?;
        view.num_connections_started = reader.int_if(10)?;
        view.num_connections_completed = reader.int_if(11)?;
        view.num_connections_live = reader.int_if(12)?;
        reader.rest.is_empty().then_some(view)
    }

    /// Fields in any order, repeated or unknown.
    fn parse_any(buffer: &'a [u8]) -> Result<Self, Malformed> {
        let mut view = Self { labels: Some(&[]), ..Self::default() };
        let mut reader = Reader::new(buffer);
        // The labels of source and destination form one run of fields in the middle of the message.
        let mut labels = 0..0;
        let mut keys = 0;
        while !reader.rest.is_empty() {
            let field_start = reader.at();
            let (field, wire_type) = reader.tag()?;
            match (field, wire_type) {
                (1, LENGTH_DELIMITED) => {
                    view.key = reader.bytes()?;
                    keys += 1;
                }
                (4 | 5, LENGTH_DELIMITED) => {
                    reader.bytes()?;
                    if labels.is_empty() {
                        labels = field_start..reader.at();
                    } else if labels.end == field_start {
                        labels.end = reader.at();
                    } else {
                        view.labels = None;
                    }
                }
                (2, VARINT) => view.start_time = reader.int()?,
                (3, VARINT) => view.end_time = reader.int()?,
                (6, VARINT) => view.packets_in = reader.int()?,
                (7, VARINT) => view.packets_out = reader.int()?,
                (8, VARINT) => view.bytes_in = reader.int()?,
                (9, VARINT) => view.bytes_out = reader.int()?,
                (10, VARINT) => view.num_connections_started = reader.int()?,
                (11, VARINT) => view.num_connections_completed = reader.int()?,
                (12, VARINT) => view.num_connections_live = reader.int()?,
                (1..=12, _) => return Err(Malformed { offset: field_start }),
                _ => reader.skip(field, wire_type)?,
            }
        }
        view.labels = match view.labels {
            Some(_) if keys <= 1 => Some(&buffer[labels]),
            _ => None,
        };
        Ok(view)
    }
}

/// The flows of an encoded `goldmane.FlowListResult`, as slices of encoded `goldmane.Flow`.
///
/// Stops after the first malformed field, which it yields as an error.
#[derive(Clone, Debug)]
pub struct FlowSlices<'a> {
    reader: Reader<'a>,
}

impl<'a> FlowSlices<'a> {
    /// Over an encoded `goldmane.FlowListResult`.
    pub const fn new(list: &'a [u8]) -> Self {
        Self { reader: Reader::new(list) }
    }

    /// Offsets in the list just behind each flow, up to the first malformed field.
    pub fn ends(mut self) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || match self.next()? {
            Ok(_) => Some(self.reader.at()),
            Err(_) => None,
        })
    }

    /// Offset in the list just behind the last flow, or behind everything once a field was malformed.
    pub const fn offset(&self) -> usize {
        self.reader.at()
    }

    fn next_flow(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        while !self.reader.rest.is_empty() {
            let field_start = self.reader.at();
            match self.reader.tag()? {
                (2, LENGTH_DELIMITED) => {
                    let start = self.reader.at();
                    let result = self.reader.bytes()?;
                    return flow_of_result(result).map(Some).map_err(|e| Malformed { offset: start + e.offset });
                }
                (2, _) => return Err(Malformed { offset: field_start }),
                (field, wire_type) => self.reader.skip(field, wire_type)?,
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for FlowSlices<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_flow();
        if next.is_err() {
            self.reader.rest = &[];
        }
        next.transpose()
    }
}

fn flow_of_result(result: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(result);
    let mut flow: &[u8] = &[];
    while !reader.rest.is_empty() {
        let field_start = reader.at();
        match reader.tag()? {
            (2, LENGTH_DELIMITED) => flow = reader.bytes()?,
            (2, _) => return Err(Malformed { offset: field_start }),
            (field, wire_type) => reader.skip(field, wire_type)?,
        }
    }
    Ok(flow)
}

/// The tag of a field below 16, which is one byte.
const fn tag_byte(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

/// Groups inside each other; `prost` refuses more, too.
const MAX_GROUPS: usize = 100;

/// Reads from the front of what is left of a buffer.
#[derive(Clone, Debug)]
struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    const fn new(buffer: &'a [u8]) -> Self {
        Self { rest: buffer, whole: buffer.len() }
    }

    /// Bytes read so far.
    const fn at(&self) -> usize {
        self.whole - self.rest.len()
    }

    const fn malformed(&self) -> Malformed {
        Malformed { offset: self.at() }
    }

    /// Whether the next byte is `byte`, which is then passed.
    #[inline]
    fn takes(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The number of `field` if it stands here, else 0; `None` where it is malformed.
    #[inline]
    fn int_if(&mut self, field: u8) -> Option<i64> {
        if self.takes(tag_byte(field, VARINT)) { self.int().ok() } else { Some(0) }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // One byte is by far the most common length: tags, small lengths, small counters.
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.wide_varint(),
        }
    }

    /// A varint of two to eight bytes, without a loop over them.
    #[inline]
    fn wide_varint(&mut self) -> Result<u64, Malformed> {
        let Some(word) = self.rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return self.long_varint();
        };
        let last = !word & 0x8080_8080_8080_8080;
        if last == 0 {
            return self.long_varint();
        }
        let bits = last.trailing_zeros() + 1;
        self.rest = &self.rest[bits as usize / 8..];
        // Seven bits of each byte, moved together by pairs, then fours, then eights.
        let word = word & (u64::MAX >> (64 - bits));
        let pairs = (word & 0x007f_007f_007f_007f) | ((word & 0x7f00_7f00_7f00_7f00) >> 1);
        let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
        Ok((fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4))
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the last bit of 64.
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    #[inline]
    fn int(&mut self) -> Result<i64, Malformed> {
        self.varint().map(|v| v as i64)
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let start = self.at();
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(field) if field > 0 && field < (1 << 29) => Ok((field, (tag & 7) as u8)),
            _ => Err(Malformed { offset: start }),
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        match usize::try_from(length).ok().and_then(|n| self.rest.split_at_checked(n)) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.malformed()),
        }
    }

    fn skip(&mut self, field: u32, wire_type: u8) -> Result<(), Malformed> {
        if wire_type == START_GROUP { self.skip_group(field) } else { self.skip_plain(wire_type) }
    }

    /// Passes a group: fields up to the end that bears its number. Nobody writes them any more.
    #[cold]
    fn skip_group(&mut self, field: u32) -> Result<(), Malformed> {
        let mut open = vec![field];
        while let Some(&innermost) = open.last() {
            let start = self.at();
            match self.tag()? {
                (field, START_GROUP) if open.len() < MAX_GROUPS => open.push(field),
                (field, END_GROUP) if field == innermost => drop(open.pop()),
                (_, START_GROUP | END_GROUP) => return Err(Malformed { offset: start }),
                (_, wire_type) => self.skip_plain(wire_type)?,
            }
        }
        Ok(())
    }

    fn skip_plain(&mut self, wire_type: u8) -> Result<(), Malformed> {
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            LENGTH_DELIMITED => self.bytes().map(drop),
            FIXED32 => self.take(4).map(drop),
            _ => Err(self.malformed()),
        }
    }
}
