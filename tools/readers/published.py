#!/usr/bin/env python3
"""Waits for what a pipeline publishes, and fetches it: Kafka with kcat, the object store over the S3 protocol.

    python tools/readers/published.py BROKER ENDPOINT ROOT wait TIME SECONDS PID
    python tools/readers/published.py BROKER ENDPOINT ROOT fetch FOLDER

`wait` ends once both hold a late row of a bucket at or after TIME. Second looks go from bucket to bucket, so everything
about the buckets before TIME is published by then. Exits 1 where that takes more than SECONDS or the process PID ends.
`fetch` writes FOLDER/kafka/<dataset>.jsonl and FOLDER/parquet, and FOLDER/kafka/newest.jsonl: for each key of the compacted
topic of findings which row its newest record holds, none where that is a tombstone. ROOT is bucket/prefix; keys come
from AWS_*.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as compute
import pyarrow.dataset as datasets
from pyarrow.fs import LocalFileSystem, S3FileSystem, copy_files

DATASETS = ["flows", "conversations", "late", "rejects", "gaps"]
POLL_SECONDS = 3


def kcat(broker: str, dataset: str, *options: str, prefix: str = "catchment") -> list[str]:
    topic = ["-b", broker, "-t", f"{prefix}.{dataset}.v1", "-X", "isolation.level=read_committed"]
    return ["kcat", "-C", *topic, "-e", "-q", *options]


def newest_in_kafka(broker: str, prefix: str = "catchment") -> str:
    """The newest bucket of the last late rows."""
    read = subprocess.run(kcat(broker, "late", "-o", "-200", prefix=prefix), capture_output=True, timeout=60)
    return max((json.loads(line)["bucket_start"] for line in read.stdout.splitlines()), default="")


def newest_in_store(store: S3FileSystem, root: str) -> str:
    try:
        rows = datasets.dataset(f"{root}/late", format="parquet", filesystem=store).to_table(["bucket_start"])
    except FileNotFoundError:
        return ""
    newest = compute.max(rows["bucket_start"]).as_py()
    return newest.strftime("%Y-%m-%dT%H:%M:%SZ") if newest else ""


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait(broker: str, store: S3FileSystem, root: str, until: str, seconds: float, pid: int) -> int:
    deadline = time.monotonic() + seconds
    while True:
        found = {"Kafka": newest_in_kafka(broker), "Parquet": newest_in_store(store, root)}
        if all(newest >= until for newest in found.values()):
            return 0
        timed_out = time.monotonic() > deadline
        if timed_out or not runs(pid):
            why = f"TIMED OUT after {seconds:.0f} s" if timed_out else "the pipeline has ended"
            told = ", ".join(f"{name} up to {newest or 'nothing'}" for name, newest in found.items())
            print(f"{why}: late rows up to {until} are not there yet; {told}", file=sys.stderr)
            return 1
        time.sleep(POLL_SECONDS)


def fetch_findings(broker: str, folder: Path, prefix: str) -> None:
    """Records of a key are in one partition, so the last that is read is the newest."""
    read = subprocess.run(kcat(broker, "findings", "-f", "%k\t%s\n", prefix=prefix), capture_output=True, check=True)
    records = [line.split("\t", 1) for line in read.stdout.decode().splitlines()]
    (folder / "findings.jsonl").write_text("".join(f"{row}\n" for _, row in records if row))
    newest = {key: json.loads(row) if row else {} for key, row in records}
    told = ({"key": key} | {name: row.get(name) for name in ("finding_id", "window_start")} for key, row in newest.items())
    (folder / "newest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in told))


def fetch(broker: str, store: S3FileSystem, root: str, folder: Path, prefix: str = "catchment") -> int:
    (folder / "kafka").mkdir(parents=True)
    fetch_findings(broker, folder / "kafka", prefix)
    for dataset in DATASETS:
        with open(folder / "kafka" / f"{dataset}.jsonl", "wb") as out:
            subprocess.run(kcat(broker, dataset, prefix=prefix), stdout=out, check=True)
    copy_files(root, str(folder / "parquet"), source_filesystem=store, destination_filesystem=LocalFileSystem())
    return 0


def main() -> int:
    match sys.argv[1:]:
        case [broker, endpoint, root, command, *rest]:
            store = S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1")
            match command, rest:
                case "wait", [until, seconds, pid]:
                    return wait(broker, store, root, until, float(seconds), int(pid))
                case "fetch", [folder]:
                    return fetch(broker, store, root, Path(folder))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
