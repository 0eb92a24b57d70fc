//! The table that people read.

use std::fmt::Write as _;

use catchment_core::FindingKind;

use crate::plan::{self, JUDGED_FROM};
use crate::score::{Judged, Scores};

/// One line for every kind, in the order of the families.
pub fn table(scores: &Scores) -> String {
    let mut text = "| kind | confidence | planted | found | missed | false | recall | precision | median | 95 % | |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (kind, judged) in &scores.kinds {
        text += &line(*kind, judged);
    }
    text
}

fn line(kind: FindingKind, judged: &Judged) -> String {
    let seconds = |percent| judged.delay(percent).map_or_else(|| "-".to_owned(), |secs| format!("{secs} s"));
    format!(
        "| {kind} | {} | {} | {} | {} | {} | {:.4} | {:.4} | {} | {} | {} |\n",
        kind.confidence(),
        judged.planted,
        judged.found,
        judged.planted - judged.found,
        judged.wrong,
        judged.recall(),
        judged.precision(),
        seconds(50),
        seconds(95),
        if judged.passes(kind) { "met" } else { "**missed**" },
    )
}

/// Kinds that nothing was planted of.
pub(crate) fn unplanted(scores: &Scores) -> String {
    let none = |kind: &&FindingKind| scores.kinds.get(kind).is_none_or(|judged| judged.planted == 0);
    let names: Vec<_> = FindingKind::ALL.iter().filter(none).map(|kind| format!("`{kind}`")).collect();
    names.join(", ")
}

/// The page with the table, and how it came to be.
pub fn page(scores: &Scores, calm: &Scores, made: &str) -> String {
    let mut text = include_str!("page.md").to_owned();
    let mut put = |place: &str, what: &str| text = text.replace(place, what);
    put("{made}", made);
    put("{table}", table(scores).trim_end());
    put("{unplanted}", &unplanted(scores));
    put("{calm}", table(calm).trim_end());
    let mut of_calm = String::new();
    let made_up = calm.kinds.values().map(|judged| judged.wrong).sum::<usize>();
    let _ = write!(
        of_calm,
        "{} windows, {} reports: {} findings at medium or above, {made_up} false ones",
        calm.windows, calm.flows, calm.grave
    );
    put("{calm-sum}", &of_calm);
    put("{calm-seed}", &JUDGED_FROM.to_string());
    put("{calm-course}", &plan::calm().extent());
    text
}
