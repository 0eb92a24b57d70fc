//! The published contract, kept as files: they change only where the column table does.
//!
//! `UPDATE_GOLDEN=1 cargo test -p catchment-schemas --all-features` writes them anew.

use std::path::{Path, PathBuf};

use catchment_schemas::{Dataset, SCHEMA_VERSION, json_schema, reference};

/// Compares `text` with the file at `path`, below the workspace.
fn holds(path: &str, text: &str) {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(file.parent().expect("below the workspace")).expect("folder");
        std::fs::write(&file, text).expect("golden file");
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let line = kept.lines().zip(text.lines()).position(|(a, b)| a != b).map_or(0, |line| line + 1);
    assert!(kept == text, "{path} is stale from line {line}: run with UPDATE_GOLDEN=1 and review the difference");
}

#[test]
fn json_schemas_are_current() {
    for dataset in Dataset::ALL {
        let path = format!("schemas/json/{}.v{SCHEMA_VERSION}.schema.json", dataset.name());
        holds(&path, &format!("{:#}\n", json_schema::schema(dataset)));
    }
}

#[test]
fn the_reference_page_is_current() {
    holds("docs/datasets.md", &reference::page());
}

#[cfg(feature = "arrow")]
mod arrow {
    use std::fmt::Write as _;

    use arrow_schema::{DataType, Field, Fields};

    use super::{Dataset, SCHEMA_VERSION, holds};

    #[test]
    fn arrow_schemas_are_current() {
        for dataset in Dataset::ALL {
            let mut listing = String::new();
            list(&mut listing, 0, &catchment_schemas::arrow::schema(dataset).fields);
            holds(&format!("schemas/arrow/{}.v{SCHEMA_VERSION}.txt", dataset.name()), &listing);
        }
    }

    /// One field a line, members of nested fields below it, indented.
    fn list(out: &mut String, depth: usize, fields: &Fields) {
        for field in fields {
            let (ty, members) = describe(field);
            let null = if field.is_nullable() { "nullable" } else { "required" };
            let _ = writeln!(out, "{:indent$}{}: {ty}, {null}", "", field.name(), indent = depth * 2);
            list(out, depth + 1, members.unwrap_or(&Fields::empty()));
        }
    }

    fn describe(field: &Field) -> (String, Option<&Fields>) {
        match field.data_type() {
            DataType::Struct(members) => ("struct".to_owned(), Some(members)),
            DataType::List(item) => {
                let (ty, members) = describe(item);
                (format!("list of {ty}"), members)
            }
            DataType::Dictionary(index, value) => (format!("dictionary({index}, {value})"), None),
            plain => (plain.to_string(), None),
        }
    }
}
