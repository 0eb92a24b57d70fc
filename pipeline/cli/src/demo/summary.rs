//! What a demo published, read back from where it went, and the comparison with the truth.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use catchment_core::{Error, Result};
use catchment_schemas::Dataset;
use catchment_simulator::{Plant, judge};
use serde::Deserialize;

use super::{Folder, found, planted, talked};

/// Prints everything; an error where the rows are not what the cluster produced.
pub(crate) fn print(folder: &Folder, kafka: Option<&catchment_kafka::Config>, plants: &[Plant]) -> Result<()> {
    crate::emit(&holdings(folder, kafka)?)?;
    crate::emit(&talked::text(folder)?)?;
    crate::emit(&planted::text(folder, plants)?)?;
    crate::emit(&found::text(folder)?)?;
    let verdict = judge(&folder.truth(), &folder.rows())?;
    crate::emit(&format!(
        "\ncompared with what the cluster produced\n  {} whole windows ({} partly covered, not compared): \
         {} keys x windows in the ledger, {} published, {} differ\n{}",
        verdict.windows,
        verdict.partial,
        verdict.expected,
        verdict.published,
        verdict.different,
        advice(folder, kafka),
    ))?;
    match verdict.example {
        Some(example) => Err(Error::internal(format!("published rows differ from the truth, first: {example}"))),
        None => Ok(()),
    }
}

fn holdings(folder: &Folder, kafka: Option<&catchment_kafka::Config>) -> Result<String> {
    let lines = lines_by_dataset(&folder.rows())?;
    let mut text =
        format!("\npublished\n  {:<14} {:>10} {:>14} {:>7}", "dataset", "JSON lines", "Parquet rows", "files");
    text.push_str(if kafka.is_some() { "   topic\n" } else { "\n" });
    for dataset in Dataset::ALL {
        let parquet = catchment_parquet::count_rows(&folder.lake().join(dataset.name()))?;
        let in_lines = lines.get(dataset.name()).copied().unwrap_or(0);
        write!(text, "  {:<14} {in_lines:>10} {:>14} {:>7}", dataset.name(), parquet.rows, parquet.files)
            .expect("text takes every write");
        if let Some(kafka) = kafka {
            let topic = dataset.topic(&kafka.topic_prefix);
            let records = catchment_kafka::count_rows(kafka, &topic)?;
            write!(text, "   {topic} {records}").expect("text takes every write");
        }
        text.push('\n');
    }
    text.push_str(
        "  (a Parquet file is written when its slot of event time has passed, so it ends a window earlier)\n",
    );
    Ok(text)
}

#[derive(Deserialize)]
struct Line {
    dataset: String,
}

fn lines_by_dataset(rows: &Path) -> Result<BTreeMap<String, u64>> {
    let unreadable = || format!("cannot read `{}`: no window closed yet; run the demo longer", rows.display());
    let file = File::open(rows).map_err(|e| Error::user(unreadable()).caused_by(e))?;
    let mut counts = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|e| Error::external(unreadable()).caused_by(e))?;
        let line: Line = serde_json::from_str(&line)
            .map_err(|e| Error::internal(format!("`{}` holds a line that is no row", rows.display())).caused_by(e))?;
        *counts.entry(line.dataset).or_insert(0) += 1;
    }
    Ok(counts)
}

fn advice(folder: &Folder, kafka: Option<&catchment_kafka::Config>) -> String {
    let brokers = kafka.map_or("HOST:PORT", |kafka| &kafka.brokers);
    let (rows, lake) = (folder.rows(), folder.lake());
    format!(
        "\nlook at it\n\
         \x20 head -n 1 {}\n\
         \x20 duckdb -c \"select source_owner, source_workload_name, dest_workload_name, sum(bytes_out) from read_parquet('{}/flows/**/*.parquet', \
         hive_partitioning = true) where reporter = 'Src' group by all order by 4 desc limit 10\"\n\
         \x20 kcat -C -b {brokers} -t catchment.flows.v1 -X isolation.level=read_committed -e    # while the broker runs\n",
        rows.display(),
        lake.display(),
    )
}
