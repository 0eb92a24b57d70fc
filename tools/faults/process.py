"""A process of the release binary: what it counts, how much memory it took, how it ended."""

import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from bounded import Failed

# What Kubernetes grants by default between SIGTERM and SIGKILL.
GRACE_SECONDS = 30
SAMPLE_SECONDS = 0.05
ROWS = {"kafka": "catchment_kafka_sink_rows_total", "parquet": "catchment_parquet_rows_total"}


class Process:
    """One start of `catchment`; whatever happens, `end` leaves nothing running."""

    started: list["Process"] = []

    def __init__(
        self, arguments: list[str], log: Path, metrics_port: int = 0, environment: dict[str, str] | None = None
    ) -> None:
        self.log, self.port, self.peak_kib = log, metrics_port, 0
        self.begun = time.monotonic()
        with open(log, "ab") as out:
            self.child = subprocess.Popen(arguments, stdout=out, stderr=out, env=os.environ | (environment or {}))
        self.pid = self.child.pid
        Process.started.append(self)
        threading.Thread(target=self.watch_memory, daemon=True).start()

    def watch_memory(self) -> None:
        """The kernel keeps the peak, but only as long as the process lives."""
        status = Path(f"/proc/{self.pid}/status")
        while self.child.returncode is None:
            try:
                found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
            except OSError:
                return
            self.peak_kib = max(self.peak_kib, int(found[1])) if found else self.peak_kib
            time.sleep(SAMPLE_SECONDS)

    def runs(self) -> bool:
        return self.child.poll() is None

    def must_run(self) -> None:
        if not self.runs():
            raise Failed(f"the process ended with code {self.child.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def metrics(self) -> str:
        """Empty until the listener is up."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
                return page.read().decode()
        except OSError:
            return ""

    def values(self, metric: str) -> list[float]:
        return [float(v) for v in re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)", self.metrics(), re.MULTILINE)]

    def durable_rows(self, sink: str) -> int:
        """Rows that this process has made durable."""
        return int(sum(self.values(ROWS[sink])))

    def signal(self, number: int) -> None:
        self.must_run()
        self.child.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.child.wait(10)

    def stop(self) -> float:
        """Asks it to end, and says how long that took."""
        asked = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            code = self.child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"it did not end within {GRACE_SECONDS} s of SIGTERM") from None
        if code:
            raise Failed(f"after SIGTERM it ended with code {code}: {self.last_words()}")
        return time.monotonic() - asked

    def end(self) -> None:
        if self.runs():
            os.kill(self.pid, signal.SIGKILL)
            self.child.wait(10)


def end_all() -> None:
    for process in Process.started:
        process.end()
