"""What the cells share: the servers, the recorded spool, and the undisturbed run that is the reference."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import servers
from bounded import Failed, wait_for
from check_ledger import DATASETS, Judge, Rows
from process import Process
from published import fetch, kcat
from pyarrow.fs import S3FileSystem
from simulated import BEFORE, BEFORE_MINUTES, START, Cluster, told

BUCKET = "catchment"
CLUSTER, SOURCE, SINK = "faults", "calico", "kafka"
# Judged are the first minutes. The second look at a bucket comes six minutes after its end, and the Parquet sink keeps
# the rows of a slot back until it is over. The last look, at 55 minutes, is not waited for.
MINUTES, LOOK_MINUTES, SLOT_MINUTES = 6, 6, 6
RECORDED_MINUTES = MINUTES + LOOK_MINUTES + SLOT_MINUTES
# The source spares a collector: after each answer it waits four times as long as that took. With so many flows a second
# of a simulated one it keeps up although others need the machine too, and with this speed.
RECORDED_PER_SECOND, HIGHEST_SPEED = 3_500, 10
PUBLISH_SECONDS, RECOVERY_SECONDS = 900, 240
# What a process has made durable when it starts.
NOTHING = {"kafka": 0, "parquet": 0}
STEADY_SECONDS = 4
WATERMARK = "catchment_watermark_seconds"
# What the configuration reference says: 2 kB for each of twice as many keys and each of two sinks, and beside that what
# librdkafka may queue and what is on its way to the object store.
MAX_KEYS, MEMORY_MIB = 100_000, 1024


def after(minutes: int) -> str:
    return told(START + timedelta(minutes=minutes))


@dataclass
class Size:
    """How much of everything."""

    flows: int
    # What the collector remembers at first: it is read at once. On a slow machine late reports are in time meanwhile.
    history_minutes: int
    kills: int
    stops: int
    broker_kills: int
    frozen_seconds: int


@dataclass
class Settings:
    size_name: str
    size: Size
    seed: int
    catchment: Path
    folder: Path
    only: set[str]

    @property
    def per_second(self) -> int:
        return max(1, self.size.flows // ((BEFORE_MINUTES + self.size.history_minutes + RECORDED_MINUTES) * 60))

    @property
    def speed(self) -> float:
        return min(HIGHEST_SPEED, RECORDED_PER_SECOND / self.per_second)


@dataclass
class Undisturbed:
    """What the run without a fault came to; every other one must come to the same."""

    seconds: float = 0
    first_row_seconds: float = 0
    rows: dict[str, int] = field(default_factory=dict)
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    peak_kib: int = 0


class Lab:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.folder
        self.broker = servers.broker(self.folder / "kafka")
        self.store = servers.store(self.folder / "s3")
        self.rows = Rows()
        self.undisturbed = Undisturbed()
        self.recorded, self.pushed = 0, 0

    def start(self) -> None:
        self.broker.start()
        self.store.start()
        self.files = S3FileSystem(endpoint_override=self.store.address, scheme="http", region="us-east-1")

    def stop(self) -> None:
        self.broker.stop()
        self.store.stop()

    def cluster(self, folder: Path, port: int, per_second: int, speed: float) -> Cluster:
        return Cluster(self.settings.catchment, folder, port, per_second, speed)

    def record(self) -> None:
        """Records the spool: the log that every cell publishes. The sink is cheap and tells how far second looks are.
        Recorded are a few minutes of one cluster, a gap of more than an hour, and then another cluster."""
        folder = self.folder / "recorded"
        folder.mkdir()
        settings, late = self.settings, folder / "late.jsonl"
        cluster = self.cluster(folder, servers.free_port(), settings.per_second, settings.speed)
        sink = {"type": "jsonl", "path": str(late), "datasets": ["late"]}

        def recorder() -> Process:
            return self.process(folder, folder / "spool", {"late": sink}, cluster.port, "recorder.log")

        self.recorded = read_before(cluster, recorder)
        cluster.start(settings.size.history_minutes)
        cluster.push_unusable(MINUTES)
        process = recorder()
        seconds = RECORDED_MINUTES * 60 / settings.speed
        until = after(MINUTES + SLOT_MINUTES)
        wait_for("the log", 3 * seconds + 120, lambda: process.must_run() or newest_bucket(late) >= until, 1)
        self.recorded += flows_logged(process)
        process.stop()
        cluster.stop()
        self.pushed = cluster.pushed

    def process(
        self, folder: Path, spool: Path, sinks: dict, collector: int, log: str, environment: dict[str, str] | None = None
    ) -> Process:
        """Starts the pipeline. JSON is YAML too."""
        config = {
            "cluster": CLUSTER,
            "spool": {"dir": str(spool)},
            "sources": {SOURCE: {"type": "goldmane", "address": f"http://127.0.0.1:{collector}", "begin": "latest"}},
            "sinks": sinks,
            "limits": {"max_keys": MAX_KEYS},
            "http": {"listen": f"127.0.0.1:{servers.free_port()}"},
        }
        path = folder / f"{log}.yaml"
        path.write_text(json.dumps(config, indent=1))
        command = [str(self.settings.catchment), "run", "--config", str(path)]
        return Process(command, folder / log, int(config["http"]["listen"].split(":")[1]), environment)


def read_before(cluster: Cluster, reader: Callable[[], Process]) -> int:
    """Lets a reader read some minutes of a cluster that is never seen again; says how many flows it has logged."""
    cluster.start_before()
    process = reader()
    until = (BEFORE + timedelta(minutes=BEFORE_MINUTES)).timestamp()
    wait_for("the first minutes", 120, lambda: process.must_run() or min(process.values(WATERMARK), default=0) >= until)
    flows = flows_logged(process)
    process.stop()
    cluster.stop()
    return flows


def flows_logged(recorder: Process) -> int:
    """Flows that it has written to the log."""
    return int(sum(recorder.values("catchment_goldmane_flows_total")))


def newest_bucket(late: Path) -> str:
    """The newest bucket among the last late rows that a second look has found."""
    if not late.exists():
        return ""
    with open(late, "rb") as rows:
        rows.seek(max(0, late.stat().st_size - 200_000))
        lines = rows.read().split(b"\n")[1:-1]
    found = (row["bucket_start"] for row in map(json.loads, lines) if row["reason"] == "correction")
    return max(found, default="")


class Cell:
    """One run over a copy of the spool, with a topic prefix and an S3 prefix of its own."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.folder = lab.folder / name
        self.folder.mkdir()
        self.spool = self.folder / "spool"
        self.endpoint = f"http://{lab.store.address}"
        self.roll = "5m"
        # A process may be started with a clock of its own.
        self.environment: dict[str, str] = {}
        # Nobody listens: nothing new is read.
        self.collector = servers.free_port()
        self.processes: list[Process] = []
        self.recoveries: list[float] = []

    def again(self, number: int) -> "Cell":
        """A further pass of this cell, from the beginning of the log."""
        cell = Cell(self.lab, f"{self.name}-{number}")
        cell.processes, cell.recoveries = self.processes, self.recoveries
        return cell

    @property
    def root(self) -> str:
        return f"{BUCKET}/{self.name}"

    def copy_spool(self, source: Path | None = None, to: Path | None = None) -> None:
        source = source or self.lab.folder / "recorded" / "spool"
        subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(to or self.spool)], check=True, timeout=300)

    def start(self, spool: Path | None = None, log: str = "pipeline.log") -> Process:
        keys = {"access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "secret_access_key": "${AWS_SECRET_ACCESS_KEY}"}
        s3 = {"endpoint": self.endpoint, "region": "us-east-1", "allow_http": True, **keys}
        kafka = {"type": "kafka", "brokers": self.lab.broker.address, "topic_prefix": self.name, "name": SINK}
        sinks = {"kafka": kafka, "lake": {"type": "parquet", "url": f"s3://{self.root}", "s3": s3, "roll": self.roll}}
        process = self.lab.process(self.folder, spool or self.spool, sinks, self.collector, log, self.environment)
        self.processes.append(process)
        return process

    def ends(self) -> dict[str, tuple[int, int]]:
        """How far each sink's cursor is."""
        return {"kafka": self.end_in_kafka(), "parquet": self.end_in_store()}

    def end_in_kafka(self) -> tuple[int, int]:
        command = kcat(self.lab.broker.address, "cursors", prefix=self.name)
        try:
            read = subprocess.run(command, capture_output=True, timeout=20)
        except subprocess.TimeoutExpired:
            return (0, 0)
        lines = read.stdout.splitlines()
        return end_of(json.loads(lines[-1])) if lines else (0, 0)

    def end_in_store(self) -> tuple[int, int]:
        try:
            with self.lab.files.open_input_stream(f"{self.root}/_cursor/{CLUSTER}/{SOURCE}.json") as cursor:
                return end_of(json.loads(cursor.read()))
        except FileNotFoundError:
            return (0, 0)

    def published(self) -> bool:
        """Whether both sinks have what they have in the undisturbed run."""
        ends = self.ends()
        return all(ends[sink] >= end for sink, end in self.lab.undisturbed.ends.items())

    def recovered(
        self, process: Process, since: float, before: dict[str, int], over: Callable[[], bool] | None = None
    ) -> bool:
        """Waits for a durable row of one of these sinks more than before and notes how long that took since the fault's
        end; no if it is over: there is nothing left to publish."""
        over = over or self.published
        look_again = time.monotonic() + 3
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            process.must_run()
            if any(process.durable_rows(sink) > rows for sink, rows in before.items()):
                self.recoveries.append(time.monotonic() - since)
                return True
            if time.monotonic() > look_again:
                if over():
                    return False
                look_again = time.monotonic() + 3
            time.sleep(0.02)
        raise Failed(f"no new durable row within {RECOVERY_SECONDS} s of the fault's end")

    def must_recover(self, process: Process, since: float, before: dict[str, int]) -> None:
        if not self.recovered(process, since, before):
            raise Failed("the fault came when everything was published; record more flows")

    def wait_for_share(self, process: Process, sink: str, share: float) -> None:
        """Until this process has made so much of all rows durable."""
        rows = self.lab.undisturbed.rows[sink] * share
        wait_for(f"{share:.0%} of the rows", PUBLISH_SECONDS, lambda: process.durable_rows(sink) >= rows, 0.02)

    def finish(self, process: Process) -> None:
        """Lets it publish what is left, ends it, and compares."""
        wait_for("all rows", PUBLISH_SECONDS, lambda: process.must_run() or self.published(), 1)
        process.stop()
        self.compare()

    def fetch(self) -> Path:
        rows = self.folder / "rows"
        fetch(self.lab.broker.address, self.lab.files, self.root, rows, self.name)
        return rows

    def compare(self) -> None:
        """Every row of both sinks must be that of the undisturbed run, once."""
        rows, database = self.fetch(), self.lab.rows
        before = database.faults
        for sink in ("kafka", "parquet"):
            name = f"{sink}_{self.name}".replace("-", "_")
            database.load_rows(name, rows / sink)
            database.compare_rows([f"{sink}_undisturbed", name])
        if database.faults > before:
            raise Failed(f"{database.faults - before} rows differ from the undisturbed run or are there twice")
        self.remove()

    def remove(self) -> None:
        """What passed needs no room."""
        for part in ("rows", "spool", "copy"):
            shutil.rmtree(self.folder / part, ignore_errors=True)

    @property
    def peak_kib(self) -> int:
        return max((process.peak_kib for process in self.processes), default=0)


def end_of(cursor: dict) -> tuple[int, int]:
    committed = (cursor["cursor"] or {}).get("committed")
    return (committed["position"], committed["part"]) if committed else (0, 0)


def rows_of(process: Process) -> dict[str, int]:
    return {sink: process.durable_rows(sink) for sink in NOTHING}


def wait_until_steady(process: Process) -> float:
    """Until nothing moves any more and both lines have read equally far; says when the last thing moved."""
    moved, last = time.monotonic(), []

    def steady() -> bool:
        nonlocal moved, last
        process.must_run()
        metrics = ("catchment_epochs_total", "catchment_durable_position", WATERMARK)
        now = [process.values(metric) for metric in metrics]
        if now != last:
            moved, last = time.monotonic(), now
        watermarks = now[-1]
        level = len(watermarks) == len(NOTHING) and len(set(watermarks)) == 1 and watermarks[0] > 0
        return level and time.monotonic() - moved > STEADY_SECONDS

    wait_for("all rows", PUBLISH_SECONDS, steady)
    return moved


def run_undisturbed(cell: Cell) -> None:
    """The reference, which is itself judged by the simulated cluster's ledger."""
    lab, result = cell.lab, cell.lab.undisturbed
    cell.copy_spool()
    process = cell.start()
    cell.recovered(process, process.begun, NOTHING)
    result.first_row_seconds = cell.recoveries.pop()
    result.seconds = wait_until_steady(process) - process.begun
    result.rows = rows_of(process)
    process.stop()
    result.ends, result.peak_kib = cell.ends(), cell.peak_kib
    if result.peak_kib > MEMORY_MIB * 1024:
        raise Failed(f"peak memory above the bound of {MEMORY_MIB} MiB without a fault")
    rows = cell.fetch()
    judge_truth(lab.folder / "recorded" / "truth-*.ndjson", rows, MINUTES, lab.pushed)
    keep(lab.rows, rows)


def judge_truth(ledgers: Path, rows: Path, minutes: int, pushed: int) -> None:
    """Compares the windows of the first minutes with what the clusters really did. All side rows must be there: a
    comparison of nothing proves nothing."""
    judge = Judge(ledgers, after(minutes), pushed, forgotten=told(START))
    for sink in ("kafka", "parquet"):
        judge.load_rows(sink, rows / sink)
        judge.judge(sink)
        judge.explain(sink)
        judge.demand(sink, minutes - 1, "whole windows", f"SELECT count(*) FROM {sink}_windows WHERE whole")
        for dataset in ("late", "rejects", "gaps"):
            judge.demand(sink, 1, f"rows of {dataset}", f"SELECT count(*) FROM {sink}_{dataset}")
    judge.compare_rows(["kafka", "parquet"])
    if judge.faults:
        raise Failed(f"{judge.faults} differences from the ledger")


def keep(database: Rows, rows: Path) -> None:
    """Makes these rows what others are compared with. JSON is read once: it is by far the slower."""
    database.load_rows("parquet_undisturbed", rows / "parquet")
    database.load_rows("text", rows / "kafka")
    for dataset in DATASETS:
        path = rows / f"{dataset}.parquet"
        database.db.execute(f"COPY (SELECT * FROM text_{dataset}) TO '{path}'")
        database.db.execute(f"CREATE VIEW kafka_undisturbed_{dataset} AS SELECT * FROM read_parquet('{path}')")
    shutil.rmtree(rows / "kafka")
    if database.faults:
        raise Failed("the undisturbed run published rows twice")
