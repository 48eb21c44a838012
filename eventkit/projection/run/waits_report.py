"""Report to the database which handlers' events wait in this process: on a change, and every few seconds meanwhile.

While no event waits it costs nothing.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence

from eventkit.projection.failure import SetAside
from eventkit.storage.projections import WaitingHandler

_MIN_WRITE_INTERVAL, _MAX_WRITE_INTERVAL = 1.0, 5.0  # seconds

Write = Callable[[str, Sequence[WaitingHandler]], None]


class WaitsReport:
    """The report of one projection in one process."""

    def __init__(self, aside: SetAside, write: Write) -> None:
        """Report the waiting events of `aside`; `write` takes the process's name and the rows."""
        self._aside = aside
        self._write = write
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._reported: set[tuple[str, str, bool]] = set()  # source, type, whether the breaker is open
        self._written_at = -_MAX_WRITE_INTERVAL

    def start(self) -> None:
        """Delete the rows of an earlier process of this name, and of dead processes."""
        self._write(self._process, [])

    def report(self) -> None:
        """Replace the rows, if they have changed or are old."""
        if not self._reported and not self._aside:
            return
        age = time.monotonic() - self._written_at
        if age < _MIN_WRITE_INTERVAL:
            return
        waiting = self._aside.waits()
        current = {(each.source, each.type, each.is_open) for each in waiting}
        if current == self._reported and (age < _MAX_WRITE_INTERVAL or not current):
            return
        self._write(self._process, waiting)
        self._reported, self._written_at = current, time.monotonic()
