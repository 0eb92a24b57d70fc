//! Files in a folder of this machine, written so that a power cut leaves each whole or absent.
//!
//! A file is filled and synced under a name that no reader looks at, then gets its own name, and then
//! every folder above it is synced: what bears a name is on the disk, and the name too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Makes a file that must not be there yet; [`io::ErrorKind::AlreadyExists`] where it is.
pub(crate) fn create(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    staged(folder, name, bytes, |staging, path| {
        fs::hard_link(staging, path)?;
        fs::remove_file(staging)
    })
}

/// Makes a file, in the place of the one that bears the name.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    staged(folder, name, bytes, |staging, path| fs::rename(staging, path))
}

/// Waits until a file that bears its name is on the disk, whoever wrote it.
pub(crate) fn sync(folder: &Path, name: &str) -> io::Result<()> {
    let path = folder.join(name);
    File::open(&path)?.sync_all()?;
    sync_folders(folder, &path)
}

fn staged(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    give_name: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
    let (mut file, staging) = staging(&path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(e) = written.and_then(|()| give_name(&staging, &path)) {
        // What cannot be removed lies there under a name that no reader looks at.
        let _ = fs::remove_file(&staging);
        return Err(e);
    }
    sync_folders(folder, &path)
}

/// A fresh file beside `path`: its name, `#` and a number, which the store leaves out of its lists.
fn staging(path: &Path) -> io::Result<(File, PathBuf)> {
    for number in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(file) => return Ok((file, name.into())),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    unreachable!("a folder holds fewer files than there are numbers")
}

/// From the folder of the file up to the one that everything lies in: any of them may be new.
fn sync_folders(folder: &Path, path: &Path) -> io::Result<()> {
    for above in path.ancestors().skip(1) {
        File::open(above)?.sync_all()?;
        if above == folder {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_once_and_replaced_as_a_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), "a/b/x", b"one").unwrap();
        assert_eq!(create(folder.path(), "a/b/x", b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(folder.path().join("a/b/x")).unwrap(), b"one");
        replace(folder.path(), "a/b/x", b"three").unwrap();
        assert_eq!(fs::read(folder.path().join("a/b/x")).unwrap(), b"three");
        assert_eq!(names(&folder.path().join("a/b")), ["x"]);
        sync(folder.path(), "a/b/x").unwrap();
    }

    #[test]
    fn what_a_crash_left_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x#1"), b"ha").unwrap();
        create(folder.path(), "x", b"whole").unwrap();
        assert_eq!(fs::read(folder.path().join("x")).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["x", "x#1"]);
    }

    #[test]
    fn a_name_that_cannot_be_given_leaves_no_half_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        assert!(replace(folder.path(), "x", b"rows").is_err());
        assert!(create(folder.path(), "x", b"rows").is_err());
        assert_eq!(names(folder.path()), ["x"]);
    }

    /// What the test above asks of the system, in order; `None` where it cannot be watched.
    fn watched() -> Option<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let calls = folder.path().join("calls");
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-y", "-e", "trace=fsync,link,linkat,rename,renameat,renameat2", "-o"]).arg(&calls);
        strace.arg(std::env::current_exe().unwrap());
        strace.args(["--exact", "folder::tests::a_file_is_made_once_and_replaced_as_a_whole_and_nothing_else_is_left"]);
        let watched = strace.output().is_ok_and(|output| output.status.success());
        watched.then(|| fs::read_to_string(calls).unwrap().lines().map(ToOwned::to_owned).collect())
    }

    #[test]
    fn a_file_is_on_the_disk_before_it_has_its_name_and_then_the_name_is() {
        let Some(calls) = watched() else {
            eprintln!("DID NOT RUN: strace is missing or may not watch");
            return;
        };
        let named: Vec<_> =
            (0..calls.len()).filter(|at| calls[*at].contains("link") || calls[*at].contains("rename")).collect();
        assert_eq!(named.len(), 3, "made, refused and replaced: {calls:?}");
        let synced = |call: &String, end: &str| call.contains("fsync(") && call.contains(end);
        for at in named {
            assert!(synced(&calls[at - 1], "/a/b/x#1>)"), "{calls:?}");
            let refused = calls[at].contains("EEXIST");
            assert!(refused || synced(&calls[at + 1], "/a/b>)") && synced(&calls[at + 2], "/a>)"), "{calls:?}");
        }
    }
}
