//! Where an epoch is cut into transactions.

/// Rows of a chunk at most: a transaction stays well under a second on a healthy broker.
const MAX_ROWS: usize = 20_000;
/// Bytes of JSON of a chunk at most, unless one row alone is larger.
const MAX_BYTES: usize = 16 << 20;

/// Decides where chunks begin, from the lengths of the rows and nothing else.
///
/// A cursor names chunks by number, so the cuts of an epoch must come out the same in every run:
/// rows of datasets that are not published count too, and the limits are no setting. Changing them
/// needs a new [`crate::cursor::FORMAT`].
#[derive(Debug)]
pub(crate) struct Cutter {
    max_rows: usize,
    max_bytes: usize,
    rows: usize,
    bytes: usize,
}

impl Default for Cutter {
    fn default() -> Self {
        Self { max_rows: MAX_ROWS, max_bytes: MAX_BYTES, rows: 0, bytes: 0 }
    }
}

impl Cutter {
    /// Counts the next row; true if a new chunk begins with it.
    pub(crate) fn cuts_before(&mut self, len: usize) -> bool {
        let full = self.rows == self.max_rows || self.bytes + len > self.max_bytes;
        let cut = self.rows > 0 && full;
        if cut {
            (self.rows, self.bytes) = (0, 0);
        }
        self.rows += 1;
        self.bytes += len;
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(lens: &[usize]) -> Vec<usize> {
        let mut cutter = Cutter { max_rows: 3, max_bytes: 100, rows: 0, bytes: 0 };
        lens.iter().enumerate().filter(|(_, len)| cutter.cuts_before(**len)).map(|(i, _)| i).collect()
    }

    #[test]
    fn a_chunk_ends_at_the_row_limit_or_before_the_row_that_would_pass_the_byte_limit() {
        assert_eq!(cuts(&[1; 7]), [3, 6]);
        assert_eq!(cuts(&[60, 40, 1, 99, 1]), [2, 4]);
    }

    #[test]
    fn a_row_larger_than_a_chunk_stands_alone_and_leaves_no_chunk_empty() {
        assert_eq!(cuts(&[500, 1, 500]), [1, 2]);
    }

    #[test]
    fn a_longer_epoch_with_the_same_beginning_has_the_same_first_cuts() {
        let lens: Vec<usize> = (0..40).map(|i| i * 37 % 61).collect();
        let whole = cuts(&lens);
        let head = cuts(&lens[..20]);
        assert!(!head.is_empty());
        assert_eq!(whole[..head.len()], head);
    }
}
