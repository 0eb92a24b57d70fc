//! Names of objects: functions of the rows' place, so that the same group always meets the same names.

use std::fmt::Write as _;

use catchment_core::{EventTime, StreamId};
use catchment_schemas::Dataset;
use object_store::path::Path;

use crate::group::Group;

/// Moves when the layout of the files changes, so that two layouts never meet under one name.
const FORMAT: &str = "v1";

/// Lower and upper case letters, digits, `-` and inner dots stay; everything else becomes `!` and two
/// hexadecimal digits. `_` is among them, so parts joined by `_` stay apart whatever they are.
fn part(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        // A leading dot would hide the file or climb out of the folder.
        if byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'.' && !out.is_empty()) {
            out.push(char::from(byte));
        } else {
            write!(out, "!{byte:02x}").expect("text takes every write");
        }
    }
    out
}

fn compact(time: EventTime) -> String {
    time.to_rfc3339().chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// The object of file number `seq` of a dataset.
pub(crate) fn data(prefix: &Path, dataset: Dataset, group: &Group, roll: i64, seq: usize) -> Path {
    let (date, hour) = group.slot_start(roll).date_and_hour();
    let StreamId { cluster, source } = &group.stream;
    let first = match group.windows {
        Some(span) => compact(span.start),
        // No window has a start to offer; the log position is as unique.
        None => format!("log{}.{}", group.first.position.0, group.first.part),
    };
    let file = format!("{}_{}_{first}_{seq:03}_{FORMAT}.parquet", part(cluster), part(source));
    prefix.clone().join(dataset.name()).join(format!("date={date}")).join(format!("hour={hour:02}")).join(file)
}

/// The object that holds a stream's cursor.
pub(crate) fn cursor(prefix: &Path, stream: &StreamId) -> Path {
    prefix.clone().join("_cursor").join(part(&stream.cluster)).join(format!("{}.json", part(&stream.source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_apart() {
        assert_eq!(part("prod-eu.1"), "prod-eu.1");
        assert_eq!(part("../x"), "!2e.!2fx");
        assert_ne!(part("a_b"), part("a-b"));
        assert_eq!(compact(EventTime::from_secs(1_767_225_660)), "20260101T000100Z");
    }

    #[test]
    fn the_cursor_stands_beside_the_data() {
        let stream = StreamId { cluster: "prod".into(), source: "goldmane".into() };
        assert_eq!(cursor(&Path::from("flows/here"), &stream).as_ref(), "flows/here/_cursor/prod/goldmane.json");
    }
}
