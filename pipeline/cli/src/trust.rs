//! `catchment trust`: boundaries between service accounts, proposed from what was observed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use catchment_core::{Error, Result};
use catchment_stages::detect::Settings;
use catchment_stages::setup::Observed;

use crate::args::{ProposeArgs, TrustCommand};

pub(crate) fn trust(command: &TrustCommand) -> Result<()> {
    let TrustCommand::Propose(args) = command;
    let settings = settings(args);
    let mut observed = Observed::new(&settings);
    for path in &args.rows {
        read(path, &mut observed)?;
    }
    for note in observed.notes() {
        eprintln!("note: {note}");
    }
    let proposed = observed.proposals();
    if proposed.is_empty() {
        eprintln!(
            "note: no critical backend was reached; label one with catchment.dev/critical=true, or give --critical"
        );
    }
    let boundaries = serde_json::json!({ "boundaries": proposed });
    crate::emit(&serde_saphyr::to_string(&boundaries).map_err(|e| Error::internal("cannot write YAML").caused_by(e))?)
}

fn settings(args: &ProposeArgs) -> Settings {
    match args.critical.as_slice() {
        [] => Settings::default(),
        critical => Settings { critical: critical.to_vec(), ..Settings::default() },
    }
}

fn read(path: &Path, observed: &mut Observed<'_>) -> Result<()> {
    if path == Path::new("-") {
        return rows("standard input", std::io::stdin().lock(), observed);
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|e| Error::user(format!("cannot open {name}")).caused_by(e))?;
    rows(&name, BufReader::new(file), observed)
}

fn rows(name: &str, lines: impl BufRead, observed: &mut Observed<'_>) -> Result<()> {
    for (number, line) in (1_u64..).zip(lines.lines()) {
        let line = line.map_err(|e| Error::user(format!("cannot read line {number} of {name}")).caused_by(e))?;
        if !line.trim().is_empty() {
            observed.row(&line).map_err(|e| Error::user(format!("line {number} of {name}: {e}")))?;
        }
    }
    Ok(())
}
