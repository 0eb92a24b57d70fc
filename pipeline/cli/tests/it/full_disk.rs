//! A disk that is full holds up the log, and nothing is missing once there is room.
//!
//! The disk is a small file system in a mount namespace of the process under test.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::Running;
use crate::lab::{collector, wait_for_windows, windows};

/// Mounts the file system `$0`, fills it but for some pages, and becomes the command behind it.
const ON_A_FULL_DISK: &str =
    "mount -t tmpfs -o size=4m small \"$0\" && dd if=/dev/zero of=\"$0/filler\" bs=64k count=60 && exec \"$@\"";

fn can_mount(dir: &Path) -> bool {
    let tried = Command::new("unshare")
        .args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "small"])
        .arg(dir)
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// A path as the process sees it.
fn seen_by(process: &Running, path: &Path) -> PathBuf {
    Path::new("/proc").join(process.0.id().to_string()).join("root").join(path.strip_prefix("/").expect("absolute"))
}

#[test]
fn a_full_disk_is_named_and_nothing_is_missing_once_there_is_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    if !can_mount(&disk) {
        // Past the capture of the test: who reads the summary must see it.
        writeln!(std::io::stderr(), "full_disk DID NOT RUN: no file system can be mounted here").expect("written");
        return;
    }
    let (_collector, address) = collector();
    let (config, rows) = (dir.path().join("catchment.yaml"), dir.path().join("rows.jsonl"));
    let gaps = dir.path().join("gaps.jsonl");
    let text = format!(
        "cluster: lab\nworkers: 1\nspool: {{ dir: {0}/disk/spool, max_bytes: 3MiB }}\nsources:\n  calico: {{ type: goldmane, address: '{address}', begin: latest }}\n\
         sinks:\n  lines: {{ type: jsonl, path: {0}/rows.jsonl, datasets: [flows] }}\n  gaps: {{ type: jsonl, path: {0}/gaps.jsonl, datasets: [gaps] }}\nhttp: {{ listen: '127.0.0.1:0' }}\n",
        dir.path().display()
    );
    fs::write(&config, text).expect("written");
    let mut process = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", ON_A_FULL_DISK])
        .arg(&disk)
        .args([env!("CARGO_BIN_EXE_catchment"), "run", "--config"])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut said = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let process = Running(process);

    let refused = said.find(|line| line.contains("trying again")).expect("it says what is wrong");
    assert!(refused.contains("cannot write to the log; trying again"), "{refused}");
    assert!(refused.contains("/disk/spool/lab/calico") && refused.contains("No space left on device"), "{refused}");
    let before = windows(&rows).len();
    fs::remove_file(seen_by(&process, &disk.join("filler"))).expect("the filler goes");
    thread::spawn(move || said.for_each(drop));
    wait_for_windows(&rows, before + 12);

    // Time did not jump: every minute from the first to the last is there, and nothing is called missing.
    let minutes: Vec<_> = windows(&rows).into_iter().map(|window| minute(&window)).collect();
    assert!(minutes.windows(2).all(|pair| (pair[0] + 1) % 60 == pair[1]), "{minutes:?}");
    assert_eq!(fs::read_to_string(&gaps).unwrap_or_default(), "");
}

fn minute(window_start: &str) -> u32 {
    window_start[14..16].parse().expect("an RFC 3339 time")
}
