"""The faults. Each cell is told what it did in the table."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import proxy
from bounded import Failed, wait_for
from lab import NOTHING, Cell, after, judge_truth, rows_of
from process import Process
from published import newest_in_kafka, newest_in_store

BROKER_KILLS = 5
FROZEN_SECONDS = 40
STORE_FAULT_SECONDS = 10
# Behind the first slots of the Parquet sink.
STORE_FAULT_UPLOAD = 10
DROPPED_UPLOADS = 6
FENCED_SECONDS = 150
# A fault of the disk: full for this long, on a disk of this size, with a cluster of this size and speed. It is over
# before the first bucket is six minutes old: a second look that is missed is made up for only after 55 minutes.
FULL_SECONDS, DISK_MIB, LIVE_FLOWS, LIVE_SPEED, LIVE_MINUTES = 6, 512, 100, 12, 10


def moments(cell: Cell, count: int) -> Iterator[tuple[bool, float]]:
    """When to end each process, seeded: every fourth while it opens its sinks and reads the log again, the others a
    while behind their first durable row, so that all of them fall into the publishing."""
    chance = random.Random(f"{cell.lab.settings.seed} {cell.name}")
    told = cell.lab.undisturbed
    for number in range(count):
        opening = number % 4 == 3
        longest = told.first_row_seconds if opening else told.seconds / (2 * count)
        yield opening, chance.uniform(0, longest)


def interrupted(cell: Cell, count: int, interrupt: Callable[[Process], object]) -> str:
    """Where all is published before the last moment has come, it is published once more."""
    left, passes = list(moments(cell, count)), 0
    while left:
        passes += 1
        before = len(left)
        one_pass(cell.again(passes), left, interrupt)
        if len(left) == before:
            raise Failed("everything was published before it could be interrupted; record more flows")
    return f"{count} times in {passes} passes over the log, seed {cell.lab.settings.seed}"


def one_pass(cell: Cell, left: list[tuple[bool, float]], interrupt: Callable[[Process], object]) -> None:
    cell.copy_spool()
    process = cell.start()
    while left:
        opening, delay = left[0]
        if not opening and not cell.recovered(process, process.begun, NOTHING):
            break
        time.sleep(delay)
        interrupt(process)
        left.pop(0)
        process = cell.start()
    cell.finish(process)


def killed(cell: Cell) -> str:
    return interrupted(cell, cell.lab.settings.kills, Process.kill)


def stopped(cell: Cell) -> str:
    took: list[float] = []

    def stop(process: Process) -> None:
        # Before the handler is in place the signal ends any process as the system has it.
        wait_for("the listener", 30, lambda: process.must_run() or process.metrics(), 0.01)
        took.append(process.stop())

    did = interrupted(cell, cell.lab.settings.stops, stop)
    return f"{did}; code 0 within {max(took):.1f} s"


def kafka_rows(process: Process) -> dict[str, int]:
    return {"kafka": process.durable_rows("kafka")}


def broker_killed(cell: Cell) -> str:
    cell.copy_spool()
    process = cell.start()
    for number in range(1, BROKER_KILLS + 1):
        cell.wait_for_share(process, "kafka", number / (BROKER_KILLS + 2))
        cell.lab.broker.kill()
        before, ended = kafka_rows(process), time.monotonic()
        cell.lab.broker.start()
        cell.must_recover(process, ended, before)
    cell.finish(process)
    return f"{BROKER_KILLS} times"


def broker_frozen(cell: Cell) -> str:
    cell.copy_spool()
    process = cell.start()
    cell.wait_for_share(process, "kafka", 1 / 3)
    cell.lab.broker.freeze()
    before = kafka_rows(process)
    time.sleep(FROZEN_SECONDS)
    cell.lab.broker.thaw()
    cell.must_recover(process, time.monotonic(), before)
    cell.finish(process)
    return f"for {FROZEN_SECONDS} s"


def store_fault(cell: Cell, fault: proxy.Fault, last: Callable[[], object]) -> None:
    """Publishes through a proxy that turns against its client until `last` returns."""
    between = proxy.Proxy(cell.lab.store.address, fault, STORE_FAULT_UPLOAD)
    cell.endpoint = f"http://127.0.0.1:{between.port}"
    cell.copy_spool()
    try:
        process = cell.start()
        wait_for("the upload with the fault", 120, between.begun.is_set)
        before = {"parquet": process.durable_rows("parquet")}
        last()
        cell.must_recover(process, between.heal(), before)
        cell.finish(process)
    finally:
        between.heal()
        between.close()


def store_refusing(cell: Cell) -> str:
    store_fault(cell, proxy.Refusing(), lambda: time.sleep(STORE_FAULT_SECONDS))
    return f"for {STORE_FAULT_SECONDS} s"


def store_hanging(cell: Cell) -> str:
    store = cell.lab.store
    store_fault(cell, proxy.Hanging(store.freeze, store.thaw), lambda: time.sleep(FROZEN_SECONDS))
    return f"for {FROZEN_SECONDS} s"


def store_answering(cell: Cell) -> str:
    store_fault(cell, proxy.Answering(), lambda: time.sleep(STORE_FAULT_SECONDS))
    return f"for {STORE_FAULT_SECONDS} s"


def store_dropping(cell: Cell) -> str:
    fault = proxy.Dropping(DROPPED_UPLOADS)
    store_fault(cell, fault, lambda: wait_for("the dropped uploads", 180, fault.done.is_set))
    return f"{DROPPED_UPLOADS} uploads in a row"


def zombie(cell: Cell) -> str:
    """A successor on a copy of the log takes over while the first stands still in the middle of its work."""
    cell.copy_spool()
    process = cell.start(log="zombie.log")
    cell.wait_for_share(process, "kafka", 1 / 4)
    process.signal(signal.SIGSTOP)
    cell.copy_spool(cell.spool, cell.folder / "copy")
    successor = cell.start(cell.folder / "copy")
    cell.must_recover(successor, successor.begun, NOTHING)
    process.signal(signal.SIGCONT)
    wait_for("the end of the process taken over from", FENCED_SECONDS, lambda: not process.runs())
    if process.child.returncode != 1 or "another process took" not in process.last_words():
        raise Failed(f"taken over from, it ended with {process.child.returncode}: {process.last_words()}")
    cell.finish(successor)
    return "the zombie ended with code 1 and said why"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "catchment-faults", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Takes all that is left."""
    with open(path, "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(1 << 20)):
                pass
        except OSError:
            pass


def disk_full(cell: Cell) -> str:
    """Here a live cluster takes the place of the recorded log: what is read while there is no room must not be lost."""
    with small_disk(cell.folder / "disk") as disk:
        simulator = cell.lab.simulate(cell.collector, cell.folder, LIVE_FLOWS, LIVE_SPEED)
        process = cell.start(disk)
        wait_for("the first rows", 180, lambda: process.must_run() or process.durable_rows("kafka"))
        fill(disk / "ballast")
        wait_for("a log that cannot be written", 60, lambda: "No space left" in process.log.read_text())
        time.sleep(FULL_SECONDS)
        before = rows_of(process)
        (disk / "ballast").unlink()
        cell.must_recover(process, time.monotonic(), before)
        wait_until_looked_at(cell, process)
        process.stop()
        simulator.stop()
    judge_truth(cell.folder / "truth.ndjson", cell.fetch(), LIVE_MINUTES)
    cell.remove()
    return f"for {FULL_SECONDS} s; rows and gaps equal the ledger"


def wait_until_looked_at(cell: Cell, process: Process) -> None:
    """Until both sinks hold late rows of the last bucket that is judged."""
    def done() -> bool:
        process.must_run()
        kafka = newest_in_kafka(cell.lab.broker.address, cell.name)
        return min(kafka, newest_in_store(cell.lab.files, cell.root)) >= after(LIVE_MINUTES)

    wait_for("second looks", 400, done, 1)


def can_mount() -> bool:
    return os.geteuid() == 0


CELLS: dict[str, tuple[str, Callable[[Cell], str]]] = {
    "kill": ("process killed (`kill -9`)", killed),
    "stop": ("process asked to end (SIGTERM)", stopped),
    "broker-killed": ("broker killed and started again", broker_killed),
    "broker-frozen": ("broker stands still (SIGSTOP)", broker_frozen),
    "store-refusing": ("object store refuses connections", store_refusing),
    "store-hanging": ("object store stands still (SIGSTOP)", store_hanging),
    "store-answering": ("object store answers 500 and 503", store_answering),
    "store-dropping": ("object store accepts uploads, the answers are lost", store_dropping),
    "disk-full": ("no room for the log", disk_full),
    "zombie": ("process stands still, a successor takes over", zombie),
}
