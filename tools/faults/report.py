"""The table of what was found, and the page it belongs on."""

import os
import platform
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from lab import MEMORY_MIB, Cell, Lab

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


@dataclass
class Outcome:
    what: str
    verdict: str
    did: str = ""
    recovery: str = "-"
    peak: str = "-"


def outcome(cell: Cell, what: str, did: str, problem: str) -> Outcome:
    peak = cell.peak_kib
    if not problem and peak > MEMORY_MIB * 1024:
        problem = f"peak memory above the bound of {MEMORY_MIB} MiB"
    return Outcome(what, f"**failed**: {problem}" if problem else "passed", did, seconds(cell.recoveries), mib(peak))


def mib(kib: int) -> str:
    return f"{kib // 1024} MiB"


def seconds(waits: list[float]) -> str:
    if not waits:
        return "-"
    longest = f"{max(waits):.1f} s"
    return longest if len(waits) == 1 else f"{median(waits):.1f} s, at most {longest}"


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def table(lab: Lab, outcomes: list[Outcome]) -> str:
    settings, plain = lab.settings, lab.undisturbed
    rows = sum(plain.rows.values())
    lines = [
        f"    FAULTS_SIZE={settings.size_name} FAULTS_SEED={settings.seed} make test-faults",
        "",
        f"{date.today()}, {processor()}, {os.cpu_count()} cores; {settings.size.flows:,} flows reported by nodes, "
        f"{lab.recorded:,} in the log after the collector has added up what belongs together, {rows:,} rows in both sinks "
        f"together, published in {plain.seconds:.0f} s without a fault. Memory may reach {MEMORY_MIB} MiB.",
        "",
        "| fault | | recovery | peak memory | |",
        "|---|---|---|---|---|",
        f"| none | judged by the ledger | first row after {plain.first_row_seconds:.1f} s | {mib(plain.peak_kib)} | |",
        *(f"| {o.what} | {o.did} | {o.recovery} | {o.peak} | {o.verdict} |" for o in outcomes),
    ]
    return "\n".join(lines)


def write(text: str) -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
