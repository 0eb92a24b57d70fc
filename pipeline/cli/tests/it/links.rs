//! Where the pages lead: every link within the tree, and the runbook of every kind of finding.

use std::fs;
use std::path::{Path, PathBuf};

use catchment_core::FindingKind;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages of a folder and of those in it.
fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The targets of the links of a page that stay within the tree.
fn targets(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|behind| behind.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// Whether a page has a heading with that anchor.
fn has_heading(page: &str, anchor: &str) -> bool {
    page.lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')))
        .any(|heading| {
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.collect::<String>().to_lowercase().replace(' ', "-") == anchor
        })
}

/// Why a target of a link on a page leads nowhere.
fn fault(page: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { page.to_owned() } else { page.with_file_name(path) };
    let missing = |what: &str| Some(format!("{}: `{target}` leads to no {what}", page.display()));
    match anchor {
        _ if !file.exists() => missing("file"),
        Some(anchor) if !has_heading(&fs::read_to_string(&file).unwrap_or_default(), anchor) => missing("heading"),
        _ => None,
    }
}

#[test]
fn every_link_of_the_documentation_leads_to_a_file_and_a_heading_that_are_there() {
    let mut found = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)).to_vec();
    pages(&root().join("docs"), &mut found);
    let mut followed = 0;
    let mut faults = Vec::new();
    for page in &found {
        let text = fs::read_to_string(page).expect("a page can be read");
        for target in targets(&text) {
            followed += 1;
            faults.extend(fault(page, target));
        }
    }
    assert!(followed > 50 && faults.is_empty(), "{followed} links: {faults:#?}");
}

#[test]
fn every_kind_of_finding_has_its_heading_on_the_page_of_its_family() {
    let runbooks = FindingKind::ALL.iter().map(|kind| format!("docs/findings/{}", kind.page()));
    let faults: Vec<_> = runbooks.filter_map(|runbook| fault(&root().join("README.md"), &runbook)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}
