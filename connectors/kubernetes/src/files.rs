//! Knowledge from files: what `kubectl get` printed, and changes over time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use catchment_core::knowledge::{Change, Object};
use catchment_core::{Error, Result};

mod documents;

/// What a set of files holds of a cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The objects, in the order of the files. Of objects with the same kind, namespace and name the last one stays.
    pub objects: Vec<Object>,
    /// How many objects there were of each kind that is not read, as `apiVersion/kind`.
    pub ignored: BTreeMap<String, usize>,
}

impl Snapshot {
    /// Reads what `kubectl get ... -o json` or `-o yaml` prints: objects, lists of them, many documents in one file.
    /// `paths` are files and patterns such as `cluster/*.json`.
    pub fn read(paths: &[String]) -> Result<Self> {
        let mut snapshot = Self::default();
        let mut places = HashMap::new();
        for path in resolve(paths)? {
            let text = read_text(&path)?;
            documents::visit(&path, &text, &mut |found| snapshot.add(found, &mut places))?;
        }
        Ok(snapshot)
    }

    fn add(&mut self, found: documents::Found, places: &mut HashMap<catchment_core::knowledge::Key, usize>) {
        match found {
            documents::Found::Foreign(what) => *self.ignored.entry(what).or_default() += 1,
            documents::Found::Object(object) => match places.entry(object.key()) {
                std::collections::hash_map::Entry::Occupied(place) => self.objects[*place.get()] = object,
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(self.objects.len());
                    self.objects.push(object);
                }
            },
        }
    }
}

/// Reads changes over time, one as JSON on each line (see [`Change`]); empty lines are skipped. They come back in the
/// order of their times; those of one time stay in the order of the files.
pub fn read_changes(paths: &[String]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for path in resolve(paths)? {
        let text = read_text(&path)?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let change = Change::from_line(line).map_err(|error| fault(&path, number + 1, &error.to_string()))?;
            changes.extend(change);
        }
    }
    changes.sort_by_key(|change| change.at);
    Ok(changes)
}

/// The files that `paths` name, in their order; the matches of one pattern in order of name.
fn resolve(paths: &[String]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        // A file may carry pattern characters in its name.
        if Path::new(path).is_file() {
            files.push(path.into());
            continue;
        }
        let matches =
            glob::glob(path).map_err(|e| Error::user(format!("`{path}` is no valid pattern")).caused_by(e))?;
        let before = files.len();
        files.extend(matches.filter_map(|found| found.ok().filter(|file| file.is_file())));
        if files.len() == before {
            return Err(Error::user(format!("`{path}` names no readable file: check the path or the pattern")));
        }
    }
    Ok(files)
}

fn read_text(path: &Path) -> Result<String> {
    let unreadable = |mend| Error::user(format!("cannot read `{}`: {mend}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| unreadable("check that it exists and may be read").caused_by(e))?;
    String::from_utf8(bytes).map_err(|e| unreadable("it must be UTF-8 text, not compressed").caused_by(e))
}

fn fault(path: &Path, line: usize, what: &str) -> Error {
    Error::user(format!("`{}` line {line}: {what}", path.display()))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
