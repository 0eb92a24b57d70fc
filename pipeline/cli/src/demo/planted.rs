//! What was planted, and how soon it was found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use catchment_core::{Error, EventTime, FindingId, FindingKind, Result, Status};
use catchment_simulator::Plant;
use serde::Deserialize;

use super::{CLUSTER, Folder, SCENARIOS};
use crate::findings::{Row, Time, newest_of_file, plain, render, short_ids, subject, subject_of};

/// Nodes report from their last flush on: so long before its first packet a row may begin.
const EARLY_MICROS: i64 = 32_000_000;

/// One line for each problem: what, about whom, since when, and what was found of it.
pub(super) fn text(folder: &Folder, plants: &[Plant]) -> Result<String> {
    let path = folder.rows().display().to_string();
    let (told, ids) = (Told::read(&folder.rows())?, short_ids(&newest_of_file(&path)?));
    let mut lines = Vec::new();
    let mut found = 0;
    for plant in plants.iter().filter(|plant| SCENARIOS.contains(&plant.scenario)) {
        let (kind, about) = (kind(plant)?, subject_of(plant.subject.as_object().expect("a subject has members")));
        let id = FindingId::of(kind, CLUSTER, &about);
        let opened = told.opened(id, plant.from);
        found += usize::from(opened.is_some());
        let after = opened.map_or_else(|| told.missed(plant.from), |at| delay(plant.from, at));
        let name = opened.and_then(|_| ids.get(&id).cloned()).unwrap_or_default();
        let cells = [kind.name().to_owned(), subject(&about), plant.from.to_rfc3339(), after, name];
        lines.push(cells.map(plain).to_vec());
    }
    let table = render(&["KIND", "SUBJECT", "BEGAN", "FOUND AFTER", "FINDING"], &lines);
    let table = table.trim_end().replace('\n', "\n  ");
    Ok(format!(
        "\nplanted\n  {table}\n  {found} of {} found, in event time up to the end of the window that told it\n",
        lines.len()
    ))
}

fn kind(plant: &Plant) -> Result<FindingKind> {
    plant.kind.parse().map_err(|e: String| Error::internal(format!("the simulator plants what is no finding: {e}")))
}

fn delay(from: EventTime, at: EventTime) -> String {
    format!("{} s", (at.secs() - from.secs()).max(0))
}

/// What the published rows tell.
#[derive(Default)]
struct Told {
    /// When findings opened: ends of windows. One that others folded into stands for them.
    opened: BTreeMap<FindingId, Vec<EventTime>>,
    /// The end of the last window.
    until: EventTime,
}

#[derive(Deserialize)]
struct Line {
    window_end: Option<Time>,
}

impl Told {
    fn read(rows: &Path) -> Result<Self> {
        let place = rows.display();
        let unreadable = |e| Error::external(format!("cannot read `{place}`")).caused_by(e);
        let wrong = |e| Error::internal(format!("`{place}` holds a line that is no row")).caused_by(e);
        let mut told = Self::default();
        for line in BufReader::new(File::open(rows).map_err(unreadable)?).lines() {
            let line = line.map_err(unreadable)?;
            let Line { window_end } = serde_json::from_str(&line).map_err(wrong)?;
            told.until = told.until.max(window_end.map_or(EventTime::MIN, |end| end.0));
            if let Some(row) = Row::read(&line).map_err(wrong)? {
                told.take(&row);
            }
        }
        Ok(told)
    }

    fn take(&mut self, row: &Row) {
        let opened = Some(row.finding.id).filter(|_| row.finding.status == Status::Opened);
        for id in opened.into_iter().chain(row.finding.folded()) {
            self.opened.entry(id).or_default().push(row.window.end);
        }
    }

    /// When a finding of something that began then opened.
    fn opened(&self, id: FindingId, from: EventTime) -> Option<EventTime> {
        self.opened.get(&id)?.iter().copied().find(|at| at.plus(EARLY_MICROS) > from)
    }

    fn missed(&self, from: EventTime) -> String {
        if from < self.until { "NOT FOUND".to_owned() } else { "begins behind the last window".to_owned() }
    }
}
