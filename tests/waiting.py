"""Waiting in tests: for a condition, with a deadline; never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
FIRST, LONGEST = 0.001, 0.05


def wait_until(condition: Callable[[], T], *, timeout: float = 60, what: str = "the condition") -> T:
    """Return the condition's first truthy value; raise AssertionError with `what` if there is none in time."""
    deadline, pause = time.monotonic() + timeout, FIRST
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; last seen: {value!r}")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST)
    return value
