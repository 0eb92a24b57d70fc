//! From configured paths to the inputs they name.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use catchment_core::{Error, LogId, Period, Result};
use xxhash_rust::xxh3::xxh3_64;

/// One thing to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Stdin,
    File(PathBuf),
}

impl Input {
    /// How people know it.
    pub(crate) fn origin(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// One for the same files with the same content, read the same way; `None` with standard input,
/// which cannot be read again. A file is known by its path, size and time of change.
pub(crate) fn identity(inputs: &[Input], disorder: Option<Period>) -> Result<Option<LogId>> {
    let mut facts = format!("{disorder:?}").into_bytes();
    for input in inputs {
        let Input::File(path) = input else { return Ok(None) };
        facts.extend(file_facts(path).map_err(|e| unreadable(path, e))?);
    }
    Ok(Some(LogId(xxh3_64(&facts))))
}

fn file_facts(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = path.metadata()?;
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let place = path.canonicalize()?.into_os_string().into_encoded_bytes();
    // The name comes with its length, so that no two lists of files look alike.
    let length = place.len() as u64;
    Ok([&length.to_le_bytes(), place.as_slice(), &metadata.len().to_le_bytes(), &changed.to_le_bytes()].concat())
}

/// A file that does not open.
pub(crate) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::user(format!("cannot read `{}`: check that it exists and may be read", path.display())).caused_by(error)
}

/// The inputs that `paths` name, in their order; the matches of one pattern in order of name.
pub(crate) fn resolve(paths: &[String]) -> Result<Vec<Input>> {
    if paths.is_empty() {
        return Err(Error::user("no input named: give files, patterns, or `-` for standard input in `paths`"));
    }
    let mut inputs = Vec::new();
    for path in paths {
        inputs.extend(resolve_one(path)?);
    }
    Ok(inputs)
}

fn resolve_one(path: &str) -> Result<Vec<Input>> {
    if path == "-" {
        return Ok(vec![Input::Stdin]);
    }
    // A file may carry pattern characters in its name.
    if PathBuf::from(path).is_file() {
        return Ok(vec![Input::File(path.into())]);
    }
    let matches = glob::glob(path).map_err(|e| Error::user(format!("`{path}` is no valid pattern")).caused_by(e))?;
    let files: Vec<_> = matches.filter_map(|found| found.ok().filter(|file| file.is_file())).map(Input::File).collect();
    if files.is_empty() {
        return Err(Error::user(format!("`{path}` names no readable file: check the path or the pattern")));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_give_their_files_in_order_and_dash_is_standard_input() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["b.jsonl", "a.jsonl", "c.txt"] {
            std::fs::write(dir.path().join(name), "").expect("file");
        }
        let pattern = dir.path().join("*.jsonl").display().to_string();
        let inputs = resolve(&[pattern, "-".to_owned()]).expect("inputs");
        let file = |name| Input::File(dir.path().join(name));
        assert_eq!(inputs, [file("a.jsonl"), file("b.jsonl"), Input::Stdin]);
    }

    #[test]
    fn the_same_files_are_recognized_until_they_change() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("file");
            Input::File(dir.path().join(name))
        };
        let inputs = [file("a.jsonl", "{}"), file("b.jsonl", "{}")];
        let known = identity(&inputs, None).expect("readable");
        assert_eq!(identity(&inputs, None).expect("readable"), known);
        assert_ne!(identity(&inputs[..1], None).expect("readable"), known);
        assert_ne!(identity(&inputs, Some(Period::secs(5))).expect("readable"), known);
        file("a.jsonl", "{}{}");
        assert_ne!(identity(&inputs, None).expect("readable"), known);
        assert_eq!(identity(&[Input::Stdin], None).expect("readable"), None);
    }

    #[test]
    fn what_names_nothing_is_refused_by_name() {
        for path in ["/nowhere/flows.jsonl", "/nowhere/*.jsonl"] {
            let error = resolve(&[path.to_owned()]).expect_err("nothing there");
            assert!(error.message.contains(path), "{}", error.message);
        }
        assert!(resolve(&[]).is_err());
    }
}
