"""Tells the database which handlers' events wait in this process: when that changes, and every few seconds meanwhile.

While nothing waits, and nothing did, it costs nothing.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence

from eventkit.projection.failure import SetAside
from eventkit.storage.projections import WaitingHandler

_CHANGED, _SAME = 1.0, 5.0  # seconds between two writes, at least and at most

Write = Callable[[str, Sequence[WaitingHandler]], None]


class WaitsReport:
    """One projection's in one process."""

    def __init__(self, aside: SetAside, write: Write) -> None:
        """Write through `write`, which takes the process's name and all that waits."""
        self._aside = aside
        self._write = write
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._known: set[tuple[str, str, bool]] = set()  # source and type, and whether the breaker is open
        self._written = -_SAME

    def start(self) -> None:
        """Delete the rows of an earlier process of this name, and of dead ones."""
        self._write(self._process, [])

    def tell(self) -> None:
        """Write the rows anew, where it is time."""
        if not self._known and not self._aside:
            return
        age = time.monotonic() - self._written
        if age < _CHANGED:
            return
        waiting = self._aside.waits()
        known = {(each.source, each.type, each.is_open) for each in waiting}
        if known == self._known and (age < _SAME or not known):
            return
        self._write(self._process, waiting)
        self._known, self._written = known, time.monotonic()
