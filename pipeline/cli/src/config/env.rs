//! `${NAME}` and `${NAME:-default}` in string values.

use serde_json::Value;

/// A reference that cannot be resolved.
#[derive(Debug)]
pub(super) struct Unresolved {
    /// As it stands in the file, to find its line.
    pub(super) reference: String,
    pub(super) message: String,
}

/// Replaces the references in every string of `value`. Keys and other values stay as they are, and
/// what a variable holds is never read as YAML.
pub(super) fn expand(value: &mut Value, variables: &dyn Fn(&str) -> Option<String>) -> Result<(), Unresolved> {
    match value {
        Value::String(text) if text.contains("${") => *text = expand_text(text, variables)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| expand(item, variables))?,
        Value::Object(members) => members.values_mut().try_for_each(|member| expand(member, variables))?,
        _ => {}
    }
    Ok(())
}

fn expand_text(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<String, Unresolved> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once("${") {
        let Some((inside, after)) = reference.split_once('}') else {
            let message = "`${` without `}`: write an environment variable as ${NAME}".to_owned();
            return Err(Unresolved { reference: "${".to_owned(), message });
        };
        out.push_str(before);
        out.push_str(&resolve(inside, variables)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn resolve(inside: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<String, Unresolved> {
    let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
    // As in a shell, `:-` also stands in for an empty variable.
    let value = variables(name).filter(|value| default.is_none() || !value.is_empty());
    value.or_else(|| default.map(ToOwned::to_owned)).ok_or_else(|| Unresolved {
        reference: format!("${{{inside}}}"),
        message: format!("environment variable `{name}` is not set: set it, or write ${{{name}:-default}}"),
    })
}
