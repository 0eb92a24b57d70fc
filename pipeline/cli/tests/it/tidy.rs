//! The shape of the tree: who may depend on whom, how files begin, how long they get.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Lines after which a file is split by responsibility.
const LONGEST: usize = 600;

/// Files that may be longer, each with its reason beside it.
const MAY_BE_LONGER: &[&str] = &[];

/// What the vocabulary never touches: a runtime, a column format, a broker, a store.
const NEVER_IN_CORE: &[&str] = &["tokio", "arrow-array", "arrow-schema", "parquet", "rdkafka", "object_store"];

/// The layers, lowest first: a crate may use only crates of its own line before it.
const LAYERS: &[&str] =
    &["catchment-schemas", "catchment-core", "catchment-stages", "catchment-runtime", "catchment-console"];

/// What the protocol is checked against: a specification that shares code with nobody.
const MODEL: &str = "catchment-model";

fn workspace() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("the workspace can be read")
}

/// Names of what `package` builds with; what only its tests use is left out.
fn builds_with(package: &Package) -> impl Iterator<Item = &str> {
    let built = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
    built.map(|d| d.name.as_str())
}

fn is_connector(package: &Package) -> bool {
    package.manifest_path.as_str().contains("/connectors/")
}

/// The members of the workspace that `package` may build with; `None` for all.
fn allowed(package: &Package) -> Option<&'static [&'static str]> {
    if is_connector(package) {
        return Some(&LAYERS[..2]);
    }
    if package.name.as_str() == MODEL {
        return Some(&[]);
    }
    LAYERS.iter().position(|layer| *layer == package.name.as_str()).map(|own| &LAYERS[..own])
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for entry in entries.expect("the tree can be read") {
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name.to_string_lossy().starts_with('.') || name == "target";
        if path.is_dir() && !hidden {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let workspace = workspace();
    let members: BTreeSet<&str> = workspace.packages.iter().map(|p| p.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in &workspace.packages {
        let Some(allowed) = allowed(package) else { continue };
        let inside = builds_with(package).filter(|d| members.contains(d));
        wrong.extend(inside.filter(|d| !allowed.contains(d)).map(|d| format!("{} -> {d}", package.name)));
    }
    assert!(members.contains("catchment-core") && wrong.is_empty(), "forbidden edges: {wrong:?}");
}

#[test]
fn connectors_know_each_other_not_even_in_tests() {
    let workspace = workspace();
    let connectors: BTreeSet<&str> =
        workspace.packages.iter().filter(|p| is_connector(p)).map(|p| p.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in workspace.packages.iter().filter(|p| is_connector(p)) {
        let uses = package.dependencies.iter().map(|d| d.name.as_str());
        let forbidden = uses.filter(|d| connectors.contains(d) || LAYERS[2..].contains(d));
        wrong.extend(forbidden.map(|d| format!("{} -> {d}", package.name)));
    }
    assert!(!connectors.is_empty() && wrong.is_empty(), "forbidden edges: {wrong:?}");
}

#[test]
fn nobody_depends_on_the_binary() {
    assert_eq!(users_of(&workspace(), "catchment"), Vec::<String>::new());
}

#[test]
fn nobody_depends_on_the_model() {
    let workspace = workspace();
    assert!(workspace.packages.iter().any(|p| p.name.as_str() == MODEL), "the model is gone or renamed");
    assert_eq!(users_of(&workspace, MODEL), Vec::<String>::new());
}

/// Names of the packages that depend on `name`, be it in tests only.
fn users_of(workspace: &Metadata, name: &str) -> Vec<String> {
    let users = workspace.packages.iter().filter(|p| p.dependencies.iter().any(|d| d.name == name));
    users.map(|p| p.name.to_string()).collect()
}

#[test]
fn the_vocabulary_does_no_io() {
    let workspace = workspace();
    let core = workspace.packages.iter().find(|p| p.name.as_str() == "catchment-core").unwrap();
    let wrong: Vec<_> = builds_with(core).filter(|d| NEVER_IN_CORE.contains(d)).collect();
    assert!(wrong.is_empty(), "catchment-core builds with {wrong:?}");
}

#[test]
fn every_crate_says_what_it_is() {
    let mut silent = Vec::new();
    for target in workspace().packages.iter().flat_map(|p| &p.targets).filter(|t| t.is_lib() || t.is_bin()) {
        let root = fs::read_to_string(&target.src_path).unwrap();
        if !root.starts_with("//! ") {
            silent.push(target.src_path.clone());
        }
    }
    assert!(silent.is_empty(), "no `//!` at the top of {silent:?}");
}

#[test]
fn files_stay_short_enough_to_read() {
    let workspace = workspace();
    let root = workspace.workspace_root.as_std_path();
    let mut files = Vec::new();
    sources(root, &mut files);
    let listed = |path: &Path| MAY_BE_LONGER.iter().any(|may| path.ends_with(may));
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    let long: Vec<_> = files.iter().filter(|p| lines(p) > LONGEST && !listed(p)).collect();
    assert!(!files.is_empty() && long.is_empty(), "split by responsibility: {long:?}");
}
