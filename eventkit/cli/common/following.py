"""Commands that run until they are stopped: the first SIGINT or SIGTERM ends them, with exit code 0."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STEP = 0.1  # seconds until a signal is noticed


class Ending:
    """Whether a signal has come; the handler only sets a flag, because it may interrupt any code."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal; the second one ends the process at once."""
        if self._asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._asked = True

    def is_asked(self) -> bool:
        """Return whether a signal has come."""
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Wait for a signal up to `seconds`; return whether it came."""
        deadline = time.monotonic() + seconds
        while not self._asked and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _STEP))
        return self._asked


@contextmanager
def until_signalled() -> Iterator[Ending]:
    """Yield the end that a signal asks for; later, signals do again what they did before."""
    ending = Ending()
    before = {number: signal.signal(number, ending.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
