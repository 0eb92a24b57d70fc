//! What was found, and how to ask for more.

use std::fmt::Write as _;

use catchment_core::{Result, Severity};

use super::Folder;
use crate::findings::{Row, newest_of_file, short_ids};

/// How many findings are open, by severity, and the command that explains the worst.
pub(super) fn text(folder: &Folder) -> Result<String> {
    let path = folder.rows().display().to_string();
    let all = newest_of_file(&path)?;
    let open: Vec<&Row> = all.values().filter(|row| row.finding.status.is_open()).collect();
    let worst_first = Severity::ALL.iter().rev();
    let counts = worst_first.filter_map(|level| {
        let count = open.iter().filter(|row| row.finding.severity == *level).count();
        (count > 0).then(|| format!("{count} {level}"))
    });
    let counts: Vec<_> = counts.collect();
    let Some(worst) = open.iter().max_by_key(|row| row.finding.severity) else {
        return Ok("\nfindings\n  none is open\n".to_owned());
    };
    let mut text = format!("\nfindings\n  open: {}; the worst of them: {}\n", counts.join(", "), worst.finding.title);
    let id = &short_ids(&all)[&worst.finding.id];
    let _ = writeln!(text, "  catchment findings explain {id} --from {path}\n  catchment findings list --from {path}");
    Ok(text)
}
