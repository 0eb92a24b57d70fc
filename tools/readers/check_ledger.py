#!/usr/bin/env python3
"""Compares what was published with what a simulated cluster really produced.

    python tools/readers/check_ledger.py TRUTH NAME=ROWS [NAME=ROWS ...] [--findings NAME=ROWS] [--until TIME]
        [--windows N] [--late N]

TRUTH is the ledger of `catchment simulate goldmane --truth`. ROWS is a folder that holds a folder of Parquet files for
each dataset, or a file of JSON lines for each (`flows.jsonl`). Judged are the windows that end by TIME and that the
source could read as a whole:

- What the ledger says of a key and bucket, less the late rows, is what was there when the window closed. Folded by
  window it must be the rows of `flows`: every counter, live connections, records and buckets.
- Every late row belongs to a report that the ledger calls late.
- No gap lies in such a window: the simulated collector loses nothing.
- No row is there twice, and keys and values of `flow_id` belong together one by one.
- Records add up: those in `flows`, the late and the rejected ones are those of the ledger, one more for each time
  that a bucket of a key had grown and was handed out again, and those that others pushed and no reader can use.
- All ROWS hold the same rows of every dataset, column by column; of findings those of --findings too.
- Where ROWS say what the newest records of findings are (`newest.jsonl`), these hold the newest rows, or nothing of
  findings that are over.

Exits 1 with the first differences, or where fewer windows could be judged, or fewer late rows, than asked for.
"""

import argparse
import json
import sys
from pathlib import Path

import duckdb


def sql_type(shape: str | list | dict) -> str:
    """A type as SQL writes it: a list holds the type of its items, a dict those of its members."""
    if isinstance(shape, list):
        return sql_type(shape[0]) + "[]"
    if isinstance(shape, dict):
        return "STRUCT(" + ", ".join(f'"{name}" {sql_type(member)}' for name, member in shape.items()) + ")"
    return shape


SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "json"
CONVERSATION = """window_start, source_namespace, source_name_raw, source_type, dest_namespace, dest_name_raw,
    dest_type, dest_port, protocol"""
# For each dataset what tells its rows apart, and which of them are judged.
DATASETS = {
    "flows": ("window_start, flow_id", "window_end <= $until"),
    "conversations": (CONVERSATION, "window_end <= $until"),
    "late": ("log_position, log_index", "window_end <= $until"),
    "rejects": ("log_position, log_index", "true"),
    "gaps": ("log_position", "gap_start < $until"),
}
FINDINGS = {"findings": ("window_start, finding_id", "window_end <= $until")}
SUMS = ["packets_in", "packets_out", "bytes_in", "bytes_out", "num_connections_started", "num_connections_completed"]
LIVE = "num_connections_live"
# The engine's own hash of texts meets where the same words differ twice, as in a trace that is pending as it is enforced.
KEY_ID = 'md5_number("key") AS key_id'
POLICY = dict.fromkeys(["kind", "namespace", "name", "tier"], "VARCHAR")
HIT = {**POLICY, "action": "VARCHAR", "policy_index": "BIGINT", "rule_index": "BIGINT", "trigger": POLICY}
ENDS = ["source_namespace", "source_name", "source_type", "dest_namespace", "dest_name", "dest_type"]
SERVICE = ["dest_service_namespace", "dest_service_name", "dest_service_port_name"]
# A key as the ledger has it; and below, in the same order, as a row has it.
LEDGER_KEY = {
    **dict.fromkeys([*ENDS, "protocol", "reporter", "action", *SERVICE], "VARCHAR"),
    **dict.fromkeys(["dest_port", "dest_service_port"], "BIGINT"),
    **dict.fromkeys(["enforced", "pending"], [HIT]),
}
ROW_KEY = {
    **{name: f'"{name}"' for name in LEDGER_KEY},
    "source_name": "source_name_raw",
    "dest_name": "dest_name_raw",
    "enforced": f"CAST(enforced_policies AS {sql_type([HIT])})",
    "pending": f"CAST(pending_policies AS {sql_type([HIT])})",
}
SHOWN = 5


def each(form: str, names: list[str] = [*SUMS, LIVE]) -> str:
    """The form for every counter: `{}` is its name."""
    return ", ".join(form.replace("{}", name) for name in names)


