//! What becomes of findings, as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek as _, SeekFrom};
use std::time::Duration;

use catchment_core::{Error, FindingId, Result};

use super::filter::Filter;
use super::origin::{Origin, Page, STDIN, open, row};
use super::row::Row;
use super::words::{painted_severity, subject};
use crate::args::{WatchArgs, WatchOutput};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn watch(args: &WatchArgs) -> Result<()> {
    let filter = Filter::new(&args.filter, &args.status);
    let show = |row: &Row| if filter.shows(row) { crate::print_line(&line(row, args.output)) } else { Ok(()) };
    match Origin::of(&args.origin)? {
        Origin::Page(page) => watch_page(&page, &show),
        Origin::Files(files) => match &files[..] {
            [file] if file == STDIN => read_to_end(STDIN, &mut Lines::new(open(STDIN)?), &show),
            [file] => follow(file, &show),
            _ => Err(Error::user("only one file can be watched: give --from once")),
        },
    }
}

fn line(row: &Row, output: WatchOutput) -> String {
    let finding = &row.finding;
    match output {
        WatchOutput::Jsonl => format!("{}\n", row.json),
        WatchOutput::Text => format!(
            "{} {} {} {} {} {}: {}\n",
            row.window.end,
            &finding.id.to_string()[..8],
            painted_severity(finding.severity),
            finding.status,
            finding.kind,
            subject(&finding.subject),
            finding.title
        ),
    }
}

/// Shows what differs from the last look, at first everything. Once it has answered, a process may be away for a while.
fn watch_page(page: &Page, show: &dyn Fn(&Row) -> Result<()>) -> Result<()> {
    let mut known: BTreeMap<FindingId, Row> = BTreeMap::new();
    let mut said = page.get()?;
    let mut is_away = false;
    loop {
        for (number, line) in (1..).zip(said.split_inclusive('\n')) {
            let Some(row) = row(&page.url, number, line)? else { continue };
            if known.get(&row.finding.id) != Some(&row) {
                show(&row)?;
                known.insert(row.finding.id, row);
            }
        }
        std::thread::sleep(PAUSE);
        said = match page.get() {
            Ok(said) => {
                is_away = false;
                said
            }
            Err(e) => {
                if !std::mem::replace(&mut is_away, true) {
                    eprintln!("{}; trying again", e.chain());
                }
                String::new()
            }
        };
    }
}

/// Lines, and how many have been read.
struct Lines<R> {
    reader: R,
    number: u64,
    /// The beginning of a line whose end is still to be written.
    begun: String,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, number: 0, begun: String::new() }
    }

    /// The next whole line; `None` where there is none yet.
    fn next(&mut self, place: &str) -> Result<Option<String>> {
        let read = self.reader.read_line(&mut self.begun);
        read.map_err(|e| Error::user(format!("cannot read line {} of `{place}`", self.number + 1)).caused_by(e))?;
        if !self.begun.ends_with('\n') {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(std::mem::take(&mut self.begun)))
    }
}

fn read_to_end<R: BufRead>(place: &str, lines: &mut Lines<R>, show: &dyn Fn(&Row) -> Result<()>) -> Result<()> {
    while let Some(line) = lines.next(place)? {
        if let Some(row) = row(place, lines.number, &line)? {
            show(&row)?;
        }
    }
    Ok(())
}

/// Shows what a file holds and what is added to it. One that has become shorter is read anew.
fn follow(place: &str, show: &dyn Fn(&Row) -> Result<()>) -> Result<()> {
    let failed = |e| Error::user(format!("cannot read `{place}`: check the path")).caused_by(e);
    let file = std::fs::File::open(place).map_err(failed)?;
    let mut lines = Lines::new(BufReader::new(file));
    loop {
        read_to_end(place, &mut lines, show)?;
        std::thread::sleep(PAUSE);
        let at = lines.reader.stream_position().map_err(failed)?;
        if lines.reader.get_ref().metadata().map_err(failed)?.len() < at {
            lines.reader.seek(SeekFrom::Start(0)).map_err(failed)?;
            (lines.number, lines.begun) = (0, String::new());
        }
    }
}
