"""A wall clock that can be stepped, for one process: clock.c, which faults.sh builds, is preloaded."""

import os
import struct
from pathlib import Path

from bounded import Failed
from process import Process


class SteppedClock:
    """Runs at a distance from the true clock."""

    def __init__(self, folder: Path) -> None:
        self.library, self.file = Path(os.environ["FAULTS_CLOCK_LIBRARY"]).resolve(), folder / "clock"
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "FAULTS_CLOCK": str(self.file)}

    def set(self, seconds: int) -> None:
        # In place: the file is part of the process's memory.
        with open(self.file, "r+b" if self.file.exists() else "w+b") as file:
            file.write(struct.pack("=q", seconds * 1_000_000))

    def step(self, process: Process, seconds: int) -> None:
        """Steps to this distance."""
        if self.library.name not in Path(f"/proc/{process.pid}/maps").read_text():
            raise Failed(f"{self.library.name} is not part of the process")
        self.set(seconds)
