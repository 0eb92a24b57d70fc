//! From the text of a file to the objects in it.

use std::path::Path;

use catchment_core::knowledge::{Object, ObjectError};
use catchment_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::fault;

/// What stands in a file.
pub(super) enum Found {
    /// An object.
    Object(Object),
    /// An object of a kind that is not read.
    Foreign(String),
}

/// A document of a file: an object or a list of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// Hands every object in `text` to `found`, in order.
pub(super) fn visit(path: &Path, text: &str, found: &mut dyn FnMut(Found)) -> Result<()> {
    // JSON is YAML too, but large files are read ten times as fast for what they are.
    if text.trim_start().starts_with('{') { visit_json(path, text, found) } else { visit_yaml(path, text, found) }
}

fn visit_json(path: &Path, text: &str, found: &mut dyn FnMut(Found)) -> Result<()> {
    for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let document = document.map_err(|e| no_json(path, e.line(), &e))?;
        let line_of = |part: &RawValue| line_at(text, part.get());
        visit_document(document, found, &mut |part, line, what| fault(path, line_of(part) + line, what))?;
    }
    Ok(())
}

fn visit_yaml(path: &Path, text: &str, found: &mut dyn FnMut(Found)) -> Result<()> {
    for (number, (first_line, document)) in yaml_documents(text).into_iter().enumerate() {
        // Snapshots of large clusters are larger than what the reader takes for an attack.
        let options = serde_saphyr::options! { budget: None };
        let value: Value = serde_saphyr::from_str_with_options(document, options).map_err(|e| {
            let line = e.location().map_or(1, |at| at.line() as usize);
            fault(path, first_line + line - 1, &format!("no YAML: {}", without_place(&e.without_snippet())))
        })?;
        if value.is_null() {
            continue;
        }
        let json = serde_json::value::to_raw_value(&value).expect("a value is JSON");
        let place = format!("document {}: ", number + 1);
        visit_document(&json, found, &mut |_, _, what| fault(path, first_line, &format!("{place}{what}")))?;
    }
    Ok(())
}

/// Hands over the objects of one document; `refuse` makes an error of a part, a line counted from its first, and what is
/// wrong there.
fn visit_document(
    document: &RawValue,
    found: &mut dyn FnMut(Found),
    refuse: &mut dyn FnMut(&RawValue, usize, &str) -> Error,
) -> Result<()> {
    let head: Document<'_> = serde_json::from_str(document.get())
        .map_err(|e| refuse(document, 0, &format!("{e}: expected an object or a list as `kubectl get` prints it")))?;
    let Some(items) = head.items else {
        found(object(document, "", "").map_err(|e| refuse(document, line_in(&e), &without_place(&e)))?);
        return Ok(());
    };
    // Lists of one kind, as the API serves them, say it for all their items.
    let (version, kind) = match head.kind.strip_suffix("List") {
        Some("") | None => (String::new(), String::new()),
        Some(kind) => (head.api_version, kind.to_owned()),
    };
    for (number, item) in items.iter().enumerate() {
        let read = object(item, &version, &kind);
        let what = |e: &ObjectError| format!("item {}: {}{}", number + 1, name_of(item), without_place(e));
        found(read.map_err(|e| refuse(item, line_in(&e), &what(&e)))?);
    }
    Ok(())
}

/// Reads one object; `version` and `kind` stand in where it does not say them.
fn object(json: &RawValue, version: &str, kind: &str) -> Result<Found, ObjectError> {
    let head: Document<'_> = serde_json::from_str(json.get())?;
    let silent = head.api_version.is_empty() && head.kind.is_empty();
    let (version, kind) = if silent { (version, kind) } else { (head.api_version.as_str(), head.kind.as_str()) };
    Ok(match Object::named(version, kind, json.get())? {
        Some(object) => Found::Object(object),
        None => Found::Foreign(format!("{version}/{kind}")),
    })
}

/// The line of the error, counted from 0 in the object.
fn line_in(error: &ObjectError) -> usize {
    match error {
        ObjectError::Shape { fault, .. } | ObjectError::Json(fault) => fault.line().saturating_sub(1),
        ObjectError::Nameless | ObjectError::Unnamed { .. } => 0,
    }
}

/// The error without its place in the object or document, which is no place in the file.
fn without_place(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
}

/// `namespace/name: ` of an object, as far as it has them.
fn name_of(json: &RawValue) -> String {
    let value: Value = serde_json::from_str(json.get()).unwrap_or_default();
    let part = |name: &str| value["metadata"][name].as_str();
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}: "),
        (None, Some(name)) => format!("{name}: "),
        _ => String::new(),
    }
}

/// The line, from 1, on which `part` of `text` begins.
fn line_at(text: &str, part: &str) -> usize {
    let offset = part.as_ptr() as usize - text.as_ptr() as usize;
    text[..offset].matches('\n').count() + 1
}

fn no_json(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    fault(path, line, &format!("no JSON: {error}; is the file complete?"))
}

/// The documents of a YAML file, each with its first line, from 1. A line that begins with `---` parts them wherever it
/// stands: inside of text that goes over lines it would be indented.
fn yaml_documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push((first_line, &text[start..at]));
            (start, first_line) = (at, number + 1);
        }
        at += line.len();
    }
    documents.push((first_line, &text[start..]));
    documents.retain(|(_, document)| !document.trim().is_empty());
    documents
}
