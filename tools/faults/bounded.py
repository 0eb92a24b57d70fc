"""Waiting with an end, and what is raised instead of waiting on."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Failed(Exception):
    """A cell did not go as promised."""


class Missing(Exception):
    """A tool is missing: the tier did not run."""


def wait_for(what: str, seconds: float, condition: Callable[[], T], pause: float = 0.05) -> T:
    """What the condition gives once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
    return found
