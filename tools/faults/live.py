"""One process after another between a live cluster and the sinks, under every fault in turn. What arrives is compared
with the ledger: what is read while something fails must not be lost."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import proxy
from bounded import wait_for
from clock import SteppedClock
from lab import NOTHING, Cell, after, judge_truth, read_before, rows_of
from published import newest_in_kafka, newest_in_store
from simulated import START

PER_SECOND, SPEED, PUSHED_MINUTES = 60, 20, 6
# Short slots: the object store is written to every few seconds.
ROLL = "1m"
# How long a fault of the store or of the disk lasts. The collector forgets after three minutes at this speed.
SECONDS = 6
DISK_MIB = 512
CLOCK_STEPS = (600, -600)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "catchment-faults", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def can_mount() -> bool:
    return os.geteuid() == 0


def fill(path: Path) -> None:
    """Takes all that is left."""
    with open(path, "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(1 << 20)):
                pass
        except OSError:
            pass


class Live:
    def __init__(self, cell: Cell, between: proxy.Proxy) -> None:
        self.cell, self.lab, self.between = cell, cell.lab, between
        self.chance = random.Random(f"{cell.lab.settings.seed} live")
        self.cluster = cell.lab.cluster(cell.folder, cell.collector, PER_SECOND, SPEED)
        cell.endpoint, cell.roll = f"http://127.0.0.1:{between.port}", ROLL

    def start(self) -> None:
        self.process = self.cell.start()

    def started_anew(self) -> None:
        self.start()
        self.recovered(self.process.begun, NOTHING)

    def recovered(self, since: float, before: dict[str, int]) -> None:
        """Waits for a durable row of one of these sinks more than before."""
        self.cell.recovered(self.process, since, before, over=lambda: False)

    def kills(self) -> None:
        for _ in range(max(2, self.lab.settings.size.kills // 5)):
            time.sleep(self.chance.uniform(0, 2))
            self.process.kill()
            self.started_anew()

    def stops(self) -> None:
        """Between them the process runs with a clock that is stepped."""
        clock = SteppedClock(self.cell.folder)
        for environment, steps in ((clock.environment, CLOCK_STEPS), ({}, ())):
            self.process.stop()
            self.cell.environment = environment
            self.started_anew()
            for seconds in steps:
                before = rows_of(self.process)
                clock.step(self.process, seconds)
                self.recovered(time.monotonic(), before)

    def broker(self) -> None:
        for _ in range(max(1, self.lab.settings.size.broker_kills // 2)):
            before = {"kafka": self.process.durable_rows("kafka")}
            self.lab.broker.kill()
            self.lab.broker.start()
            self.recovered(time.monotonic(), before)

    def store(self) -> None:
        store = self.lab.store
        dropping = proxy.Dropping(2)
        self.store_fails(proxy.Refusing())
        self.store_fails(proxy.Hanging(store.freeze, store.thaw))
        self.store_fails(proxy.Answering())
        self.store_fails(dropping, lambda: wait_for("the dropped uploads", 180, dropping.done.is_set))

    def store_fails(self, fault: proxy.Fault, last: Callable[[], object] = lambda: time.sleep(SECONDS)) -> None:
        self.between.arm(fault, 1)
        wait_for("the upload with the fault", 120, lambda: self.process.must_run() or self.between.begun.is_set())
        before = {"parquet": self.process.durable_rows("parquet")}
        last()
        self.recovered(self.between.heal(), before)

    def disk(self) -> None:
        ballast, said = self.cell.spool / "ballast", self.process.log.stat().st_size
        fill(ballast)
        wait_for("a log that cannot be written", 60, lambda: b"No space left" in self.process.log.read_bytes()[said:])
        time.sleep(SECONDS)
        before = rows_of(self.process)
        ballast.unlink()
        self.recovered(time.monotonic(), before)

    def faults(self, mounted: bool) -> int:
        """All of them; says how many minutes of the cluster they took."""
        read_before(self.cluster, lambda: self.cell.start())
        self.cluster.start(history_minutes=0)
        self.cluster.push_unusable(PUSHED_MINUTES)
        self.start()
        for fault in (self.kills, self.stops, self.broker, self.store, *([self.disk] if mounted else [])):
            fault()
        return (self.cluster.now() - START) // timedelta(minutes=1) + 1

    def finish(self, minutes: int) -> None:
        """Waits until both sinks have everything about these minutes, and judges that. Later looks go from bucket to
        bucket, oldest first, also at those that were missed while nobody ran."""
        def done() -> bool:
            self.process.must_run()
            kafka = newest_in_kafka(self.lab.broker.address, self.cell.name)
            return min(kafka, newest_in_store(self.lab.files, self.cell.root)) >= after(minutes)

        wait_for("second looks", 600, done, 1)
        self.process.stop()
        self.cluster.stop()
        judge_truth(self.cluster.ledgers, self.cell.fetch(), minutes, self.cluster.pushed)


def run(cell: Cell) -> str:
    mounted = can_mount()
    between = proxy.Proxy(cell.lab.store.address)
    cell.spool.mkdir()
    with ExitStack() as ending:
        ending.callback(between.close)
        ending.callback(between.heal)
        if mounted:
            ending.enter_context(small_disk(cell.spool))
        live = Live(cell, between)
        minutes = live.faults(mounted)
        live.finish(minutes)
    cell.remove()
    without = "" if mounted else "; the disk WAS NOT FILLED: mounting a small one needs root"
    return f"{minutes} minutes of the cluster; rows and gaps equal the ledger{without}"
