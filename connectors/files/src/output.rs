//! Where lines go: standard output as it is, or a file that grows by whole epochs.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use catchment_core::{Cursor, StreamId};
use serde::{Deserialize, Serialize};

/// What stands in `<path>.cursor`: how much of the file is committed, and what that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Whose rows the file holds.
    pub(crate) stream: StreamId,
    /// Bytes of the file that are committed; what stands behind them is cut off on open.
    pub(crate) length: u64,
    /// The committed cursor; none before the first epoch.
    pub(crate) cursor: Option<Cursor>,
}

/// A file and its mark. The data reaches the disk before the mark that speaks of it.
pub(crate) struct OutputFile {
    path: PathBuf,
    file: File,
    pub(crate) mark: Mark,
}

impl OutputFile {
    /// Opens the file for `stream`, alone, and cuts off what was never committed.
    ///
    /// A file without a mark is kept whole: it is not ours, and we append to it.
    pub(crate) fn open(path: &Path, stream: &StreamId) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.try_lock().map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process writes this file"))?;
        let length = file.metadata()?.len();
        let mark = read_mark(path)?.unwrap_or(Mark { stream: stream.clone(), length, cursor: None });
        if mark.stream != *stream {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("it holds the rows of {}", mark.stream)));
        }
        if length < mark.length {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is shorter than its cursor file says"));
        }
        let output = Self { path: path.to_owned(), file, mark };
        output.file.set_len(output.mark.length)?;
        output.write_mark(&output.mark)?;
        Ok(output)
    }

    /// Appends `lines` and moves the mark to `cursor`; both or, after the next open, neither.
    pub(crate) fn commit(&mut self, lines: &[u8], cursor: Cursor) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        let length = self.mark.length + lines.len() as u64;
        let mark = Mark { length, cursor: Some(cursor), ..self.mark.clone() };
        self.write_mark(&mark)?;
        self.mark = mark;
        Ok(())
    }

    fn write_mark(&self, mark: &Mark) -> io::Result<()> {
        let target = beside(&self.path, ".cursor");
        let draft = beside(&self.path, ".cursor.new");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(mark)?)?;
        file.sync_all()?;
        std::fs::rename(&draft, &target)?;
        // The rename itself must outlive a power cut.
        File::open(folder(&target))?.sync_all()
    }
}

fn read_mark(path: &Path) -> io::Result<Option<Mark>> {
    match std::fs::read(beside(path, ".cursor")) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The folder that holds `path`.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
