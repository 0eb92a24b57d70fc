"""Compares what was published with what a simulated cluster really produced.

    check_ledger.py TRUTH.ndjson ROWS.jsonl

TRUTH is the ledger of `catchment simulate goldmane --truth`; ROWS holds the datasets flows and late
as JSON lines with the member `dataset`. Windows that were not fully covered are left out, as their rows say. For every flow key and window that was published, the sum
of the window's row and its late rows must equal the ledger, counter by counter. Exits 1 with the
first differences. Uses the standard library only, so it shares no code with what it judges.
"""

import collections
import datetime
import json
import sys

COUNTERS = ("packets_in", "packets_out", "bytes_in", "bytes_out", "num_connections_started", "num_connections_completed")
DISPLAY = {"pvt": "PRIVATE NETWORK", "pub": "PUBLIC NETWORK"}


def none(text):
    """What the wire writes for "none" is NULL in a row."""
    return None if text in ("", "-", None) else text


def hits(trace):
    """A trace as a comparable value."""
    return tuple(
        (h["kind"], none(h["namespace"]), none(h["name"]), none(h["tier"]), h["action"], h["rule_index"]) for h in trace
    )


def truth_key(key):
    return (
        none(key["source_namespace"]), key["source_name"], none(key["dest_namespace"]), key["dest_name"],
        key["dest_port"], key["protocol"].lower(), key["reporter"], key["action"], hits(key["enforced"]), hits(key["pending"]),
    )


def row_key(row):
    return (
        row["source_namespace"], row["source_name_raw"], row["dest_namespace"], row["dest_name_raw"],
        row["dest_port"], row["protocol"], row["reporter"], row["action"],
        hits(row["enforced_policies"]), hits(row["pending_policies"]),
    )


def seconds(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def add(sums, key, record):
    sums[key] = tuple(a + record[name] for a, name in zip(sums.get(key, (0,) * len(COUNTERS)), COUNTERS))


def main(truth_path, rows_path):
    published, rows = {}, collections.Counter()
    windows, partial = set(), set()
    for line in open(rows_path):
        row = json.loads(line)
        rows[row["dataset"]] += 1
        if row["dataset"] in ("flows", "late"):
            window = seconds(row["window_start"])
            width = seconds(row["window_end"]) - window
            if row["dataset"] == "flows":
                (windows if row["coverage"] == 1 else partial).add(window)
            add(published, (window, row_key(row)), row)
    expected, late = {}, 0
    for line in open(truth_path):
        record = json.loads(line)
        if "bucket_start" not in record:
            continue
        window = record["bucket_start"] // width * width
        if window in windows:
            late += record["late"]
            add(expected, (window, truth_key(record["key"])), record)
    published = {key: sums for key, sums in published.items() if key[0] in windows}
    different = [key for key in expected.keys() | published.keys() if expected.get(key) != published.get(key)]
    print(f"{len(windows)} whole windows ({len(partial)} partly covered, not compared), {len(expected)} keys x windows in the ledger, {len(published)} published, "
          f"{late} reported late, {dict(rows)}, {len(different)} differ")
    for key in different[:5]:
        print("  differs:", key, "ledger", expected.get(key), "published", published.get(key))
    return 1 if different or not windows else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
