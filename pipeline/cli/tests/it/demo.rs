//! `catchment demo` through the real binary: simulator, gRPC, log, windows, files, judged by the truth.

use crate::binary;

#[test]
fn the_demo_shows_windows_and_publishes_what_the_cluster_produced() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("demo");
    let output = binary()
        .args(["demo", "--seconds", "12", "--speed", "40", "--flows-per-second", "50", "--dir"])
        .arg(&dir)
        .output()
        .expect("the binary starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.lines().filter(|line| line.starts_with("  window ")).count() > 2, "{text}");
    let verdict = text.lines().find(|line| line.contains("whole windows")).expect("a verdict");
    assert!(verdict.ends_with(", 0 differ"), "{verdict}");
    assert!(!verdict.contains(" 0 whole windows"), "{verdict}");
    assert!(dir.join("lake/flows").is_dir() && dir.join("catchment-demo.yaml").is_file());
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("precious"), "").expect("written");
    let output = binary().args(["demo", "--dir"]).arg(folder.path()).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(folder.path().join("precious").exists());
}
