//! `catchment why`: the whole chain of policies between two ends.

mod ends;
mod table;

use catchment_core::knowledge::{Kind, Object};
use catchment_core::{Error, Result};
use catchment_kubernetes::Snapshot;
use catchment_stages::policy::{Explanation, PolicyId, State, explain};
use serde::Serialize;

use crate::args::{OutputFormat, WhyArgs};

/// What is printed as JSON or YAML.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    explanation: Explanation,
    /// What keeps the answer from being certain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Problem>,
}

/// Something wrong with a policy.
#[derive(Serialize)]
struct Problem {
    policy: PolicyId,
    problem: String,
}

pub(crate) fn why(args: &WhyArgs) -> Result<()> {
    let snapshot = Snapshot::read(&args.snapshot)?;
    let mut state = State::default();
    snapshot.objects.iter().for_each(|object| state.set(object));
    let answer = answer(args, &state, notes(&snapshot.objects))?;
    match args.output {
        OutputFormat::Table => crate::emit(&table::render(&answer)),
        OutputFormat::Json => {
            let json = serde_json::to_value(&answer).map_err(|e| Error::internal("cannot write JSON").caused_by(e))?;
            crate::emit(&crate::pretty(&json))
        }
        OutputFormat::Yaml => {
            let yaml =
                serde_saphyr::to_string(&answer).map_err(|e| Error::internal("cannot write YAML").caused_by(e))?;
            crate::emit(&yaml)
        }
    }
}

fn answer(args: &WhyArgs, state: &State, notes: Vec<String>) -> Result<Answer> {
    let source = ends::endpoint(state, &args.source)?;
    let (destination, connection) = ends::destination(state, &args.destination)?;
    let explanation = explain(state.policies(), &state.surroundings(), &source, &destination, &connection);
    let problems = state.policies().problems().into_iter().flat_map(|(policy, problems)| {
        problems.into_iter().map(move |problem| Problem { policy: policy.clone(), problem })
    });
    Ok(Answer { explanation, notes, problems: problems.collect() })
}

/// Kinds that are there in every cluster: a snapshot without them tells less than the truth.
fn notes(objects: &[Object]) -> Vec<String> {
    let missing = [Kind::Namespace, Kind::ServiceAccount]
        .into_iter()
        .filter(|kind| objects.iter().all(|object| object.kind() != *kind));
    missing.map(|kind| format!("the snapshot has no {kind}: selectors over their labels match nothing")).collect()
}
