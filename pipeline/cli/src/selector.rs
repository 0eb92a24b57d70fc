//! `catchment selector`.

use std::io::{BufRead as _, BufReader, BufWriter, Read, Write};

use catchment_core::knowledge::LabelMap;
use catchment_core::{Error, Result};
use catchment_stages::selector::{Selector, SelectorError};

use crate::args::SelectorArgs;

pub(crate) fn selector(args: &SelectorArgs) -> Result<()> {
    let text = &args.selector;
    let selector: Selector =
        text.parse().map_err(|e: SelectorError| Error::user(format!("this is no selector:\n{}", e.pointed(text))))?;
    if args.canonical {
        return crate::emit(&format!("{selector}\n"));
    }
    judge(&selector, std::io::stdin().lock(), std::io::stdout().lock())
}

/// One word a line; what is known is written before more input is waited for.
fn judge(selector: &Selector, input: impl Read, output: impl Write) -> Result<()> {
    let (mut input, mut output) = (BufReader::new(input), BufWriter::new(output));
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let length = input.read_line(&mut line);
        if length.map_err(|e| Error::user(format!("cannot read line {number} of standard input")).caused_by(e))? == 0 {
            break;
        }
        let labels: LabelMap = serde_json::from_str(&line).map_err(|e| {
            Error::user(format!("line {number} is no JSON object of labels, like {{\"app\": \"web\"}}")).caused_by(e)
        })?;
        writeln!(output, "{}", selector.matches(&labels)).map_err(crate::output_failed)?;
        if input.buffer().is_empty() {
            output.flush().map_err(crate::output_failed)?;
        }
    }
    output.flush().map_err(crate::output_failed)
}
