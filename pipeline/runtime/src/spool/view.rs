//! A look at a log from outside: nothing is locked, changed or kept open.

use std::path::Path;

use catchment_core::{Entry, EventTime, LogPosition, Result};

use super::segment::{self, Segment};

/// What stands in the folder of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Files.
    pub segments: usize,
    /// Bytes of whole appends.
    pub bytes: u64,
    /// The oldest position.
    pub first: LogPosition,
    /// The position of the next entry.
    pub end: LogPosition,
    /// Event time of the oldest entry, where it has one.
    pub oldest: Option<EventTime>,
    /// Event time up to which the source has come.
    pub newest: Option<EventTime>,
    /// Bytes at the end that are no whole append: torn by a crash, or being written now.
    pub unfinished: u64,
}

/// Looks at the log in `dir`, which another process may be writing; `None` where there is none yet.
///
/// Reads what a start would check: every byte of the newest segment, and how the entries of the
/// others lie. Damage is an error that names file and byte.
pub fn view(dir: &Path) -> Result<Option<View>> {
    if !dir.exists() {
        return Ok(None);
    }
    let mut files = segment::list(dir)?;
    let Some((newest_first, newest)) = files.pop() else { return Ok(None) };
    let mut segments = Vec::with_capacity(files.len() + 1);
    for (first, path) in files {
        match Segment::open_sealed(&path, first) {
            // The writer drops the oldest ones meanwhile.
            Err(_) if !path.exists() => segments.clear(),
            opened => segments.push(opened?),
        }
    }
    let begun = newest.metadata().is_ok_and(|file| file.len() >= super::PREAMBLE as u64);
    let unfinished = if begun {
        let (newest, unfinished) = Segment::view_newest(&newest, newest_first)?;
        segments.push(newest);
        unfinished
    } else {
        0
    };
    let oldest = segments.iter().find_map(|segment| segment.place(segment.first));
    Ok(Some(View {
        segments: segments.len(),
        bytes: segments.iter().map(|segment| segment.bytes).sum(),
        first: segments.first().map_or(newest_first, |segment| segment.first),
        end: segments.last().map_or(newest_first, Segment::end),
        oldest: oldest.map(|place| place.read()).transpose()?.as_ref().and_then(begin),
        newest: segments.iter().flat_map(|segment| &segment.marks).map(|mark| mark.up_to).max(),
        unfinished,
    }))
}

/// The earliest event time an entry speaks of.
fn begin(entry: &Entry) -> Option<EventTime> {
    let time = match entry {
        Entry::Flows(flows) => flows.span.start,
        Entry::Progress { up_to, .. } => *up_to,
        Entry::Gap(gap) => gap.span.start,
        Entry::Knowledge(_) => EventTime::MIN,
    };
    (time != EventTime::MIN).then_some(time)
}

#[cfg(test)]
mod tests {
    use catchment_core::LogWriter as _;

    use super::super::tests::{ROOMY, flows, progress, segments};
    use super::*;
    use crate::metrics::LogMetrics;
    use crate::spool::{Limits, Spool};

    #[tokio::test]
    async fn a_log_is_looked_at_while_it_is_written_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(view(&dir.path().join("nothing")).unwrap(), None);
        let limits = Limits { segment_bytes: 600, ..ROOMY };
        let spool = Spool::open(dir.path(), limits, LogMetrics::default()).unwrap();
        for number in 3..9 {
            spool.append(vec![flows(number, 50), progress(number + 1)]).await.unwrap();
        }
        let seen = view(dir.path()).unwrap().unwrap();
        assert_eq!((seen.first, seen.end, seen.bytes), (spool.first(), spool.end(), spool.bytes()));
        assert_eq!(seen.segments, segments(&dir).len());
        assert_eq!(seen.oldest.zip(seen.newest), Some((EventTime::from_secs(3), EventTime::from_secs(9))));
        assert_eq!(seen.unfinished, 0);
        drop(spool);

        let newest = segments(&dir).pop().unwrap();
        let torn = [&std::fs::read(&newest).unwrap()[..], &[7; 11]].concat();
        std::fs::write(&newest, &torn).unwrap();
        assert_eq!(view(dir.path()).unwrap().unwrap(), View { unfinished: 11, ..seen });
        assert_eq!(std::fs::read(&newest).unwrap(), torn);

        let mut damaged = torn;
        damaged[100] ^= 1;
        std::fs::write(&newest, &damaged).unwrap();
        let error = view(dir.path()).unwrap_err();
        assert!(error.message.contains("damaged") && error.message.contains(newest.to_str().unwrap()), "{error}");
    }
}
