"""The faults. Each cell is told what it did in the table."""

import random
import signal
import time
from collections.abc import Callable, Iterator

import live
import proxy
from bounded import Failed, wait_for
from clock import SteppedClock
from lab import NOTHING, Cell, rows_of
from process import Process

STORE_FAULT_SECONDS = 10
# Behind the first slots of the Parquet sink.
STORE_FAULT_UPLOAD = 10
DROPPED_UPLOADS = 6
FENCED_SECONDS, TAKEN_OVER = 150, "another process took"
# An object store refuses requests whose time is more than 15 minutes off its own.
CLOCK_STEPS = (600, -600, 0)


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
    told = "1 pass" if passes == 1 else f"{passes} passes"
    return f"{count} times in {told} over the log, seed {cell.lab.settings.seed}"


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
    return interrupted(cell, cell.lab.settings.size.kills, Process.kill)


def stopped(cell: Cell) -> str:
    took: list[float] = []

    def stop(process: Process) -> None:
        # Before the handler is in place the signal ends any process as the system has it.
        wait_for("the listener", 30, lambda: process.must_run() or process.metrics(), 0.01)
        took.append(process.stop())

    did = interrupted(cell, cell.lab.settings.size.stops, stop)
    return f"{did}; code 0 within {max(took):.1f} s"


def kafka_rows(process: Process) -> dict[str, int]:
    return {"kafka": process.durable_rows("kafka")}


def broker_killed(cell: Cell) -> str:
    kills = cell.lab.settings.size.broker_kills
    cell.copy_spool()
    process = cell.start()
    for number in range(1, kills + 1):
        cell.wait_for_share(process, "kafka", number / (kills + 2))
        cell.lab.broker.kill()
        before, ended = kafka_rows(process), time.monotonic()
        cell.lab.broker.start()
        cell.must_recover(process, ended, before)
    cell.finish(process)
    return f"{kills} times"


def broker_frozen(cell: Cell) -> str:
    cell.copy_spool()
    process = cell.start()
    cell.wait_for_share(process, "kafka", 1 / 3)
    cell.lab.broker.freeze()
    before = kafka_rows(process)
    time.sleep(cell.lab.settings.size.frozen_seconds)
    cell.lab.broker.thaw()
    cell.must_recover(process, time.monotonic(), before)
    cell.finish(process)
    return f"for {cell.lab.settings.size.frozen_seconds} s"


def store_fault(cell: Cell, fault: proxy.Fault, last: Callable[[], object]) -> None:
    """Publishes through a proxy that turns against its client until `last` returns."""
    between = proxy.Proxy(cell.lab.store.address)
    between.arm(fault, STORE_FAULT_UPLOAD)
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
    seconds = cell.lab.settings.size.frozen_seconds
    store_fault(cell, proxy.Hanging(store.freeze, store.thaw), lambda: time.sleep(seconds))
    return f"for {seconds} s"


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
    wait_for("the word of the process taken over from", FENCED_SECONDS, lambda: TAKEN_OVER in process.log.read_text())
    cell.finish(successor)
    return "the zombie said that it was taken over from, and published nothing more"


def clock_stepped(cell: Cell) -> str:
    clock = SteppedClock(cell.folder)
    cell.environment = clock.environment
    cell.copy_spool()
    process = cell.start()
    for number, seconds in enumerate(CLOCK_STEPS, 1):
        cell.wait_for_share(process, "kafka", number / (len(CLOCK_STEPS) + 2))
        before, stepped = rows_of(process), time.monotonic()
        clock.step(process, seconds)
        cell.must_recover(process, stepped, before)
    cell.finish(process)
    return "to " + ", ".join(f"{seconds:+d} s" for seconds in CLOCK_STEPS)


CELLS: dict[str, tuple[str, Callable[[Cell], str]]] = {
    "kill": ("process killed (`kill -9`)", killed),
    "stop": ("process asked to end (SIGTERM)", stopped),
    "broker-killed": ("broker killed and started again", broker_killed),
    "broker-frozen": ("broker stands still (SIGSTOP)", broker_frozen),
    "store-refusing": ("object store refuses connections", store_refusing),
    "store-hanging": ("object store stands still (SIGSTOP)", store_hanging),
    "store-answering": ("object store answers 500 and 503", store_answering),
    "store-dropping": ("object store accepts uploads, the answers are lost", store_dropping),
    "clock": ("wall clock stepped", clock_stepped),
    "zombie": ("process stands still, a successor takes over", zombie),
    "live": ("all of these, and no room for the log, with a live cluster", live.run),
}
