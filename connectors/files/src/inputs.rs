//! From configured paths to the inputs they name.

use std::path::PathBuf;

use catchment_core::{Error, Result};

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
    fn what_names_nothing_is_refused_by_name() {
        for path in ["/nowhere/flows.jsonl", "/nowhere/*.jsonl"] {
            let error = resolve(&[path.to_owned()]).expect_err("nothing there");
            assert!(error.message.contains(path), "{}", error.message);
        }
        assert!(resolve(&[]).is_err());
    }
}
