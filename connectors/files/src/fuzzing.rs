//! What fuzz targets reach and nobody else.

use crate::framer::{Chunk, Framer};

/// Every framed line that is not empty, with its number in the input.
pub fn frame<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(u64, Vec<u8>)> {
    let mut framer = Framer::new();
    let mut lines = Vec::new();
    for block in blocks {
        framer.feed(block);
        lines.extend(framer.take().into_iter().flat_map(numbered));
    }
    framer.finish();
    lines.extend(framer.take().into_iter().flat_map(numbered));
    lines
}

fn numbered(Chunk { first_line, payload }: Chunk) -> Vec<(u64, Vec<u8>)> {
    let lines = payload.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
    (first_line..).zip(lines).filter(|(_, line)| !line.is_empty()).collect()
}
