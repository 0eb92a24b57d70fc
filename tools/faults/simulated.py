"""A simulated cluster behind its collector, and the ledger of what it really produced."""

import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from bounded import Failed, wait_for
from process import Process

BUCKET_SECONDS = 15
SEED, NODES, LATE_SHARE = 7, 50, 0.1
CONNECT = "/goldmane.FlowCollector/Connect"
# Beyond the 128 KiB that a record may have.
TOO_LONG = 140_000
# Before the collector is gone for more than the hour that it remembers; no report is late, as late ones would die with
# it. The times are chosen so that files lie in several partitions.
BEFORE, BEFORE_MINUTES = datetime(2026, 1, 1, 22, 0, tzinfo=timezone.utc), 3
START = datetime(2026, 1, 1, 23, 45, tzinfo=timezone.utc)


def told(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Cluster:
    """One at a time on a port; each start is a new one, which knows nothing of the one before, and has its own ledger."""

    def __init__(self, catchment: Path, folder: Path, port: int, per_second: int, speed: float) -> None:
        self.catchment, self.folder, self.port = catchment, folder, port
        self.per_second, self.speed = per_second, speed
        self.ledgers = folder / "truth-*.ndjson"
        self.starts, self.pushed = 0, 0

    def start_before(self) -> None:
        self.start_at(BEFORE, late_share=0, history_minutes=0)

    def start(self, history_minutes: int) -> None:
        self.start_at(START, LATE_SHARE, history_minutes)

    def start_at(self, at: datetime, late_share: float, history_minutes: int) -> None:
        self.starts += 1
        arguments = ["--listen", f"127.0.0.1:{self.port}", "--seed", str(SEED), "--nodes", str(NODES)]
        arguments += ["--late-share", str(late_share), "--flows-per-second", str(self.per_second)]
        arguments += ["--speed", str(self.speed), "--start", told(at), "--backfill", f"{history_minutes}m"]
        arguments += ["--truth", str(self.folder / f"truth-{self.starts}.ndjson")]
        command = [str(self.catchment), "simulate", "goldmane", *arguments]
        self.process = Process(command, self.folder / f"simulator-{self.starts}.log")
        wait_for("the simulated collector", 180, self.is_ready, 0.01)
        self.at, self.begun = at, time.monotonic()

    def is_ready(self) -> bool:
        """It listens before its history is made, and its clock begins after that."""
        self.process.must_run()
        return "is ready" in self.process.log.read_text()

    def stop(self) -> None:
        self.process.stop()

    def now(self) -> datetime:
        return self.at + timedelta(seconds=(time.monotonic() - self.begun) * self.speed)

    def push_unusable(self, minutes: int) -> None:
        """Has records that no reader can use pushed into the buckets of so many minutes, while others go on."""
        threading.Thread(target=self.push_until, args=(self.at + timedelta(minutes=minutes),), daemon=True).start()

    def push_until(self, end: datetime) -> None:
        last = 0
        while (now := self.now()) < end and self.process.runs():
            bucket = int(now.timestamp()) // BUCKET_SECONDS * BUCKET_SECONDS
            if bucket > last:
                self.push(bucket)
                last = bucket
            time.sleep(0.02)

    def push(self, bucket: int) -> None:
        records = [flow(bucket, b""), flow(bucket, text(1, "x" * TOO_LONG) + text(2, "faults"))]
        command = ["curl", "--silent", "--fail", "--max-time", "20", "--http2-prior-knowledge", "--output", "/dev/null"]
        command += ["--header", "content-type: application/grpc", "--header", "te: trailers", "--data-binary", "@-"]
        body = b"".join(framed(text(1, record)) for record in records)
        pushed = subprocess.run([*command, f"http://127.0.0.1:{self.port}{CONNECT}"], input=body)
        if pushed.returncode:
            raise Failed(f"pushing records into the collector ended with curl's code {pushed.returncode}")
        self.pushed += len(records)


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def text(field: int, value: bytes | str) -> bytes:
    """A text, or a message in its bytes, as a field of a protobuf message."""
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def flow(bucket: int, key: bytes) -> bytes:
    """A flow of one bucket with one live connection; without a key where that is empty."""
    numbers = {2: bucket, 3: bucket + BUCKET_SECONDS, 12: 1}
    counted = b"".join(varint(field << 3) + varint(number) for field, number in numbers.items())
    return (text(1, key) if key else b"") + counted


def framed(message: bytes) -> bytes:
    """A message of a gRPC stream, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message
