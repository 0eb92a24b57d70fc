"""The real servers, and what may happen to them."""

import os
import random
import signal
import socket
import subprocess
from pathlib import Path

from bounded import Failed, Missing, wait_for

TOOLS = Path(__file__).resolve().parents[1]
START_SECONDS = 180


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody listens on, and the one after it: the broker takes two. Below those that clients are given."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20000, 30000)
        if not listens(port) and not listens(port + 1):
            return port


class Server:
    """A server that a script starts and stops."""

    def __init__(self, script: str, pid_file: str, needs: str, folder: Path) -> None:
        self.script, self.needs, self.folder = TOOLS / script, needs, folder
        self.pid_file = folder / pid_file
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def run(self, command: str) -> int:
        told = [str(self.script), command, str(self.folder), str(self.port)]
        return subprocess.run(told, stdout=subprocess.DEVNULL, timeout=START_SECONDS).returncode

    def start(self) -> None:
        code = self.run("start")
        if code == 3:
            raise Missing(self.needs)
        if code:
            raise Failed(f"{self.script.name} start ended with code {code}")

    def stop(self) -> None:
        if self.pid_file.exists():
            self.thaw()
            self.run("stop")

    def signal(self, number: int) -> None:
        os.kill(int(self.pid_file.read_text()), number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        try:
            self.signal(signal.SIGCONT)
        except ProcessLookupError:
            pass

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        # Where nobody takes note of its end the process is still listed, and the script would take it for alive.
        self.pid_file.unlink()
        wait_for("end of a killed server", 10, lambda: not listens(self.port))


def broker(folder: Path) -> Server:
    return Server("kafka/broker.sh", "broker.pid", "java or mvn", folder)


def store(folder: Path) -> Server:
    return Server("s3/server.sh", "server.pid", "go", folder)