def shape(schema: dict) -> str | list | dict:
    """The type of a member of a JSON Schema."""
    kind = schema["type"] if isinstance(schema["type"], str) else next(t for t in schema["type"] if t != "null")
    if kind == "array":
        return [shape(schema["items"])]
    if kind == "object" and "properties" not in schema:
        return "JSON"
    if kind == "object":
        return {name: shape(member) for name, member in schema["properties"].items()}
    if schema.get("format") == "date-time":
        return "TIMESTAMPTZ"
    return {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}[kind]


def columns_of(dataset: str) -> dict[str, str]:
    schema = json.loads((SCHEMAS / f"{dataset}.v1.schema.json").read_text())
    return {name: sql_type(member) for name, member in shape(schema).items()}


def json_lines(path: Path, columns: dict[str, str]) -> str:
    types = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    return f"read_json('{path}', format = 'newline_delimited', columns = {{{types}}})"


def rows_of(rows: Path, dataset: str, columns: dict[str, str]) -> str:
    """What to select the rows of a dataset from."""
    if (rows / f"{dataset}.jsonl").exists():
        return json_lines(rows / f"{dataset}.jsonl", columns)
    if any((rows / dataset).rglob("*.parquet")):
        return f"read_parquet('{rows / dataset}/**/*.parquet', hive_partitioning = false)"
    nothing = ", ".join(f'NULL AS "{name}"' for name in columns)
    return f"(SELECT {nothing}) WHERE false"


class Rows:
    """A database of published rows, which compares them with each other."""

    def __init__(self, until: str = "infinity") -> None:
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone = 'UTC'")
        self.db.execute(f"SET VARIABLE until = TIMESTAMPTZ '{until}'")
        self.faults = 0

    def value(self, sql: str) -> int:
        return int(self.db.execute(sql).fetchone()[0] or 0)

    def refuse(self, what: str, sql: str) -> int:
        """Every row of the query is a fault; the first are shown."""
        count = self.value(f"SELECT count(*) FROM ({sql})")
        if count:
            print(f"{count} {what}", file=sys.stderr)
            for (row,) in self.db.execute(f"SELECT to_json(r) FROM ({sql}) AS r LIMIT {SHOWN}").fetchall():
                print(f"  {row}", file=sys.stderr)
        self.faults += count
        return count

    def demand(self, name: str, least: int, what: str, sql: str) -> None:
        """A comparison of nothing proves nothing."""
        found = self.value(sql)
        if found < least:
            self.faults += 1
            print(f"{name} holds {found} {what} to compare, at least {least} expected", file=sys.stderr)

    def load_rows(self, name: str, rows: Path, datasets: dict[str, tuple[str, str]] = DATASETS) -> None:
        """Views over the rows that are judged, with the columns as the JSON Schemas name and order them."""
        for dataset, (identity, scope) in datasets.items():
            columns = columns_of(dataset)
            cast = ", ".join(f'CAST("{column}" AS {kind}) AS "{column}"' for column, kind in columns.items())
            self.db.execute(f"""CREATE VIEW {name}_{dataset} AS
                SELECT * FROM (SELECT {cast} FROM {rows_of(rows, dataset, columns)})
                WHERE {scope.replace('$until', "getvariable('until')")}""")
            self.refuse(
                f"rows of {dataset} are in {name} more than once",
                f"SELECT {identity}, count(*) AS times FROM {name}_{dataset} GROUP BY ALL HAVING count(*) > 1",
            )

    def compare_rows(self, names: list[str], datasets: dict[str, tuple[str, str]] = DATASETS) -> None:
        """Prints the number of rows, and compares all with the first."""
        for dataset in datasets:
            counts = [self.value(f"SELECT count(*) FROM {name}_{dataset}") for name in names]
            differ = sum(self.compare_dataset(names[0], name, dataset) for name in names[1:])
            told = "".join(f"  {name} {count:>8}" for name, count in zip(names, counts))
            print(f"rows of {dataset:13}{told}" + (f"  {differ} differ" if len(names) > 1 else ""))

    def compare_dataset(self, one: str, other: str, dataset: str) -> int:
        def hashed(name: str) -> str:
            return f"SELECT hash(r) AS h, count(*) AS n FROM {name}_{dataset} AS r GROUP BY h"

        self.db.execute(f"""CREATE OR REPLACE TABLE odd AS SELECT h, coalesce(a.n, 0) AS a, coalesce(b.n, 0) AS b
            FROM ({hashed(one)}) a FULL JOIN ({hashed(other)}) b USING (h) WHERE a.n IS DISTINCT FROM b.n""")
        if self.value("SELECT count(*) FROM odd") == 0:
            return 0
        return sum(
            self.refuse(
                f"rows of {dataset} are in {there} only",
                f"SELECT r.* FROM {there}_{dataset} AS r JOIN odd ON hash(r) = h AND {more}",
            )
            for there, more in ((one, "a > b"), (other, "b > a"))
        )

    def check_newest(self, name: str, rows: Path) -> None:
        """Demands of the newest record of each finding that it holds the newest row, or nothing of one that is over."""
        columns = {"key": "VARCHAR", "finding_id": "VARCHAR", "window_start": "TIMESTAMPTZ"}
        findings = json_lines(rows / "findings.jsonl", columns_of("findings"))
        self.db.execute(f"""CREATE TABLE newest AS
            SELECT n.*, max(f.window_start) AS last_told, arg_max(status, f.window_start) AS status
            FROM {json_lines(rows / 'newest.jsonl', columns)} n LEFT JOIN {findings} f ON f.finding_id = n.key
            GROUP BY ALL""")
        self.refuse(f"records of {name} are under keys of other findings", "FROM newest WHERE key <> finding_id")
        self.refuse(
            f"newest records of {name} do not hold the newest rows",
            "FROM newest WHERE finding_id IS NOT NULL AND window_start IS DISTINCT FROM last_told",
        )
        self.refuse(
            f"findings have tombstones in {name} and are open",
            "FROM newest WHERE finding_id IS NULL AND status IN ('opened', 'ongoing')",
        )
        self.demand(name, 1, "newest records of findings", "SELECT count(*) FROM newest")
        gone = self.value("SELECT count(*) FROM newest WHERE finding_id IS NULL")
        print(f"{name}: {self.value('SELECT count(*) FROM newest')} findings by their newest records, {gone} forgotten")


