//! `catchment findings`: what trouble was found.

mod coverage;
mod explain;
mod filter;
mod kinds;
mod mute;
mod origin;
mod print;
mod row;
mod table;
mod watch;
mod words;

use std::collections::BTreeMap;
use std::process::ExitCode;

use catchment_core::{Error, FindingId, Result};

use self::filter::Filter;
use self::origin::Origin;
pub(crate) use self::row::{Row, Time, subject_of};
pub(crate) use self::table::{plain, render};
pub(crate) use self::words::{short_ids, subject};
use crate::args::{FindingsCommand, GetArgs, ListArgs, Order};

/// Exit code where something is listed that `--fail-on` asked for.
const FAILED_ON: u8 = 10;

pub(crate) fn findings(command: &FindingsCommand) -> Result<ExitCode> {
    let done = match command {
        FindingsCommand::List(args) => return list(args),
        FindingsCommand::Get(args) => get(args),
        FindingsCommand::Explain(args) => explain::explain(args),
        FindingsCommand::Watch(args) => watch::watch(args),
        FindingsCommand::Coverage(args) => coverage::coverage(args),
        FindingsCommand::Mute(args) => mute::mute(args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let filter = Filter::new(&args.filter, &args.status);
    let all = Origin::of(&args.origin)?.newest()?;
    let (mut listed, muted) = filter.apply(all.values());
    sort(&mut listed, args.sort);
    crate::emit(&print::rows(&listed, args.output, &all)?)?;
    if muted > 0 {
        eprintln!("{muted} more muted; --muted lists them too");
    }
    let is_asked_for = |row: &&Row| {
        let finding = &row.finding;
        finding.status.is_open()
            && finding.mute.is_none()
            && args.fail_on.is_some_and(|level| finding.severity >= level)
    };
    Ok(if listed.iter().any(is_asked_for) { ExitCode::from(FAILED_ON) } else { ExitCode::SUCCESS })
}

fn sort(rows: &mut [&Row], order: Order) {
    use std::cmp::Reverse;
    match order {
        Order::Severity => rows.sort_by_key(|row| (Reverse(row.finding.severity), row.finding.kind)),
        Order::LastSeen => rows.sort_by_key(|row| Reverse(row.finding.last_seen)),
        Order::Kind => rows.sort_by_key(|row| row.finding.kind.name()),
    }
}

fn get(args: &GetArgs) -> Result<()> {
    let all = Origin::of(&args.origin)?.newest()?;
    let rows: Vec<_> = args.id.iter().map(|id| one(&all, id)).collect::<Result<_>>()?;
    crate::emit(&print::rows(&rows, args.output, &all)?)
}

/// The newest row of every finding in a file, by id.
pub(crate) fn newest_of_file(file: &str) -> Result<BTreeMap<FindingId, Row>> {
    Origin::Files(vec![file.to_owned()]).newest()
}

/// The finding whose id begins so, and no other's does.
fn one<'a>(all: &'a BTreeMap<FindingId, Row>, beginning: &str) -> Result<&'a Row> {
    let wanted = beginning.to_ascii_lowercase();
    let found: Vec<_> = all.values().filter(|row| row.finding.id.to_string().starts_with(&wanted)).collect();
    match found[..] {
        [row] => Ok(row),
        [] => Err(Error::user(format!(
            "no finding has an id that begins with `{beginning}`; `catchment findings list --status all` lists them"
        ))),
        _ => {
            let names = found.iter().map(|row| format!("\n  {} {}", row.finding.id, row.finding.title));
            let names: String = names.collect();
            Err(Error::user(format!(
                "`{beginning}` begins the ids of {} findings; write more of it:{names}",
                found.len()
            )))
        }
    }
}
