//! `catchment why`: the whole chain of policies between two ends.

mod ends;
mod known;
mod table;

use std::process::ExitCode;

use catchment_core::{Error, Result};
use catchment_stages::policy::{Explanation, PolicyId, State, Verdict, explain};
use serde::Serialize;

use self::known::Known;
use crate::args::{FailOn, OutputFormat, WhyArgs};

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

/// Exit code where the verdict is the one of `--fail-on`.
const FAILED_ON: u8 = 10;

/// Answers; the exit code says the verdict only if it was asked to.
pub(crate) fn why(args: &WhyArgs) -> Result<ExitCode> {
    let answer = answer(args, Known::read(args)?)?;
    print(args.output, &answer)?;
    let failed = matches!(args.fail_on, Some(FailOn::Deny)) && answer.explanation.verdict == Verdict::Deny;
    Ok(if failed { ExitCode::from(FAILED_ON) } else { ExitCode::SUCCESS })
}

fn print(output: OutputFormat, answer: &Answer) -> Result<()> {
    match output {
        OutputFormat::Table => crate::emit(&table::render(answer)),
        OutputFormat::Json => {
            let json = serde_json::to_value(answer).map_err(|e| Error::internal("cannot write JSON").caused_by(e))?;
            crate::emit(&crate::pretty(&json))
        }
        OutputFormat::Yaml => {
            let yaml =
                serde_saphyr::to_string(answer).map_err(|e| Error::internal("cannot write YAML").caused_by(e))?;
            crate::emit(&yaml)
        }
    }
}

fn answer(args: &WhyArgs, known: Known) -> Result<Answer> {
    let Known { objects, mut notes, is_certain } = known;
    let mut state = State::default();
    for object in &objects {
        state.set(object);
    }
    let source = ends::endpoint(&state, &args.source)?;
    let (destination, connection) = ends::destination(&state, &args.destination)?;
    let mut explanation = explain(state.policies(), &state.surroundings(), &source, &destination, &connection);
    let problems = state.policies().problems().into_iter().flat_map(|(policy, problems)| {
        problems.into_iter().map(move |problem| Problem { policy: policy.clone(), problem })
    });
    if !is_certain {
        notes.push(format!("the verdict is not known: by what could be read it would be {}", explanation.verdict));
        explanation.verdict = Verdict::Unknown;
    }
    Ok(Answer { explanation, notes, problems: problems.collect() })
}
