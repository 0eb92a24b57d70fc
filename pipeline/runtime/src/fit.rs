//! Whether a sink's cursor and what is read belong together: positions mean something in one log only.

use catchment_core::{Cursor, Error, LogId, Result};
use catchment_stages::Settings;

use crate::line::Line;
use crate::spool::Spool;
use crate::supply::Feed;

/// Refuses a cursor that stands in another log, or beyond the end of this one: what comes would be
/// taken for what the sink has, and never be published.
pub(crate) fn check(line: &Line, settings: &Settings, feed: &Feed) -> Result<()> {
    let Some(cursor) = &line.cursor else { return Ok(()) };
    let stranger = cursor.log.filter(|held| *held != settings.log);
    let misfit = match feed {
        Feed::Input { .. } => stranger.map(|held| other_input(held, settings.log)),
        Feed::Log(spool) => stranger.map(|held| other_log(held, spool)).or_else(|| beyond_the_end(cursor, spool)),
    };
    let refuse = |misfit| Err(Error::user(format!("{}, sink {}: {misfit}", settings.stream, line.sink.name)));
    misfit.map_or(Ok(()), refuse)
}

fn other_input(held: LogId, given: LogId) -> String {
    format!(
        "it holds rows of input {held}, and this is input {given}: other files, the same ones changed, or another window; \
         give this input a sink of its own: another file, prefix or name"
    )
}

fn other_log(held: LogId, spool: &Spool) -> String {
    let (here, dir) = (spool.id(), spool.dir().display());
    format!(
        "its cursor is of log {held}, and {dir} holds log {here}; \
         restore the folder of log {held}, or give the source another name"
    )
}

fn beyond_the_end(cursor: &Cursor, spool: &Spool) -> Option<String> {
    let (stands, end, dir) = (cursor.committed.position, spool.end(), spool.dir().display());
    (stands >= end).then(|| {
        format!(
            "its cursor stands at position {}, and the log in {dir} ends at {}; \
             restore the folder as it was, or give the source another name",
            stands.0, end.0
        )
    })
}