class Judge(Rows):
    """A database with the ledger and what was published. The truth may be several ledgers, told by a pattern. What the
    collector had before a moment it may have forgotten: windows that a gap before it names are not compared."""

    def __init__(self, truth: Path, until: str, pushed: int = 0, forgotten: str = "-infinity") -> None:
        super().__init__(until)
        self.db.execute(f"SET VARIABLE forgotten = TIMESTAMPTZ '{forgotten}'")
        self.pushed = pushed
        self.load_truth(truth)

    def load_truth(self, path: Path) -> None:
        """Tables `ledger`, with a row for every key and bucket, and `keys`, with each key as rows have it."""
        numbers = dict.fromkeys(["bucket_start", *SUMS, LIVE, "flows"], "BIGINT")
        lines = json_lines(path, {**numbers, "late": "BOOLEAN", "key": "VARCHAR"})
        self.db.execute(f"""CREATE TABLE ledger AS SELECT * EXCLUDE "key", {KEY_ID} FROM {lines}""")
        self.refuse(
            "ledgers are cut off: the last line with their length is not there or says otherwise",
            "SELECT sum(flows) AS said, count(bucket_start) AS found FROM ledger HAVING said IS DISTINCT FROM found",
        )
        self.db.execute("DELETE FROM ledger WHERE bucket_start IS NULL")
        # On the wire "none" is an empty text, a dash or the port 0.
        text = """replace(replace("key", ':"-"', ':null'), ':""', ':null')"""
        lines = json_lines(path, {"key": "VARCHAR"})
        key = {**{name: f'k."{name}"' for name in LEDGER_KEY}, "protocol": "lower(k.protocol)"}
        key["dest_service_port"] = "nullif(k.dest_service_port, 0)"
        self.db.execute(f"""CREATE TABLE keys AS SELECT key_id, row({', '.join(key.values())}) AS k FROM
            (SELECT {KEY_ID}, from_json({text}, '{json.dumps(LEDGER_KEY)}') AS k
             FROM (SELECT DISTINCT "key" FROM {lines} WHERE "key" IS NOT NULL))""")
        self.refuse("keys of the ledger are one and the same", "SELECT k FROM keys GROUP BY k HAVING count(*) > 1")

    def fold(self, name: str) -> None:
        """Tables `_windows`; `_ids`, the keys by flow_id; and of the whole windows `_published`, the rows of flows, and
        `_on_time`, what the ledger says of each key and bucket less the late rows."""
        self.db.execute(f"""CREATE TABLE {name}_windows AS
            SELECT epoch(window_start)::BIGINT AS "window", epoch(window_end - window_start)::BIGINT AS width,
                min(coverage) = 1 AND NOT EXISTS (FROM {name}_gaps WHERE gap_start < window_end
                    AND gap_end > window_start AND gap_end <= getvariable('forgotten')) AS whole
            FROM {name}_flows GROUP BY window_start, window_end""")
        key = f"row({', '.join(ROW_KEY.values())})"
        self.db.execute(f"""CREATE TABLE {name}_ids AS SELECT flow_id, key_id, k FROM
            (SELECT flow_id, {key} AS k FROM {name}_flows UNION SELECT flow_id, {key} FROM {name}_late)
            LEFT JOIN keys USING (k)""")
        whole = f"""JOIN {name}_ids USING (flow_id)
            JOIN {name}_windows w ON w."window" = epoch(window_start)::BIGINT AND whole"""
        self.db.execute(f"""CREATE TABLE {name}_published AS
            SELECT key_id, "window", records, buckets, {each('{}')} FROM {name}_flows {whole}""")
        self.db.execute(f"""CREATE TABLE {name}_on_time AS
            WITH late AS (SELECT key_id, "window", epoch(bucket_start)::BIGINT AS bucket_start, count(*) AS looks,
                    {each('sum({}) AS {}')} FROM {name}_late {whole} GROUP BY ALL),
                truth AS (SELECT l.*, w."window" FROM ledger l
                    JOIN {name}_windows w ON w."window" = l.bucket_start // w.width * w.width AND whole)
            SELECT key_id, "window", bucket_start, coalesce(looks, 0) AS looks, t.late AS reported_late,
                t.key_id IS NOT NULL AS in_ledger, {each('coalesce(t.{}, 0) - coalesce(l.{}, 0) AS {}')}
            FROM truth t FULL JOIN late l USING (key_id, "window", bucket_start)""")

    def judge(self, name: str) -> None:
        """Compares these rows with the ledger and prints what was found."""
        self.fold(name)
        self.refuse(f"keys in {name} are not in the ledger", f"SELECT * FROM {name}_ids WHERE key_id IS NULL")
        for one, other in (("flow_id", "k"), ("k", "flow_id")):
            self.refuse(
                f"values of {one} in {name} have more than one {other}",
                f"SELECT {one} FROM {name}_ids GROUP BY {one} HAVING count(*) > 1",
            )
        differ = self.compare(name)
        self.refuse(
            f"late rows in {name} are for reports that were in time",
            f"SELECT * FROM {name}_on_time JOIN keys USING (key_id) WHERE looks > 0 AND reported_late IS NOT TRUE",
        )
        self.refuse(
            f"gaps in {name} lie in windows that are said to be whole",
            f"""SELECT g.* FROM {name}_gaps g JOIN {name}_windows w ON whole
                AND epoch(gap_start) < w."window" + w.width AND epoch(gap_end) > w."window\"""",
        )
        whole = self.value(f"SELECT count(*) FROM {name}_windows WHERE whole")
        partly = self.value(f"SELECT count(*) FROM {name}_windows WHERE NOT whole")
        published = self.value(f"SELECT count(*) FROM {name}_published")
        print(
            f"{name}: {whole} windows compared, {partly} only partly covered; "
            f"{published} keys x windows, {differ} differ from the ledger"
        )
        self.conserve(name)

    def compare(self, name: str) -> int:
        """A record of the simulated cluster has a live connection, so a bucket without one was not there on time."""
        return self.refuse(
            f"keys x windows of {name} differ from the ledger",
            f"""WITH expected AS (SELECT key_id, "window", count(*) FILTER ({LIVE} <> 0) AS records,
                    records AS buckets, {each('sum({}) AS {}', SUMS)}, max({LIVE}) AS {LIVE}
                    FROM {name}_on_time GROUP BY key_id, "window"
                    HAVING {' OR '.join(f'bool_or({c} <> 0)' for c in [*SUMS, LIVE])})
                SELECT to_timestamp("window") AS "window", k AS "key", e AS expected, p AS published
                FROM expected e FULL JOIN {name}_published p USING (key_id, "window") LEFT JOIN keys USING (key_id)
                WHERE row(e.records, e.buckets, {each('e.{}')})
                    IS DISTINCT FROM row(p.records, p.buckets, {each('p.{}')})""",
        )

    def explain(self, name: str) -> None:
        """Demands that whatever is missing behind the first window lies in a gap, and a gap in what was forgotten."""
        first = f"""(SELECT min("window" + width) FROM {name}_windows)"""
        overlaps = f"""FROM {name}_gaps WHERE epoch(gap_start) < x.ends AND epoch(gap_end) > x.begins"""
        self.refuse(
            f"windows in {name} are said to be covered in part, and no gap says why",
            f"""SELECT to_timestamp("window") AS "window" FROM
                (SELECT "window", "window" AS begins, "window" + width AS ends FROM {name}_windows WHERE NOT whole) x
                WHERE begins >= {first} AND NOT EXISTS ({overlaps})""",
        )
        self.refuse(
            f"gaps in {name} name what the collector had not forgotten",
            f"SELECT * FROM {name}_gaps WHERE gap_end > getvariable('forgotten')",
        )
        self.refuse(
            f"buckets of the ledger are in no window and no gap in {name}",
            f"""SELECT to_timestamp(begins) AS bucket FROM
                (SELECT DISTINCT bucket_start AS begins, bucket_start + 1 AS ends FROM ledger
                 WHERE bucket_start < epoch(getvariable('until'))) x
                WHERE begins >= {first} AND NOT EXISTS ({overlaps}) AND NOT EXISTS
                    (FROM {name}_windows WHERE begins >= "window" AND begins < "window" + width)""",
        )

    def conserve(self, name: str) -> None:
        """Every record that the collector handed out is in one place."""
        on_time = self.value(f"SELECT sum(records) FROM {name}_published")
        late = self.value(f"SELECT sum(looks) FROM {name}_on_time")
        rejects = self.value(f"SELECT count(*) FROM {name}_rejects")
        truth = self.value(f"SELECT count(*) FROM {name}_on_time WHERE in_ledger")
        again = self.value(f"SELECT sum(looks - ({LIVE} = 0)::INT) FROM {name}_on_time WHERE looks > 0")
        balanced = on_time + late + rejects == truth + again + self.pushed
        self.faults += not balanced
        print(
            f"{name}: records {on_time} in windows + {late} late + {rejects} rejected {'=' if balanced else '!='} "
            f"{truth} in the ledger + {again} handed out again because they had grown + {self.pushed} pushed by others"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path, metavar="TRUTH")
    parser.add_argument("rows", nargs="+", metavar="NAME=ROWS")
    parser.add_argument("--findings", action="append", default=[], metavar="NAME=ROWS")
    parser.add_argument("--until", default="infinity", metavar="TIME")
    parser.add_argument("--windows", type=int, default=1, metavar="N")
    parser.add_argument("--late", type=int, default=0, metavar="N")
    return parser.parse_args()


def compare_findings(judge: Judge, named: list[str]) -> None:
    names = []
    for name, _, rows in (argument.partition("=") for argument in named):
        judge.load_rows(name, Path(rows), FINDINGS)
        names.append(name)
        if (Path(rows) / "newest.jsonl").exists():
            judge.check_newest(name, Path(rows))
    judge.demand(names[0], 1, "rows of findings", f"SELECT count(*) FROM {names[0]}_findings")
    judge.compare_rows(names, FINDINGS)


def main() -> int:
    told = arguments()
    judge = Judge(told.truth, told.until)
    names = []
    for name, _, rows in (argument.partition("=") for argument in told.rows):
        judge.load_rows(name, Path(rows))
        judge.judge(name)
        names.append(name)
        judge.demand(name, told.windows, "whole windows", f"SELECT count(*) FROM {name}_windows WHERE whole")
        judge.demand(name, told.late, "late rows", f"SELECT sum(looks) FROM {name}_on_time")
    judge.compare_rows(names)
    compare_findings(judge, told.rows + told.findings)
    print(f"differences: {judge.faults}")
    return 1 if judge.faults else 0


if __name__ == "__main__":
    sys.exit(main())
