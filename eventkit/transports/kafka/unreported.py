"""Messages without a delivery report, in the order of sending, and the time for which the oldest has waited.

The client never times a message out, so this class detects a broker that accepts messages and answers nothing.
"""

import time
from collections import deque
from collections.abc import Iterable

_CHECK_INTERVAL = 1.0  # seconds between two checks of the oldest, which take time


class Unreported:
    """Tags in flight. Callbacks append confirmed tags to `arrived`, and `count` removes them."""

    def __init__(self, report_timeout: float) -> None:
        self.arrived: list[int] = []
        self.confirmed: list[int] = []  # and not returned by `take` yet
        self._report_timeout = report_timeout
        self._tags: dict[int, None] = {}
        self._oldest: int | None = None
        self._since = self._checked = time.monotonic()

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tags: Iterable[int]) -> None:
        """Add the tags of sent messages."""
        self._tags.update(dict.fromkeys(tags))

    def count(self) -> None:
        """Move the tags in `arrived` from those in flight to `confirmed`."""
        deque(map(self._tags.pop, self.arrived), maxlen=0)
        self.confirmed += self.arrived
        self.arrived.clear()

    def take(self) -> list[int]:
        """Return the tags confirmed since the last call."""
        self.count()
        confirmed, self.confirmed = self.confirmed, []
        return confirmed

    def is_stuck(self) -> bool:
        """Return whether the oldest message has waited for longer than the report timeout, in seconds."""
        now = time.monotonic()
        if now - self._checked < min(_CHECK_INTERVAL, self._report_timeout / 4):
            return False
        self._checked = now
        self.count()
        oldest = next(iter(self._tags), None)
        if oldest is None or oldest != self._oldest:
            self._oldest, self._since = oldest, now
        return now - self._since > self._report_timeout
