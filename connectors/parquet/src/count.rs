//! How many rows a folder of Parquet files holds, by their footers.

use std::fs::{self, File};
use std::path::Path;

use catchment_core::{Error, Result};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

/// Files and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Files found.
    pub files: u64,
    /// Rows their footers tell.
    pub rows: u64,
}

/// Counts every `.parquet` file below `folder`; nothing where there is no such folder.
pub fn count_rows(folder: &Path) -> Result<Counted> {
    let mut counted = Counted::default();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(counted) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let below = if path.is_dir() {
            count_rows(&path)?
        } else if path.extension().is_some_and(|e| e == "parquet") {
            Counted { files: 1, rows: rows_of(&path)? }
        } else {
            continue;
        };
        counted.files += below.files;
        counted.rows += below.rows;
    }
    Ok(counted)
}

fn rows_of(path: &Path) -> Result<u64> {
    let unreadable = || format!("{} is no readable Parquet file", path.display());
    let file = File::open(path).map_err(|e| Error::external(unreadable()).caused_by(e))?;
    let reader = SerializedFileReader::new(file).map_err(|e| Error::external(unreadable()).caused_by(e))?;
    Ok(reader.metadata().file_metadata().num_rows() as u64)
}
