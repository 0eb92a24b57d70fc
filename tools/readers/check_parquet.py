#!/usr/bin/env python3
"""Opens a folder of Catchment's Parquet files with three independent readers and compares them.

    python tools/readers/check_parquet.py FOLDER

For every dataset: the number of rows, and the number in the first date and hour by a partition
filter. Exits 1 where PyArrow, DuckDB and Polars disagree, 2 where there is nothing to read.
"""

import sys
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.compute as compute
import pyarrow.dataset as datasets

DATASETS = ["flows", "conversations", "late", "rejects", "gaps", "findings"]
PARTITIONS = datasets.partitioning(
    pyarrow.schema([("date", pyarrow.string()), ("hour", pyarrow.int32())]), flavor="hive"
)


def first_partition(folder: Path) -> tuple[str, int]:
    """The date and hour of the first file."""
    file = min(folder.rglob("*.parquet"))
    return file.parent.parent.name.removeprefix("date="), int(file.parent.name.removeprefix("hour="))


def by_pyarrow(folder: Path, date: str, hour: int) -> tuple[int, int]:
    data = datasets.dataset(folder, format="parquet", partitioning=PARTITIONS)
    data.to_table()  # every value must decode, not only the footers
    where = (compute.field("date") == date) & (compute.field("hour") == hour)
    return data.count_rows(), data.count_rows(filter=where)


def by_duckdb(folder: Path, date: str, hour: int) -> tuple[int, int]:
    source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    duckdb.sql(f"SELECT * FROM {source}").to_arrow_table()
    where = f"CAST(date AS VARCHAR) = '{date}' AND CAST(hour AS INTEGER) = {hour}"
    return tuple(
        duckdb.sql(f"SELECT count(*) FROM {source} WHERE {w}").fetchall()[0][0] for w in ("true", where)
    )


def by_polars(folder: Path, date: str, hour: int) -> tuple[int, int]:
    types = {"date": polars.String, "hour": polars.Int32}
    data = polars.scan_parquet(folder / "**/*.parquet", hive_partitioning=True, hive_schema=types)
    where = (polars.col("date") == date) & (polars.col("hour") == hour)
    return data.collect().height, data.filter(where).collect().height


def check(folder: Path) -> bool:
    """Prints one line for a dataset; whether the readers agree."""
    partition = first_partition(folder)
    counts = {read.__name__[3:]: read(folder, *partition) for read in (by_pyarrow, by_duckdb, by_polars)}
    agree = len(set(counts.values())) == 1
    total, filtered = counts["pyarrow"]
    if agree:
        print(f"{folder.name}: {total} rows, {filtered} in date={partition[0]} hour={partition[1]:02}")
    else:
        print(f"{folder.name}: the readers disagree: {counts}", file=sys.stderr)
    return agree


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folders = [Path(sys.argv[1]) / name for name in DATASETS]
    present = [folder for folder in folders if any(folder.rglob("*.parquet"))]
    if not present:
        print(f"no Parquet file of any dataset under {sys.argv[1]}", file=sys.stderr)
        return 2
    return 0 if all([check(folder) for folder in present]) else 1


if __name__ == "__main__":
    sys.exit(main())
