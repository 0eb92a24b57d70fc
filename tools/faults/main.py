#!/usr/bin/env python3
"""Runs the cells one after the other and tells what was found; tools/faults.sh starts it.

    python tools/faults/main.py CATCHMENT FOLDER

Exits 1 where a cell failed, 3 where a tool is missing.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb

import process
import report
from bounded import Failed, Missing
from cells import CELLS
from lab import Cell, Lab, Settings, Size, run_undisturbed

SIZES = {
    "small": Size(flows=150_000, history_minutes=0, kills=8, stops=3, broker_kills=2, frozen_seconds=12),
    "full": Size(flows=3_000_000, history_minutes=55, kills=50, stops=10, broker_kills=5, frozen_seconds=40),
}


def settings(catchment: str, folder: str) -> Settings:
    seed, size = os.environ.get("FAULTS_SEED"), os.environ.get("FAULTS_SIZE") or "small"
    return Settings(
        size_name=size,
        size=SIZES[size],
        seed=int(seed) if seed else random.SystemRandom().randrange(1 << 32),
        catchment=Path(catchment).resolve(),
        folder=Path(folder).resolve(),
        only=set(os.environ.get("FAULTS_ONLY", "").split()),
    )


def say(text: str) -> None:
    print(f"faults: {text}", file=sys.stderr, flush=True)


def run_cell(lab: Lab, name: str) -> report.Outcome:
    what, fault = CELLS[name]
    cell, did, problem = Cell(lab, name), "", ""
    begun = time.monotonic()
    try:
        did = fault(cell)
    except (Failed, OSError, subprocess.SubprocessError, duckdb.Error) as failed:
        problem = str(failed).splitlines()[0]
    finally:
        process.end_all()
    outcome = report.outcome(cell, what, did, problem)
    say(f"{name}: {outcome.verdict}; {did}; recovery {outcome.recovery}, peak {outcome.peak}, "
        f"{time.monotonic() - begun:.0f} s")
    return outcome


def run(lab: Lab) -> int:
    lab.start()
    say(f"seed {lab.settings.seed}; recording {lab.settings.size.flows} flows at {lab.settings.speed:.0f} times their speed")
    lab.record()
    say("undisturbed")
    run_undisturbed(Cell(lab, "undisturbed"))
    wanted = [name for name in CELLS if not lab.settings.only or name in lab.settings.only]
    outcomes = [run_cell(lab, name) for name in wanted]
    text = report.table(lab, outcomes)
    print(text)
    if os.environ.get("FAULTS_RECORD") == "yes":
        report.write(text)
    return int(any("failed" in o.verdict for o in outcomes))


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    if unknown := set(os.environ.get("FAULTS_ONLY", "").split()) - set(CELLS):
        say(f"FAULTS_ONLY names {', '.join(sorted(unknown))}; there are {', '.join(CELLS)}")
        return 2
    # A signal ends the run as an error does: whatever was started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    lab, code = Lab(settings(*sys.argv[1:])), 1
    try:
        code = run(lab)
    except Missing as missing:
        print(f"tier faults DID NOT RUN: {missing} is missing", file=sys.stderr)
        code = 3
    except Failed as failed:
        say(str(failed))
    finally:
        process.end_all()
        lab.stop()
        if code in (0, 3):
            shutil.rmtree(lab.folder)
        else:
            say(f"what the run left is in {lab.folder}")
    return code


if __name__ == "__main__":
    sys.exit(main())
